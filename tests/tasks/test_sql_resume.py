"""A SQL Server patch that is resumed, or tried beside another: what is at work is waited for, and builds tell what it did."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from sql_bench import Bench

from model.estate import MssqlPatch
from tasks.jobs import JobFailed, OutcomeUnknown, is_begun, run_job
from tasks.sql_patch import sql_patch_job


def package_of(night: Bench) -> MssqlPatch:
    (package,) = night.run.estate.updates.packages
    assert isinstance(package, MssqlPatch)
    return package


def begun(night: Bench, round_number: int) -> threading.Thread:
    """A job of a round whose run is gone."""
    job = sql_patch_job(night.run, package_of(night))

    def work() -> None:
        with suppress(JobFailed, OutcomeUnknown):
            run_job(night.run, round_number, job)

    beside = threading.Thread(target=work, daemon=True)
    beside.start()
    while not is_begun(night.run, round_number, job):
        threading.Event().wait(0.01)
    return beside


def test_a_job_of_another_round_that_is_at_work_is_waited_for(bench: Callable[..., Bench]) -> None:
    """Resumed, a patch may come in an earlier round than it was begun in: a second job would delete what the first unpacks."""
    night = bench(speed=40)
    night.fault("sqlpatch.slow_upgrade", seconds=60)
    beside = begun(night, 2)
    record = night.install(1)
    beside.join()
    assert (record.result, record.hresult) == ("installed", "0x00000000")
    assert "waiting for another job that patches SQL Server there (acme-billing.CHG1.1.2" in "".join(
        night.said("install")
    )
    assert [each["event"] for each in night.audit("sqlpatch.start", "sqlpatch.install", "sql.script_upgraded")] == [
        "sqlpatch.start", "sqlpatch.install", "sql.script_upgraded",
    ]  # fmt: skip


def test_where_the_other_job_has_brought_nothing_the_patch_is_tried(bench: Callable[..., Bench]) -> None:
    """It has ended, and the builds are those of before."""
    night = bench(speed=40)
    night.fault("sqlpatch.exit_code", code=1, times=1)
    beside = begun(night, 2)
    record = night.install(1)
    beside.join()
    assert (record.result, len(night.audit("sqlpatch.start"))) == ("installed", 2)
