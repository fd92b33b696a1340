"""What a host's facts about a job mean: whether to wait for it, read its result, or say what became of it.

The facts are those of Get-PatchJob: ``job.json``, ``progress.json``, the scheduled task, and the boot that answers.
The script reads the task before the files, so of the two the task is the older news.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import AwareDatetime, Field

from model.hresults import task_result_meaning
from model.records import Answer

HAS_NOT_RUN = 0x41303
TERMINATED = 0x41306
QUEUED = 0x41325
_RUNS = 0x41301
_ALIVE = {"Running", "Queued"}


class JobError(Answer):
    """The exception that ended a job, as its launcher wrote it down."""

    type: str = ""
    message: str
    hresult: int | None = None
    script: str | None = None
    line: int | None = None
    id: str | None = None


class JobFile(Answer):
    """A job's ``job.json``."""

    id: str
    script: str
    state: Literal["created", "running", "succeeded", "failed"]
    sha256: str | None = None
    library_sha256: str | None = None
    launcher_sha256: str | None = None
    created: AwareDatetime | None = None
    started: AwareDatetime | None = None
    ended: AwareDatetime | None = None
    boot: str | None = None
    fence: int | None = None
    result: Any = None
    error: JobError | None = None


class JobProgress(Answer):
    """A job's ``progress.json``."""

    percent: int = Field(default=0)
    message: str = ""
    at: AwareDatetime | None = None


class JobInstaller(Answer):
    """A job's ``installer.json``: the processes {id, name, started} of the installer that it has started, as seen last."""

    processes: tuple[Mapping[str, Any], ...] = ()


class JobFacts(Answer):
    """One entry of Get-PatchJob's answer; ``boot_id`` is that of the boot that answers, None where it has none yet."""

    id: str
    exists: bool
    logged: bool = False
    """Whether it has a log, which its launcher begins with its work."""
    job: JobFile | None = None
    progress: JobProgress | None = None
    installer: JobInstaller | None = None
    task_state: str | None = None
    task_result: int | None = None
    boot_id: str | None = None


@dataclass(frozen=True)
class NotStarted:
    """The job has not begun: starting it (again) is right, and does nothing twice."""


@dataclass(frozen=True)
class Queued:
    """The task scheduler has taken it and not begun it: wait, with a deadline of its own for the start."""


@dataclass(frozen=True)
class Running:
    """It runs: wait."""

    percent: int
    message: str


@dataclass(frozen=True)
class Succeeded:
    """It ended well, with what its script returned."""

    result: Any


@dataclass(frozen=True)
class Failed:
    """It ended with an error."""

    error: JobError


@dataclass(frozen=True)
class Interrupted:
    """The host restarted under it. What it had done is unknown: judge by evidence."""

    why: str


@dataclass(frozen=True)
class Lost:
    """Its process is gone without an end, in the same boot. What it had done is unknown: judge by evidence."""

    why: str


JobState = NotStarted | Queued | Running | Succeeded | Failed | Interrupted | Lost


def has_begun(facts: JobFacts) -> bool:
    """Whether anything of a job has run, or its task runs or is queued: then Start-PatchJob adopts it.

    Whatever else was given to its host (its start was cut off, its task refused, it was withdrawn) is made anew.
    """
    job = facts.job
    if job is None or job.state == "created":
        return facts.task_state in _ALIVE or (job is None and facts.logged)
    return not (job.state == "failed" and job.error is not None and job.error.id == "JobWithdrawn")


def is_unbegun(facts: Mapping[str, Any]) -> bool:
    """Whether a job that is over, by these facts of its host, was made and never begun."""
    job = JobFacts.model_validate(facts).job
    return job is not None and job.state == "created"


def left_by(facts: JobFacts) -> tuple[Mapping[str, Any], ...]:
    """The processes {id, name, started} of a job's installer that may be at work although the job has ended.

    Where it has ended under them, or at its deadline; what it has watched to its end has left nothing.
    """
    match job_state(facts):
        case Lost() | Failed():
            return facts.installer.processes if facts.installer else ()
        case Succeeded({"exit_code": None, "running": [*processes]}):
            return tuple(processes)
        case _:
            return ()


SAFE_TO_STOP = frozenset(
    {
        "Find-UpdateFile",
        "Find-WindowsUpdate",
        "Invoke-SqlStatement",
        "Measure-BackupFile",
        "New-FolderArchive",
        "Save-Package",
        "Save-WindowsUpdate",
        "Send-BackupFile",
        "Test-PatchHost",
    }
)
"""Scripts whose work may be cut and done again: scans, downloads, backups. Whatever is not named here is never ended, least of
all an installer; a backup that is cut is a file that nobody counts."""


def waits_to_begin(facts: JobFacts) -> str | None:
    """Why a job that its host knows has not begun, while its task scheduler may still begin it; None for any other.

    On a small machine a started task may look for a minute as if nobody had started it.
    """
    if not facts.exists or facts.job is None or facts.job.state != "created":
        return None
    if facts.task_state == "Disabled":
        return "its scheduled task is disabled"
    if facts.task_state in _ALIVE or facts.task_result == QUEUED:
        return f"its scheduled task {'runs, and says nothing' if facts.task_state == 'Running' else 'is queued'}"
    if facts.task_state is not None and facts.task_result == HAS_NOT_RUN:
        return "its scheduled task has not run"
    return None


def job_state(facts: JobFacts) -> JobState:
    """The state of a job as its host tells it."""
    job = facts.job
    if not facts.exists or job is None:
        if facts.task_state in _ALIVE:
            return Queued()
        return Lost(f"{facts.id}: it has begun, and its job.json is gone") if facts.logged else NotStarted()
    if job.state == "succeeded":
        return Succeeded(job.result)
    if job.state == "failed":
        return Failed(job.error or JobError(message="the job failed and left no error behind"))
    return _created(facts) if job.state == "created" else _running(facts, job)


def _created(facts: JobFacts) -> JobState:
    """Nothing of the job's own has run yet: its launcher writes 'running' before anything else."""
    if facts.task_state in _ALIVE or facts.task_result == QUEUED:
        return Queued()
    if facts.task_state is None or facts.task_result in {None, HAS_NOT_RUN, TERMINATED, _RUNS}:
        return NotStarted()
    code = facts.task_result & 0xFFFFFFFF if facts.task_result is not None else 0
    meaning = task_result_meaning(code)
    return Failed(
        JobError(
            type="ScheduledTask",
            message=f"the scheduled task of job {facts.id} ended before the job began (0x{code:08X}): {meaning}",
            hresult=code,
        )
    )


def _running(facts: JobFacts, job: JobFile) -> JobState:
    if job.boot is not None and facts.boot_id != job.boot:
        return Interrupted(f"{facts.id}: the host restarted while it ran")
    # 'Has not run' beside a running job: the task was looked at a moment before it began.
    if facts.task_state in _ALIVE or facts.task_result == HAS_NOT_RUN:
        progress = facts.progress or JobProgress()
        return Running(min(max(progress.percent, 0), 100), progress.message)
    if facts.task_state is None:
        return Lost(f"{facts.id}: its scheduled task is gone, and it left no end behind")
    code = (facts.task_result or 0) & 0xFFFFFFFF
    if code == TERMINATED:
        return Lost(f"{facts.id}: it was ended from outside, or ran past its time limit (0x{code:X})")
    return Lost(f"{facts.id}: its process ended without writing an end (0x{code:X}: {task_result_meaning(code)})")
