"""What people see while a run goes on: progress to whoever listens, artifacts to Prefect.

Nothing here may stop a run: Prefect's API can be away while servers are half-patched. Artifacts go out on a thread of
their own, with a deadline, and a failure is logged once.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext
from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger
from prefect.runtime import deployment

from blocks.prefect_api import prefect_api

_DEADLINE_SECONDS = 10.0
_QUIET_AFTER_FAILURE_SECONDS = 60.0
_AWAIT_SECONDS = 600.0
_AWAIT_EVERY_SECONDS = 2.0


@dataclass(frozen=True)
class Progress:
    """One sign of life: ``stage`` of the runbook, its ``subject`` (a host, a database), what it does, percent if known."""

    stage: str
    subject: str
    message: str
    percent: float | None = None
    at: float = field(default_factory=time.time)


Listener = Callable[[Progress], None]
_listeners: list[Listener] = []
_silent_until = 0.0


def subscribe(listener: Listener) -> Callable[[], None]:
    """Have ``listener`` called with every Progress of this process; answers the function that ends it."""
    _listeners.append(listener)
    return lambda: _forget(listener)


def _forget(listener: Listener) -> None:
    with suppress(ValueError):
        _listeners.remove(listener)


def tell(stage: str, subject: str, message: str, percent: float | None = None) -> None:
    """Tell every listener and the log of the task or flow that is running.

    A listener whose terminal is gone, or whose pipe nobody reads any more, is told no more: no night ends for that.
    """
    progress = Progress(stage, subject, message, percent)
    for listener in _listeners.copy():
        try:
            listener(progress)
        except (OSError, SystemExit):  # rich ends a program whose pipe is broken
            _forget(listener)
    try:
        logger = get_run_logger()
    except MissingContextError:
        logger = get_logger("billpatch")
    logger.info("%s: %s", subject, message if percent is None else f"{message} ({percent:.0f} %)")


def publish(key: str, markdown: str, description: str) -> None:
    """Show ``markdown`` as an artifact of the current run; best effort, never an error, at most ten seconds.

    Where no flow runs there is nobody to show it to, and asking Prefect would start a server.
    """
    global _silent_until  # noqa: PLW0603 - one API per process
    if time.monotonic() < _silent_until or FlowRunContext.get() is None:
        return
    failed: list[str] = []

    def send() -> None:
        try:
            create_markdown_artifact(key=key, markdown=markdown, description=description)
        except Exception as error:  # noqa: BLE001 - whatever Prefect's API does, the run goes on
            failed.append(type(error).__name__)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(send,), daemon=True, name=f"artifact-{key}")
    thread.start()
    thread.join(_DEADLINE_SECONDS)
    if failed or thread.is_alive():
        _silent_until = time.monotonic() + _QUIET_AFTER_FAILURE_SECONDS
        get_logger("billpatch").warning(
            "Prefect did not take the artifact %s (%s); going on", key, failed or "no answer"
        )


def await_prefect() -> None:
    """Give Prefect's API time to come back, so that it hears how a run ended; only for a run that a worker started.

    All work is done by now. A person who started it by hand is not kept waiting for that.
    """
    deadline = time.monotonic() + _AWAIT_SECONDS
    if deployment.id is None or prefect_api() != "silent":
        return
    get_logger("billpatch").warning("The work is done, and Prefect's API is away; waiting to tell it how the run ended")
    while time.monotonic() < deadline and prefect_api() == "silent":
        time.sleep(_AWAIT_EVERY_SECONDS)
