"""One fault at a time: the night ends right, or it stops and the first screen says what a person at 2 a.m. needs.

What the screen says is compared with what is so: what is called up answers customers, what is called down does not, what
is called changed was installed. Faults that other nights are about (backups, rounds, restarts, SQL Server's setup) are
theirs: whichever night fails, ``run_flow`` looks at its screen. ``make test`` runs a few of these, other ones each day.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from screen import one_line, shown
from standing import assert_released

from flows.patch import patch_estate
from report.summary import Report
from tasks.report import on_report
from tasks.run import read_estate
from tests.test_invariants import assert_closed_while_patching

pytestmark = [pytest.mark.night, pytest.mark.timeout(300)]

CU32 = "SQLServer2019-KB5054833-x64.exe"
QUIET = ("quiesce.open", "job.disabled", "site.bindings", "service.stop")
"""What making the estate quiet is seen by."""


@dataclass(frozen=True)
class Case:
    """A fault, and what has to come of it.

    ``verdict`` is that of the report; ``says`` must be found in the first screen, whatever its line breaks; ``when`` is
    the event of the audit trail after which the fault is declared (at once where it is empty); ``never`` are events that
    must not be in it.
    """

    fault: str
    on: str = "*"
    verdict: str = "succeeded"
    says: str = "every check passed, everything is up"
    when: str = ""
    times: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    never: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = "".join(f" {name}={value}" for name, value in self.settings.items())
        return f"{self.fault} on {self.on}{more}"


CASES = (
    # It ends right.
    Case("sql.slow_start", "sql01", settings={"seconds": 200}),
    Case("power.slow_boot", "web01", settings={"seconds": 300}),
    Case("power.servicing", "sql01", settings={"seconds": 120}),
    Case("sql.no_route", "web01", times=3, when="host.boot"),
    Case("task.queued", "web01", times=3, settings={"seconds": 100}),
    Case("update.forgets", "sql01"),
    Case("winrm.drop", "sql01", times=3, settings={"action": "Receive"}),
    Case("backup.slow", "EngageIP", settings={"seconds": 200}),
    Case("sqlpatch.hangs", "MSSQLSERVER", settings={"said": True}),
    # It stops before anything was changed.
    Case(
        "sql.login_refused",
        "svc_patching",
        "stopped",
        "sql01: the login is refused (18456). Correct the user name and password",
    ),
    Case("task.blocked", "sql01", "stopped", "sql01: scan of windows-update failed: the scheduled task"),
    Case("update.search", "web01", "stopped", "the update service's name was not found; check WSUS, proxy and DNS"),
    Case("service.stuck", "EngageIP Job Service", "stopped", "web01: EngageIP Job Service is StopPending"),
    Case(
        "backup.disk_full",
        "EngageIP",
        "stopped",
        "sql01: BACKUP of EngageIP failed: no space on E:",
        settings={"free": 1000},
    ),
    Case("backup.flip_transit", "acme-backups", "stopped", "BadDigest"),
    Case("package.flip_byte", CU32, "stopped", "is not the file that was approved", never=QUIET),
    Case("package.signer", CU32, "stopped", "its signer 'Contoso'", settings={"signer": "CN=Contoso"}, never=QUIET),
    # It fails, and what is up is served.
    Case("update.fail", "KB5033904", "failed", "0x80070643", settings={"hresult": "80070643"}),
    Case(
        "update.rolls_back", "KB5034127", "failed", "is offered again after the restart: rolled back. Look at CBS.log"
    ),
    Case("sqlpatch.reboot_first", "MSSQLSERVER", "failed", "although the host has just been restarted"),
    Case("sqlpatch.already", "MSSQLSERVER", "failed", "MSSQLSERVER is still at 15.0.4355.3"),
    # It stays closed, and a person is paged.
    Case("sql.upgrade_fails", "sql01", "half-open", "Script level upgrade for database 'master' failed"),
    Case("sql.recovery_fails", "Reporting", "half-open", "database Reporting (SUSPECT)"),
    Case("web.error", "AdminPortal", "half-open", "check 'site AdminPortal answers' failed", when="update.install"),
    Case("service.broken", "EngageIP Job Service", "half-open", "EngageIP Job Service", when="host.boot"),
)


def test_there_are_twenty_five() -> None:
    """Different ones, and each end of a night among them."""
    assert len({(str(case), case.verdict) for case in CASES}) >= 25
    assert {case.verdict for case in CASES} == {"succeeded", "stopped", "failed", "half-open"}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_fault_at_a_time(case: Case, start_lab: Callable[..., Any], run_flow: Callable[..., Any]) -> None:
    """The verdict, its explanation on one screen, and its truth."""
    lab = start_lab()
    reports: list[Report] = []
    on_report(lambda written: reports.append(written.report))
    watcher = threading.Thread(target=strike, args=(lab, case))
    watcher.start()
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG1")
    watcher.join()
    report = reports[-1]
    screen = shown(report)
    assert report.outcome.verdict == case.verdict, screen
    assert ran.type == ("COMPLETED" if case.verdict == "succeeded" else "FAILED")
    assert one_line(case.says) in one_line(screen), screen
    what_is_said_is_so(lab, report)
    if case.never:
        assert lab.audit(*case.never) == []
    assert_closed_while_patching(lab.audit(effects_only=False), read_estate(lab.estate))


def strike(lab: Any, case: Case) -> None:
    """Put the fault into force, once the night has come so far."""
    if case.when:
        lab.until(lambda: lab.audit(case.when), case.when, 120)
    lab.declare(case.fault, case.on, case.times, **case.settings)


def what_is_said_is_so(lab: Any, report: Report) -> None:
    """Customers see the real page of what is called up, and not of what is called down; what changed was installed."""
    estate, outcome = read_estate(lab.estate), report.outcome
    for site in estate.engageip.sites:
        for host in estate.nodes_of(site.name):
            name = f"{site.name} on {host}"
            served = httpx.get(site.url, follow_redirects=True).status_code == httpx.codes.OK
            assert served == (name not in outcome.down), name
            assert not report.touched or served == (name in outcome.up), name
    for service in estate.engageip.services:
        runs = lab.host_json(estate.engageip.host, "services.json")[service]["status"] == "Running"
        assert runs == (service not in " ".join(outcome.down)), service
    installed = {(e["host"], e["id"]) for e in lab.audit("update.install")}
    kept = {(e["host"], e["update"]) for e in lab.audit("update.rolled_back")}
    went_in = {"installed", "reboot-pending"}
    told = {(u.host, u.update) for u in report.all_updates if u.kind == "windows-update" and u.result in went_in}
    assert told == installed - kept
    if not outcome.down:
        assert_released(lab)
