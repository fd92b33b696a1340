"""One run per estate: a second one is refused, and one that was taken over leaves the estate alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from night import Nights
from standing import PATCHING, assert_released, standing

from flows.patch import patch_estate
from flows.recover import recover_estate
from model.lease import Holder
from tasks.bring_back import undo
from tasks.lease import take_over
from tasks.run import open_run, this_machine

pytestmark = pytest.mark.night


def lease(lab: Any, host: str) -> dict[str, Any]:
    """``lease.json`` of a host."""
    found: dict[str, Any] = lab.host_json(host, PATCHING / "lease.json")
    return found


def a_night_in_its_backups(nights: Nights) -> Any:
    """A run that is at its backups, and stays there."""
    nights.lab.declare("backup.slow", seconds=3000)
    night = nights.flow()
    night.until(lambda _, e: e["event"] == "job.start" and e["script"] == "Invoke-SqlStatement", "the backups")
    return night


def test_one_run_per_estate(nights: Nights, run_flow: Callable[..., Any]) -> None:
    """A second run is refused, naming the holder; `recover` takes over from a live one, which then touches nothing more."""
    assert nights.prefect is not None
    lab, before = nights.lab, standing(nights.lab)
    night = a_night_in_its_backups(nights)
    held = lease(lab, "sql01")
    known = [e["n"] for e in lab.audit()][-1]
    second = run_flow(patch_estate, estate=lab.estate, change="CHG2")
    assert second.type == "FAILED"
    assert re.sub(r"until \S+ UTC", "until T UTC", second.message) == (
        "acme-billing: stopped at lease, nothing was touched. "
        f"sql01: another run holds acme-billing: {held['holder']} for acme-billing.CHG0031001.1, until T UTC unless it "
        "renews. Let it end, or run: billpatch recover acme-billing"
    )
    assert [e for e in lab.audit("lease.enter") if e["n"] > known] == [], "no host was asked for a lease of it"
    assert [lease(lab, host)["fence"] for host in ("sql01", "web01")] == [held["fence"]] * 2

    assert nights.recover() == 0, nights.started[-1].said()
    assert standing(lab) == before
    lab.clear("backup.slow")
    assert night.wait() == 0
    state = nights.prefect.state(night.flow_run)
    assert state["type"] == "FAILED"
    owner = r"\S+ process \d+ for acme-billing\.CHG0031001\.1"
    assert re.match(rf"acme-billing: taken over by {owner}, which brings the estate back\.", state["message"]), state[
        "message"
    ]
    assert standing(lab) == before, "a run that was taken over undoes nothing of what its successor did"
    assert_released(lab)
    assert [lease(lab, host)["fence"] > held["fence"] for host in ("sql01", "web01")] == [True] * 2
    assert lab.audit("update.install", "sqlpatch.start", "host.restart_requested") == []


@pytest.fixture
def alive() -> Iterator[int]:
    """The number of a process that lives as long as the test."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        return process.pid


def hold(lab: Any, host: str, fence: int, process: int, flow_run: str) -> str:
    """Have a process of this machine hold the lease of a host, for CHG1; how it calls itself."""
    now = datetime.now(UTC)
    holder = str(Holder(this_machine(), process, flow_run))
    content = {
        "fence": fence,
        "holder": holder,
        "key": "acme-billing.CHG1.1",
        "taken": now.isoformat(),
        "expires": (now + timedelta(minutes=10)).isoformat(),
        "released": False,
        "finished": False,
    }
    path = lab.folder / "hosts" / host / PATCHING / "lease.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return holder


def test_a_rescue_is_left_to_the_one_that_is_at_work(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any], alive: int, dead: int
) -> None:
    """The host that was restarting when the first rescue took over still names the run that died, when it is back."""
    lab = start_lab()
    hold(lab, "sql01", 7, dead, "the-night")
    first = hold(lab, "web01", 8, alive, "the-first-rescue")
    ran = run_flow(recover_estate, estate=lab.estate, flow_run="the-night")
    assert (ran.type, ran.message) == (
        "COMPLETED",
        f"acme-billing: left to {first} for acme-billing.CHG1.1, which brings the estate back.",
    )
    assert lab.audit("lease.enter") == []


def test_a_dead_run_makes_no_room_beside_a_live_one(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any], alive: int, dead: int
) -> None:
    """A host still names the run of the same change that died; on another one its rescue is at work."""
    lab = start_lab()
    hold(lab, "sql01", 7, dead, "the-night")
    rescue = hold(lab, "web01", 8, alive, "the-rescue")
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG1")
    assert ran.type == "FAILED"
    assert f"web01: another run holds acme-billing: {rescue} for acme-billing.CHG1.1" in ran.message
    assert lab.audit("lease.enter") == []


def test_two_rescues_do_not_leave_the_estate_to_each_other(start_lab: Callable[..., Any], dead: int) -> None:
    """The first waits for a host that restarts; a second takes over all of them, and then has them all."""
    lab = start_lab()
    for host in ("sql01", "web01"):
        hold(lab, host, 5, dead, "the-night")
    with open_run(lab.estate) as first, open_run(lab.estate) as second:
        first.holder, second.holder = (Holder(this_machine(), os.getpid(), name) for name in ("first", "second"))
        lab.restart("sql01", seconds_down=1e9)
        lab.until(lambda: lab.audit("sql.down"), "the shutdown of sql01")
        assert list(take_over(first)) == ["sql01"]
        lab.restart("sql01", seconds_down=1)
        lab.until(lambda: not take_over(second), "sql01")
        assert undo(first).left_to == f"{second.holder} for {second.key}"
        assert undo(second).complete
        assert {lease(lab, host)["holder"] for host in ("sql01", "web01")} == {str(second.holder)}
        assert {lease(lab, host)["fence"] for host in ("sql01", "web01")} == {second.fence}


def test_all_hosts_or_none(start_lab: Callable[..., Any], run_flow: Callable[..., Any]) -> None:
    """Where the last host refuses, all others are given back at once, each by the number that it knows."""
    lab = start_lab("farm")
    earlier = {"fence": 7, "holder": "elsewhere process 4711", "key": "acme-farm.CHG0.1", "released": True}
    earlier |= {"taken": "2026-01-01T00:00:00.000Z", "expires": "2026-01-01T00:03:00.000Z", "finished": True}
    foreign = {"owner": "BU", "dacl": "PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"}
    for host, file, content in (
        ("web01", PATCHING / "lease.json", earlier),
        ("web02", Path("acl.json"), {r"C:\ProgramData\EngageIPPatching": foreign}),
    ):
        path = lab.folder / "hosts" / host / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG1")
    assert ran.type == "FAILED"
    assert ran.message == (
        "acme-farm: stopped at lease, nothing was touched. web02: C:\\ProgramData\\EngageIPPatching belongs neither to SYSTEM "
        "nor to Administrators. Look at what is in it, then remove it: patching makes the folder itself."
    )
    assert [(lease(lab, host)["fence"], lease(lab, host)["released"]) for host in ("sql01", "web01")] == [
        (1, True),
        (8, True),
    ]
