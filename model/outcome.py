"""How a run ends: what stopped it, in words that fit a pager."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Problem:
    """One thing that went wrong: ``message`` names the thing, the cause and the fix."""

    message: str

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """The problem that an exception tells; its class is named only where it says nothing itself."""
        return cls(" ".join(str(error).split()) or type(error).__name__)


class Stopped(Exception):  # noqa: N818 - the runbook stops, which is not an error of the program
    """The runbook stopped at ``stage``; ``problems`` says why, one line each."""

    def __init__(self, stage: str, problems: list[Problem]) -> None:
        self.stage = stage
        self.problems = problems
        super().__init__(f"{stage}: {'; '.join(problem.message for problem in problems)}")

    @classmethod
    def because(cls, stage: str, *messages: str) -> Self:
        """Stopped at ``stage`` for these reasons."""
        return cls(stage, [Problem(message) for message in messages])
