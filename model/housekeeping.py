"""Which jobs on a host nobody needs any more."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from model.canary import SCRIPT as CANARY
from model.jobs import JobFacts, Queued, Running, job_state
from model.keys import RunKey, parse_job_id

MOST = 200
"""Jobs of one host that one run removes; the next run removes more."""
_SCANS = {"Find-WindowsUpdate", "Find-UpdateFile"}


def old_jobs(
    jobs: Iterable[JobFacts], keep: Iterable[RunKey], older_than: timedelta, now: datetime, most: int = MOST
) -> list[str]:
    """The ids of jobs that may be removed, oldest first, at most so many.

    Only jobs of runs, and never one that still goes on, that is younger, that belongs to a run of ``keep`` (this one, and
    those that have not ended), the newest scan that succeeded, which a plan shows, or a canary, of which there is one.
    """
    known = list(jobs)
    kept = {str(key) for key in keep}
    scans = [
        (facts.job.ended, facts.id)
        for facts in known
        if facts.job and facts.job.script in _SCANS and facts.job.state == "succeeded" and facts.job.ended
    ]
    newest_scan = max(scans)[1] if scans else None
    found: list[tuple[datetime, str]] = []
    for facts in known:
        job = facts.job
        if job is None:
            continue
        ended = job.ended or job.started or job.created
        if ended is None or now - ended <= older_than:
            continue
        spared = job.script == CANARY or facts.id == newest_scan or isinstance(job_state(facts), Running | Queued)
        run = _run_of(facts.id)
        if run is not None and run not in kept and not spared:
            found.append((ended, facts.id))
    return [id for _, id in sorted(found)][:most]  # noqa: A001 - the job's own word for it


def _run_of(job_id: str) -> str | None:
    try:
        return str(parse_job_id(job_id).run)
    except ValueError:
        return None
