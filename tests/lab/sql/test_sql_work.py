"""Billing runs and payment batches: what must not be cut, and what cutting them does."""

from __future__ import annotations

from typing import Any

_RUNNING = """
SELECT j.name FROM msdb.dbo.sysjobactivity AS a JOIN msdb.dbo.sysjobs AS j ON j.job_id = a.job_id
WHERE a.start_execution_date IS NOT NULL AND a.stop_execution_date IS NULL{}
"""
_OF_THE_NEWEST_SESSION = " AND a.session_id = (SELECT MAX(session_id) FROM msdb.dbo.syssessions)"
_UNPOSTED = "SELECT COUNT(*) FROM dbo.Invoice WHERE Charged = 1 AND Posted = 0"


def test_billing_run_is_seen_while_it_lasts(make_machine: Any, until: Any) -> None:
    """A row says Running and an Agent job runs; at the end the invoices are posted and both are gone."""
    machine = make_machine(speed=20.0)
    machine.sql.start()
    number = machine.sql.work.billing_run(20)
    row = {"database": "EngageIP", "parameters": {"id": number}}
    status = "SELECT Status FROM dbo.BillingRun WHERE ID = @id"
    assert machine.sql.run(status, **row).rows == [("Running",)]
    assert machine.sql.run(_RUNNING.format("")).rows == [("EngageIP Billing Run",)]
    until(lambda: machine.events("billing.finished"))
    assert machine.sql.run(status, **row).rows == [("Completed",)]
    assert machine.sql.run(_RUNNING.format("")).rows == []
    assert machine.sql.run(_UNPOSTED, "EngageIP").rows == [(0,)]


def test_run_cut_by_a_reboot_has_charged_without_posting(make_machine: Any, until: Any) -> None:
    """The row says Running for ever, customers are charged; and the old Agent session's row misleads a naive query."""
    machine = make_machine(speed=50.0)
    machine.sql.start()
    machine.sql.work.billing_run(1000)
    until(lambda: machine.sql.run(_UNPOSTED, "EngageIP").rows == [(20,)])
    machine.host.restart(seconds_down=5)
    until(lambda: machine.events("billing.cut"))
    until(lambda: machine.events("host.boot"))
    until(lambda: machine.sql.agent_running)
    assert machine.sql.run(_UNPOSTED, "EngageIP").rows == [(20,)]
    assert machine.sql.run("SELECT COUNT(*) FROM dbo.BillingRun WHERE Status = N'Running'", "EngageIP").rows == [(1,)]
    assert machine.sql.run(_RUNNING.format("")).rows == [("EngageIP Billing Run",)]
    assert machine.sql.run(_RUNNING.format(_OF_THE_NEWEST_SESSION)).rows == []


def test_held_schedule_starts_nothing(machine: Any) -> None:
    """With its Agent job disabled a billing run does not begin, and enabling it lets the next one in."""
    hold = "EXEC msdb.dbo.sp_update_job @job_name = N'EngageIP Billing Run', @enabled = {}"
    machine.sql.run(hold.format(0))
    assert machine.sql.work.billing_run(1) is None
    assert machine.sql.work.payment_batch(1) is not None
    machine.sql.run(hold.format(1))
    assert machine.sql.work.billing_run(1) is not None
    assert [event["event"] for event in (*machine.events("job.disabled"), *machine.events("job.enabled"))] == [
        "job.disabled",
        "job.enabled",
    ]


def test_declared_fault_starts_a_run(make_machine: Any) -> None:
    """``billing.run`` declared before the lab starts: a run is in progress when the night begins."""
    machine = make_machine(speed=1.0)
    machine.fault("billing.run", seconds=3600, times=1)
    machine.sql.start()
    assert machine.events("billing.started")
