"""How every task of this project is declared, and how a stage of the runbook waits for its tasks.

Prefect's retries, caches and stored results are off for every task: an act on a host is resumed by asking the host,
never by replaying a task. ``compute_transaction_key`` knows no task name, so that under a cached policy
``scan(host)`` would even answer for ``restart(host)``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Generic, ParamSpec, TypeVar
from uuid import UUID

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.states import Failed

from blocks.s3_errors import StoreError
from blocks.sql_errors import SqlServerError
from blocks.web import WebError
from blocks.winrm.errors import HostError
from model.outcome import Problem, Stopped
from tasks.jobs import JobFailed, OutcomeUnknown
from tasks.prefect_log import say_failures_once
from tasks.run import Run

EXPECTED = (Stopped, JobFailed, OutcomeUnknown, HostError, SqlServerError, StoreError, WebError)
"""What servers do to us: told in one line. Anything else is a bug of ours, and keeps its traceback."""

say_failures_once()

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class _Waited:
    """The tasks that a flow has waited for since it began its last one, and that ended well."""

    futures: list[PrefectFuture[Any]] = field(default_factory=list)
    used: bool = False


_waited: dict[UUID, _Waited] = {}
"""By flow run."""


class Step(Generic[P, R]):
    """A task of the runbook, which Prefect draws below those that its flow has waited for last."""

    def __init__(self, one: Task[P, R]) -> None:
        self._task = one

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> PrefectFuture[R]:
        """Start it on a thread of its own."""
        context = FlowRunContext.get()
        before = _waited.get(context.flow_run.id) if context and context.flow_run else None
        return self.submit_after(before.futures if before else (), *args, **kwargs)

    def submit_after(
        self, futures: Iterable[PrefectFuture[Any]], /, *args: P.args, **kwargs: P.kwargs
    ) -> PrefectFuture[R]:
        """Start it once ``futures`` have ended well."""
        context = FlowRunContext.get()
        if context and context.flow_run:
            _waited.setdefault(context.flow_run.id, _Waited()).used = True
        submit: Any = self._task.submit
        future: PrefectFuture[R] = submit(*args, wait_for=list(futures), **kwargs)
        return future


def step(name: str) -> Callable[[Callable[P, R]], Step[P, R]]:
    """Declare a task whose runs are called ``name``, a template over its parameters (``restart {host}``).

    The first parameter of those that touch a host is the run: once it is told to end, none begins any more.
    """

    def declare(function: Callable[P, R]) -> Step[P, R]:
        @functools.wraps(function)
        def told(*args: P.args, **kwargs: P.kwargs) -> R:
            run = args[0] if args and isinstance(args[0], Run) else None
            try:
                with run.acting() if run else nullcontext():
                    return function(*args, **kwargs)
            except EXPECTED as error:
                if run:
                    run.heed(error)
                # As a state, not as an exception: Prefect would log a traceback, and 02:00 is no time to read one.
                failed: Any = Failed(message=str(error), data=error)
                return failed  # type: ignore[no-any-return]

        return Step(task(task_run_name=name, persist_result=False, cache_policy=NO_CACHE, retries=0)(told))

    return declare


class After:
    """Submits tasks that wait for ``futures`` first: ``After(pages).submit(stop_services, run, host)``."""

    def __init__(self, futures: Iterable[PrefectFuture[Any]]) -> None:
        self._futures = list(futures)

    def submit(self, one: Step[P, R], *args: P.args, **kwargs: P.kwargs) -> PrefectFuture[R]:
        """Submit ``one``; Prefect draws an edge from each of the futures to it."""
        return one.submit_after(self._futures, *args, **kwargs) if self._futures else one.submit(*args, **kwargs)


def gather(futures: Iterable[PrefectFuture[R]]) -> tuple[list[R], list[Problem]]:
    """The results of tasks and the problems of those that failed, each in order, after all of them have ended."""
    waited = list(futures)
    for future in waited:
        future.wait()
    _note(waited)
    results: list[R] = []
    problems: list[Problem] = []
    for future in waited:
        answer: Any = future.result(raise_on_failure=False)
        if isinstance(answer, Stopped):
            problems += answer.problems
        elif isinstance(answer, BaseException):
            problems.append(Problem.of(answer))
        else:
            results.append(answer)
    return results, problems


def _note(waited: Iterable[PrefectFuture[Any]]) -> None:
    """These come before whatever the flow submits next; no others do.

    Prefect takes a task for another's input where both hold one object, if only the name of a host that both were
    given: it forgets those here. One that failed is left out, as what waits for it would not run.
    """
    context = FlowRunContext.get()
    if context and context.flow_run:
        context.run_results.clear()
        done = [future for future in waited if future.state.is_completed()]
        known = _waited.setdefault(context.flow_run.id, _Waited())
        if done and known.used:
            _waited[context.flow_run.id] = _Waited(done)
        else:
            known.futures += done


def by_host(futures: Mapping[str, PrefectFuture[R]]) -> tuple[dict[str, R], list[Problem]]:
    """The results of tasks by their hosts, without those that failed, and the problems of these."""
    results, problems = gather(futures.values())
    well = [host for host, future in futures.items() if future.state.is_completed()]
    return dict(zip(well, results, strict=True)), problems


@contextmanager
def besides(stage: str, problems: Sequence[Problem]) -> Iterator[None]:
    """Where the block raises Stopped, tell what went wrong at ``stage`` before it, too, and first."""
    try:
        yield
    except Stopped as stopped:
        if not problems:
            raise
        raise Stopped(stage, [*problems, *stopped.problems]) from None


def settle(stage: str, futures: Iterable[PrefectFuture[R]]) -> list[R]:
    """The results of a stage's tasks, in order; raises Stopped with a problem for each that failed.

    None is lost behind the first, and all have ended when it raises.
    """
    results, problems = gather(futures)
    if problems:
        raise Stopped(stage, problems)
    return results
