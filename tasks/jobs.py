"""Long work on a host: a detached job is started, or the one of an earlier run of the same key adopted, and waited for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from blocks.winrm.errors import DeadlineExceeded, HostError, JobNotBegun, WaitStopped
from model.jobs import (
    SAFE_TO_STOP,
    Failed,
    Interrupted,
    JobFacts,
    Lost,
    NotStarted,
    Running,
    Succeeded,
    has_begun,
    is_unbegun,
    job_state,
    waits_to_begin,
)
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
    start_within: float = 300.0
    """Seconds that the host's task scheduler has to begin it; a small machine takes up to one minute."""

    @property
    def may_be_cut(self) -> bool:
        """Whether it may be ended in the middle, and done again."""
        return self.script in SAFE_TO_STOP

    @property
    def limit(self) -> float:
        """Seconds after which its host ends it: an installer is not cut while a run still waits for it."""
        return self.deadline if self.may_be_cut else 2 * self.deadline


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


def facts_of(run: Run, number: int, job: Job) -> JobFacts:
    """What the host of the job knows of it."""
    return JobFacts.model_validate(run.hosts[job.host].job([identity(run, number, job)])[0])


def is_begun(run: Run, number: int, job: Job) -> bool:
    """Whether a run of this key has begun the job on its host before; what has not begun is made anew."""
    return has_begun(facts_of(run, number, job))


def is_over(run: Run, number: int, job: Job) -> bool:
    """Whether the job has begun on its host before, and has come to its end, whichever."""
    facts = facts_of(run, number, job)
    return has_begun(facts) and isinstance(job_state(facts), Succeeded | Failed | Interrupted | Lost)


@dataclass(frozen=True)
class Ended:
    """What a job that ended well has answered, and when it had begun, by the clock of its host."""

    result: dict[str, Any]
    started: datetime


def run_job(run: Run, number: int, job: Job) -> dict[str, Any]:
    """The result of ``job``, as ``end_of`` brings it about."""
    return end_of(run, number, job).result


def end_of(run: Run, number: int, job: Job) -> Ended:
    """How ``job`` has ended; its id carries the run key and ``number`` (of the quiesce or the round).

    Raises JobFailed, OutcomeUnknown, or the HostError that no time mends. A job that nobody waits for any more is
    withdrawn where it has not begun, and ended where it may be cut.
    """
    named = identity(run, number, job)
    started = _start(run, named, job)
    if started.get("adopted"):
        tell(job.step, f"{job.host} {job.subject}", "found begun by an earlier run, adopted")
    facts = JobFacts.model_validate(_await(run, named, job))
    state = job_state(facts)
    match state:
        case Succeeded():
            began = facts.job.started if facts.job else None
            return Ended(state.result, began or datetime.now(UTC))
        case Failed():
            raise JobFailed(job, state.error.message, state.error.hresult)
        case NotStarted():
            raise JobFailed(
                job, "its scheduled task was ended before it began. Run again: nothing of it has been done."
            )
        case Interrupted() | Lost():
            raise OutcomeUnknown(job, state.why)
        case _:
            raise OutcomeUnknown(job, f"the host says {type(state).__name__}")


def _start(run: Run, named: str, job: Job) -> dict[str, Any]:
    """What its host says of the start. Where nobody hears that, the task may have been started all the same."""
    try:
        return run.hosts[job.host].start_job(
            named,
            job.script,
            job.parameters,
            secrets=job.secrets,
            deadline_seconds=job.limit,
            fence=run.fence,
            stop=run.stop,
        )
    except HostError as error:
        if error.outcome_unknown or isinstance(error, WaitStopped | DeadlineExceeded):
            _end(run, named, job, begun=job.may_be_cut)
        raise


def _await(run: Run, named: str, job: Job) -> dict[str, Any]:
    """The facts of the job once it is over; one that begins at the last moment, instead of being withdrawn, is waited for."""

    def on_progress(known: dict[str, Any]) -> None:
        facts = JobFacts.model_validate(known)
        state = job_state(facts)
        if isinstance(state, Running):
            tell(job.step, f"{job.host} {job.subject}", state.message or "running", state.percent)
        elif why := waits_to_begin(facts):
            tell(job.step, f"{job.host} {job.subject}", f"not begun yet: {why}")

    until = time.monotonic() + job.deadline
    while True:
        try:
            facts = run.hosts[job.host].wait_job(
                named,
                deadline=until - time.monotonic(),
                start_within=job.start_within,
                on_progress=on_progress,
                stop=run.stop,
                every=run.poll,
            )
            # One that its task has left unbegun has its secrets still, and whoever runs that task would begin it.
            if not is_unbegun(facts) or _end(run, named, job, begun=False) is not False:
                return facts
        except JobNotBegun:
            if _end(run, named, job, begun=False) is not False:
                raise
        except (WaitStopped, DeadlineExceeded):
            _end(run, named, job, begun=job.may_be_cut)
            raise


def _end(run: Run, named: str, job: Job, *, begun: bool) -> bool | None:
    """Withdraw the job, or with ``begun`` cut it; whether it was ended by this, None where its host does not say."""
    if run.lease_lost:
        return None  # what goes on there belongs to another run
    try:
        ended = run.hosts[job.host].stop_job(named, fence=run.fence, begun=begun)
    except HostError as error:
        tell(job.step, f"{job.host} {job.subject}", f"could not be ended, and may go on: {error}")
        return None
    if ended:
        tell(job.step, f"{job.host} {job.subject}", "ended: nobody waits for it any more")
    return ended
