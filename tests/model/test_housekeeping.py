"""What may be removed from a host: only what nobody will ever ask for again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from model.housekeeping import old_jobs
from model.jobs import JobFacts
from model.keys import RunKey, job_id

NOW = datetime(2026, 3, 15, 3, 0, tzinfo=UTC)
DAYS = timedelta(days=90)


def key(change: str) -> RunKey:
    return RunKey.for_change("acme", change)


def job(
    change: str,
    days: float,
    step: str = "backup",
    script: str = "New-FolderArchive",
    state: str = "succeeded",
    **task: Any,
) -> JobFacts:
    """A job of a run that ended (or began, where it has not ended) so many days ago."""
    name = job_id(key(change), 1, step, "web01")
    at = (NOW - timedelta(days=days)).isoformat()
    told = {"id": name, "script": script, "state": state, "created": at, "started": at, "boot": "b", "result": {}}
    told["ended"] = None if state in {"running", "created"} else at
    return JobFacts.model_validate({"id": name, "exists": True, "job": told, "boot_id": "b", **task})


def removed(*jobs: JobFacts, keep: tuple[RunKey, ...] = (), most: int = 200) -> list[str]:
    return old_jobs(jobs, keep, DAYS, NOW, most)


def test_what_is_old_goes_oldest_first_and_not_all_at_once() -> None:
    """A bounded number: the next run goes on."""
    old = [job(f"CHG{n}", 91 + n) for n in range(5)]
    assert removed(*old) == [each.id for each in reversed(old)]
    assert removed(*old, most=2) == [old[4].id, old[3].id]


def test_what_is_young_stays() -> None:
    assert removed(job("CHG1", 89), job("CHG2", 90)) == []


def test_failed_and_interrupted_jobs_go_too() -> None:
    """Whatever became of them: their run is over."""
    failed = job("CHG1", 100, state="failed")
    cut = job("CHG2", 100, state="running", boot_id="another")
    never = job("CHG3", 100, state="created", task_state="Ready", task_result=1)
    assert sorted(removed(failed, cut, never)) == sorted([failed.id, cut.id, never.id])


def test_what_goes_on_stays() -> None:
    """However long ago it began."""
    running = job("CHG1", 100, state="running", task_state="Running")
    queued = job("CHG2", 100, state="created", task_state="Queued")
    assert removed(running, queued) == []


def test_this_run_and_one_that_has_not_ended_stay() -> None:
    """They would do again what their jobs say is done."""
    mine, theirs, old = job("CHG1", 100), job("CHG2", 100), job("CHG3", 100)
    assert removed(mine, theirs, old, keep=(key("chg1"), key("CHG2"))) == [old.id]


def test_the_newest_scan_stays() -> None:
    """`plan` shows it, whatever its age; older ones, and newer ones that failed, are no reason to keep another."""
    scan = {"step": "scan", "script": "Find-WindowsUpdate"}
    first, second = job("CHG1", 200, **scan), job("CHG2", 150, **scan)
    failed = job("CHG3", 100, state="failed", **scan)
    assert removed(first, second, failed) == [first.id, failed.id]


def test_the_canary_and_what_is_no_job_of_a_run_stay() -> None:
    """The last proof of a host, and whatever somebody else calls a job."""
    at = (NOW - timedelta(days=400)).isoformat()
    for name, script in (("canary.acme", "Test-PatchHost"), ("somebody.elses", "X")):
        told = {"id": name, "script": script, "state": "succeeded", "ended": at}
        assert removed(JobFacts.model_validate({"id": name, "exists": True, "job": told})) == []
