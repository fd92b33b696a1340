"""How a run ends: what stopped it, in words that fit a pager."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Problem:
    """One thing that went wrong: ``message`` names the thing, the cause and the fix.

    ``thing`` is what the message begins with, where several things can share the rest of it: eight backups that do not
    reach one store are one problem to a person.
    """

    message: str
    thing: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """The problem that an exception tells; its class is named only where it says nothing itself.

        Errors of a host begin with its name: two hosts that refuse one password are one problem.
        """
        message = " ".join(str(error).split()) or type(error).__name__
        host = str(getattr(error, "host", ""))
        return cls(message, host if message.startswith(f"{host}: ") else "")


class Stopped(Exception):  # noqa: N818 - the runbook stops, which is not an error of the program
    """The runbook stopped at ``stage``; ``problems`` says why, one line each."""

    def __init__(self, stage: str, problems: list[Problem]) -> None:
        self.stage = stage
        self.problems = problems
        super().__init__(f"{stage}: {in_one_line(told_once(problems))}")

    @classmethod
    def because(cls, stage: str, *messages: str) -> Self:
        """Stopped at ``stage`` for these reasons."""
        return cls(stage, [Problem(message) for message in messages])


def told_once(problems: Iterable[Problem], *, things: int | None = None) -> list[str]:
    """The messages in order, those that share cause and fix in one line: ``a, b and c did not reach the store``.

    At most ``things`` of them are named there, the others counted: ``a and 7 more did not reach the store``.
    """
    sharing: dict[str, list[str]] = {}
    for problem in problems:
        known = sharing.setdefault(problem.message.removeprefix(problem.thing), [])
        if problem.thing not in known:
            known.append(problem.thing)
    return [_listed(names, things) + rest for rest, names in sharing.items()]


def in_one_line(messages: Sequence[str], most: int | None = None) -> str:
    """The messages as one line, numbered where there are several; those beyond ``most`` are counted."""
    if len(messages) == 1:
        return messages[0]
    told = [f"({number}) {message}" for number, message in enumerate(messages[:most], 1)]
    left = len(messages) - len(told)
    return " ".join([*told, f"(and {left} more)"] if left else told)


def _listed(names: list[str], most: int | None) -> str:
    if most is not None and len(names) > most + 1:
        names = [*names[:most], f"{len(names) - most} more"]
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
