"""One run per estate: a lease on every host, taken in name order, all or none, and kept alive while the run lives."""

from __future__ import annotations

import threading
from typing import Any

from blocks.winrm.errors import HostError
from model.keys import RunKey
from model.outcome import Problem, Stopped
from tasks.progress import tell
from tasks.run import Run
from tasks.step import step

SECONDS = 180
"""How long a lease outlives its last renewal: three renewals may be lost before another run can take it."""


@step("take the lease of {run.estate.name}")
def take(run: Run) -> int:
    """The fencing number of this run, the same on every host; raises Stopped naming who holds the estate.

    Hosts are asked in name order, so that two runs that start together cannot each hold half of the estate.
    """
    granted: list[str] = []
    fence = 0
    try:
        for host in sorted(run.hosts):
            answer = _enter(run, host, fence)
            if not answer["granted"]:
                raise Stopped(
                    "lease",
                    [
                        Problem(
                            f"{host}: another run holds {run.estate.name}: {answer['holder']} for {answer['key']}, "
                            f"until {answer['expires']} unless it renews. Let it end, or run: billpatch recover "
                            f"{run.estate.name}"
                        )
                    ],
                )
            granted.append(host)
            fence = max(fence, int(answer["fence"]))
        for host in granted:
            _enter(run, host, fence)
    except (Stopped, HostError):
        for host in granted:
            give_back_on(run, host, fence)
        raise
    run.fence = fence
    return fence


def take_over(run: Run) -> dict[str, str]:
    """Take the lease by force on every host that answers; answers the cause for each that does not."""
    lost: dict[str, str] = {}
    fence = 0
    for _ in range(2):  # the second round lifts every host to the highest number found
        for host in sorted(set(run.hosts) - set(lost)):
            try:
                fence = max(fence, int(_enter(run, host, fence, force=True)["fence"]))
            except HostError as error:
                lost[host] = str(error)
    run.fence = fence
    return lost


def unfinished(run: Run) -> RunKey | None:
    """The key of the run that did not end well, as the hosts' leases tell; None where the last one did."""
    for host in sorted(run.hosts):
        try:
            lease = run.hosts[host].run("Get-HostFacts", deadline=30)["lease"]
        except HostError:
            continue
        if lease and not lease["finished"]:
            try:
                key = RunKey.parse(lease["key"])
            except ValueError:
                continue
            if key.estate == run.estate.name:
                return key
    return None


def keep_alive(run: Run) -> threading.Thread:
    """Renew the lease in the background until the run stops; a lease taken over by another run stops this one."""

    def renew() -> None:
        while not run.stop.wait(SECONDS / 4):
            for host in run.hosts.values():
                try:
                    answer = host.run("Update-Lease", fence=run.fence, seconds=SECONDS)
                except HostError:
                    continue  # a host that restarts keeps its lease; the scripts refuse whoever lost it
                if not answer["granted"] and answer["fence"] > run.fence:
                    run.lose_lease(f"{answer['holder']} has taken over {answer['key']}")
                    return

    thread = threading.Thread(target=renew, name=f"lease-{run.estate.name}", daemon=True)
    thread.start()
    return thread


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


def _enter(run: Run, host: str, fence: int, *, force: bool = False) -> dict[str, Any]:
    return run.hosts[host].run(
        "Enter-Lease", holder=run.holder, key=str(run.key), fence=fence, seconds=SECONDS, force=force
    )
