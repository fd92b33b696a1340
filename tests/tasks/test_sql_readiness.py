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
