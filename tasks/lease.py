"""One run per estate: a lease on every host, taken in name order, all or none, and kept alive while the run lives."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Literal

from blocks.winrm.errors import HostError
from model.keys import RunKey
from model.lease import RESUME_WITHIN, SWITCH, Holder, Lease, lease_of, resumed, unfinished
from model.outcome import Stopped
from model.records import HostFacts
from tasks.progress import tell
from tasks.run import Run, this_machine
from tasks.step import step

SECONDS = 180
"""How long a lease outlives its last renewal: three renewals may be lost before another run can take it."""
_RENEWAL_SECONDS = 15
"""How long one host may keep the renewal of the others waiting."""


@step("take the lease of {run.estate.name}")
def take(run: Run) -> int:
    """The fencing number of this run, the same on every host; raises Stopped naming who holds the estate.

    A run without a change goes on with one that has not ended. Hosts are asked in name order, so that two runs that
    start together cannot each hold half of the estate; nothing is taken while any of them is another's.
    """
    if not run.named:
        run.key = _resumed(run)
    force = _wait_for_own(run)
    granted: dict[str, int] = {}
    try:
        for host in sorted(run.hosts):
            granted[host] = _granted(run, host, max(granted.values(), default=0), force=force)
        fence = max(granted.values())
        for host in granted:
            granted[host] = _granted(run, host, fence)
    except (Stopped, HostError):
        # Each by the number that the host knows: with another it would not hear of it.
        for host, number in granted.items():
            give_back_on(run, host, number)
        raise
    run.fence, run.joined = fence, tuple(granted)
    return fence


def _granted(run: Run, host: str, fence: int, *, force: bool = False) -> int:
    """Take the lease on one host, and return its number; raises Stopped naming who holds it."""
    answer = enter(run, host, fence, force=force)
    if not answer["granted"]:
        raise _held(run, host, Lease.model_validate(answer))
    return int(answer["fence"])


def _resumed(run: Run) -> RunKey:
    found = unfinished(run.facts.values(), run.estate.name, within=RESUME_WITHIN)
    if found is not None:
        tell("lease", run.estate.name, f"going on with {found}, which has not ended")
    return resumed(run.key, found)


def _wait_for_own(run: Run) -> bool:
    """Wait out the lease that an earlier run of the same key left behind; True where it may be taken by force.

    That run is dead when its process was on this machine and is gone, or when its lease runs out. One that is renewed
    lives, and this run is refused at once, as it is by a lease of any other run.
    """
    seen: dict[tuple[str, str], Lease] = {}
    while obstacles := _obstacles(run):
        for host, lease in obstacles:
            first = seen.setdefault((host, lease.holder), lease)
            if lease.key != str(run.key) or lease.expires != first.expires or life(lease.holder) == "alive":
                raise _held(run, host, lease)
        unsure = [(host, lease) for host, lease in obstacles if life(lease.holder) != "dead"]
        if not unsure:
            return True
        host, lease = unsure[0]
        if lease is seen[host, lease.holder]:
            tell("lease", host, f"waiting for the lease of {lease.holder}, until {lease.expires:%H:%M:%S} UTC")
        if run.pause(run.stop):
            raise Stopped.because("lease", f"{host}: stopped waiting for the lease of {lease.holder}")
    return False


def _obstacles(run: Run) -> list[tuple[str, Lease]]:
    """The hosts whose lease another run holds, the newest first; every host is looked at."""
    found: list[tuple[str, Lease]] = []
    for host in sorted(run.hosts):
        facts = look(run, host)
        if host in run.facts:  # while it waited, another run may have brought the estate back
            run.facts[host] = run.facts[host].model_copy(update={"lease": facts.lease, "quiesce": facts.quiesce})
        lease = lease_of(facts)
        if lease is not None and lease.is_live(facts.now):
            found.append((host, lease))
    return sorted(found, key=lambda each: -each[1].fence)


def _held(run: Run, host: str, lease: Lease) -> Stopped:
    return Stopped.because(
        "lease",
        f"{host}: another run holds {run.estate.name}: {lease.holder} for {lease.key}, until "
        f"{lease.expires:%H:%M:%S} UTC unless it renews. Let it end, or run: billpatch recover {run.called}",
    )


def life(holder: str) -> Literal["alive", "dead", "unknown"]:
    """Whether a holder's process lives: known where it is, or was, on this machine.

    Of one that has the number of this very process nothing is known: a container gives it again after each start.
    """
    known = Holder.parse(holder)
    if known is None or known.machine != this_machine() or known.process == os.getpid() or os.name != "posix":
        return "unknown"
    try:
        os.kill(known.process, 0)  # asks only; on Windows it would end the process
    except ProcessLookupError:
        return "dead"
    except OSError:
        return "alive"
    return "alive"


def take_over(run: Run) -> dict[str, HostError]:
    """Take the lease by force on every host that answers; answers the error of each that does not."""
    away: dict[str, HostError] = {}
    for host in sorted(run.hosts):
        try:
            join(run, host)
        except HostError as error:
            away[host] = error
    return away


def join(run: Run, host: str) -> None:
    """Take the lease by force on one more host, and lift every host to the highest number found; raises HostError."""
    with run.renewal:  # which would take a number that is just being lifted for another run's
        fence = int(enter(run, host, run.fence, force=True)["fence"])
        for other in run.joined if fence > run.fence else ():
            with suppress(HostError):  # lifted when it answers again
                enter(run, other, fence, force=True)
        run.fence, run.joined = fence, tuple(dict.fromkeys((*run.joined, host)))


def taken_by(run: Run, facts: HostFacts) -> str:
    """Who has taken the estate over, as the lease of this host tells; empty where it is ours, or ours to take.

    A host that has not been joined yet may have looked after itself, or still know a run that died.
    """
    held = lease_of(facts)
    if held is None or held.fence <= run.fence or held.holder == str(run.holder):
        return ""
    ours_to_take = not held.is_live(facts.now) or SWITCH in held.holder or life(held.holder) == "dead"
    return "" if facts.host not in run.joined and ours_to_take else f"{held.holder} for {held.key}"


def look(run: Run, host: str) -> HostFacts:
    """The host as it stands now; raises HostError."""
    return HostFacts.of(host, run.hosts[host].run("Get-HostFacts", deadline=60))


@step("look whether {host} is at rest")
def look_whether_at_rest(run: Run, host: str) -> HostFacts:
    """The host as it stands now, for ``must_be_at_rest``."""
    return look(run, host)


def must_be_at_rest(run: Run, hosts: Iterable[HostFacts]) -> None:
    """Raise Stopped where a run has made the estate quiet and not ended: it is gone on with, or brought back, first."""
    quiet = [each.host for each in hosts if each.quiesce is not None and each.quiesce.get("state") == "open"]
    if quiet:
        raise Stopped.because(
            "lease",
            f"{run.estate.name}: a run has not ended, {', '.join(quiet)}: quiet since. Go on with it, or run: "
            f"billpatch recover {run.called}",
        )


def keep_alive(run: Run) -> threading.Thread:
    """Renew the lease in the background until the run is over; one that another run has taken over ends this one."""
    # The dead man's switches go by these renewals too.
    every = min(SECONDS, run.estate.quiet.restore_after.total_seconds()) / 4

    def renew() -> None:
        while not run.over.wait(every):
            for host in run.hosts:
                with run.renewal:
                    # One that restarts has been given longer: a renewal would shorten it.
                    lost = host not in run.restarting and renew_on(run, host)
                if lost or run.over.is_set():
                    return

    thread = threading.Thread(target=renew, name=f"lease-{run.estate.name}", daemon=True)
    thread.start()
    return thread


def renew_on(run: Run, host: str, seconds: float = SECONDS) -> bool:
    """Prolong the lease on one host, best effort; True where another run has taken it over."""
    try:
        answer = run.hosts[host].run("Update-Lease", fence=run.fence, seconds=int(seconds), deadline=_RENEWAL_SECONDS)
    except HostError:
        return False  # a host that restarts keeps its lease; the scripts refuse whoever lost it
    if not answer["granted"] and answer["fence"] > run.fence:
        run.lose_lease(f"{answer['holder']} for {answer['key']}")
        return True
    return False


def lend(run: Run, host: str) -> None:
    """Prolong the lease of a host that is about to restart.

    While it is down nobody can renew it, and nobody else shall find it free when it comes up.
    """
    with run.renewal:
        run.restarting.add(host)
        renew_on(run, host, run.estate.restart.deadline.total_seconds() + SECONDS)


def give_back(run: Run, *, finished: bool) -> None:
    """Release the lease on every host that answers; a host that does not lets it expire."""
    for host in sorted(run.hosts):
        give_back_on(run, host, run.fence, finished=finished)


def give_back_on(run: Run, host: str, fence: int, *, finished: bool = False) -> None:
    """Release the lease on one host; best effort."""
    try:
        run.hosts[host].run("Exit-Lease", fence=fence, finished=finished, deadline=15)
    except HostError as error:
        tell("lease", host, f"the lease could not be given back and expires by itself: {error}")


def enter(run: Run, host: str, fence: int, *, force: bool = False) -> dict[str, Any]:
    """What Enter-Lease answers; raises HostError."""
    return run.hosts[host].run(
        "Enter-Lease", holder=str(run.holder), key=str(run.key), fence=fence, seconds=SECONDS, force=force
    )
