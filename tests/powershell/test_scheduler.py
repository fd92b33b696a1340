"""What a task scheduler may do to a job: only the lab can be asked for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from echo_job import ID, ROOT, TASK, order, until

from lab.faults import Fault

pytestmark = [pytest.mark.lookalike, pytest.mark.usefixtures("echo_is_shipped")]


def test_blocked_by_endpoint_protection(twin: Callable[..., Any], job_document: Any) -> None:
    """The task has ended, the job was never begun: the client must see that from the facts and not wait for ever."""
    hosts = twin()
    hosts.lab.faults.declare(Fault("task.blocked", on="web01"))
    hosts.run("Start-PatchJob", order(job_document))
    facts = hosts.wait("run.1.echo.x").lab
    assert (facts["job"]["state"], facts["task_state"], facts["task_result"]) == ("created", "Ready", 1)


def test_a_slow_scheduler_queues(twin: Callable[..., Any], job_document: Any) -> None:
    """A start may be delayed: the task is queued (267045), the job created."""
    hosts = twin()
    hosts.lab.faults.declare(Fault("task.queued", on="web01", with_={"seconds": 60}))
    value = hosts.run("Start-PatchJob", order(job_document)).lab["value"]["job"]
    assert (value["job"]["state"], value["task_state"], value["task_result"]) == ("created", "Queued", 267045)
    assert hosts.wait("run.1.echo.x").lab["job"]["state"] == "succeeded"


def test_a_job_over_its_limit_is_ended(twin: Callable[..., Any], job_document: Any) -> None:
    """ExecutionTimeLimit ends the process: job.json stays 'running', the task has ended with 267014."""
    hosts = twin()
    hosts.run("Start-PatchJob", order(job_document, seconds=20) | {"deadline_seconds": 100})
    until(lambda: hosts.lab.parts["tasks"].info(TASK + "run.1.echo.x") == ("Ready", 267014))
    assert hosts.json(f"{ROOT}/jobs/run.1.echo.x/job.json")[1]["state"] == "running"
    hosts.run("Stop-PatchJob", {"id": "run.1.echo.x", "fence": 1, "begun": True})


def test_a_start_that_windows_refuses(twin: Callable[..., Any], job_document: Any) -> None:
    """No right to log on as a batch job: the task has ended with that code, the job was never begun."""
    hosts = twin()
    hosts.lab.faults.declare(Fault("task.refused", on="web01", times=1))
    hosts.run("Start-PatchJob", order(job_document))
    until(lambda: hosts.lab.parts["tasks"].info(TASK + ID)[1] == 0x80070569)
    assert hosts.json(f"{ROOT}/jobs/{ID}/job.json")[1]["state"] == "created"
    assert hosts.run("Start-PatchJob", order(job_document)).lab["value"]["started"] is True
    assert hosts.wait(ID).lab["job"]["state"] == "succeeded"


def test_a_scheduler_that_takes_its_time(twin: Callable[..., Any], job_document: Any) -> None:
    """On small machines a started task looks for a while as if nobody had started it, and then it runs."""
    hosts = twin()
    hosts.lab.faults.declare(Fault("task.start_delay", on="web01", times=1, with_={"seconds": 50}))
    value = hosts.run("Start-PatchJob", order(job_document)).lab["value"]["job"]
    assert (value["job"]["state"], value["task_state"], value["task_result"]) == ("created", "Ready", 267011)
    until(lambda: hosts.json(f"{ROOT}/jobs/{ID}/job.json")[1]["state"] == "succeeded")
