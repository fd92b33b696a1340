"""What speaks against patching: refused by name, with the fix."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from model.estate import Estate, load_estate
from model.preflight import host_problems, sql_problems
from model.records import HostFacts
from model.sql.facts import DatabaseFacts, SqlFacts

ESTATE = """
estate: acme
timezone: UTC
hosts:
  sql01: {address: sql01, roles: [mssql], credentials: winrm}
  web01: {address: web01, roles: [iis, app], credentials: winrm}
sql: {sql01: {credentials: sql, databases: [EngageIP]}}
engageip:
  host: web01
  folder: 'C:\\EngageIP'
  services: ['EngageIP Job Service']
  sites: [{name: Portal, url: 'https://a.example/Portal', check_url: 'http://{host}:8081/Portal'}]
backup: {folders: {web01: ['D:\\Work']}, stores: [{share: '\\\\nas\\b', credentials: nas}]}
checks: [{http: Portal}]
"""
NOW = datetime(2026, 1, 2, 3, tzinfo=UTC)
GIB = 1024**3


@pytest.fixture(scope="module")
def estate() -> Estate:
    return load_estate(ESTATE, "acme.yaml")


def host(**changed: Any) -> HostFacts:
    answer: dict[str, Any] = {
        "computer": "WEB01",
        "os": {"caption": "Windows Server 2019", "version": "10.0.17763", "build": "17763", "domain_role": 3},
        "powershell": "5.1.17763.1",
        "now": NOW,
        "last_boot": NOW - timedelta(days=9),
        "drives": [{"letter": "C", "size": 80 * GIB, "free": 20 * GIB}, {"letter": "D", "size": 80 * GIB, "free": GIB}],
        "services": [{"name": "EngageIP Job Service", "exists": True, "status": "Running", "start_mode": "Auto"}],
    }
    return HostFacts.of("web01", {**answer, **changed})


def sql(**changed: Any) -> SqlFacts:
    database = DatabaseFacts(
        name="EngageIP",
        state="ONLINE",
        recovery_model="FULL",
        user_access="MULTI_USER",
        read_only=False,
        standby=False,
        snapshot=False,
        encrypted=False,
    )
    answer: dict[str, Any] = {
        "build": "15.0.4355.3",
        "edition": "Standard",
        "express": False,
        "level": "RTM",
        "start": "x",
        "started": NOW,
        "agent": "running",
        "sysadmin": True,
        "databases": (database,),
        "clustered": False,
    }
    return SqlFacts.model_validate({**answer, **changed})


def test_nothing_speaks_against_a_sound_host(estate: Estate) -> None:
    """No false alarm keeps an estate unpatched."""
    assert list(host_problems(estate, host(), NOW)) == []
    assert list(sql_problems(estate, "sql01", sql())) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"os": {"caption": "x", "version": "10", "build": "1", "domain_role": 5}}, "web01: is a domain controller"),
        ({"cluster": True}, "web01: is a node of a failover cluster"),
        ({"powershell": "4.0"}, "web01: has Windows PowerShell 4.0; 5.1 is needed. Install WMF 5.1"),
        ({"now": NOW + timedelta(minutes=7)}, "web01: its clock is off by 420 s"),
        ({"services": [{"name": "Rating", "exists": False}]}, "web01: has no service 'Rating'"),
        (
            {"drives": [{"letter": "C", "size": GIB, "free": GIB}, {"letter": "D", "size": 1, "free": 1}]},
            "web01: 1.0 GB are free on C:, updates need 3 GB",
        ),
        ({"computer": "NAS"}, "web01: backup.stores names \\\\nas\\b, which lies on it (NAS). Name another machine."),
        ({"drives": [{"letter": "C", "size": 9 * GIB, "free": 9 * GIB}]}, "web01: backup.folders names D:\\Work"),
    ],
)
def test_a_host_is_refused_by_name(estate: Estate, changed: dict[str, Any], words: str) -> None:
    """Each with the thing first, then the fix."""
    (problem,) = host_problems(estate, host(**changed), NOW)
    assert problem.startswith(words)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"clustered": True}, "sql01: SQL Server runs in a failover cluster"),
        ({"availability_groups": ("AG1",)}, "sql01: SQL Server has availability groups (AG1)"),
        ({"replication": ("EngageIP",)}, "sql01: databases are replicated (EngageIP)"),
        ({"mirroring": ("EngageIP",)}, "sql01: databases are mirrored (EngageIP)"),
        (
            {"databases": ()},
            "sql01: has no database EngageIP. Correct sql.sql01.databases in the estate file.",
        ),
    ],
)
def test_an_instance_is_refused_by_name(estate: Estate, changed: dict[str, Any], words: str) -> None:
    """What is not built yet is said to be so, and not tried."""
    (problem,) = sql_problems(estate, "sql01", sql(**changed))
    assert problem.startswith(words)


def test_a_database_that_is_not_online_is_refused(estate: Estate) -> None:
    """It cannot be backed up, and its owner should know before the night; one that the estate does not name is nobody's."""
    for state in ("RESTORING", "OFFLINE", "RECOVERING"):
        down = sql().databases[0].model_copy(update={"state": state})
        (problem,) = sql_problems(estate, "sql01", sql(databases=(down,)))
        assert problem.startswith(f"sql01: database EngageIP is {state}")
        other = down.model_copy(update={"name": "Archive"})
        assert list(sql_problems(estate, "sql01", sql(databases=(*sql().databases, other)))) == []


def test_a_database_snapshot_is_refused(estate: Estate) -> None:
    """ONLINE as it is, BACKUP takes none."""
    snapshot = sql().databases[0].model_copy(update={"snapshot": True})
    (problem,) = sql_problems(estate, "sql01", sql(databases=(snapshot,)))
    assert problem.startswith("sql01: EngageIP is a database snapshot")
