"""Whether Prefect's API can be asked: a look that takes seconds, where Prefect's own client takes minutes."""

from __future__ import annotations

from typing import Literal

import httpx
from prefect.context import FlowRunContext, TaskRunContext
from prefect.settings import get_current_settings

_PROBE_SECONDS = 3.0

Api = Literal["answers", "silent", "none"]


def prefect_api() -> Api:
    """``answers``, ``silent`` where the API that is set does not answer, or ``none`` where none is set."""
    url = prefect_url()
    if not url:
        # Within a run there is a server, if only one that lives in this process.
        return "answers" if FlowRunContext.get() or TaskRunContext.get() else "none"
    try:
        httpx.get(f"{url.rstrip('/')}/health", timeout=_PROBE_SECONDS)
    except httpx.HTTPError:
        return "silent"
    return "answers"


def prefect_url() -> str:
    """The address of the API as the environment or the profile sets it; empty where they set none."""
    return get_current_settings().api.url or ""
