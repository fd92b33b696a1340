"""What speaks against patching is refused by name, all of it at once, before anything is touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.check import check_estate
from flows.patch import patch_estate
from tasks.progress import Progress, subscribe

REFUSED = "acme-billing: stopped at preflight, nothing was touched. "


class Refused:
    """A lab whose estate is not fit to be patched."""

    def __init__(self, lab: Any, run_flow: Callable[..., Any]) -> None:
        self.lab, self._run_flow = lab, run_flow
        self.estate = Path(lab.estate)

    def edit(self, old: str, new: str) -> None:
        """Change the estate file."""
        text = self.estate.read_text(encoding="utf-8")
        assert old in text
        self.estate.write_text(text.replace(old, new), encoding="utf-8")

    def edit_host(self, host: str, file: str, change: Callable[[Any], None]) -> None:
        """Change what a host is."""
        path = self.lab.folder / "hosts" / host / file
        state = json.loads(path.read_text(encoding="utf-8"))
        change(state)
        path.write_text(json.dumps(state), encoding="utf-8")

    def problems(self, flow: Any = patch_estate) -> list[str]:
        """Run the flow, which must refuse without any effect; answers its numbered problems."""
        before = self.lab.audit()
        ran = self._run_flow(flow, estate=str(self.estate))
        assert ran.type == "FAILED"
        assert self.lab.audit() == before, "preflight touches nothing"
        if flow is not patch_estate:
            return [ran.message]
        assert ran.message.startswith(REFUSED)
        told = ran.message.removeprefix(REFUSED)
        if not told.startswith("(1) "):
            return [told]
        problems, number = [], 1
        while told:
            one, _, told = told.removeprefix(f"({number}) ").partition(f" ({number + 1}) ")
            problems.append(one)
            told = f"({number + 1}) {told}" if told else ""
            number += 1
        return problems


@pytest.fixture
def refused(start_lab: Callable[..., Any], run_flow: Callable[..., Any]) -> Refused:
    return Refused(start_lab(), run_flow)


@pytest.mark.slow
def test_what_is_not_built_yet_is_refused_by_name(refused: Refused) -> None:
    """A cluster, availability groups, replication, mirrors, a domain controller: one message names them all."""
    refused.edit_host("web01", "cim.json", lambda cim: cim["Win32_ComputerSystem"][0].update(DomainRole=5))
    cluster = {"ClusSvc": {"status": "Running", "start": "Automatic"}}
    refused.edit_host("sql01", "services.json", lambda services: services.update(cluster))
    for feature in ("cluster", "availability_groups", "replication", "mirroring"):
        refused.lab.declare("sql.feature", "sql01", feature=feature)
    fix = "is not built yet. Patch it by hand, and take it out of the estate file."
    assert refused.problems() == [
        f"sql01: is a node of a failover cluster, and patching clusters {fix}",
        f"web01: is a domain controller, and patching one {fix}",
        f"sql01: SQL Server runs in a failover cluster, and patching clusters {fix}",
        f"sql01: SQL Server has availability groups (BillingAG), and patching them {fix}",
        f"sql01: databases are replicated (EngageIP, Reporting), and patching replication {fix}",
        f"sql01: databases are mirrored (EngageIP, Reporting), and patching mirrors {fix}",
    ]


@pytest.mark.slow
def test_what_could_disturb_the_night_is_named_beforehand(refused: Refused, run_flow: Callable[..., Any]) -> None:
    """A start that waits for a PIN is refused; other patchers, a pending restart, people who are logged on are told."""
    volume = {"DriveLetter": "C:", "ProtectionStatus": 1, "KeyProtectors": {"3": ["{r}"], "4": ["{p}"]}}
    refused.edit_host("web01", "cim.json", lambda cim: cim.update(Win32_EncryptableVolume=[volume]))
    (told,) = refused.problems()
    assert told.startswith("web01: BitLocker asks for a PIN or a password at each start")

    volume["ProtectionStatus"] = 0  # suspended, as the message says
    refused.edit_host("web01", "cim.json", lambda cim: cim.update(Win32_EncryptableVolume=[volume]))
    client = {"CcmExec": {"status": "Running", "start": "Automatic"}}
    refused.edit_host("web01", "services.json", lambda services: services.update(client))
    lines = {"lines": [">jdoe                  rdp-tcp#2           2  Active          .  11/25/2026 1:02 AM"]}
    (refused.lab.folder / "hosts" / "sql01" / "sessions.json").write_text(json.dumps(lines), encoding="utf-8")
    heard: list[Progress] = []
    end = subscribe(heard.append)
    ran = run_flow(patch_estate, estate=str(refused.estate), dry_run=True)
    end()
    assert ran.type == "COMPLETED", ran.message
    cautions = [f"{each['host']}: {each['text']}" for each in ran.report["cautions"]]
    assert cautions == [
        "sql01: jdoe is logged on: a restart ends the session.",
        "web01: Configuration Manager's client is installed: see that nothing else patches this host in the window.",
    ]
    checked = run_flow(check_estate, estate=str(refused.estate), canary=False)
    well, *told_too = checked.message.splitlines()
    assert well == "acme-billing: 2 hosts, everything answers, nothing speaks against patching."
    assert told_too == [f"take care: {caution}" for caution in cautions]
    assert [
        f"{each.subject}: {each.message}".replace("take care: ", "") for each in heard if "take care" in each.message
    ] == cautions


@pytest.mark.slow
def test_what_is_missing_is_refused_by_name(refused: Refused) -> None:
    """A service, a database, a check URL that nobody answers, a site that answers errors, a way: one message names them all."""
    refused.edit("- EngageIP Job Service", "- EngageIP Jobs Service")
    refused.edit("- Reporting", "- Reportng")
    refused.edit(":8081/AdminPortal", ":8099/AdminPortal")
    refused.lab.declare("web.error", "Portal", status=500)
    refused.lab.declare("sql.no_route", "web01", error="HostNotFound")
    correct = "Or correct its check_url in the estate file."
    way = "Look at DNS and the firewalls of both, or correct sql.sql01.known_as."
    address, sql = (refused.lab.state()["hosts"][host]["address"] for host in ("web01", "sql01"))
    assert refused.problems() == [
        f"AdminPortal on web01: http://{address}:8099/AdminPortal: Connection refused. Is the site started, and the port open? {correct}",
        f"Portal on web01: http://{address}:8091/Portal answers 500: Fault of the lab: HTTP 500. Mend it before patching. {correct}",
        f"sql01: SQL Server waits for web01 to reach it as {sql} on port 1433 (HostNotFound). {way}",
        "web01: has no service 'EngageIP Jobs Service'. Correct its name in the estate file (Get-Service shows the names).",
        "sql01: has no database Reportng; did you mean 'Reporting'? Correct sql.sql01.databases in the estate file.",
    ]


@pytest.mark.slow
def test_wrong_passwords_are_told_all_at_once(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    """WinRM and SQL Server in one message, each with what to correct; nobody is asked twice, since that locks accounts."""
    credentials = json.loads(Path(refused.lab.papers["credentials"]).read_text(encoding="utf-8"))
    for block in ("winrm-acme", "sql-acme"):
        credentials[block]["password"] = "wrong"
    wrong = refused.lab.folder / "wrong" / "credentials.json"
    wrong.parent.mkdir()
    wrong.touch(mode=0o600)
    wrong.write_text(json.dumps(credentials), encoding="utf-8")
    monkeypatch.setenv("BILLPATCH_CREDENTIALS", str(wrong))
    user = (
        "Check user name and password, and that the user is in Administrators or Remote Management Users on the host."
    )
    told = [
        f"sql01 and web01: the host refuses these credentials. {user}",
        "sql01: the login is refused (18456). Correct the user name and password of the credentials block.",
    ]
    assert refused.problems() == told
    refusals = refused.lab.audit("winrm.logon_refused", effects_only=False)
    assert sorted(each["host"] for each in refusals) == ["sql01", "web01"]
    assert refused.problems(check_estate) == [f"preflight: (1) {told[0]} (2) {told[1]}"]


@pytest.mark.slow
def test_patches_that_do_not_fit_are_refused_all_at_once(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """A CU that would leave the GDR branch, a package for another version; with the estate's word the CU fits."""
    lab = start_lab("gdr")
    before = lab.audit()
    estate = Path(lab.estate)
    text = estate.read_text(encoding="utf-8")
    package = text[text.index("  - kind: mssql-patch") : text.index("quiet:")]
    other = (
        package.replace("CU32", "CU31 of 2017")
        .replace("15.0.4430.1", "14.0.3456.2")
        .replace("KB5054833", "KB5016884", 1)
    )
    estate.write_text(text.replace(package, package + other), encoding="utf-8")
    ran = run_flow(patch_estate, estate=str(estate))
    assert ran.message == (
        "acme-gdr: stopped at preflight, nothing was touched. (1) sql01: SQL Server 2019 CU32 (15.0.4430.1) is a CU, and "
        "MSSQLSERVER has had security fixes alone until now (GDR branch, 15.0.2101.7). A CU leaves that branch, and only "
        "uninstalling leads back. Say branch: leave-gdr for it, or name the GDR package. (2) sql01: SQL Server 2019 CU31 "
        "of 2017 (14.0.3456.2) is for SQL Server 2017, and MSSQLSERVER is SQL Server 2019 (15.0.2101.7). Name a package "
        "for SQL Server 2019, or take this one out of updates.packages."
    )
    assert lab.audit() == before
    estate.write_text(text.replace("deadline: 10m", "deadline: 10m\n    branch: leave-gdr"), encoding="utf-8")
    told: list[Progress] = []
    end = subscribe(told.append)
    shown = run_flow(check_estate, estate=str(estate))
    end()
    assert shown.type == "COMPLETED"
    assert {each["event"] for each in lab.audit()[len(before) :]} <= {
        "job.start",
        "job.end",
        "store.put",
        "store.delete",
        "store.write",
    }, "a check sends canaries, and touches nothing else"
    assert any("shares with REPORTS (15.0.4123.1): Browser, VSS writer, client tools" in each.message for each in told)
