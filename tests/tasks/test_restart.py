"""A restart over a connection that breaks: the host's evidence tells what became of the request, not the connection."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from prefect import flow

from blocks.winrm.errors import ConnectionDropped, HostUnreachable
from model.journal import Journal
from model.records import RestartRecord, UpdateRecord
from tasks.restart import _services_suffice, restart_host
from tasks.step import settle

INTENT = "acme.CHG1.1"
BOOTED, AGAIN = "2026-03-08T08:00:00Z", "2026-03-08T08:10:00Z"
ASKED = {"intent": INTENT, "boot_id": "old", "last_boot": BOOTED, "asked": "2026-03-08T08:05:00Z"}


FACTS = {
    "computer": "WEB01", "powershell": "5.1", "now": AGAIN, "last_boot": BOOTED,
    "os": {"caption": "Windows Server 2019", "version": "10.0.17763", "build": "17763", "ubr": 1, "domain_role": 3},
}  # fmt: skip


class Host:
    """Restarts when it is asked to, and the answer to that never arrives; then it is away for a look, and back."""

    def __init__(self) -> None:
        self.asked = 0
        self.looks = 0

    def run(self, script: str, **_: Any) -> Any:
        if script == "Restart-PatchedHost":
            self.asked += 1
            raise ConnectionDropped("web01", "the connection broke", outcome_unknown=True)
        if script == "Get-RebootState":
            self.looks += 1 if self.asked else 0
            if self.looks == 1:
                raise HostUnreachable("web01", "nothing answers")
            up = self.looks > 1
            boot = {"boot_id": "new", "last_boot": AGAIN} if up else {"boot_id": "old", "last_boot": BOOTED}
            evidence = {"asked": ASKED if up else None, "marker_present": False, "logon_ready": True}
            return boot | evidence | {"uptime_seconds": 60, "servicing_in_progress": 0}
        answers = {
            "Get-QuiesceState": {"quiesce": None},
            "Get-PatchJob": {"jobs": []},
            "Get-HostFacts": FACTS,
            "Get-AutoServices": {"services": []},
            "Confirm-Boot": {"boot_id": "new"},
            "Update-Lease": {"granted": True},
            "Set-QuiesceState": {},
        }
        return answers[script]


def run_on(host: Host) -> Any:
    """As much of a run as the restart of one host without a role takes."""
    restart = SimpleNamespace(deadline=timedelta(seconds=30), policy="when-needed", ignore_services=())
    nothing: Any = lambda *_: ()  # noqa: E731
    asked = dict.fromkeys(("dependencies_of", "hosts_with", "services_on", "balancers_of"), nothing)
    estate = SimpleNamespace(restart=restart, **asked)
    over = threading.Event()
    return SimpleNamespace(
        estate=estate, hosts={"web01": host}, sql={}, key="acme.CHG1", number=1, fence=1, called="acme",
        stop=over, pause=lambda _: over.wait(0.01), restarting=set(), renewal=threading.Lock(),
        journal=Journal(),
    )  # fmt: skip


@pytest.mark.usefixtures("prefect_harness")
def test_a_connection_that_breaks_under_the_request_counts_as_asked() -> None:
    """Nobody has heard the answer: the host is looked at, is seen away and back, and is not restarted a second time."""
    host = Host()

    @flow
    def night() -> Any:
        return settle("restart", [restart_host.submit(run_on(host), "web01", 1)])

    (record,) = night()
    assert host.asked == 1
    assert record.down is not None
    assert record.ready > record.down


def test_what_a_restart_has_granted_asks_for_none_any_more() -> None:
    """With services-only a CU that answered 3010 restarts Windows once, and not again after the next round."""
    run = run_on(Host())
    run.estate.restart.policy = "services-only"
    run.journal.write(patched(minute=0))
    assert not _services_suffice(run, "web01", INTENT)
    run.journal.write(RestartRecord(host="web01", asked=at(1), ready=at(5)))
    assert _services_suffice(run, "web01", INTENT)
    run.journal.write(RestartRecord(host="other", asked=at(9), ready=at(10)))
    run.journal.write(patched(minute=7))
    assert not _services_suffice(run, "web01", INTENT)


def at(minute: int) -> datetime:
    return datetime(2026, 3, 8, 8, minute, tzinfo=UTC)


def patched(minute: int) -> UpdateRecord:
    """A SQL Server patch that answered 3010."""
    return UpdateRecord(
        host="web01", update="CU", title="CU", kind="mssql-patch", result="installed", hresult="0x00000BC2",
        started=at(minute), ended=at(minute),
    )  # fmt: skip
