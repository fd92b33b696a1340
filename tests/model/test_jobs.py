"""What a host says of a job becomes exactly one state, and an unknown end is neither success nor failure."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from model.jobs import (
    Failed,
    Interrupted,
    JobFacts,
    JobState,
    Lost,
    NotStarted,
    Queued,
    Running,
    Succeeded,
    has_begun,
    job_state,
    waits_to_begin,
)

BOOT = "0f8fad5b-d9cb-469f-a165-70867728950e"
OTHER_BOOT = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


def facts(state: str | None = None, **told: Any) -> JobFacts:
    """What Get-PatchJob answers for one job; ``state`` None where the host does not know it."""
    job = None
    if state is not None:
        job = {
            "id": "j",
            "script": "New-FolderArchive",
            "state": state,
            "created": "2026-03-08T07:30:00Z",
            "boot": None,
        }
        job |= {"started": None, "ended": None, "fence": 3, "result": None, "error": None, "sha256": "ab", "new": 1}
        job |= told.pop("job", {})
    answer = {
        "id": "j",
        "exists": job is not None,
        "job": job,
        "progress": None,
        "task_state": None,
        "task_result": None,
    }
    return JobFacts.model_validate({**answer, "boot_id": BOOT, **told})


def state(*arguments: Any, **told: Any) -> JobState:
    return job_state(facts(*arguments, **told))


def test_a_job_the_host_does_not_know_has_not_started() -> None:
    assert state() == NotStarted()
    assert state(task_state="Queued", task_result=0x41325) == Queued()


def test_a_job_that_has_begun_and_lost_its_file_is_lost() -> None:
    """Its log says that it has begun: what it had done is unknown, and it is not begun anew."""
    told = {"logged": True, "task_state": "Ready", "task_result": 0}
    assert isinstance(state(**told), Lost)
    assert has_begun(facts(**told))


@pytest.mark.parametrize(
    ("task_state", "task_result", "expected"),
    [
        (None, None, NotStarted()),
        ("Ready", 0x41303, NotStarted()),
        ("Ready", None, NotStarted()),
        ("Ready", 0x41306, NotStarted()),  # a boot ended it before it wrote a word
        ("Queued", 0x41303, Queued()),
        ("Ready", 0x41325, Queued()),
        ("Running", 0x41301, Queued()),
    ],
)
def test_a_job_that_has_not_written_running_may_be_started_or_awaited(
    task_state: str | None, task_result: int | None, expected: JobState
) -> None:
    assert state("created", task_state=task_state, task_result=task_result) == expected


@pytest.mark.parametrize("code", [0x80070569, 0x80070569 - 2**32])
def test_a_task_that_could_not_start_says_why(code: int) -> None:
    found = state("created", task_state="Ready", task_result=code)
    assert isinstance(found, Failed)
    assert "0x80070569" in found.error.message
    assert "batch job" in found.error.message
    assert found.error.hresult == 0x80070569


@pytest.mark.parametrize(
    ("job", "task_state", "task_result", "why"),
    [
        ("created", "Queued", 0x41325, "its scheduled task is queued"),
        ("created", "Ready", 0x41325, "its scheduled task is queued"),
        ("created", "Ready", 0x41303, "its scheduled task has not run"),
        ("created", "Disabled", 0x41303, "its scheduled task is disabled"),
        ("created", "Running", 0x41301, "its scheduled task runs, and says nothing"),
        ("created", None, None, None),  # nothing will begin it
        ("created", "Ready", 0x41306, None),  # ended by a boot
        ("created", "Ready", 0x80070569, None),  # refused
        ("running", "Running", 0x41301, None),
        (None, None, None, None),
    ],
)
def test_what_waits_to_begin(job: str | None, task_state: str | None, task_result: int | None, why: str | None) -> None:
    """Only what the task scheduler may still begin is waited for, with a deadline of its own."""
    assert waits_to_begin(facts(job, task_state=task_state, task_result=task_result)) == why


@pytest.mark.parametrize(
    ("job", "task_state", "error", "begun"),
    [
        (None, None, None, False),
        ("created", None, None, False),  # its start was cut off
        ("created", "Ready", None, False),  # refused, blocked, ended by a boot, or not announced yet
        ("created", "Queued", None, True),
        ("created", "Running", None, True),
        ("running", "Ready", None, True),
        ("succeeded", None, None, True),
        ("failed", "Ready", "JobWithdrawn", False),
        ("failed", "Ready", "JobTampered", True),
        ("failed", "Ready", None, True),
    ],
)
def test_what_has_begun(job: str | None, task_state: str | None, error: str | None, begun: bool) -> None:
    """Exactly what Start-PatchJob adopts; what it makes anew has not begun, although its folder is there."""
    told = {"job": {"error": {"message": "x", "id": error}}} if error else {}
    assert has_begun(facts(job, task_state=task_state, task_result=0, **told)) is begun


def test_a_launcher_that_ended_without_a_word_has_failed() -> None:
    assert isinstance(state("created", task_state="Ready", task_result=0xFFFD0000), Failed)
    assert isinstance(state("created", task_state="Ready", task_result=0), Failed)


def test_a_running_job_tells_how_far_it_is() -> None:
    progress = {"percent": 40, "message": "2 of 5", "at": "2026-03-08T07:31:00Z"}
    running = {"job": {"boot": BOOT}, "task_state": "Running", "task_result": 0x41301}
    assert state("running", progress=progress, **running) == Running(40, "2 of 5")
    assert state("running", **running) == Running(0, "")


def test_a_job_that_began_between_two_looks_is_running() -> None:
    """The task is looked at before the file: 'has not run yet' is then older news than 'running'."""
    assert state("running", job={"boot": BOOT}, task_state="Ready", task_result=0x41303) == Running(0, "")


@pytest.mark.parametrize("boot_id", [OTHER_BOOT, None])
def test_another_boot_under_a_running_job_is_an_interruption(boot_id: str | None) -> None:
    """Also where the new boot has no id yet, and where a new task of the same name runs."""
    for task_state in ("Ready", "Running", None):
        found = state("running", job={"boot": BOOT}, task_state=task_state, boot_id=boot_id)
        assert isinstance(found, Interrupted)
        assert "restarted" in found.why


@pytest.mark.parametrize(
    ("task_state", "task_result", "why"),
    [("Ready", 0x41306, "time limit"), ("Ready", 1, "without writing an end"), (None, None, "is gone")],
)
def test_a_process_that_is_gone_without_an_end_is_lost(
    task_state: str | None, task_result: int | None, why: str
) -> None:
    found = state("running", job={"boot": BOOT}, task_state=task_state, task_result=task_result)
    assert isinstance(found, Lost)
    assert why in found.why


@pytest.mark.parametrize("boot_id", [BOOT, OTHER_BOOT, None])
def test_an_end_that_was_written_stands_through_a_boot(boot_id: str | None) -> None:
    done = {"boot": BOOT, "result": {"path": r"D:\Staging\a.zip"}, "ended": "2026-03-08T07:40:00Z"}
    assert state("succeeded", job=done, boot_id=boot_id) == Succeeded({"path": r"D:\Staging\a.zip"})
    failed = state(
        "failed", job={"boot": BOOT, "error": {"message": "disk full", "hresult": -2147024784}}, boot_id=boot_id
    )
    assert isinstance(failed, Failed)
    assert failed.error.message == "disk full"


def test_a_failure_without_an_error_is_still_a_failure() -> None:
    found = state("failed")
    assert isinstance(found, Failed)
    assert "no error" in found.error.message


def test_unknown_fields_are_kept_and_unknown_states_refused() -> None:
    job = facts("created").job
    assert job is not None
    assert job.model_extra == {"new": 1}
    with pytest.raises(ValidationError):
        facts("paused")
