"""Long work on a host: a detached job is started, or the one of an earlier run of the same key adopted, and waited for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.jobs import Failed, Interrupted, JobFacts, Lost, Running, Succeeded, job_state
from model.keys import job_id
from tasks.progress import tell
from tasks.run import Run


@dataclass(frozen=True)
class Job:
    """What is to be done: ``script`` on ``host`` for ``subject``, within ``deadline`` seconds."""

    host: str
    step: str
    subject: str
    script: str
    parameters: Mapping[str, Any]
    secrets: Mapping[str, Any] | None = None
    deadline: float = 3600.0


class JobFailed(Exception):  # noqa: N818 - the name says what happened
    """A job ended with an error of its own: the words of its script, and their HRESULT."""

    def __init__(self, job: Job, message: str, hresult: int | None = None) -> None:
        self.job, self.message, self.hresult = job, message, hresult
        super().__init__(f"{job.host}: {job.step} of {job.subject} failed: {message}")


class OutcomeUnknown(Exception):  # noqa: N818 - the name says what happened
    """A job was cut off (a restart, a lost process): what it had done must be judged by evidence."""

    def __init__(self, job: Job, message: str) -> None:
        self.job, self.message = job, message
        super().__init__(f"{job.host}: nobody knows how {job.step} of {job.subject} ended: {message}")


def identity(run: Run, number: int, job: Job) -> str:
    """The id of ``job`` on its host: the run key, and ``number`` (of the quiesce or the round), are in it."""
    return job_id(run.key, number, job.step, f"{job.host}-{job.subject}")


def is_begun(run: Run, number: int, job: Job) -> bool:
    """Whether a run of this key has given the job to its host before."""
    return bool(run.hosts[job.host].job([identity(run, number, job)])[0]["exists"])


def is_over(run: Run, number: int, job: Job) -> bool:
    """Whether the job was given to its host before, and has come to its end, whichever."""
    facts = JobFacts.model_validate(run.hosts[job.host].job([identity(run, number, job)])[0])
    return isinstance(job_state(facts), Succeeded | Failed | Interrupted | Lost)


def run_job(run: Run, number: int, job: Job) -> dict[str, Any]:
    """The result of ``job``; its id carries the run key and ``number`` (of the quiesce or the round).

    Raises JobFailed, OutcomeUnknown, or the HostError that no time mends.
    """
    host = run.hosts[job.host]
    named = identity(run, number, job)
    started = host.start_job(
        named,
        job.script,
        job.parameters,
        secrets=job.secrets,
        deadline_seconds=job.deadline,
        fence=run.fence,
        stop=run.stop,
    )
    if started.get("adopted"):
        tell(job.step, f"{job.host} {job.subject}", "found begun by an earlier run, adopted")

    def on_progress(facts: dict[str, Any]) -> None:
        state = job_state(JobFacts.model_validate(facts))
        if isinstance(state, Running):
            tell(job.step, f"{job.host} {job.subject}", state.message or "running", state.percent)

    facts = host.wait_job(named, deadline=job.deadline, on_progress=on_progress, stop=run.stop, every=run.poll)
    state = job_state(JobFacts.model_validate(facts))
    match state:
        case Succeeded():
            result: dict[str, Any] = state.result
            return result
        case Failed():
            raise JobFailed(job, state.error.message, state.error.hresult)
        case Interrupted() | Lost():
            raise OutcomeUnknown(job, state.why)
        case _:
            raise OutcomeUnknown(job, f"the host says {type(state).__name__}")
