"""SQL Server is ready when everything that must be there is, several times in a row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from model.sql.readiness import NotReady, Ready, Sample, readiness

BEFORE, AFTER = "2024-02-13 01:00:00.000", "2024-02-13 03:12:40.120"
GOOD = Sample("15.0.4430.1", AFTER, {"master": "ONLINE", "EngageIP": "ONLINE", "Reporting": "ONLINE"}, "running")


def judged(*samples: Sample, **other: Any) -> Ready | NotReady:
    given = {"databases": ["engageip", "Reporting"], "build": "15.0.4430.1", "start_before": BEFORE, "agent": True}
    return readiness(samples, **{**given, **other})


def test_ready_after_three_good_looks() -> None:
    """Two are not enough: recovery can take a database away again."""
    assert judged(GOOD, GOOD) == NotReady("the same answer 3 times in a row (2 so far)")
    assert judged(GOOD, GOOD, GOOD) == Ready("15.0.4430.1")


@pytest.mark.parametrize(
    ("newest", "waiting_for"),
    [
        (Sample(waiting="nothing listens on 10.0.0.5:1433"), "nothing listens on 10.0.0.5:1433"),
        (replace(GOOD, start=BEFORE), f"the restart: SQL Server still runs since {BEFORE}"),
        (replace(GOOD, build="15.0.4123.1"), "build 15.0.4430.1; it is 15.0.4123.1"),
        (replace(GOOD, states={"EngageIP": "RECOVERING", "Reporting": "ONLINE"}), "database engageip (RECOVERING)"),
        (replace(GOOD, states={"EngageIP": "ONLINE"}), "database Reporting (missing)"),
        (replace(GOOD, agent="stopped"), "SQL Server Agent (stopped)"),
    ],
)
def test_what_is_missing_is_named(newest: Sample, waiting_for: str) -> None:
    """However good the looks before it were."""
    verdict = judged(GOOD, GOOD, GOOD, newest)
    assert verdict == NotReady(waiting_for)


def test_good_looks_must_follow_each_other() -> None:
    """A flicker, or another restart in between, starts the count anew."""
    flicker = replace(GOOD, states={"EngageIP": "RECOVERING", "Reporting": "ONLINE"})
    assert judged(GOOD, GOOD, flicker, GOOD) == NotReady("the same answer 3 times in a row (1 so far)")
    again = replace(GOOD, start="2024-02-13 03:20:00.000")
    assert judged(GOOD, GOOD, again) == NotReady("the same answer 3 times in a row (1 so far)")


def test_expectations_may_be_left_out() -> None:
    """Without a patch any build will do, without a restart any start; Express has no Agent to wait for."""
    plain = replace(GOOD, build="15.0.4123.1", start=BEFORE, agent="absent")
    assert judged(plain, plain, plain, build=None, start_before=None, agent=False) == Ready("15.0.4123.1")
    assert judged(replace(GOOD, build="15.0.4440.1"), stable=1) == Ready("15.0.4440.1")
    assert judged() == NotReady("the first look")


def test_what_does_not_pass_by_waiting_is_hopeless() -> None:
    """A refused login, a SUSPECT database, an older build, three times in a row; not the refusals of a start."""
    refused = Sample(waiting="the login is refused (18456)", refused=True)
    assert not judged(refused, refused).hopeless  # type: ignore[union-attr]
    assert judged(refused, refused, refused).hopeless  # type: ignore[union-attr]
    suspect = replace(GOOD, states={"EngageIP": "SUSPECT", "Reporting": "ONLINE"})
    assert judged(suspect, suspect, suspect).hopeless  # type: ignore[union-attr]
    older = replace(GOOD, build="15.0.4123.1")
    assert judged(older, older, older).hopeless  # type: ignore[union-attr]
    not_restarted = replace(older, start=BEFORE)
    assert not judged(not_restarted, not_restarted, not_restarted).hopeless  # type: ignore[union-attr]
    silent = Sample(waiting="nothing listens")
    assert not judged(silent, silent, silent, silent).hopeless  # type: ignore[union-attr]
