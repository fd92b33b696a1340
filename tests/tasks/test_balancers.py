"""Load balancers: each of several gets its node back, also where the first did and the second did not at once."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from blocks.hooks import HookFailed
from model.hooks import BalancerHook, CommandCall, asked_section
from model.journal import Journal
from model.outcome import Stopped
from model.records import CheckRecord
from tasks import balancers


def hook(name: str, severity: str = "should") -> BalancerHook:
    calls = {each: CommandCall(command=(each, name)) for each in ("drain", "drained", "undrain")}
    calls["undrained"] = CommandCall(command=("undrained", name), expect="active")
    return BalancerHook(balancer=name, severity=severity, **calls)  # type: ignore[arg-type]


class World:
    """As much of a run as two balancers of one node take; ``refusing`` are those that answer with no."""

    def __init__(self, *hooks: BalancerHook, state: str = "open") -> None:
        self.refusing: set[str] = set()
        self.says = "active"
        self.asked: list[tuple[str, ...]] = []
        held = {asked_section(each): {"drained": "2026-11-25T00:00:00+00:00"} for each in hooks}
        self.quiesce = {"number": 1, "state": state, "held": held}
        host = SimpleNamespace(run=lambda *_, **__: {"quiesce": self.quiesce})
        estate = SimpleNamespace(
            name="acme", balancers_of=lambda _: hooks, hosts={"web01": SimpleNamespace(address="web01.acme.example")}
        )
        self.run: Any = SimpleNamespace(
            estate=estate, hosts={"web01": host}, hooks=self, in_use=set(), journal=Journal(), key="acme.CHG1.1",
            number=1, fence=1, stop=threading.Event(), over=threading.Event(), pause=lambda _: False, lease_lost="",
            heed=lambda _: None,
        )  # fmt: skip

    def make(self, call: CommandCall, _: Any, __: float) -> str:
        self.asked.append(call.command)
        if call.command[1] in self.refusing:
            raise HookFailed("it says no", final=True)
        return self.says


def test_each_balancer_is_given_its_node_back() -> None:
    """A rescue, which remembers nothing itself, asks both."""
    world = World(hook("f5"), hook("dns"))
    balancers.undrain_all(world.run, {"web01": world.quiesce}, set())
    assert [asked for asked in world.asked if asked[0] == "undrain"] == [("undrain", "f5"), ("undrain", "dns")]


def test_the_one_that_did_not_take_it_is_asked_again_and_named() -> None:
    """The other has it already, and is left alone."""
    world = World(hook("f5"), hook("dns"))
    world.refusing = {"dns"}
    balancers.undrain(world.run, "web01")
    world.asked.clear()
    assert balancers.undrain_all(world.run, {"web01": world.quiesce}, set()) == {"web01"}
    assert world.asked == [("undrain", "dns")]
    (failed,) = world.run.journal.of(CheckRecord)
    assert (failed.name, failed.status) == ("dns sends it customers", "failed")


def test_a_node_with_a_site_that_stays_closed_stays_out() -> None:
    """Others serve better."""
    world = World(hook("f5"))
    balancers.undrain_all(world.run, {"web01": world.quiesce}, {"web01"})
    assert world.asked == []


@pytest.mark.parametrize(("state", "refused"), [("open", False), ("closed", True)])
def test_only_an_unfinished_run_explains_a_node_that_is_out_of_use(state: str, refused: bool) -> None:
    """A night that is over has given everything back: a node that is out since is somebody else's doing."""
    world = World(hook("f5", "must"), state=state)
    world.says = "drained"
    look = balancers.look._task.fn
    if refused:
        with pytest.raises(Stopped, match="does not say that it is in use"):
            look.__wrapped__(world.run, "web01")  # type: ignore[attr-defined]
    else:
        look.__wrapped__(world.run, "web01")  # type: ignore[attr-defined]
