"""What earlier runs left on the hosts is removed after a good one: bounded, best effort, and told."""

from __future__ import annotations

from datetime import timedelta

from pydantic import ValidationError

from model.housekeeping import old_jobs
from model.jobs import JobFacts
from model.keys import RunKey
from model.lease import lease_of
from model.outcome import Stopped
from model.records import HostFacts
from tasks import lease
from tasks.progress import tell
from tasks.run import Run
from tasks.together import TakenOver, said, together

_AT_ONCE = 20
"""Jobs in one call: removing a task takes its time on an old host."""


def remove_old_jobs(run: Run) -> None:
    """Remove jobs of runs that ended ``jobs.keep_days`` ago, and packages fetched then; never raises for what a host does."""
    try:
        _, troubles = together(run, run.hosts, lambda host: _remove_on(run, host))
    except TakenOver:
        return
    for host, trouble in troubles.items():
        tell("housekeeping", host, f"old jobs stay: {said(trouble)}")


def _remove_on(run: Run, host: str) -> None:
    facts = lease.look(run, host)
    try:
        jobs = [JobFacts.model_validate(known) for known in run.hosts[host].job()]
    except ValidationError as error:
        raise Stopped.because(
            "housekeeping", f"{host}: {error.error_count()} facts of its jobs are not understood"
        ) from None
    old = old_jobs(jobs, _kept(run, facts), timedelta(days=run.estate.jobs.keep_days), facts.now)
    removed, failed = 0, 0
    for at in range(0, len(old), _AT_ONCE):
        answer = run.hosts[host].run("Remove-PatchJob", ids=old[at : at + _AT_ONCE], fence=run.fence, deadline=120)
        removed += len(answer["removed"])
        failed += len(answer["failed"])
        for each in answer["failed"]:
            tell("housekeeping", host, f"{each['id']} stays: {each['error']}")
    if old:
        tell("housekeeping", host, f"{removed} jobs older than {run.estate.jobs.keep_days} days removed, {failed} stay")
    _remove_packages(run, host)


def _remove_packages(run: Run, host: str) -> None:
    days = run.estate.jobs.keep_days
    answer = run.hosts[host].run("Remove-StagedPackage", older_than_days=days, fence=run.fence, deadline=120)
    for each in answer["failed"]:
        tell("housekeeping", host, f"package {each['name']} stays: {each['error']}")
    if answer["busy"]:
        tell("housekeeping", host, f"old packages stay while {answer['busy'][0]} is at work")
    if answer["removed"]:
        tell("housekeeping", host, f"{len(answer['removed'])} packages older than {days} days removed")


def _kept(run: Run, facts: HostFacts) -> list[RunKey]:
    """This run, and the one that the host's lease was taken for, unless that has ended well."""
    held = lease_of(facts)
    other = held.run_of(run.estate.name) if held and not held.finished else None
    return [run.key, *([other] if other else [])]
