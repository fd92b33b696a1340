"""The first requests after a restart, as values."""

from __future__ import annotations

import pytest

from model.warm_up import STEADY, Look, first_answer

OK, ERROR, AWAY, STARTING = (
    Look(200, passed=True),
    Look(500, passed=False),
    Look(None, passed=False),
    Look(503, passed=False),
)


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        ([], "warming-up"),
        ([OK], "answered"),
        ([AWAY] * 100, "warming-up"),
        ([STARTING] * 100, "warming-up"),
        ([ERROR] * (STEADY - 1), "warming-up"),
        ([ERROR] * STEADY, "broken"),
        ([*[ERROR] * STEADY, AWAY], "warming-up"),
        ([*[ERROR] * STEADY, OK], "answered"),
        ([Look(200, passed=False, why="the maintenance page answers")] * STEADY, "broken"),
    ],
)
def test_the_first_answer(looks: list[Look], said: str) -> None:
    """It works with the first page of its own; errors count when they last; silence never ends by being long."""
    assert first_answer(looks) == said
