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
from night import Nights, Prefect
from standing import PATCHING, assert_released, standing

from flows.patch import patch_estate
from flows.recover import recover_estate
from model.lease import Holder
from tasks.run import this_machine

pytestmark = pytest.mark.night


@pytest.fixture
def nights(start_lab: Callable[..., Any], prefect_harness: dict[str, str], tmp_path: Path) -> Iterator[Nights]:
    (tmp_path / "nights").mkdir()
    prefect = Prefect(prefect_harness["url"], Path(prefect_harness["home"]))
    made = Nights(start_lab(), tmp_path / "nights", prefect)
    yield made
    made.close()


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
    assert night.wait() == 0
    state = nights.prefect.state(night.flow_run)
    assert state["type"] == "FAILED"
    assert re.match(r"acme-billing: taken over by .*, which brings the estate back", state["message"]), state["message"]
    assert standing(lab) == before, "a run that was taken over undoes nothing of what its successor did"
    assert_released(lab)
    assert [lease(lab, host)["fence"] > held["fence"] for host in ("sql01", "web01")] == [True] * 2
    assert lab.audit("update.install", "sqlpatch.start", "host.restart_requested") == []


def test_a_rescue_is_left_to_the_one_that_is_at_work(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """The host that was restarting when the first rescue took over still names the run that died, when it is back."""
    lab = start_lab()
    with subprocess.Popen(["true"]) as dead:
        pass
    now = datetime.now(UTC)
    for host, fence, holder in (
        ("sql01", 7, Holder(this_machine(), dead.pid, "the-night")),
        ("web01", 8, Holder(this_machine(), os.getpid(), "the-first-rescue")),
    ):
        path = lab.folder / "hosts" / host / PATCHING / "lease.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        held = {
            "fence": fence,
            "holder": str(holder),
            "key": "acme-billing.CHG1.1",
            "released": False,
            "finished": False,
        }
        times = {"taken": now.isoformat(), "expires": (now + timedelta(minutes=10)).isoformat()}
        path.write_text(json.dumps(held | times), encoding="utf-8")
    ran = run_flow(recover_estate, estate=lab.estate, flow_run="the-night")
    left_to = f"{Holder(this_machine(), os.getpid(), 'the-first-rescue')} for acme-billing.CHG1.1"
    assert (ran.type, ran.message) == (
        "COMPLETED",
        f"acme-billing: left to {left_to}, which brings the estate back.",
    )
    assert lab.audit("lease.enter") == []


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
