"""Rescue: take the estate over from a run that does not bring it back itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime

from model.lease import Holder, holding, lease_of, unfinished
from model.records import HostFacts
from tasks import lease
from tasks.bring_back import BroughtBack, bring_back
from tasks.outcome import conclude
from tasks.progress import tell
from tasks.report import Written, write
from tasks.run import Run, open_run
from tasks.together import is_passing, said, together


def rescue(run: Run, why: str, flow_run: str = "") -> BroughtBack:
    """Take the lease over by force, then bring back. The run that held it is refused at its next act.

    ``flow_run`` names the one that this is for: where nothing of it is left, or where another run is alive, nothing is
    touched. Hosts that do not answer may be restarting: at least one is waited for, up to ``restart.deadline``.
    """
    tell("rescue", run.estate.name, f"taking over: {why}")
    known = _look(run)
    if flow_run and (owner := _left_to(run, known, flow_run)) is not None:
        tell("rescue", run.estate.name, f"left to {owner}" if owner else "nothing is left to bring back")
        return BroughtBack(left_to=owner)
    # The key stays that of the run that was cut off, so that it can be resumed.
    found = unfinished(known.values(), run.estate.name)
    run.key = found or run.key
    if cause := _take_over(run):
        return BroughtBack(unreachable=cause)
    lease.keep_alive(run)
    return bring_back(run, finished=found is None, patient=True)


def _look(run: Run) -> dict[str, HostFacts]:
    return together(run, run.hosts, lambda host: lease.look(run, host))[0]


def _left_to(run: Run, known: dict[str, HostFacts], flow_run: str) -> str | None:
    """Whom to leave the estate to, empty where there is nothing to do; None where it must be rescued.

    A lease is held by a live run where its process is here, or where it is renewed, as each is many times while this one
    watches. The run that this is for is watched to its end: all that it still does is to bring the estate back.
    """
    watched, ending, first, deadline = "", False, known, 0.0
    while (held := holding(known.values())) is not None:
        if held.holder != watched:
            holder = Holder.parse(held.holder)
            ending = not watched and holder is not None and holder.flow_run == flow_run
            watched, first, deadline = held.holder, known, time.monotonic() + lease.SECONDS
            tell("rescue", run.estate.name, f"watching {held.holder}")
        life, renewed = lease.life(held.holder), _is_renewed(first, known, held.holder)
        if life == "dead":
            return None
        if (renewed or life == "alive") and not ending:
            return f"{held.holder} for {held.key}"
        if renewed:
            first, deadline = known, time.monotonic() + lease.SECONDS
        elif time.monotonic() > deadline:
            return None
        run.pause()
        known = _look(run)
        first = known | first
    if set(known) != set(run.hosts):
        return None
    return None if any(facts.quiesce and facts.quiesce["state"] == "open" for facts in known.values()) else ""


def _is_renewed(first: Mapping[str, HostFacts], known: Mapping[str, HostFacts], holder: str) -> bool:
    """Whether ``holder`` has prolonged its lease on any host since the first look at it."""

    def until(facts: HostFacts) -> datetime | None:
        held = lease_of(facts)
        return held.expires if held is not None and held.holder == holder else None

    both = [(until(first[host]), until(facts)) for host, facts in known.items()]
    return any(before is not None and now is not None and now > before for before, now in both)


def _take_over(run: Run) -> dict[str, str]:
    """Take the lease wherever somebody answers; the causes where nobody does within the estate's deadline."""
    deadline = time.monotonic() + run.estate.restart.deadline.total_seconds()
    while True:
        away = lease.take_over(run)
        if run.joined:
            return {}
        if time.monotonic() > deadline or not any(is_passing(trouble) for trouble in away.values()):
            return {host: said(trouble) for host, trouble in away.items()}
        tell("rescue", run.estate.name, "waiting for a host to answer")
        run.pause()


def recover_directly(estate: str) -> Written:
    """The same for `billpatch recover`, where there may be no Prefect at all; raises Stopped for a bad estate."""
    with open_run(estate) as run:
        back = rescue(run, "billpatch recover")
        return write(run, conclude(run, None, back, recovering=True))
