"""A step of the runbook done here and now: no flow, no thread, no Prefect."""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import State

from tasks.step import Step


def at_once(one: Step[Any, Any], *arguments: Any) -> Any:
    """What the step answers; raises what it has failed by."""
    answer = one._task.fn(*arguments)
    answer = answer.data if isinstance(answer, State) else answer
    if isinstance(answer, BaseException):
        raise answer
    return answer
