"""When a silence ends by itself, and what monitoring is told of that."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from model.hooks import CommandCall, SilenceHook, answered_section, asked_section
from model.journal import Journal
from model.parts import Window
from model.records import HookRecord
from tasks import silence

HOOK = SilenceHook(
    silence="zabbix",
    begin=CommandCall(command=("begin", "{until}")),
    proof=CommandCall(command=("proof",)),
    hours=3,
)
NIGHT = Window(start="03:00", hours=4)


@pytest.mark.parametrize(
    ("window", "now", "ends"),
    [
        (NIGHT, "2026-01-15T08:10:30.5", "2026-01-15T12:00:00"),
        (NIGHT, "2026-01-15T12:10:30.5", "2026-01-15T15:10:30"),  # it has closed while packages were fetched
        (None, "2026-01-15T08:10:30.5", "2026-01-15T11:10:30"),
    ],
)
def test_a_silence_ends_with_the_window_or_after_its_hours(window: Window | None, now: str, ends: str) -> None:
    """Whoever fails tonight leaves no silence until tomorrow."""
    estate: Any = SimpleNamespace(window=window, timezone="America/Toronto")
    moment, expected = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (now, ends))
    assert silence.end_of(estate, HOOK, moment) == expected


@pytest.mark.parametrize(("hours", "begun"), [(-1, True), (1, False)])
def test_a_silence_that_is_over_is_begun_anew(hours: int, begun: bool) -> None:
    """A run that is repeated the next night finds that of the last one on record: it alarms everybody, or it is still in force."""
    until = (datetime.now(UTC) + timedelta(hours=hours)).replace(microsecond=0).isoformat()
    held: dict[str, Any] = {asked_section(HOOK): {"asked": "x"}, answered_section(HOOK): {"id": "", "until": until}}
    asked: list[str] = []

    def make(call: CommandCall, *_: Any) -> str:
        asked.append(call.command[0])
        return ""

    def run_script(_: str, **given: Any) -> dict[str, Any]:
        for section in given.get("forget") or ():
            held.pop(section, None)
        for section, value in (given.get("held") or {}).items():
            held.setdefault(section, value)
        return {"quiesce": {"number": 1, "state": "open", "held": held}}

    run: Any = SimpleNamespace(
        estate=SimpleNamespace(window=None, timezone="UTC", name="acme"), hosts={"web01": SimpleNamespace(run=run_script)},
        hooks=SimpleNamespace(make=make), journal=Journal(), key="acme.CHG1.1", number=1, fence=1, poll=0.01,
        stop=threading.Event(), over=threading.Event(), pause=lambda _: False, lease_lost="", heed=lambda _: None,
    )  # fmt: skip
    silence.begin._task.fn.__wrapped__(run, HOOK)  # type: ignore[attr-defined]
    assert asked == (["begin", "proof"] if begun else ["proof"])
    assert (held[answered_section(HOOK)]["until"] == until) is not begun
    assert datetime.fromisoformat(held[answered_section(HOOK)]["until"]) > datetime.now(UTC)


def test_monitoring_is_told_when_it_ends() -> None:
    """The record says it, the call says it, and the hosts remember it for whoever comes after us."""
    asked: dict[str, str] = {}
    held: dict[str, Any] = {}

    def make(call: CommandCall, words: Any, _: float) -> str:
        asked[call.command[0]] = words["until"]
        return ""

    def run_script(_: str, **given: Any) -> dict[str, Any]:
        held.update(given.get("held") or {})
        return {"quiesce": {"number": 1, "state": "open", "held": held}}

    journal = Journal()
    run: Any = SimpleNamespace(
        estate=SimpleNamespace(window=None, timezone="UTC", name="acme"), hosts={"web01": SimpleNamespace(run=run_script)},
        hooks=SimpleNamespace(make=make), journal=journal, key="acme.CHG1.1", number=1, fence=1, poll=0.01,
        stop=threading.Event(), over=threading.Event(), pause=lambda _: False, lease_lost="", heed=lambda _: None,
    )  # fmt: skip
    before = datetime.now(UTC).replace(microsecond=0)
    silence.begin._task.fn.__wrapped__(run, HOOK)  # type: ignore[attr-defined]
    (record,) = journal.of(HookRecord)
    assert record.until is not None
    assert timedelta(0) <= record.until - (before + timedelta(hours=3)) < timedelta(minutes=1)
    assert asked["begin"] == record.until.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert held["hook-silence-zabbix-answered"]["until"] == record.until.isoformat()
