"""Is SQL Server ready after a restart? Not 'the port is open', and not 'somebody could log in'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from model.sql.builds import at_least
from model.sql.facts import AgentState, SqlFacts

SAMPLES = 3
"""Looks in a row that must all say the same: recovery can take a database away again."""

_HOPELESS = {"SUSPECT", "EMERGENCY", "OFFLINE", "RECOVERY_PENDING"}
"""States that do not end by waiting."""


@dataclass(frozen=True)
class Sample:
    """One look over a fresh connection: what it saw, or in ``waiting`` why there was nothing to see.

    ``refused`` is true where the login was refused (18456): during a start that passes, else it does not.
    """

    build: str = ""
    start: str = ""
    states: Mapping[str, str] = field(default_factory=dict)
    agent: AgentState = "absent"
    waiting: str = ""
    refused: bool = False

    @classmethod
    def of(cls, facts: SqlFacts) -> Sample:
        """The part of an instance's facts that readiness asks for."""
        return cls(
            facts.build, facts.start, {database.name: database.state for database in facts.databases}, facts.agent
        )


@dataclass(frozen=True)
class Ready:
    """It is; ``build`` is what it runs now."""

    build: str


@dataclass(frozen=True)
class NotReady:
    """It is not; ``waiting_for`` says what for. ``hopeless``: waiting longer will not help."""

    waiting_for: str
    hopeless: bool = False


def readiness(
    samples: Sequence[Sample],
    *,
    databases: Sequence[str],
    build: str | None = None,
    start_before: str | None = None,
    agent: bool = False,
    scripts: str | None = None,
    stable: int = SAMPLES,
) -> Ready | NotReady:
    """Judge the samples so far, newest last.

    Ready is: a start other than ``start_before`` (None: any), ``build`` or newer (None: any), every one of ``databases``
    ONLINE, and Agent running if ``agent`` says that it ran before: all of that ``stable`` times in a row. ``scripts`` is
    what the ERRORLOG still keeps waiting for, a script upgrade that goes on: an administrator is let in meanwhile, and sees
    databases ONLINE, so that no sample tells it.
    """
    if not samples:
        return NotReady("the first look")
    newest = samples[-1]
    if scripts is not None:
        return NotReady(f"{scripts}: {newest.waiting}" if newest.waiting else scripts)
    missing = _missing(newest, databases, build, start_before, agent=agent)
    if missing is not None:
        hopeless = _is_hopeless(samples, databases, stable) or _is_another_build(samples, build, start_before, stable)
        return NotReady(missing, hopeless)
    agreeing = 0
    for sample in reversed(samples):
        if sample.start != newest.start or _missing(sample, databases, build, start_before, agent=agent) is not None:
            break
        agreeing += 1
    if agreeing < stable:
        return NotReady(f"the same answer {stable} times in a row ({agreeing} so far)")
    return Ready(newest.build)


def _missing(
    sample: Sample, databases: Sequence[str], build: str | None, start_before: str | None, *, agent: bool
) -> str | None:
    if sample.waiting:
        return sample.waiting
    if start_before is not None and sample.start == start_before:
        return f"the restart: SQL Server still runs since {sample.start}"
    if build is not None and not at_least(sample.build, build):
        return f"build {build}; it is {sample.build}"
    not_online = {name: state for name, state in _states(sample, databases).items() if state != "ONLINE"}
    if not_online:
        return ", ".join(f"database {name} ({state})" for name, state in not_online.items())
    if agent and sample.agent != "running":
        return f"SQL Server Agent ({sample.agent})"
    return None


def _states(sample: Sample, databases: Sequence[str]) -> dict[str, str]:
    known = {name.casefold(): state for name, state in sample.states.items()}
    return {name: known.get(name.casefold(), "missing") for name in databases}


def _is_another_build(samples: Sequence[Sample], build: str | None, start_before: str | None, stable: int) -> bool:
    """The engine has started anew and answers with an older build: no waiting changes that."""
    recent = samples[-stable:]
    return len(recent) == stable and all(
        build is not None and not s.waiting and s.start != start_before and not at_least(s.build, build) for s in recent
    )


def _is_hopeless(samples: Sequence[Sample], databases: Sequence[str], stable: int) -> bool:
    """A refused login or a broken database, seen many times in a row."""
    recent = samples[-stable:]
    if len(recent) < stable:
        return False
    if all(sample.refused for sample in recent):
        return True
    return all(not sample.waiting and set(_states(sample, databases).values()) & _HOPELESS for sample in recent)
