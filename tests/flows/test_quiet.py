"""A billing run that is cut has charged customers without posting: it is waited for, and never cut."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from standing import INSTALLS, assert_released, standing

from blocks.credential_lookup import resolve
from blocks.sql_server import SqlServer
from flows.patch import patch_estate

pytestmark = pytest.mark.night


def numbers(lab: Any, *events: str) -> dict[str, int]:
    """Where each of these events first stands in the trail."""
    found: dict[str, int] = {}
    for each in lab.audit(*events, effects_only=False):
        found.setdefault(each["event"], each["n"])
    return found


def test_running_work_is_waited_for_and_late_payments_are_seen(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """The page goes up after the billing run; a batch that begins between first look and page is waited for behind it."""
    lab = start_lab()
    lab.declare("payments.late", "web01", seconds=200, times=1)
    lab.declare("backup.disk_full", r"D:\Work", free=1000)  # the night may end there: what matters has happened
    assert lab.work("billing", 1_000_000) is not None
    helper = threading.Thread(target=end_billing_run, args=(lab,))
    helper.start()
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG0031004")
    helper.join()
    assert ran.type == "FAILED"
    assert ran.message.startswith("acme-billing: stopped at backup, nothing was installed, everything is up.")
    n = numbers(
        lab,
        "job.disabled",
        "billing.started",
        "billing.finished",
        "payments.started",
        "payments.finished",
        "site.bindings",
        "service.stop",
        "backup.archive",
        "backup.database",
    )
    order = sorted(n, key=lambda event: n[event])
    assert order[:4] == ["billing.started", "job.disabled", "billing.finished", "payments.started"], order
    assert order[4:7] == ["site.bindings", "payments.finished", "service.stop"]
    assert set(order[7:]) <= {"backup.archive", "backup.database"}
    assert lab.audit("billing.cut", "payments.cut") == []


def test_work_that_does_not_end_stops_the_night_and_is_not_cut(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """Past ``quiet.deadline`` the night ends where it began: nothing was taken from customers, and the run goes on."""
    lab = start_lab()
    estate = Path(lab.estate)
    text = estate.read_text(encoding="utf-8")
    assert "deadline: 30s" in text
    estate.write_text(text.replace("deadline: 30s", "deadline: 1s"), encoding="utf-8")
    before = standing(lab)
    server = SqlServer(
        "sql01", lab.state()["hosts"]["sql01"]["address"], credentials=resolve({"sql-acme": "sql"})["sql-acme"]
    )

    server.execute("EXEC msdb.dbo.sp_start_job @job_name = N'EngageIP eCheck Batch'")
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG0031005")
    assert ran.type == "FAILED"
    assert told(ran.message) == (
        "acme-billing: stopped at quiesce, nothing was installed, everything is up. sql01: still running after 1s, and "
        "not cut: Agent job EngageIP eCheck Batch (since N s). Let it end or raise quiet.deadline, then run again."
    )
    server.execute("EXEC msdb.dbo.sp_stop_job @job_name = N'EngageIP eCheck Batch'")

    lab.work("billing", 100_000)
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG0031005", attempt=2)
    assert ran.type == "FAILED"
    assert told(ran.message) == (
        "acme-billing: stopped at quiesce, nothing was installed, everything is up. sql01: still running after 1s, and "
        "not cut: billing run (1), Agent job EngageIP Billing Run (since N s). Let it end or raise quiet.deadline, then "
        "run again."
    )

    assert standing(lab) == before
    assert_released(lab)
    touched = lab.audit("site.bindings", "service.stop", "store.write", "backup.archive", "billing.cut", *INSTALLS)
    assert touched == []
    assert [e["event"] for e in lab.audit("job.disabled", "job.enabled")] == ["job.disabled", "job.enabled"] * 2


def end_billing_run(lab: Any) -> None:
    """Let the billing run end once the night has looked for it again and again."""
    lab.until(lambda: lab.audit("job.disabled"), "the hold of the Agent job")

    def looks() -> int:
        return sum("BillingRun WHERE" in each["text"] for each in lab.audit("sql.batch", effects_only=False))

    known = looks()
    lab.until(lambda: looks() > known + 2, "looking for billing runs")
    lab.work("finish")


def told(message: str) -> str:
    """The message without the seconds that nobody can know."""
    return re.sub(r"since \d+ s", "since N s", message)
