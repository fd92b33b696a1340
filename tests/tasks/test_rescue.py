"""To whom a rescue leaves an estate: to one who lives, and to nobody else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from host_facts import host_facts

from model.records import HostFacts
from tasks import rescue
from tasks.lease import SECONDS

START = datetime(2026, 3, 8, 8, 0, tzinfo=UTC)
RUN = "there process 99 flow run the-night"
LENT = 3600 + SECONDS
"""For how long a host that is about to restart keeps its lease."""
POLL = 5.0

Look = Callable[[float], dict[str, Any]]
"""What the hosts answer so many seconds after the start: their leases, of those that answer."""


def held(until: float, holder: str = RUN, fence: int = 5, **more: Any) -> dict[str, Any]:
    """A lease that expires so many seconds after the start."""
    expires = START + timedelta(seconds=until)
    named = {"fence": fence, "holder": holder, "key": "acme.CHG1.1", "taken": START, "expires": expires}
    return named | {"released": False, "finished": False} | more


def facts(host: str, after: float, lease: dict[str, Any], quiesce: str) -> HostFacts:
    now = START + timedelta(seconds=after)
    return HostFacts.of(host, host_facts(host, now, lease=lease, quiesce={"state": quiesce, "held": {}}))


@pytest.fixture
def left_to(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str | None, float]]:
    """Whom the rescue of the night leaves the estate to, and after how many seconds."""
    clock = {"now": 0.0}
    lives: dict[str, str] = {}

    def ask(look: Look, *, life: str = "unknown", quiesce: str = "open") -> tuple[str | None, float]:
        def looked(_: Any) -> dict[str, HostFacts]:
            return {host: facts(host, clock["now"], lease, quiesce) for host, lease in look(clock["now"]).items()}

        def pause() -> bool:
            clock["now"] += POLL
            assert clock["now"] < 12 * 3600, "it watches for ever"
            return False

        lives.update({RUN: life})
        monkeypatch.setattr(rescue, "_look", looked)
        monkeypatch.setattr(rescue, "time", SimpleNamespace(monotonic=lambda: clock["now"]))
        monkeypatch.setattr(rescue.lease, "life", lambda holder: lives.get(holder, "unknown"))
        run: Any = SimpleNamespace(
            hosts=dict.fromkeys(("sql01", "web01")), pause=pause, estate=SimpleNamespace(name="acme")
        )
        return rescue._left_to(run, looked(run), "the-night"), clock["now"]

    return ask


def renewed(after: float, holder: str = RUN, fence: int = 5) -> dict[str, Any]:
    """A lease that is renewed every 45 seconds."""
    return held(after // 45 * 45 + SECONDS, holder, fence)


DEAD: dict[str, Look] = {
    "both hosts up": lambda _: {"sql01": held(170), "web01": held(170)},
    "one lent": lambda _: {"sql01": held(LENT), "web01": held(170)},
    "a lent one comes back": lambda now: {"web01": held(170)} | ({"sql01": held(LENT)} if now > 60 else {}),
    "a lent one goes down": lambda now: {"web01": held(170)} | ({"sql01": held(LENT)} if now < 12 else {}),
    "one goes down for good": lambda now: {"web01": held(170)} | ({"sql01": held(171)} if now < 12 else {}),
    "all go down": lambda now: {"web01": held(170), "sql01": held(170)} if now < 12 else {},
}


@pytest.mark.parametrize("look", DEAD.values(), ids=DEAD)
def test_a_run_that_died_is_rescued(left_to: Callable[..., tuple[str | None, float]], look: Look) -> None:
    """Its process was on another machine, so that only its leases tell; one that was lent to a restart is not waited out."""
    owner, after = left_to(look)
    assert owner is None
    assert after <= SECONDS + 2 * POLL


def test_a_process_that_is_gone_is_not_watched(left_to: Callable[..., tuple[str | None, float]]) -> None:
    """It was on this machine."""
    assert left_to(DEAD["one lent"], life="dead") == (None, 0)


OTHERS: dict[str, Look] = {
    "from the start": lambda now: dict.fromkeys(("sql01", "web01"), renewed(now, "there process 7 flow run other", 6)),
    "after a while": lambda now: (
        dict.fromkeys(("sql01", "web01"), renewed(now, "there process 7 flow run other", 6))
        if now > 170
        else {"sql01": held(LENT), "web01": held(170)}
    ),
    "the same run, resumed": lambda now: (
        dict.fromkeys(("sql01", "web01"), renewed(now, "there process 7 flow run the-night", 6))
        if now > 90
        else dict.fromkeys(("sql01", "web01"), renewed(now))
    ),
}


@pytest.mark.parametrize("look", OTHERS.values(), ids=OTHERS)
def test_another_run_that_renews_is_left_alone(left_to: Callable[..., tuple[str | None, float]], look: Look) -> None:
    """Which lives, and brings the estate back itself."""
    owner, _ = left_to(look)
    assert owner is not None
    assert owner.startswith("there process 7 flow run")


@pytest.mark.parametrize("life", ["unknown", "alive"])
@pytest.mark.parametrize(("quiesce", "owner"), [("closed", ""), ("open", None)])
def test_the_run_itself_is_watched_to_its_end(
    left_to: Callable[..., tuple[str | None, float]], life: str, quiesce: str, owner: str | None
) -> None:
    """It was paused or cancelled and brings the estate back: what is not back at its end is rescued."""
    ends = 20 * 60.0

    def look(now: float) -> dict[str, Any]:
        return dict.fromkeys(("sql01", "web01"), renewed(now) | {"released": now > ends})

    assert left_to(look, life=life, quiesce=quiesce) == (owner, ends + POLL)


def test_the_run_itself_dies_in_the_end(left_to: Callable[..., tuple[str | None, float]]) -> None:
    """While it brings the estate back, with a host lent to a restart."""
    found = left_to(lambda now: {"sql01": held(LENT), "web01": renewed(min(now, 600))})
    assert found[0] is None
    assert found[1] <= 600 + SECONDS + 2 * POLL
