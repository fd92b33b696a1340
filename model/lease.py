"""What a host's ``lease.json`` means: who holds the estate, whether that run lives, and which run has not ended."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import AwareDatetime

from model.keys import RunKey
from model.records import Answer, HostFacts

RESUME_WITHIN = timedelta(hours=24)
"""How old an unfinished run may be to be resumed unasked: what was scanned and planned in another night is stale."""

SWITCH = "dead man's switch of"
"""How the dead man's switch of a host calls itself in its lease (powershell/lib/Switch.ps1)."""

_HOLDER = re.compile(r"(?P<machine>\S+) process (?P<process>\d+)\b")
_REFUSAL = re.compile(r"\bheld by (?P<owner>.+? for \S+)\. ")
_FLOW_RUN = re.compile(r"\bflow run (?P<id>\S+)")


class Lease(Answer):
    """``lease.json`` of a host."""

    fence: int
    holder: str
    key: str
    taken: AwareDatetime
    expires: AwareDatetime
    released: bool = False
    finished: bool = False

    def is_live(self, now: datetime) -> bool:
        """Whether it keeps others out; ``now`` is by the clock of its host."""
        return not self.released and self.expires > now

    def run_of(self, estate: str) -> RunKey | None:
        """The run that it was taken for; None where that was of another estate, or cannot be read."""
        try:
            key = RunKey.parse(self.key)
        except ValueError:
            return None
        return key if key.estate == estate else None


def lease_of(facts: HostFacts) -> Lease | None:
    """The lease in the facts of a host; None where it never had one."""
    return None if facts.lease is None else Lease.model_validate(facts.lease)


def holding(hosts: Iterable[HostFacts]) -> Lease | None:
    """The lease that keeps others out of the estate; None where none does.

    The one with the highest fence: a host that was away while the estate changed hands still knows an earlier holder.
    """
    known = [(lease, facts.now) for facts in hosts if (lease := lease_of(facts)) is not None]
    if not known:
        return None
    newest, now = max(known, key=lambda each: (each[0].fence, each[0].expires))
    return newest if newest.is_live(now) else None


def owner_in(refusal: str) -> str:
    """Who has the estate, by what a host says when it refuses an act (``Assert-Fence``); all that it said where it names nobody."""
    found = _REFUSAL.search(refusal)
    return found["owner"] if found else refusal


@dataclass(frozen=True)
class Holder:
    """Who holds a lease, as it calls itself: a process on a machine, and the flow run in it where Prefect runs it."""

    machine: str
    process: int
    flow_run: str = ""

    def __str__(self) -> str:
        return f"{self.machine} process {self.process}" + (f" flow run {self.flow_run}" if self.flow_run else "")

    @classmethod
    def parse(cls, text: str) -> Holder | None:
        """What ``str()`` wrote; None for anything else."""
        found, flow_run = _HOLDER.match(text), _FLOW_RUN.search(text)
        return found and cls(found["machine"], int(found["process"]), flow_run["id"] if flow_run else "")


def unfinished(hosts: Iterable[HostFacts], estate: str, *, within: timedelta | None = None) -> RunKey | None:
    """The key of the newest run that did not end well, as the hosts' leases tell; None where the last one did.

    ``within`` leaves out what was begun longer ago.
    """
    newest: tuple[datetime, RunKey | None] | None = None
    for facts in hosts:
        lease = lease_of(facts)
        key = lease.run_of(estate) if lease else None
        if lease is None or key is None:
            continue
        stale = within is not None and facts.now - lease.taken > within
        if newest is None or lease.taken > newest[0]:
            newest = lease.taken, None if lease.finished or stale else key
    return newest[1] if newest else None


def resumed(asked: RunKey, found: RunKey | None) -> RunKey:
    """The key of a run that was started without a change: that of the one it goes on with, if there is one.

    A higher attempt tries again, under the same occasion, what failed.
    """
    return asked if found is None else found.model_copy(update={"attempt": max(asked.attempt, found.attempt)})
