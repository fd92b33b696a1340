"""Jobs are stopped, withdrawn and removed: only what may be, by whom may do it, in the engine and in the lab alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from echo_job import ECHO, ID, ROOT, TASK, VOLATILE, as_made, order, start_task, until

pytestmark = [
    pytest.mark.lookalike,
    pytest.mark.telling("Start-PatchJob", "Get-PatchJob", "Stop-PatchJob", "Remove-PatchJob"),
    pytest.mark.usefixtures("echo_is_shipped"),
]

FOLDER = r"C:\ProgramData\EngageIPPatching\jobs" + f"\\{ID}"
PLAIN_USER = "S-1-5-21-1004336348-1177238915-682003330-1001"


@pytest.mark.parametrize("phase", ["running", "ended", "unknown"])
def test_stopping(twin: Callable[..., Any], job_document: Any, phase: str) -> None:
    """A running job is ended and reads failed; one that had ended, or was never made, is left as it is."""
    hosts = twin()
    if phase != "unknown":
        hosts.run("Start-PatchJob", order(job_document, seconds=30 if phase == "running" else 0))
        if phase == "ended":
            hosts.wait("run.1.echo.x")
        until(lambda: all(hosts.json(f"{ROOT}/jobs/run.1.echo.x/progress.json")))
    answer = hosts.run("Stop-PatchJob", {"id": ID, "fence": 1, "begun": True}).agree(*VOLATILE)
    assert answer["stopped"] is (phase == "running")
    if phase == "running":
        assert answer["job"]["job"]["error"]["id"] == "JobStopped"
        assert answer["job"]["task_result"] == 267014
    if phase == "ended":
        assert answer["job"]["job"]["state"] == "succeeded"
    again = {"id": ID, "fence": 1, "begun": True}
    assert hosts.run("Stop-PatchJob", again).agree(*VOLATILE)["stopped"] is False


def test_what_has_begun_is_not_withdrawn(twin: Callable[..., Any], job_document: Any) -> None:
    """Unless it is asked for in so many words, a job that runs is left alone: no installer is ever cut."""
    hosts = twin()
    hosts.run("Start-PatchJob", order(job_document, seconds=600))
    until(lambda: all(hosts.json(f"{ROOT}/jobs/{ID}/progress.json")))
    answer = hosts.run("Stop-PatchJob", {"id": ID, "fence": 1}).agree(*VOLATILE)
    assert (answer["stopped"], answer["job"]["job"]["state"], answer["job"]["task_state"]) == (
        False,
        "running",
        "Running",
    )
    hosts.run("Stop-PatchJob", {"id": ID, "fence": 1, "begun": True})


def test_a_withdrawn_job_never_begins(twin: Callable[..., Any], job_document: Any) -> None:
    """Its task may still be started, by hand or because it was queued: the launcher finds the job ended, and leaves it.

    A later start begins it anew, since nothing of it has run.
    """
    hosts = twin()
    hosts.run("Start-PatchJob", order(job_document) | {"secrets": {"password": "x"}})
    hosts.wait(ID)
    as_made(hosts)
    for name in ("secrets.bin", "secrets.bin.0f.new"):
        hosts.put(f"{ROOT}/jobs/{ID}/{name}", b"sealed")
    withdrawn = hosts.run("Stop-PatchJob", {"id": ID, "fence": 1}).agree(*VOLATILE)
    assert (withdrawn["stopped"], withdrawn["job"]["job"]["error"]["id"]) == (True, "JobWithdrawn")
    assert "secrets.bin" not in str(hosts.files())
    before = hosts.json(f"{ROOT}/jobs/{ID}/job.json")
    start_task(hosts)
    assert hosts.wait(ID).agree(*VOLATILE)["task_result"] == 2
    assert hosts.json(f"{ROOT}/jobs/{ID}/job.json") == before
    assert hosts.json(f"{ROOT}/jobs/{ID}/progress.json") == (None, None)
    anew = hosts.run("Start-PatchJob", order(job_document))
    for side in (anew.engine["value"], anew.lab["value"]):
        assert (side["adopted"], side["started"]) == (False, True)
    assert hosts.wait(ID).agree(*VOLATILE)["job"]["state"] == "succeeded"


def test_a_stopped_job_is_begun_anew(twin: Callable[..., Any], job_document: Any) -> None:
    """Only what may safely be done again is stopped; so the next run of the same key is not stuck with its end."""
    hosts = twin()
    hosts.run("Start-PatchJob", order(job_document, seconds=30))
    until(lambda: all(hosts.json(f"{ROOT}/jobs/{ID}/progress.json")))
    hosts.run("Stop-PatchJob", {"id": ID, "fence": 1, "begun": True})
    anew = hosts.run("Start-PatchJob", order(job_document))
    for side in (anew.engine["value"], anew.lab["value"]):
        assert (side["adopted"], side["started"], side["job"]["progress"]) == (False, True, None)
    assert hosts.wait(ID).agree(*VOLATILE)["job"]["state"] == "succeeded"


def test_removing(twin: Callable[..., Any], job_document: Any) -> None:
    """Task and folder go together; what runs stays, and so does what is not a job of ours."""
    hosts = twin()
    hosts.run("Start-PatchJob", order(job_document))
    hosts.wait(ID)
    running = job_document("run.1.echo.y", "Write-Echo", {"text": "y", "seconds": 30}, text=ECHO)
    hosts.run("Start-PatchJob", running)
    until(lambda: all(hosts.json(f"{ROOT}/jobs/run.1.echo.y/progress.json")))
    foreign = FOLDER.replace(ID, "foreign")
    hosts.put(f"{ROOT}/jobs/foreign/job.json", "{}")
    hosts.state("acl.json", lambda acl: acl.update({foreign: {"owner": PLAIN_USER}}))
    ids = [ID, "run.1.echo.y", "foreign", "nobody.knows.it", "..\\up"]
    answer = hosts.run("Remove-PatchJob", {"ids": ids, "fence": 1}).agree()
    assert answer["removed"] == [ID, "nobody.knows.it"]
    assert [each["id"] for each in answer["failed"]] == ["run.1.echo.y", "foreign", "..\\up"]
    assert answer["failed"][0]["error"] == "it has not ended"
    first, second = hosts.files(f"{ROOT}/jobs")
    assert first == second
    assert {name.partition("/")[0] for name in first} == {"run.1.echo.y", "foreign"}
    assert [list(tasks) for tasks in hosts.json("tasks.json")] == [[TASK + "run.1.echo.y"]] * 2
    hosts.run("Stop-PatchJob", {"id": "run.1.echo.y", "fence": 1, "begun": True})


def test_an_overtaken_run_removes_nothing(twin: Callable[..., Any]) -> None:
    """Removing is an act: a lower fence is refused."""
    hosts = twin()
    hosts.put(f"{ROOT}/lease.json", json.dumps({"fence": 3, "holder": "them", "key": "k", "released": False}))
    assert hosts.run("Remove-PatchJob", {"ids": ["a"], "fence": 2}).agree("line")["id"] == "FenceTooLow"


def test_an_overtaken_run_stops_nothing(twin: Callable[..., Any]) -> None:
    """Stopping is an act: a lower fence is refused."""
    hosts = twin()
    hosts.put(f"{ROOT}/lease.json", json.dumps({"fence": 3, "holder": "them", "key": "k", "released": False}))
    assert hosts.run("Stop-PatchJob", {"id": "a", "fence": 2}).agree("line")["id"] == "FenceTooLow"
