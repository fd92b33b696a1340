"""No restart cuts the upgrade scripts of a SQL Server patch, whichever run has begun it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sql_bench import NEW, Bench

from tasks import restart


def patched(night: Bench, seconds: float) -> None:
    """A patch of an earlier attempt, or by somebody else, whose scripts are at work."""
    night.fault("sqlpatch.slow_upgrade", seconds=seconds)
    night.lab.hosts["sql01"].parts["sql"].patch(NEW)
    while not night.audit("sql.script_upgrade"):
        threading.Event().wait(0.01)


def restarted(night: Bench) -> Any:
    """The record; the state of the task where it has failed."""
    step: Any = restart.restart_host
    return step._task.fn(night.run, "sql01", 1)


def test_a_restart_waits_for_scripts_that_another_run_has_begun(bench: Callable[..., Bench]) -> None:
    """A higher attempt finds nothing installed and no job at work; cut in its scripts, master may be ruined."""
    night = bench()
    patched(night, 300)
    assert restarted(night).ready
    events = [each["event"] for each in night.audit("sql.script_upgraded", "host.shutdown") if each["host"] == "sql01"]
    assert events == ["sql.script_upgraded", "host.shutdown"]


def test_a_restart_of_services_waits_for_them_too(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is restarted, Windows is not."""
    night = bench()
    patched(night, 300)
    monkeypatch.setattr(restart, "_services_suffice", lambda *_: True)
    assert restarted(night).ready
    trail = [e for e in night.audit("sql.script_upgraded", "service.stop", "host.shutdown") if e["host"] == "sql01"]
    assert trail[0]["event"] == "sql.script_upgraded"


def test_a_host_whose_scripts_do_not_end_is_not_restarted(bench: Callable[..., Bench]) -> None:
    """Within their own budget; what is waited for is named."""
    night = bench(sql={"script_upgrade": "1s"})
    patched(night, 40000)
    failed = restarted(night)
    assert "sql01: SQL Server still waits for the script upgrade of MSSQLSERVER (" in failed.message
    assert [each for each in night.audit("host.shutdown") if each["host"] == "sql01"] == []


def test_after_a_restart_the_scripts_of_the_other_instances_are_waited_for_too(bench: Callable[..., Bench]) -> None:
    """Setup has answered 3010: theirs run at the boot, and nothing but their ERRORLOG tells of them."""
    night = bench("gdr", package={"branch": "leave-gdr", "all_instances": True})
    night.fault("sqlpatch.exit_code", code=3010, times=1)
    assert night.install().result == "installed"
    log = night.lab.hosts["sql01"].disk.path(
        r"C:\Program Files\Microsoft SQL Server\MSSQL15.REPORTS\MSSQL\Log\ERRORLOG"
    )
    log.parent.mkdir(parents=True, exist_ok=True)
    step = "2026-01-10 03:12:24.10 spid9s      Database 'master' is upgrading script 'u_tables.sql' from level 0 to level 2.\n"
    over = "2026-01-10 03:14:24.10 spid9s      Recovery is complete. This is an informational message only.\n"

    def boot_and_upgrade() -> None:
        while not [each for each in night.audit("host.boot") if each["host"] == "sql01"]:
            threading.Event().wait(0.01)
        log.write_text(step, encoding="utf-16")
        waits = "waiting for the script upgrade of REPORTS (u_tables.sql)"
        while waits not in night.said("readiness"):
            threading.Event().wait(0.01)
        log.write_text(step + over, encoding="utf-16")

    beside = threading.Thread(target=boot_and_upgrade, daemon=True)
    beside.start()
    assert restarted(night).ready
    beside.join(5)
    assert not beside.is_alive(), "its scripts were not waited for"
