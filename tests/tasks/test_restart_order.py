"""Which hosts restart, and how many at once: decided without a lab."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from model.outcome import Stopped
from tasks import restart


def test_those_that_are_lost_leave_no_room_for_others() -> None:
    """With one host down and one allowed, the next is not restarted: what one has not survived may take it too."""
    run = farm_of(max_unavailable=1)
    going = restart.batches(run, ["web01", "web02", "web03"])
    assert next(going) == ["web01"]
    run.lost["web01"] = "web01: not back."
    with pytest.raises(Stopped) as stopped:
        next(going)
    assert [problem.message.split(":")[0] for problem in stopped.value.problems] == ["web01", "web02, web03"]


def test_those_that_an_earlier_round_or_wave_has_lost_leave_no_room_either() -> None:
    """web01 is down since round 1: web02 does not restart beside it in round 2. The SQL Server that web01 asks may."""
    run = farm_of(max_unavailable=1)
    run.lost["web01"] = "web01: not back."
    for host in ("web02", "alone"):
        with pytest.raises(Stopped) as stopped:
            next(restart.batches(run, [host]))
        assert [problem.message.split(":")[0] for problem in stopped.value.problems] == ["web01", host]
    assert list(restart.batches(run, ["sql01"])) == [["sql01"]]
    assert list(restart.batches(run, [])) == []


def farm_of(max_unavailable: int) -> Any:
    """A run over web servers that ask one SQL Server, and a host that stands alone."""
    needs = {"sql01": (), "alone": (), "web01": ("sql01",), "web02": ("sql01",), "web03": ("sql01",)}
    how = SimpleNamespace(max_unavailable=max_unavailable)
    return SimpleNamespace(estate=SimpleNamespace(restart=how, dependencies_of=needs.get), lost={})


def test_two_at_a_time() -> None:
    """``restart.max_unavailable``; one of them lost, the next goes alone."""
    run = farm_of(max_unavailable=2)
    going = restart.batches(run, ["web01", "web02", "web03"])
    assert next(going) == ["web01", "web02"]
    run.lost["web02"] = "web02: not back."
    assert list(going) == [["web03"]]


@pytest.mark.parametrize(
    ("policy", "round_number", "hosts"),
    [
        ("when-needed", 1, {"web01"}),
        ("services-only", 1, {"web01"}),
        ("always", 0, {"web01"}),
        ("always", 1, {"sql01", "web01"}),
        ("always", 2, {"web01"}),
    ],
)
def test_which_hosts_restart_after_a_round(policy: str, round_number: int, hosts: set[str]) -> None:
    """Those that have a reason; with ``restart.policy: always`` every other one too, once; none that is lost."""
    estate = SimpleNamespace(restart=SimpleNamespace(policy=policy))
    run: Any = SimpleNamespace(estate=estate, hosts={"sql01": None, "web01": None}, lost={})
    assert restart.due(run, round_number, {"web01"}) == hosts
    run.lost["web01"] = "web01: not back."
    assert restart.due(run, round_number, {"web01"}) == hosts - {"web01"}


def test_a_web_server_that_is_lost_recycles_nothing() -> None:
    """It is not up: whoever waited for its pools would wait for a dead machine."""
    needs = {"sql01": (), "web01": ("sql01",), "web02": ("sql01",), "web03": ()}
    estate = SimpleNamespace(hosts_with=lambda _: ("web01", "web02", "web03"), dependencies_of=needs.get)
    run: Any = SimpleNamespace(estate=estate, lost={"web02": "web02: not back."})
    assert restart.left_up(run, ("web01", "web02", "web03"), {"sql01"}) == ["web01"]
    assert restart.left_up(run, ("web01", "web02", "web03"), {"sql01", "web01"}) == []
