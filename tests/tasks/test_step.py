"""Every task is declared so that Prefect repeats nothing and remembers nothing in our place."""

from __future__ import annotations

from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter

from model.outcome import Stopped
from tasks.step import settle, step


@pytest.mark.usefixtures("prefect_harness")
def test_two_tasks_with_the_same_inputs_each_do_their_work() -> None:
    """Under a flow with persisted results ``restart(host)`` never gets the answer of ``scan(host)``."""
    did: list[str] = []

    @step("scan {host}")
    def scan(host: str) -> str:
        did.append(f"scan {host}")
        return f"scanned {host}"

    @step("restart {host}")
    def restart(host: str) -> str:
        did.append(f"restart {host}")
        return f"restarted {host}"

    @flow(persist_result=True)
    def night() -> list[str]:
        return settle("night", [scan.submit("sql01"), restart.submit("sql01"), scan.submit("sql01")])

    assert night() == ["scanned sql01", "restarted sql01", "scanned sql01"]
    assert sorted(did) == ["restart sql01", "scan sql01", "scan sql01"]


@pytest.mark.usefixtures("prefect_harness")
def test_settle_names_every_failure() -> None:
    """A stage with two failed tasks stops once, and tells both; what succeeded has been waited for."""

    @step("back up {subject}")
    def back_up(subject: str) -> str:
        if subject != "EngageIP":
            raise RuntimeError(f"{subject}: no space on E:")
        return subject

    @flow
    def night() -> None:
        settle("backup", [back_up.submit(s) for s in ("Reporting", "EngageIP", "D:\\Work")])

    with pytest.raises(Stopped) as stopped:
        night()
    assert str(stopped.value) == "backup: (1) Reporting: no space on E: (2) D:\\Work: no space on E:"


@pytest.mark.usefixtures("prefect_harness")
def test_the_graph_is_what_the_flow_waited_for() -> None:
    """A task hangs below those that were settled before it, and below no other that was given the same host."""

    @step("look at {host}")
    def look(host: str) -> str:
        return host

    @step("restart {host}")
    def restart(host: str) -> tuple[str, ...]:
        return (host,)

    @flow
    def night() -> None:
        hosts = ["sql01", "web01"]
        for looked in [look.submit(host) for host in hosts]:
            settle("preflight", [looked])
        for host in hosts:
            settle("restart", [restart.submit(host)])

    state: Any = night(return_state=True)
    with get_client(sync_client=True) as client:
        ours = FlowRunFilter(id={"any_": [state.state_details.flow_run_id]})
        runs = client.read_task_runs(flow_run_filter=ours)
    names = {run.id: run.name for run in runs}
    edges = {run.name: {names[one.id] for ones in run.task_inputs.values() for one in ones} for run in runs}
    assert edges == {
        "look at sql01": set(),
        "look at web01": set(),
        "restart sql01": {"look at sql01", "look at web01"},
        "restart web01": {"restart sql01"},
    }
