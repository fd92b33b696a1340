"""Whether something is still being installed on a host: it is never cut, and nothing is judged under it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from model.jobs import JobFacts, Queued, Running, job_state, left_by, waits_to_begin
from model.outcome import Stopped
from model.reopen import left_running, patches_begun
from tasks.jobs import Job, is_begun
from tasks.progress import tell
from tasks.run import Run
from tasks.sql_aftermath import setup_facts

_INSTALLERS = {"Install-WindowsUpdate", "Install-UpdateFile", "Install-SqlPatch", "Install-Package", "Invoke-SqlScript"}
"""Jobs that must have ended before anything is judged; a backup or a scan that goes on harms nobody."""


def still_installing(run: Run, host: str, quiesce: Mapping[str, Any]) -> str | None:
    """What installs on ``host`` and has not ended, by its ``quiesce``: a job, or what one has left running; None where nothing does.

    A job whose task was started and not begun yet is withdrawn: its scheduler could begin it a minute later, or never.
    """
    known = [JobFacts.model_validate(each) for each in run.hosts[host].run("Get-PatchJob")["jobs"]]
    jobs = [facts for facts in known if facts.job and facts.job.script in _INSTALLERS]
    for facts in jobs:
        announced = isinstance(job_state(facts), Running | Queued)
        if announced or (waits_to_begin(facts) is not None and not _withdrawn(run, host, facts.id)):
            return f"job {facts.id}"
    for left in left_running(quiesce):
        for process in still_at_work(run, host, left["processes"]):
            return f"{process['name']} of {left['name']} (process {process['id']})"
    for facts in jobs:
        for process in still_at_work(run, host, left_by(facts)):
            return f"{process['name']} of job {facts.id} (process {process['id']})"
    if patches_begun(quiesce):
        for setup in setup_facts(run, host).running:
            return f"{setup.name} of SQL Server setup (process {setup.id})"
    return None


def must_not_meet_another(run: Run, number: int, job: Job) -> None:
    """Raise Stopped where ``job``, which installs, is not begun yet and something else still installs on its host."""
    if is_begun(run, number, job):
        return
    going = still_installing(run, job.host, run.hosts[job.host].run("Get-QuiesceState")["quiesce"] or {})
    if going:
        raise Stopped.because(
            "install",
            f"{job.host}: {job.subject} was not begun, for {going} still goes on there. Look at it; once it has ended, run: "
            f"billpatch recover {run.called}",
        )


def _withdrawn(run: Run, host: str, job: str) -> bool:
    """Withdraw a job that has not begun; whether it never will, for it may just have begun."""
    if run.lease_lost or not run.hosts[host].stop_job(job, fence=run.fence, begun=False):
        return False
    tell("install", host, f"job {job} had not begun, and was withdrawn")
    return True


def still_at_work(run: Run, host: str, processes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Which of these processes {id, name, started} still run on ``host``."""
    if not processes:
        return []
    answer = run.hosts[host].run("Find-LeftProcess", processes=[*map(dict, processes)])
    found: list[Mapping[str, Any]] = answer["running"]
    return found
