"""A SQL Server patch that is resumed, or tried beside another: what is at work is waited for, and builds tell what it did."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from sql_bench import NEW, Bench

from blocks.winrm.errors import HostError
from lab.scripts.setup_files import write_build
from model.estate import MssqlPatch
from tasks import sql_patch
from tasks.jobs import JobFailed, OutcomeUnknown, is_begun, run_job
from tasks.sql_patch import install_sql_patch, sql_patch_job, wants_restart_first


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


def ended_late(night: Bench) -> None:
    """A job that has ended while setup went on."""
    night.fault("sqlpatch.hangs", times=1, said=False)
    assert "has not ended within 30s, and still runs" in night.refused()


def test_a_setup_that_was_late_is_judged_once_it_has_ended(bench: Callable[..., Bench]) -> None:
    """What its job answered then says nothing of today: it runs no more, and has brought the build."""
    night = bench(package={"deadline": "30s"})
    ended_late(night)
    with night.lab.hosts["sql01"].edit("cim.json") as cim:
        cim["Win32_Process"] = []
    write_build(night.lab.hosts["sql01"], "MSSQLSERVER", NEW)
    night.lab.hosts["sql01"].parts["sql"].patch(NEW)
    record = night.install()
    assert (record.result, record.remark) == ("installed", "setup was cut off; the builds tell that it is installed")
    assert len(night.audit("sql.script_upgraded")) == 1


def test_a_setup_that_was_late_and_still_runs_is_waited_for(bench: Callable[..., Bench]) -> None:
    """As long as a patch may take; then it is left alone again."""
    night = bench(package={"deadline": "1s"})
    night.fault("sqlpatch.hangs", times=1, said=False)
    assert "and still runs" in night.refused()
    assert "has not ended within 1s, and still runs" in night.refused()
    assert "waiting for setup.exe of SQL Server setup to end" in night.said("install")


def test_a_failed_job_is_no_last_word_on_a_patch_that_is_there(bench: Callable[..., Bench]) -> None:
    """Somebody has installed it since: the job stays failed under its key, the builds tell."""
    night = bench()
    night.fault("package.flip_byte", times=1)
    told = night.refused()
    assert "is not the file that was approved" in told
    assert told.endswith("Mend that, then raise the attempt.")
    write_build(night.lab.hosts["sql01"], "MSSQLSERVER", NEW)
    night.lab.hosts["sql01"].parts["sql"].patch(NEW)
    record = night.install()
    assert (record.result, len(night.audit("sql.script_upgraded"))) == ("installed", 1)


def test_what_an_interrupted_setup_has_written_is_read_an_hour_later(bench: Callable[..., Bench]) -> None:
    """Its Summary.txt is older than the run that resumes it, and not older than its job."""
    night = bench(speed=100)
    night.fault("sqlpatch.reboot_first", times=1)
    night.fault("sqlpatch.hangs", said=True)

    def cut() -> None:
        summary = night.lab.hosts["sql01"].disk.path(
            r"C:\Program Files\Microsoft SQL Server\150\Setup Bootstrap\Log\Summary.txt"
        )
        while not summary.exists():
            threading.Event().wait(0.01)
        night.lab.restart("sql01", seconds_down=5)

    beside = threading.Thread(target=cut)
    beside.start()
    package = package_of(night)
    job = sql_patch_job(night.run, package)
    with suppress(JobFailed, OutcomeUnknown, HostError):
        run_job(night.run, 1, job)
    beside.join()
    assert night.lab.hosts["sql01"].parts["sql"].wait_until_ready(600)
    later = datetime.now(UTC) + timedelta(hours=1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sql_patch, "datetime", SimpleNamespace(now=lambda _: later))
        record = install_sql_patch(night.run, package, 1)
    assert (wants_restart_first(record), record.hresult) == (True, "0x84BE0BC2")


def test_half_a_patch_is_not_taken_for_a_whole_one(bench: Callable[..., Bench]) -> None:
    """The engine runs the new build, setup has left the old one, and no restart is pending."""
    night = bench()
    night.lab.hosts["sql01"].parts["sql"].patch(NEW)
    assert night.lab.hosts["sql01"].parts["sql"].wait_until_ready(600)
    assert "install: sql01: MSSQLSERVER is half-patched: setup has left build" in night.refused()
    assert night.audit("sqlpatch.start") == []
