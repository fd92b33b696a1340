"""Several hosts at once, where Prefect starts no task any more; and no half-way end of it."""

from __future__ import annotations

import contextvars
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from blocks.sql_errors import SqlServerError
from blocks.winrm.errors import HostError
from model.outcome import Stopped
from tasks.run import Run

T = TypeVar("T")

Trouble = HostError | SqlServerError | Stopped
"""What keeps one host from being dealt with, and no other."""


class TakenOver(Exception):  # noqa: N818 - the name says what happened
    """Another run has taken the estate over: nothing of it is ours to touch any more."""


def together(run: Run, hosts: Iterable[str], act: Callable[[str], T]) -> tuple[dict[str, T], dict[str, Trouble]]:
    """``act`` on all of ``hosts`` at once: what it returned by host, and the trouble of those where it raised.

    Raises TakenOver where a host refused because another run has taken over.
    """
    going = {}
    answers: dict[str, T] = {}
    troubles: dict[str, Trouble] = {}
    names = list(hosts)
    with ThreadPoolExecutor(max(1, len(names)), thread_name_prefix="together") as pool:
        for host in names:
            going[host] = pool.submit(contextvars.copy_context().run, act, host)
    for host, done in going.items():
        try:
            answers[host] = done.result()
        except (HostError, SqlServerError, Stopped) as trouble:
            run.heed(trouble)
            troubles[host] = trouble
    must_be_ours(run)
    return answers, troubles


def must_be_ours(run: Run) -> None:
    """Raise TakenOver where another run has taken the estate over."""
    if run.lease_lost:
        raise TakenOver(run.lease_lost)


def is_passing(trouble: Trouble) -> bool:
    """Whether the host may only be restarting."""
    return isinstance(trouble, HostError | SqlServerError) and trouble.retryable


def said(trouble: Trouble) -> str:
    """What went wrong, without the name of the stage."""
    return "; ".join(problem.message for problem in trouble.problems) if isinstance(trouble, Stopped) else str(trouble)


@contextmanager
def undisturbed(insist: Callable[[], None]) -> Iterator[None]:
    """Keep Ctrl-C and SIGTERM from ending the block half-way; ``insist`` is called instead.

    A second Ctrl-C goes through. After SIGTERM comes SIGKILL, which nothing keeps out.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def note(number: int, _frame: Any) -> None:
        seen.append(number)
        if seen.count(signal.SIGINT) > 1:
            raise KeyboardInterrupt
        insist()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
