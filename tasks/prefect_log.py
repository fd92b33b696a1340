"""What Prefect's log leaves out: what it says a second time, with a traceback of its own, of a failure that it has told.

The states of tasks and of the flow tell each failure in one line. Before a task's, Prefect logs it as an object; after the
flow's, its engine logs thirty lines of where it raised it, and those would be the last that a person reads.
"""

from __future__ import annotations

import logging

from prefect.exceptions import FailedRun
from prefect.logging import get_logger


class _Said(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, FailedRun) and not record.getMessage().startswith("Task run failed with state: ")


def say_failures_once() -> None:
    """Leave the repetitions out of the logs of all flow and task runs of this process."""
    for name in ("flow_runs", "task_runs"):
        logger = get_logger(name)
        if not any(isinstance(known, _Said) for known in logger.filters):
            logger.addFilter(_Said())
