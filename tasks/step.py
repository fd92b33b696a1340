"""How every task of this project is declared, and how a stage of the runbook waits for its tasks.

Prefect's retries, caches and stored results are off for every task: an act on a host is resumed by asking the host,
never by replaying a task. ``compute_transaction_key`` knows no task name, so that under a cached policy
``scan(host)`` would even answer for ``restart(host)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture

from model.outcome import Problem, Stopped

P = ParamSpec("P")
R = TypeVar("R")


def step(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Declare a task whose runs are called ``name``, a template over its parameters (``restart {host}``)."""

    def declare(function: Callable[P, R]) -> Task[P, R]:
        return task(task_run_name=name, persist_result=False, cache_policy=NO_CACHE, retries=0)(function)

    return declare


def settle(stage: str, futures: Iterable[PrefectFuture[R]]) -> list[R]:
    """The results of a stage's tasks, in order, after all of them have ended.

    Raises Stopped with one problem for each task that failed: none is lost behind the first.
    """
    waited = list(futures)
    for future in waited:
        future.wait()
    results: list[R] = []
    problems: list[Problem] = []
    for future in waited:
        answer: Any = future.result(raise_on_failure=False)
        if isinstance(answer, BaseException):
            problems.append(Problem.of(answer))
        else:
            results.append(answer)
    if problems:
        raise Stopped(stage, problems)
    return results
