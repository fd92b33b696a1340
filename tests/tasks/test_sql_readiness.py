"""SQL Server is ready when its upgrade scripts are through, and a host that does not say is none that is."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from sql_bench import NEW, Bench

from model.outcome import Stopped
from tasks.readiness import await_others, await_sql


def test_a_log_that_could_not_be_read_says_nothing_of_the_scripts(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that is lost in the middle of them does not end the wait for them: the next step would cut them."""
    night = bench()
    night.fault("sqlpatch.slow_upgrade", seconds=400)
    night.unheard("Get-SqlErrorLog", range(2, 1000, 2), monkeypatch)
    assert night.install().result == "installed"
    assert [each["build"] for each in night.audit("sql.script_upgraded")] == [NEW]
    waits = "waiting for its ERRORLOG, which cannot be read (nothing answers)"
    assert any(each.startswith(waits) for each in night.said("readiness"))


def test_a_log_that_cannot_be_read_is_waited_for_until_the_deadline(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named then; nothing goes on as though no script ran, here or on an instance beside."""
    night = bench("gdr")
    night.unheard("Get-SqlErrorLog", range(1, 1000), monkeypatch)
    with pytest.raises(Stopped, match=r"waits for its ERRORLOG, which cannot be read \(nothing answers\)"):
        await_sql(night.run, "sql01", time.monotonic() + 0.3, scripts=True)
    with pytest.raises(Stopped, match=r"the ERRORLOG of REPORTS, which cannot be read \(nothing answers\)"):
        await_others(night.run, "sql01", ("REPORTS",), time.monotonic() + 0.3)


def test_an_engine_that_skips_its_scripts_is_not_ready(bench: Callable[..., Bench]) -> None:
    """With trace flag 902 everything is ONLINE, and no script of the patch has run."""
    night = bench()
    night.lab.hosts["sql01"].parts["sql"].log("Registry startup parameters: \n\t -T 902", source="Server")
    began = time.monotonic()
    with pytest.raises(Stopped, match=r"the upgrade scripts of MSSQLSERVER failed: it was started with trace flag 902"):
        await_sql(night.run, "sql01", began + 30, scripts=True)
    assert time.monotonic() - began < 10
    assert await_sql(night.run, "sql01", time.monotonic() + 30) == "15.0.4355.3"


def test_an_engine_that_died_long_before_is_told_by_its_log(bench: Callable[..., Bench]) -> None:
    """Its events are older than the wait for it: the script that failed is named all the same, and at once."""
    night = bench()
    night.fault("sqlpatch.script_upgrade_fails")
    host = night.lab.hosts["sql01"]
    host.parts["sql"].patch(NEW)
    while not night.audit("sql.script_upgrade_failed"):
        time.sleep(0.01)
    with host.edit("events.json") as events:
        events.clear()
    began = time.monotonic()
    with pytest.raises(Stopped, match=r"SQL Server has ended by itself: There is already an object named"):
        await_sql(night.run, "sql01", began + 30, scripts=True)
    assert time.monotonic() - began < 10
