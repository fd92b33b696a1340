"""Jobs on a host of paper: what has begun, what waits to begin, and what outlives its job, to those who ask for it."""

from __future__ import annotations

import threading
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from blocks.winrm.errors import WaitStopped
from model.journal import Journal
from model.keys import RunKey
from model.outcome import Stopped
from model.packages import MsiPackage
from model.records import UpdateRecord
from model.reopen import left_running
from tasks import engageip_upgrade
from tasks.jobs import JobFailed
from tasks.packages import install_package
from tasks.still_installing import still_installing

SERVICE, ID = "Acme Agent", "acme.CHG1.1.1.package.web01-agent"
SETUP = {"id": 4242, "name": "msiexec", "started": "2026-10-02T02:03:04.000Z"}
ENDED: dict[str, Any] = {"task_state": "Ready", "task_result": 0xC000013A}


def package(**changes: Any) -> MsiPackage:
    """An MSI that stops a service."""
    told = {"kind": "msi", "name": "Agent", "on": "web01", "source": r"C:\a.msi", "sha256": "a" * 64, "publisher": "X"}
    told |= {"probe": {"product": "Agent"}, "version": "4.2.0", "services_to_stop": [SERVICE], **changes}
    return MsiPackage.model_validate(told)


def known(state: str, script: str = "Install-Package", *, error: str = "", result: Any = None, **told: Any) -> Any:
    """What a host knows of a job."""
    job = {"id": ID, "script": script, "state": state, "boot": None if state == "created" else "b1", "result": result}
    if error:
        job["error"] = {"message": error, "id": error}
    return {"id": ID, "exists": True, "job": job, "task_state": "Ready", "task_result": 0, "boot_id": "b1", **told}


def done(code: int | None = 0, **more: Any) -> dict[str, Any]:
    """A job of Install-Package that has come to its end."""
    return known("succeeded", result={"exit_code": code, "versions_after": [], **more})


class Host:
    """Knows one job: what is known of it at the looks before it is started, and how it ends; what was asked, in order."""

    def __init__(self, ends: Any, before: Any = None, *, versions: tuple[str, ...] = (), running: Any = ()) -> None:
        self.ends, self.before = ends, before
        self.versions, self.running = list(versions), list(running)
        self.held: dict[str, Any] = {}
        self.asked: list[str] = []
        self.secrets: Any = None
        self.withdraws = True

    def run(self, script: str, **given: Any) -> Any:
        self.asked.append(script)
        self.held.update(given.get("held") or {})
        service = {"name": SERVICE, "status": "Running", "error": None}
        quiesce = {"services": [service], "held": self.held}
        return {
            "Find-LeftProcess": {"running": [each for each in given.get("processes", ()) if each in self.running]},
            "Get-PackageVersion": {"versions": self.versions if "Start-PatchJob" in self.asked else []},
            "Get-PatchJob": {"jobs": [self.before] if self.before else []},
            "Get-QuiesceState": {"quiesce": quiesce},
            "Set-QuiesceState": {"quiesce": quiesce},
            "Start-HostServices": {"services": []},
            "Stop-HostServices": {"complete": True, "services": [service]},
        }[script]

    def job(self, ids: list[str]) -> list[dict[str, Any]]:
        return [self.before or {"id": ids[0], "exists": False}]

    def start_job(self, *_: Any, secrets: Any = None, **__: Any) -> dict[str, Any]:
        self.asked.append("Start-PatchJob")
        if isinstance(self.ends, WaitStopped):
            raise self.ends
        self.secrets = secrets
        return {}

    def wait_job(self, *_: Any, **__: Any) -> Any:
        if isinstance(self.ends, BaseException):
            raise self.ends
        self.before = self.ends
        return self.ends

    def stop_job(self, *_: Any, **given: Any) -> bool:
        self.asked.append("Stop-PatchJob begun" if given["begun"] else "Stop-PatchJob")
        return self.withdraws


def run_on(host: Host) -> Any:
    """As much of a run as one job takes."""
    return SimpleNamespace(
        hosts={"web01": host}, journal=Journal(), key=RunKey.for_change("acme", "CHG1"), number=1, fence=1, poll=0.01,
        called="acme", lease_lost="", stop=threading.Event(), pause=lambda _=None: False, login_of=lambda *_: {},
        estate=SimpleNamespace(services_on=lambda _: (), restart=SimpleNamespace(deadline=timedelta(seconds=5))),
    )  # fmt: skip


@pytest.fixture
def lost() -> dict[str, Any]:
    """A job that was ended under its installer, in the same boot."""
    lost: dict[str, Any] = known("running", installer={"processes": [SETUP]}, **ENDED)
    return lost


def test_an_installer_outlives_its_job(lost: dict[str, Any]) -> None:
    """Its host knows of it, nothing starts under it, and the run stops."""
    host = Host(lost, running=[SETUP])
    run = run_on(host)
    with pytest.raises(Stopped, match=r"Agent has not ended: its job lost sight of it \(.* without writing an end"):
        install_package(run, package())
    assert left_running({"held": host.held}) == [{"name": "Agent", "processes": [SETUP]}]
    assert "Start-HostServices" not in host.asked
    (record,) = run.journal.of(UpdateRecord)
    assert "lost sight of it" in (record.remark or "")
    assert still_installing(run, "web01", {"held": host.held}) == "msiexec of Agent (process 4242)"
    assert still_installing(run, "web01", {}) == f"msiexec of job {ID} (process 4242)", "also where nobody has noted it"


def test_one_that_has_ended_is_judged_by_its_version(lost: dict[str, Any]) -> None:
    """The job was ended, and so has its installer."""
    host = Host(lost, versions=("4.2.0",))
    run = run_on(host)
    record = install_package(run, package())
    assert (record.result, record.remark) == ("installed", "its job was cut off")
    assert left_running({"held": host.held}) == []
    assert still_installing(run, "web01", {}) is None


def test_an_installer_past_its_deadline_is_at_work_although_its_job_has_ended_well() -> None:
    """Also where the run that was to note it on its host has died first."""
    host = Host(None, done(None, running=[SETUP]), running=[SETUP])
    assert still_installing(run_on(host), "web01", {}) == f"msiexec of job {ID} (process 4242)"
    host = Host(None, done(0, running=[SETUP]), running=[SETUP])
    assert still_installing(run_on(host), "web01", {}) is None, "it has ended, and started its program"


@pytest.mark.parametrize("more", [{"running": [SETUP]}, {"trouble": "There is not enough space on the disk."}])
def test_a_version_that_is_there_ends_no_installer(more: dict[str, Any]) -> None:
    """Without an exit code nobody has seen it end: the version may be what it has written first."""
    host = Host(done(None, **more), versions=("4.2.0",))
    run = run_on(host)
    with pytest.raises(Stopped, match=r"Agent has not ended: .*version 4\.2\.0 is there"):
        install_package(run, package())
    assert [left["processes"] for left in left_running({"held": host.held})] == [more.get("running", [])]
    (record,) = run.journal.of(UpdateRecord)
    assert (record.result, record.restart) == ("unknown", False)
    host = Host(done(0, running=[SETUP]), versions=("4.2.0",))
    assert install_package(run_on(host), package()).result == "installed"
    assert left_running({"held": host.held}) == []


NOT_BEGUN = [
    known("failed", error="JobWithdrawn"),
    known("created", task_result=0x80070569),
    known("created", task_result=1),
    known("created", task_state=None, task_result=None),
]


@pytest.mark.parametrize("before", NOT_BEGUN)
def test_what_has_not_begun_is_begun_as_if_for_the_first_time(before: dict[str, Any]) -> None:
    """Withdrawn, refused, blocked, cut off: its host makes the job anew, and so do its services stop once more."""
    host = Host(done(), before)
    install_package(run_on(host), package())
    assert host.asked.index("Stop-HostServices") < host.asked.index("Start-PatchJob")


@pytest.mark.parametrize("before", [None, *NOT_BEGUN])
def test_a_schema_script_that_has_not_begun_logs_in_as_it_must(before: dict[str, Any] | None) -> None:
    """Its secrets were deleted with it: without them it would run as SYSTEM, which SQL Server does not let in."""
    host = Host(known("succeeded", "Invoke-SqlScript", result={"errors": []}), before)
    run = run_on(host)
    run.estate.sql = {"web01": SimpleNamespace(credentials="sql", instance="MSSQLSERVER")}
    run.credentials = {"sql": SimpleNamespace(username="sa", password="x")}
    run.sql = {"web01": SimpleNamespace(query=lambda *_, **__: [{"version": "8.5"}])}
    script = SimpleNamespace(source=r"C:\a.sql", sha256="a" * 64, credentials=None)
    schema = SimpleNamespace(on="web01", database="EngageIP", sql="SELECT 1", script=script)
    upgrade: Any = SimpleNamespace(name="EngageIP 8.6", proxy=None, schema_wanted="8.6", schema_version=schema)
    engageip_upgrade._run_script(run, upgrade)
    assert host.secrets == {"username": "sa", "password": "x"}


STARTED = known("created", task_result=0x41303)
"""Start-ScheduledTask has returned, and the scheduler has not said so yet."""


def test_who_waits_no_longer_for_the_start_withdraws_what_it_may_have_started() -> None:
    """Ctrl-C, Cancel, or an answer that was lost, inside of Start-PatchJob: the installer would begin in a minute."""
    host = Host(WaitStopped("web01", "the start of a job"))
    with pytest.raises(WaitStopped):
        install_package(run_on(host), package(services_to_stop=()))
    assert host.asked[-2:] == ["Start-PatchJob", "Stop-PatchJob"]


def test_nothing_begins_on_an_estate_that_opens() -> None:
    """What is started and not begun is withdrawn; where it has begun in that moment it installs."""
    host = Host(None, STARTED)
    assert still_installing(run_on(host), "web01", {}) is None
    assert host.asked == ["Get-PatchJob", "Stop-PatchJob"]
    host.withdraws = False
    assert still_installing(run_on(host), "web01", {}) == f"job {ID}"
    host = Host(None, known("created", task_result=0x80070569))
    assert still_installing(run_on(host), "web01", {}) is None
    assert host.asked == ["Get-PatchJob"], "nothing will begin it"
    host = Host(None, STARTED)
    run = run_on(host)
    run.lease_lost = "taken over"
    assert still_installing(run, "web01", {}) == f"job {ID}", "another run's now"


@pytest.mark.parametrize("ends", [known("created", task_result=0x80070569), known("created", task_result=0x41306)])
def test_a_job_that_its_task_has_left_unbegun_is_withdrawn(ends: dict[str, Any]) -> None:
    """Nobody else would delete its secrets, and whoever runs the task by hand would begin it."""
    host = Host(ends)
    with pytest.raises(JobFailed):
        install_package(run_on(host), package(services_to_stop=()))
    assert host.asked[-1] == "Stop-PatchJob"


def test_one_that_begins_in_that_moment_is_waited_for() -> None:
    """It is not withdrawn any more: its end counts."""
    host = Host(known("created", task_result=0x41306), versions=("4.2.0",))
    host.withdraws = False
    waits = iter([host.ends, done()])
    host.wait_job = lambda *_, **__: next(waits)  # type: ignore[method-assign]
    assert install_package(run_on(host), package()).result == "installed"
