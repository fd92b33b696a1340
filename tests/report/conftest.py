"""Nights made of values: one that went well, one that did not, one that never began."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from model.estate import Estate, load_estate
from model.journal import Journal
from model.keys import RunKey
from model.plan import Plan, PlanStep, Refusal
from model.records import (
    BackupRecord,
    Caution,
    CheckRecord,
    HookRecord,
    LaterUpdate,
    QuiesceRecord,
    RestartRecord,
    RunOutcome,
    StepRecord,
    UpdateRecord,
)
from report.summary import Report

START = datetime(2026, 11, 15, 8, 0, tzinfo=UTC)  # 03:00 in Toronto, standard time
NASTY = 'A "good" <name> \u2039&\u203a 5 € | two\nlines & <script>alert(1)</script> \x1b[31m'
URL = "http://127.0.0.1:4200/runs/flow-run/0192f0aa-7d2e-7c11-9d10-5f8a3c1b2e4d"

ESTATE = r"""
estate: acme-billing
timezone: America/Toronto
hosts:
  sql01: {address: sql01.acme.example, roles: [mssql], credentials: winrm-acme}
  web01: {address: web01.acme.example, roles: [iis, app], credentials: winrm-acme}
  web02: {address: web02.acme.example, roles: [iis], credentials: winrm-acme}
sql: {sql01: {credentials: sql-acme, databases: [EngageIP, Reporting]}}
engageip:
  host: web01
  folder: 'C:\Program Files\LogiSense\EngageIP'
  services: ['EngageIP Event Manager', 'EngageIP Job Service']
  sites:
    - {name: AdminPortal, url: 'https://billing.acme.example/AdminPortal', check_url: 'http://{host}:8081/AdminPortal', hosts: [web01, web02]}
backup:
  folders: {web01: ['D:\Work']}
  stores:
    - {share: '\\nas01\billing', credentials: nas-acme}
    - {s3: acme-backups, prefix: billing/, credentials: s3-acme}
checks: [{http: AdminPortal, severity: must}, {service: W3SVC, on: web01}]
window: {start: '03:00', hours: 4}
"""


def at(minutes: float) -> datetime:
    """So many minutes into the night."""
    return START + timedelta(minutes=minutes)


@pytest.fixture(scope="session")
def estate() -> Estate:
    return load_estate(ESTATE, "acme-billing.yaml")


@pytest.fixture
def key() -> RunKey:
    return RunKey.for_change("acme-billing", "CHG0031001")


def _plan() -> Plan:
    return Plan(
        estate="acme-billing",
        approval="auto",
        scanned=True,
        steps=(PlanStep(stage="install", host="sql01", subject="SQL Server 2019 CU32", update="cu32"),),
        refused=(Refusal(host="web01", title="Windows Server 2025", reason="KB5044284 is rejected by name"),),
    )


def write_backups(journal: Journal, estate: Estate) -> None:
    """A whole copy of everything in every store."""
    for number, item in enumerate(estate.backup_items()):
        size = {"EngageIP": 41_231_000_000, "Reporting": 7_300_000_000}.get(item.subject, 6_200_000 * (number + 1))
        name = f"CHG0031001.1.1\\{item.host}-{item.subject.replace(':', '').replace(chr(92), '-')}"
        for path, store in ((f"\\\\nas01\\billing\\{name}", 0), (f"s3://acme-backups/billing/{name}", 1)):
            journal.write(
                BackupRecord(
                    kind=item.kind,
                    host=item.host,
                    subject=item.subject,
                    store=estate.backup.stores[store].name,
                    path=path.replace("\\", "/") if store else path,
                    size=size,
                    sha256=f"{number:02x}c0ffee{store:02x}" * 6 + "abcd",
                    started=at(2.5 + number / 20),
                    ended=at(3 + number / 4 + size / 8e9 + store / 2),
                    verified=True,
                    quiesce=1,
                )
            )


def write_updates(journal: Journal) -> None:
    """A SQL Server patch and two Windows updates, all in."""
    journal.write(
        UpdateRecord(
            host="sql01",
            update="SQL Server 2019 CU32",
            kb="KB5054833",
            title="SQL Server 2019 CU32",
            kind="mssql-patch",
            result="installed",
            started=at(11.5),
            ended=at(17),
            verified_by="build 15.0.4430.1",
        )
    )
    for host, begin in (("web01", 23.0), ("web02", 30.0)):
        journal.write(
            UpdateRecord(
                host=host,
                update="b6bfa4d1-8d7c-4ad1-9a05-1fb1a8c1d9b7",
                revision=201,
                kb="KB5068791",
                title="2026-11 Cumulative Update for Windows Server 2019 (1809) for x64-based Systems (KB5068791)",
                kind="windows-update",
                result="installed",
                started=at(begin),
                ended=at(begin + 2.5),
                verified_by="rescan, build 10.0.17763.8027",
            )
        )


def write_restarts(journal: Journal) -> None:
    """sql01 first, then the web hosts one after the other."""
    for host, begin, long, waited in (
        ("sql01", 17.2, 4.6, ()),
        ("web01", 25.6, 2.9, ("sql01",)),
        ("web02", 32.6, 2.6, ("sql01",)),
    ):
        journal.write(
            RestartRecord(host=host, asked=at(begin), down=at(begin + 0.4), ready=at(begin + long), waited_for=waited)
        )


def write_quiet(journal: Journal) -> None:
    """One quiesce that had to wait for a billing run."""
    journal.write(
        QuiesceRecord(
            number=1,
            started=at(0.9),
            quiet_at=at(2.4),
            waited_for=("billing run",),
            held_services={"web01": ("EngageIP Event Manager", "EngageIP Job Service")},
            held_jobs={"sql01": ("EngageIP nightly rating",)},
        )
    )


def write_hooks(journal: Journal) -> None:
    """A snapshot, a silence that failed, a node that was drained."""
    night = {"started": at(10), "ended": at(11)}
    journal.write(
        HookRecord(
            kind="snapshot",
            hook="vcenter",
            host="sql01",
            act="taken",
            status="done",
            id="snapshot-17",
            severity="must",
            until=at(3 * 1440),
            **night,
        )
    )
    journal.write(
        HookRecord(kind="silence", hook="zabbix", act="begun", status="failed", detail="zabbix answered 503", **night)
    )
    journal.write(HookRecord(kind="balancer", hook="f5", host="web01", act="drained", status="done", **night))


def _good(estate: Estate, key: RunKey) -> Report:
    journal = Journal()
    journal.write(_plan())
    write_quiet(journal)
    write_backups(journal, estate)
    write_updates(journal)
    write_restarts(journal)
    for step, begin, end in (
        ("preflight", 0, 0.5),
        ("review", 0.5, 0.9),
        ("validate", 35.5, 36.4),
        ("bring_back", 36.4, 37.5),
    ):
        journal.write(StepRecord(step=step, subject="acme-billing", status="done", started=at(begin), ended=at(end)))
    for host in ("web01", "web02"):
        name = "site AdminPortal answers"
        journal.write(
            CheckRecord(
                name=name,
                host=host,
                severity="must",
                status="passed",
                detail="200, 812 bytes",
                seconds=0.4,
                site="AdminPortal",
            )
        )
    journal.write(
        CheckRecord(
            name="service W3SVC runs on web01", host="web01", severity="must", status="passed", detail="Running"
        )
    )
    journal.write(
        CheckRecord(
            name="no new errors in event log Application of web01",
            host="web01",
            severity="should",
            status="failed",
            detail="2 new: ASP.NET 4.0.30319.0 event 1309",
        )
    )
    outcome = RunOutcome(
        verdict="succeeded",
        headline="3 updates installed on sql01, web01 and web02; every must check passed; portals are open",
        up=(
            "AdminPortal on web01 and web02",
            "EngageIP Event Manager",
            "EngageIP Job Service",
            "SQL Server on sql01 (15.0.4430.1)",
        ),
        changed=("sql01: SQL Server 2019 CU32 (15.0.4430.1)", "web01: KB5068791", "web02: KB5068791"),
    )
    return Report.of(estate, key, journal, outcome, started=at(0), ended=at(37.6), flow_run_url=URL)


def _bad(estate: Estate, key: RunKey) -> Report:
    journal = Journal()
    journal.write(_plan())
    write_quiet(journal)
    write_backups(journal, estate)
    write_updates(journal)
    write_hooks(journal)
    journal.write(RestartRecord(host="sql01", asked=at(17.2), down=at(17.6), ready=at(21.8)))
    journal.write(
        RestartRecord(host="web01", asked=at(25.6), down=at(26), waited_for=("sql01",), remark="not back after 20m")
    )
    journal.write(
        CheckRecord(
            name="site AdminPortal answers",
            host="web01",
            severity="must",
            status="not-run",
            detail="web01 is not back",
            site="AdminPortal",
        )
    )
    journal.write(
        CheckRecord(
            name="site AdminPortal answers",
            host="web02",
            severity="must",
            status="failed",
            detail="500 from http://web02.acme.example:8081/AdminPortal",
            site="AdminPortal",
        )
    )
    outcome = RunOutcome(
        verdict="half-open",
        headline="web01 is not back after its restart; AdminPortal stays behind the maintenance page",
        up=("SQL Server on sql01 (15.0.4430.1)",),
        down=(
            "web01 does not answer WinRM",
            "AdminPortal on web01 and web02 (maintenance page)",
            "EngageIP Job Service",
        ),
        changed=("sql01: SQL Server 2019 CU32 (15.0.4430.1)", "web01: KB5068791, not verified"),
        problems=(
            "web01: not back 20m after its restart; still waiting for WinRM to answer. Look at its console, then run: billpatch recover acme-billing",
            "web02: AdminPortal answers 500 behind the maintenance page. Recycle its pool, then run: billpatch recover acme-billing",
        ),
        next_command="billpatch recover acme-billing",
    )
    return Report.of(estate, key, journal, outcome, started=at(0), ended=at(47), flow_run_url=URL)


def _stopped(estate: Estate, key: RunKey) -> Report:
    outcome = RunOutcome(
        verdict="stopped",
        headline="preflight refused: sql01 is part of a failover cluster, which is not built yet",
        up=("everything",),
        problems=("sql01: is part of a failover cluster, which this version does not patch.",),
        next_command="billpatch check acme-billing",
    )
    return Report.of(estate, key, Journal(), outcome, started=at(0), ended=at(0.2))


def _nasty(estate: Estate, key: RunKey) -> Report:
    """Every text that another system could have given holds what breaks pages, tables and terminals."""
    journal = Journal()
    journal.write(
        Plan(
            estate="acme-billing",
            approval="auto",
            scanned=True,
            steps=(),
            refused=(Refusal(host=NASTY, title=NASTY, reason=NASTY),),
        )
    )
    journal.write(
        QuiesceRecord(
            number=1,
            started=at(1),
            quiet_at=at(2),
            waited_for=(NASTY,),
            held_services={NASTY: (NASTY,)},
            held_jobs={NASTY: (NASTY,)},
        )
    )
    journal.write(
        BackupRecord(
            kind="files",
            host=NASTY,
            subject=NASTY,
            store=NASTY,
            path=f"\\\\nas01\\`a`|{NASTY}",
            size=1,
            sha256=None,
            started=at(2),
            ended=None,
            verified=False,
            remark=NASTY,
        )
    )
    journal.write(
        UpdateRecord(
            host=NASTY,
            update=NASTY,
            kb=NASTY,
            title=NASTY,
            kind="windows-update",
            result="unknown",
            hresult=NASTY,
            remark=NASTY,
            started=at(5),
            verified_by=NASTY,
        )
    )
    journal.write(Caution(host=NASTY, text=NASTY))
    journal.write(LaterUpdate(host=NASTY, update=NASTY, kb=NASTY, title=NASTY, round=1))
    journal.write(RestartRecord(host=NASTY, asked=at(6), waited_for=(NASTY, NASTY), remark=NASTY))
    journal.write(CheckRecord(name=NASTY, host=NASTY, severity="must", status="failed", detail=NASTY, site=NASTY))
    journal.write(
        HookRecord(
            kind="snapshot",
            hook=NASTY,
            host=NASTY,
            act="taken",
            status="failed",
            id=NASTY,
            detail=NASTY,
            started=at(3),
            ended=at(4),
            until=at(9),
        )
    )
    journal.write(StepRecord(step=NASTY, subject=NASTY, status="failed", started=at(0), detail=NASTY))
    texts = (NASTY, NASTY)
    outcome = RunOutcome(
        verdict="failed", headline=NASTY, up=texts, down=texts, changed=texts, problems=texts, next_command=NASTY
    )
    return Report.of(estate, key, journal, outcome, started=at(0), ended=at(9), flow_run_url=f"http://x/{NASTY}")


@pytest.fixture
def good(estate: Estate, key: RunKey) -> Report:
    return _good(estate, key)


@pytest.fixture
def bad(estate: Estate, key: RunKey) -> Report:
    return _bad(estate, key)


@pytest.fixture(params=[_good, _bad, _stopped, _nasty], ids=["good", "bad", "stopped", "nasty"])
def any_report(request: pytest.FixtureRequest, estate: Estate, key: RunKey) -> Report:
    build: Callable[[Estate, RunKey], Report] = request.param
    return build(estate, key)


@pytest.fixture
def nasty(estate: Estate, key: RunKey) -> Report:
    return _nasty(estate, key)


@pytest.fixture
def stopped(estate: Estate, key: RunKey) -> Report:
    return _stopped(estate, key)
