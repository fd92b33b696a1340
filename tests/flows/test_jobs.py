"""Jobs on the hosts of a whole lab: what a scheduler, a policy, a boot or an impatient person does to them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from blocks.winrm.errors import JobNotBegun, WaitStopped
from tasks.jobs import Job, JobFailed, OutcomeUnknown, identity, run_job
from tasks.run import Run, open_run

pytestmark = pytest.mark.slow

SOURCE = {"source": "windows-update"}
SCAN = Job("web01", "scan", "windows-update", "Find-WindowsUpdate", SOURCE, start_within=30)
ARCHIVE = Job(
    "web01",
    "archive",
    "Work",
    "New-FolderArchive",
    {"source": r"D:\Work", "destination": r"D:\Staging\work.zip"},
)


@pytest.fixture
def lab(start_lab: Callable[..., Any]) -> Any:
    return start_lab()


@pytest.fixture
def run(lab: Any) -> Iterator[Run]:
    with open_run(lab.estate, change="CHG0031001") as run:
        yield run


def known(run: Run, job: Job = SCAN) -> dict[str, Any]:
    """What the host has written down of the job."""
    found: dict[str, Any] = run.hosts[job.host].job([identity(run, 0, job)])[0]["job"]
    return found


def starts(lab: Any) -> int:
    return len(lab.audit("job.start"))


def in_background(run: Run, job: Job) -> tuple[threading.Thread, list[BaseException]]:
    """A job that is waited for on a thread of its own, and what that raised."""
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            run_job(run, 0, job)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            raised.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread, raised


def test_a_task_that_stays_queued_is_withdrawn(lab: Any, run: Run) -> None:
    """0x41325 for ever: told by name at the start's own deadline; it never begins behind our back, and may be run again."""
    lab.declare("task.queued", "web01", times=1)
    impatient = Job("web01", "scan", "windows-update", "Find-WindowsUpdate", SOURCE, start_within=0.3)
    with pytest.raises(
        JobNotBegun, match=r"web01: job acme-billing\.CHG0031001.*was not begun within 0.3 s.*is queued"
    ):
        run_job(run, 0, impatient)
    assert known(run)["error"]["id"] == "JobWithdrawn"
    assert starts(lab) == 0
    assert run_job(run, 0, SCAN)["updates"]
    assert starts(lab) == 1


def test_a_scheduler_that_takes_its_time_is_waited_for(lab: Any, run: Run) -> None:
    """A minute in which the task looks as if nobody had started it, then a minute in the queue."""
    lab.declare("task.start_delay", "web01", times=1, seconds=60)
    lab.declare("task.queued", "web01", times=1, seconds=60)
    assert run_job(run, 0, SCAN)["updates"]
    assert starts(lab) == 1


@pytest.mark.parametrize(
    ("fault", "settings", "told"),
    [
        ("task.refused", {}, "0x80070569.*no right to log on as a batch job.*Deny log on as a batch job"),
        ("task.refused", {"result": "0x80041326"}, "0x80041326.*the task is disabled"),
        ("task.blocked", {}, "0x00000001.*exit code 1"),
    ],
)
def test_a_start_that_fails_says_why(lab: Any, run: Run, fault: str, settings: dict[str, Any], told: str) -> None:
    """Nothing has begun, and nobody waits for it; once the cause is mended the same run goes on."""
    lab.declare(fault, "web01", times=1, **settings)
    with pytest.raises(JobFailed, match=told):
        run_job(run, 0, SCAN)
    assert starts(lab) == 0
    assert run_job(run, 0, SCAN)["updates"]


def test_a_boot_while_a_job_is_queued_costs_nothing(lab: Any, run: Run) -> None:
    """Nothing of it had run: it is told so, and the same job runs when it is asked for again."""
    lab.declare("task.queued", "web01", times=1)
    thread, raised = in_background(run, SCAN)
    lab.until(lambda: known(run), "the job")
    lab.restart("web01")
    thread.join(60)
    assert isinstance(raised[0], JobFailed)
    assert "ended before it began" in str(raised[0])
    assert run_job(run, 0, SCAN)["updates"]
    assert starts(lab) == 1


def test_a_boot_under_a_job_is_an_unknown_outcome(lab: Any, run: Run) -> None:
    """It had begun: whatever it did is for evidence to say, and it is never begun again."""
    lab.declare("backup.slow", "web01", seconds=600)
    thread, raised = in_background(run, ARCHIVE)
    lab.until(lambda: starts(lab), "the beginning")
    lab.restart("web01")
    thread.join(60)
    assert isinstance(raised[0], OutcomeUnknown)
    assert "the host restarted while it ran" in str(raised[0])
    with pytest.raises(OutcomeUnknown):
        run_job(run, 0, ARCHIVE)
    assert starts(lab) == 1


def test_a_run_that_ends_takes_its_backups_with_it(lab: Any, run: Run) -> None:
    """Nobody waits for the archive any more: it is cut on the host, its secrets go, and another run makes it anew."""
    lab.declare("backup.slow", "web01", times=1, seconds=600)
    thread, raised = in_background(run, ARCHIVE)
    lab.until(lambda: starts(lab), "the beginning")
    run.stop.set()
    thread.join(60)
    assert isinstance(raised[0], WaitStopped)
    assert known(run, ARCHIVE)["error"]["id"] == "JobStopped"
    assert [each["id"] for each in lab.audit("job.stop")] == [identity(run, 0, ARCHIVE)]
    with open_run(lab.estate, change="CHG0031001") as again:
        assert run_job(again, 0, ARCHIVE)["path"] == r"D:\Staging\work.zip"
    assert starts(lab) == 2


def test_connections_that_are_killed_all_the_time_change_nothing(lab: Any, run: Run) -> None:
    """Start, looks and the answer: whatever a broken connection was in the middle of, the job runs once, to its end."""
    lab.declare("backup.slow", "web01", times=1, seconds=150)
    lab.declare("winrm.kill_connections", every=0.3)
    assert run_job(run, 0, ARCHIVE)["path"] == r"D:\Staging\work.zip"
    assert len(lab.audit("winrm.connections_killed", effects_only=False)) >= 2
    assert [each["state"] for each in lab.audit("job.end")] == ["succeeded"]
    assert starts(lab) == 1


def test_an_installer_is_never_cut(start_lab: Callable[..., Any]) -> None:
    """Whoever stops waiting for it, it goes on to its end, and the next run finds what it did."""
    lab = start_lab(speed=1)  # the search takes five seconds: it is under way when nobody waits any more
    unknown = [
        {"id": "3f1b9c52-0000-4000-8000-000000000000", "revision": 1, "alone": False}
    ]  # a search, and nothing to install
    install = Job("web01", "install", "windows-update", "Install-WindowsUpdate", {"updates": unknown, **SOURCE})
    with open_run(lab.estate, change="CHG0031001") as run:
        thread, raised = in_background(run, install)
        lab.until(lambda: starts(lab), "the beginning")
        run.stop.set()
        thread.join(60)
    assert isinstance(raised[0], WaitStopped)
    with open_run(lab.estate, change="CHG0031001") as again:
        assert run_job(again, 0, install)["updates"][0]["skipped"]
    assert lab.audit("job.stop") == []
    assert starts(lab) == 1
