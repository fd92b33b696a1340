"""SQL Server patches in whole nights: one restart is granted before setup, and what ran before the night runs after it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.patch import patch_estate
from tasks.run import read_estate
from tests.test_invariants import assert_promise_2

NEW = "15.0.4430.1"


@pytest.mark.night
def test_a_restart_before_setup_and_then_setup_again_under_the_same_key(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """Setup refuses once: the host restarts, setup runs again, and its scripts end before the next restart."""
    lab = start_lab()
    lab.declare("sqlpatch.reboot_first", times=1)
    lab.declare("sqlpatch.leaves_services", times=1)
    lab.declare("sqlpatch.slow_upgrade", times=1, seconds=120)
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG1")
    assert ran.type == "COMPLETED", ran.message
    mine = [
        e
        for e in lab.audit("sqlpatch.start", "sqlpatch.install", "sql.script_upgraded", "host.shutdown")
        if e["host"] == "sql01"
    ]
    assert [each["event"] for each in mine] == [
        "sqlpatch.start",
        "host.shutdown",
        "sqlpatch.start",
        "sqlpatch.install",
        "sql.script_upgraded",
        "host.shutdown",
    ]
    (update,) = [each for each in ran.report["updates"] if each["kind"] == "mssql-patch"]
    assert (update["result"], update["verified_by"], update["hresult"]) == ("installed", f"build {NEW}", "0x00000000")
    installs = [(e["host"], e["id"], e["revision"]) for e in lab.audit("update.install")]
    assert len(installs) == len(set(installs))
    services = lab.host_json("sql01", "services.json")
    ran_before = ("MSSQLSERVER", "SQLSERVERAGENT", "SQLWriter", "MsDtsServer150", "SQLServerReportingServices")
    assert {services[name]["status"] for name in ran_before} == {"Running"}
    assert_promise_2(lab.audit(effects_only=False), read_estate(lab.estate))


@pytest.mark.night
def test_a_setup_that_still_runs_keeps_the_portals_closed_until_it_has_ended(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """Both builds are those of before, every page works behind the maintenance page: what still runs may change that."""
    lab = start_lab()
    text = Path(lab.estate).read_text(encoding="utf-8")
    Path(lab.estate).write_text(
        text.replace("deadline: 10m", "deadline: 10s").replace("deadline: 5m", "deadline: 2s"), encoding="utf-8"
    )
    lab.declare("sqlpatch.hangs", said=False)
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG1")
    assert ran.message.startswith(
        "acme-billing: NOT reopened, a person is needed. (1) sql01: setup of SQL Server 2019 CU32"
    )
    assert any("setup.exe of SQL Server setup (process 4242) still goes on" in each for each in ran.report["problems"])
    assert [page["verdict"] for page in lab.audit("pager.page")] == ["half-open"]
    assert lab.audit("sqlpatch.install", "host.shutdown") == []
