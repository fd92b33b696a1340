"""The first screen of a night: what it shows, and whether a person at 2 a.m. finds there what they need."""

from __future__ import annotations

import re
from io import StringIO

from rich.console import Console

from report.screen import summary
from report.summary import Report

ROWS, COLUMNS = 40, 100


def shown(report: Report) -> str:
    """The first screen, as a terminal shows it."""
    out = StringIO()
    Console(file=out, width=COLUMNS, height=ROWS, force_terminal=True, color_system=None).print(summary(report))
    return out.getvalue()


def one_line(text: str) -> str:
    """Without line breaks, and without the blanks that come with them."""
    return re.sub(r"\s+", "", text)


def assert_explained(report: Report) -> None:
    """It is one screen; where the night has not succeeded: thing and cause, what is up, down and changed, the next command."""
    screen, outcome = shown(report), report.outcome
    assert len(screen.splitlines()) <= ROWS, screen
    if outcome.succeeded:
        return
    assert outcome.problems
    assert outcome.next_command
    assert outcome.next_command.startswith("billpatch ")
    assert one_line(outcome.next_command) in one_line(screen)
    assert re.search(r"^Problems ", screen, re.MULTILINE), screen
    if report.touched:
        for section in ("Up", "Down", "Changed"):
            assert re.search(rf"^{section} ", screen, re.MULTILINE), screen
