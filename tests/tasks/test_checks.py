"""Checks of one node: what counts as evidence, whoever asks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from host_facts import host_facts

from model.estate import EventLogCheck
from model.journal import Journal
from model.records import RestartRecord
from tasks import checks

NOW = datetime.now(UTC)
LOG = EventLogCheck(event_log="Application", on="web01", severity="must")
FACTS = host_facts("WEB01", NOW)


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def asked(*errors: float, opened: float | None = None, booted: float = 9999, ready: float | None = None) -> str:
    """What the check says where each error is so many minutes old, and the run began a minute ago."""
    quiesce = None if opened is None else {"number": 1, "state": "open", "opened": ago(opened).isoformat()}
    facts = {**FACTS, "now": NOW.isoformat(), "last_boot": ago(booted).isoformat(), "quiesce": quiesce}
    events = [
        {"provider": "EngageIP", "id": 77, "level": 2, "time": ago(old).isoformat(), "record": number, "message": "no"}
        for number, old in enumerate(errors)
    ]
    answers = {"Get-HostFacts": facts, "Get-EventRecords": {"complete": True, "events": events}}
    journal = Journal()
    if ready is not None:
        journal.write(RestartRecord(host="web01", asked=ago(ready + 5), ready=ago(ready)))
    host = SimpleNamespace(run=lambda script, **_: answers[script])
    run: Any = SimpleNamespace(hosts={"web01": host}, journal=journal, started=ago(1))
    return checks.evaluate(run, LOG, "web01").status


@pytest.mark.parametrize(
    ("world", "status"),
    [
        ({"errors": (4,), "opened": 60, "booted": 10}, "failed"),  # recover, after a patch that broke it
        ({"errors": (4,), "opened": 60}, "failed"),  # the same, on a host that needed no restart
        ({"errors": (12,), "opened": 60, "booted": 10}, "passed"),  # of before its boot, which has mended it
        ({"errors": (90, 4), "opened": 60, "booted": 10}, "passed"),  # as always
        ({"errors": (4, 0.2), "opened": 60, "ready": 0.5}, "failed"),  # known only since the first run has patched it
        ({"errors": (4,), "opened": 60, "ready": 0.5}, "passed"),
        ({"errors": (4,)}, "passed"),  # nothing was made quiet: of before the run
        ({"errors": (0.5,)}, "failed"),
    ],
)
def test_what_an_event_log_tells_since_the_host_was_made_quiet_is_news(world: dict[str, Any], status: str) -> None:
    """A run that is repeated, and recover, begin long after the patch: what it broke is no part of how the host was."""
    errors = world.pop("errors")
    assert asked(*errors, **world) == status
