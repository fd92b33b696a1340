"""Detached jobs on a host, seen from here: start once whatever happens, look, wait. What they mean is ``model``'s."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import SecretStr

from blocks.winrm.deadline import Deadline
from blocks.winrm.errors import DeadlineExceeded, HostError, WaitStopped
from blocks.winrm.scripts import library, script_text, sha256

_RETRY_EVERY = 5.0
_ONE_CALL = 60.0


class Run(Protocol):
    """``WindowsHost.run``."""

    def __call__(self, script: str, /, *, deadline: float = 60, **parameters: Any) -> dict[str, Any]:
        """Run a script; see there."""


@dataclass(frozen=True)
class Order:
    """What is to run as a job, and under which id and fencing number."""

    id: str
    script: str
    parameters: dict[str, Any]
    secrets: Mapping[str, str | SecretStr] = field(repr=False)
    deadline_seconds: float
    fence: int


@dataclass(frozen=True)
class Watch:
    """How to wait for a job."""

    on_progress: Callable[[dict[str, Any]], None] | None
    stop: threading.Event
    over: Callable[[dict[str, Any]], bool]
    every: float


def start(run: Run, order: Order, deadline: Deadline, host: str, every: float) -> dict[str, Any]:
    """Start the job or adopt the one that is there; repeated while the host is away, since it is idempotent."""
    text, shared, launcher = script_text(order.script), library(), script_text("Invoke-PatchJob")
    parameters: dict[str, Any] = {
        "id": order.id,
        "script": order.script,
        "script_text": text,
        "library_text": shared,
        "launcher_text": launcher,
        "sha256": sha256(text),
        "library_sha256": sha256(shared),
        "launcher_sha256": sha256(launcher),
        "parameters": order.parameters,
        "deadline_seconds": int(order.deadline_seconds),
        "fence": order.fence,
    }
    if order.secrets:
        parameters["secrets"] = dict(order.secrets)
    never = threading.Event()
    while True:
        try:
            return run("Start-PatchJob", deadline=min(_ONE_CALL, deadline.left), **parameters)
        except HostError as error:
            trouble = error
        _endure(trouble, deadline, host, never, every)


def look(run: Run, ids: Iterable[str] | None, deadline: float) -> list[dict[str, Any]]:
    """The facts of these jobs, in the order asked, or of all jobs."""
    asked: dict[str, Any] = {} if ids is None else {"ids": list(ids)}
    answer = run("Get-PatchJob", deadline=deadline, **asked)
    return list(answer["jobs"])


def wait(run: Run, id: str, deadline: Deadline, host: str, watch: Watch) -> dict[str, Any]:  # noqa: A002
    """The facts of the job once it is over."""
    last: dict[str, Any] | None = None
    abandoned = 0
    while True:
        if watch.stop.is_set():
            raise WaitStopped(host, f"job {id}")
        if deadline.passed:
            raise DeadlineExceeded(host, f"job {id}", deadline.seconds, outcome_unknown=True)
        trouble: HostError | None = None
        try:
            facts = look(run, (id,), min(_ONE_CALL, deadline.left))[0]
        except HostError as error:
            trouble = error
        if trouble is not None:
            _endure(trouble, deadline, host, watch.stop, watch.every)
            continue
        if facts != last and watch.on_progress is not None:
            watch.on_progress(facts)
        last = facts
        # A task may end between the two reads of one look, so 'nothing runs it' counts when seen twice.
        abandoned = abandoned + 1 if _nothing_runs(facts) else 0
        if watch.over(facts) or abandoned > 1:
            return facts
        watch.stop.wait(min(watch.every, deadline.left))


def settled(facts: Mapping[str, Any]) -> bool:
    """Whether no later look can find more: a final state, no such job, or a boot under it."""
    job = facts.get("job")
    if not facts.get("exists") or not job:
        return True
    return job.get("state") in ("succeeded", "failed") or _interrupted(facts, job)


def _interrupted(facts: Mapping[str, Any], job: Mapping[str, Any]) -> bool:
    # No boot id at all: the volatile key went with the boot under which the job started, nobody has made a new one.
    return job.get("state") == "running" and bool(job.get("boot")) and job["boot"] != facts.get("boot_id")


def _nothing_runs(facts: Mapping[str, Any]) -> bool:
    return facts.get("task_state") not in ("Running", "Queued")


def _endure(trouble: HostError, deadline: Deadline, host: str, stop: threading.Event, every: float) -> None:
    """Wait a little after an error that time may mend; raise it otherwise, or when there is no time left."""
    if not (trouble.retryable or trouble.outcome_unknown):
        raise trouble
    pause = min(every, _RETRY_EVERY)
    if deadline.left <= pause:
        raise trouble
    if stop.wait(pause):
        raise WaitStopped(host, deadline.waiting_for)
