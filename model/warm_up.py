"""The first requests to a site after a restart: it warms up, it works, or it is broken for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

STEADY = 5
"""Looks in a row at which an application that answers with an error is not warming up any more."""
_NOT_YET = {502, 503, 504}


@dataclass(frozen=True)
class Look:
    """One request: ``status`` None where nothing answered in time; ``passed`` if it was the site's own page; else why."""

    status: int | None
    passed: bool
    why: str = ""


def first_answer(looks: Sequence[Look]) -> Literal["answered", "warming-up", "broken"]:
    """What the looks so far say, newest last.

    An application that has started and answers with an error, over and over, is broken: waiting does not mend that, and
    the checks say what it means. No answer, and a 503 of a web server whose application is not there, is not an answer.
    """
    if looks and looks[-1].passed:
        return "answered"
    recent = looks[-STEADY:]
    if len(recent) == STEADY and all(look.status is not None and look.status not in _NOT_YET for look in recent):
        return "broken"
    return "warming-up"
