"""A restart over a connection that breaks: the host's evidence tells what became of the request, not the connection."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from at_once import at_once
from host_facts import host_facts
from lab_process import LabProcess
from prefect import flow

from blocks.winrm.errors import ConnectionDropped, HostUnreachable
from model.journal import Journal
from model.outcome import Stopped
from model.records import RestartRecord, UpdateRecord
from tasks import restart
from tasks.progress import subscribe
from tasks.restart import _services_suffice, restart_host
from tasks.run import Run, open_run
from tasks.step import settle

INTENT = "acme.CHG1.1"
BOOTED, AGAIN = "2026-03-08T08:00:00Z", "2026-03-08T08:10:00Z"
ASKED = {"intent": INTENT, "boot_id": "old", "last_boot": BOOTED, "asked": "2026-03-08T08:05:00Z"}


FACTS = host_facts("WEB01", AGAIN, last_boot=BOOTED)


class Host:
    """Restarts when it is asked to, and the answer to that never arrives; then it is away for a look, and back."""

    def __init__(self) -> None:
        self.asked = 0
        self.looks = 0
        self.held = 0

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
        self.held += script == "Stop-HostServices"
        answers = {
            "Stop-HostServices": {"services": []},
            "Get-QuiesceState": {"quiesce": None},
            "Get-PatchJob": {"jobs": []},
            "Get-HostFacts": FACTS,
            "Get-AutoServices": {"services": []},
            "Confirm-Boot": {"boot_id": "new"},
            "Update-Lease": {"granted": True},
            "Set-QuiesceState": {},
        }
        return answers[script]


class Restless(Host):
    """Goes down by itself just after it has answered ``last``; away for some calls, it comes back, and does as it is told."""

    def __init__(self, last: str | None, calls: int = 3) -> None:
        super().__init__()
        self.last, self.calls = last, calls
        self.away = 0 if last else calls
        self.boots = 1
        self.intent = ""
        self.asked_in = 0

    def run(self, script: str, **given: Any) -> Any:
        if self.away:
            self.away -= 1
            self.boots += not self.away
            raise HostUnreachable("web01", "nothing answers")
        if script == self.last:
            self.last, self.away = None, self.calls
        if script == "Restart-PatchedHost":
            self.asked, self.asked_in, self.intent, self.away = self.asked + 1, self.boots, given["intent"], self.calls
            return {"outcome": "asked", "attempts": []}
        if script == "Get-RebootState":
            asked = {"intent": self.intent, "boot_id": str(self.asked_in), "last_boot": BOOTED} if self.asked else None
            evidence = {"asked": asked, "marker_present": self.asked_in == self.boots, "logon_ready": True}
            boot = {"boot_id": str(self.boots), "last_boot": AGAIN if self.boots > 1 else BOOTED}
            return boot | evidence | {"uptime_seconds": 60, "servicing_in_progress": 0}
        return super().run(script, **given)


def run_on(host: Host, deadline: float = 30) -> Any:
    """As much of a run as the restart of one host without a role takes."""
    how = SimpleNamespace(deadline=timedelta(seconds=deadline), policy="when-needed", ignore_services=())
    nothing: Any = lambda *_: ()  # noqa: E731
    asked = dict.fromkeys(("dependencies_of", "hosts_with", "services_on", "balancers_of"), nothing)
    estate = SimpleNamespace(restart=how, **asked)
    over = threading.Event()
    return SimpleNamespace(
        estate=estate, hosts={"web01": host}, sql={}, key="acme.CHG1", number=1, fence=1, called="acme",
        stop=over, pause=lambda _: over.wait(0.01), restarting=set(), lost={}, renewal=threading.Lock(),
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


@pytest.mark.parametrize(
    "last", ["Get-RebootState", "Get-QuiesceState", "Get-PatchJob", "Set-QuiesceState", "Update-Lease", None]
)
def test_a_host_that_goes_down_by_itself_is_waited_for_and_asked_when_it_is_back(
    last: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installer that answers 1641 has set it to restart: under any call, or before the first, it goes, and comes back."""
    monkeypatch.setattr(restart, "_await_ready", lambda *_: None)
    for policy in ("when-needed", "services-only"):
        host = Restless(last)
        run = run_on(host)
        run.estate.restart.policy = policy
        run.journal.write(patched(minute=0))
        record = at_once(restart_host, run, "web01", 1)
        assert (host.asked, host.boots) == (1, 3)
        assert record.ready is not None


def test_a_host_that_goes_down_by_itself_and_stays_away_is_lost_at_its_deadline() -> None:
    """Until then it may come back; what it waits for is said."""
    host = Restless("Get-PatchJob", calls=10**6)
    run = run_on(host, deadline=0.1)
    with pytest.raises(Stopped, match=r"not back after its restart within .* \(WinRM to answer \(nothing answers\)\)"):
        at_once(restart_host, run, "web01", 1)
    assert host.asked == 0


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


def test_a_host_that_bills_is_waited_for_before_its_sql_server_restarts() -> None:
    """What bills starts with the machine, and WinRM later; one that stays away, or is lost already, keeps nobody waiting."""
    web = Restless(None)
    run = run_on(web)
    run.hosts["sql01"], run.sql["sql01"] = Host(), None
    run.estate.services_on = {"web01": ("EngageIP Job Service",), "sql01": ()}.get
    restart._hold_elsewhere(run, "web01", time.monotonic() + 30)
    assert web.held == 0
    told: list[str] = []
    unsubscribe = subscribe(lambda progress: told.append(progress.message))
    restart._hold_elsewhere(run, "sql01", time.monotonic() + 30)
    unsubscribe()
    assert (web.away, web.held) == (0, 1)
    assert told == ["waiting for web01 to answer, whose boot may have started billing (nothing answers)"]
    web.away = 3
    restart._hold_elsewhere(run, "sql01", time.monotonic() - 1)
    assert (web.away, web.held) == (2, 1)
    run.lost["web01"] = "web01: not back."
    restart._hold_elsewhere(run, "sql01", time.monotonic() + 30)
    assert (web.away, web.held) == (2, 1)


def test_a_run_that_is_gone_on_with_restarts_nothing_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off after the restart of round 2, it goes through round 1 again: that host has restarted for both."""
    monkeypatch.setattr(restart, "_await_ready", lambda *_: None)
    for policy in ("when-needed", "services-only"):
        host = Restless(None)
        run = run_on(host)
        run.estate.restart.policy = policy
        host.asked, host.asked_in, host.intent = 1, 1, f"{run.key}.2"
        for round_number in (1, 2):
            at_once(restart_host, run, "web01", round_number)
        assert (host.asked, host.boots) == (1, 2)
        assert [record.remark for record in run.journal.of(RestartRecord)] == [None, None]
        at_once(restart_host, run_on(host), "web01", 3)
        assert host.asked == 2


@pytest.mark.slow
def test_a_restart_cuts_no_billing_that_an_unasked_boot_has_begun(
    tmp_path: Path, start_lab_process: Callable[..., LabProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """web01 restarts by itself, and its boot starts what bills: that is held before sql01 goes down, and when pools recycle."""
    lab = start_lab_process(tmp_path / "lab", "--speed", "300")
    monkeypatch.setenv("BILLPATCH_CREDENTIALS", lab.papers["credentials"])
    with open_run(lab.papers["estate"]) as run:
        run.fence, run.number, run.poll = 1, 1, 0.05
        bill_again(lab, run)
        begun = len(lab.trail())
        assert at_once(restart_host, run, "sql01", 1).ready
        trail = [(each["event"], each["host"], each.get("service")) for each in lab.trail()[begun:]]
        held = trail.index(("service.stop", "web01", "EngageIP Job Service"))
        assert held < trail.index(("service.stop", "sql01", "MSSQLSERVER"))
        assert billing(lab) == "Stopped"
        bill_again(lab, run)
        at_once(restart.recycle, run, "web01")
        assert billing(lab) == "Stopped"
    lab.stop()


def bill_again(lab: LabProcess, run: Run) -> None:
    """Hold billing on web01, and have an unasked restart start it again."""
    names = list(run.estate.engageip.services)
    run.hosts["web01"].run("Stop-HostServices", names=names, number=1, fence=1, timeout_seconds=60)
    down = {"seconds_down": 60}
    httpx.post(f"{lab.papers['control']}/hosts/web01/restart", json=down).raise_for_status()
    deadline = time.monotonic() + 30
    while billing(lab) == "Stopped":
        assert time.monotonic() < deadline
        time.sleep(0.02)


def billing(lab: LabProcess) -> str:
    """How the service stands on web01 that bills."""
    services = json.loads((lab.folder / "hosts" / "web01" / "services.json").read_text(encoding="utf-8"))
    return str(services["EngageIP Job Service"]["status"])
