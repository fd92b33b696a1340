"""Detached jobs on a host, seen from here: start once whatever happens, look, wait. What they mean is ``model``'s."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pydantic import SecretStr, ValidationError

from blocks.winrm.deadline import Deadline
from blocks.winrm.errors import DeadlineExceeded, HostError, JobNotBegun, ScriptRefused, WaitStopped
from blocks.winrm.scripts import library, script_text, sha256
from model.jobs import JobFacts, Lost, NotStarted, Queued, Running, job_state, waits_to_begin

Seen = Literal["alive", "starting", "over", "gone"]

_RETRY_EVERY = 5.0
_ONE_CALL = 60.0
_UNCLEAR_ANSWERS = 3


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
    again: bool = False


@dataclass
class Patience:
    """How long to put up with a host, how often to ask it, and who may end that."""

    host: str
    deadline: Deadline
    every: float
    stop: threading.Event
    _unclear: int = 0
    _last: str = ""

    def check(self) -> None:
        """Raise when there is nothing left to wait with."""
        if self.stop.is_set():
            raise WaitStopped(self.host, self.deadline.waiting_for)
        if self.deadline.passed:
            raise self._out_of_time()

    def pause(self) -> None:
        """Wait until it is time to ask again, or to stop."""
        self.stop.wait(min(self.every, self.deadline.left))

    def reward(self) -> None:
        """Forget earlier trouble: the host answered."""
        self._unclear, self._last = 0, ""

    def endure(self, trouble: HostError) -> None:
        """Wait a little after an error that time may mend; raise it otherwise, or when no time is left."""
        if not trouble.retryable and not isinstance(trouble, DeadlineExceeded):
            # A PowerShell that was killed by the host's going down answers nothing at all: worth another look, or two.
            self._unclear += 1
            if not trouble.outcome_unknown or self._unclear > _UNCLEAR_ANSWERS:
                raise trouble
        if not isinstance(trouble, DeadlineExceeded):
            self._last = trouble.cause
        self.stop.wait(min(self.every, _RETRY_EVERY, self.deadline.left))
        self.check()

    def _out_of_time(self) -> DeadlineExceeded:
        waiting_for, seconds = self.deadline.waiting_for, self.deadline.seconds
        return DeadlineExceeded(self.host, waiting_for, seconds, last=self._last, outcome_unknown=True)


def _texts(script: str) -> dict[str, Any]:
    """What a task on a host runs: the script, the library, the launcher, and their hashes."""
    text, shared, launcher = script_text(script), library(), script_text("Invoke-PatchJob")
    return {
        "script_text": text,
        "library_text": shared,
        "launcher_text": launcher,
        "sha256": sha256(text),
        "library_sha256": sha256(shared),
        "launcher_sha256": sha256(launcher),
    }


def arm(run: Run, parameters: dict[str, Any], every_seconds: float, fence: int) -> dict[str, Any]:
    """Arm the dead man's switch of the host."""
    order = _texts("Restore-Service") | {"parameters": parameters, "every_seconds": int(every_seconds), "fence": fence}
    return run("Enable-DeadMansSwitch", deadline=_ONE_CALL, **order)


def start(run: Run, order: Order, patience: Patience) -> dict[str, Any]:
    """Start the job or adopt the one that is there; repeated while the host is away, since it is idempotent."""
    parameters: dict[str, Any] = _texts(order.script) | {
        "id": order.id,
        "script": order.script,
        "parameters": order.parameters,
        "deadline_seconds": int(order.deadline_seconds),
        "fence": order.fence,
    }
    if order.again:
        parameters["again"] = True
    if order.secrets:
        parameters["secrets"] = dict(order.secrets)
    while True:
        try:
            return run("Start-PatchJob", deadline=min(_ONE_CALL, patience.deadline.left), **parameters)
        except HostError as error:
            trouble = error
        patience.endure(trouble)


def look(run: Run, ids: Iterable[str] | None, deadline: float) -> list[dict[str, Any]]:
    """The facts of these jobs, in the order asked, or of all jobs."""
    asked: dict[str, Any] = {} if ids is None else {"ids": list(ids)}
    answer = run("Get-PatchJob", deadline=deadline, **asked)
    return list(answer["jobs"])


def wait(
    run: Run,
    id: str,  # noqa: A002 - the job's own word for it
    patience: Patience,
    on_progress: Callable[[dict[str, Any]], None] | None,
    start_within: float,
) -> dict[str, Any]:
    """The facts of the job once it is over; raises JobNotBegun where it waits longer to begin than that."""
    last: dict[str, Any] | None = None
    gone = 0
    beginning = Deadline(start_within, f"the beginning of job {id}")
    while True:
        patience.check()
        trouble: HostError | None = None
        try:
            facts = look(run, (id,), min(_ONE_CALL, patience.deadline.left))[0]
            state = judge(facts)
        except HostError as error:
            trouble = error
        except ValidationError as error:
            trouble = ScriptRefused(patience.host, f"Get-PatchJob answers what nobody understands: {_first(error)}")
        if trouble is not None:
            patience.endure(trouble)
            beginning = Deadline(start_within, beginning.waiting_for)  # a host that is away begins nothing
            continue
        patience.reward()
        if facts != last and on_progress is not None:
            on_progress(facts)
        last = facts
        # The host looks at the task and at the files one after the other, so 'nothing runs it' counts when seen twice.
        gone = gone + 1 if state == "gone" else 0
        if state == "over" or gone > 1:
            return facts
        if state == "starting" and beginning.passed:
            raise JobNotBegun(patience.host, id, start_within, waits_to_begin(JobFacts.model_validate(facts)) or "")
        patience.pause()


def judge(facts: Mapping[str, Any]) -> Seen:
    """Whether to go on waiting for a job: ``alive``, ``over``, or ``gone`` (nothing runs it, and it has no end).

    ``starting`` waits for its host's task scheduler, which has a deadline of its own.
    """
    known = JobFacts.model_validate(facts)
    state = job_state(known)
    if waits_to_begin(known) is not None:
        return "starting"
    if isinstance(state, Running | Queued):
        return "alive"
    return "gone" if isinstance(state, NotStarted | Lost) else "over"


def _first(error: ValidationError) -> str:
    found = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, found['loc']))}: {found['msg']}"
