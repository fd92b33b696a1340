"""One package on a host of paper: what its services, and what is left running, are to the steps around the installer."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from blocks.winrm.errors import HostUnreachable, JobNotBegun, WaitStopped
from model.journal import Journal
from model.keys import RunKey
from model.outcome import Stopped
from model.packages import MsiPackage
from model.plan import PlanStep
from model.reopen import INSTALLING, left_running, left_running_section
from tasks.install import install_on
from tasks.packages import install_package

SERVICE = "Acme Agent"


def package(**changes: Any) -> MsiPackage:
    """An MSI that stops a service."""
    told = {"kind": "msi", "name": "Agent", "on": "web01", "source": r"C:\a.msi", "sha256": "a" * 64, "publisher": "X"}
    told |= {"probe": {"product": "Agent"}, "version": "4.2.0", "services_to_stop": [SERVICE], **changes}
    return MsiPackage.model_validate(told)


class Host:
    """Takes one job, and ends the wait for it with an error; what was asked of it, in order."""

    def __init__(self, ends: Exception | None, job: dict[str, Any] | None = None, *, stops: bool = True) -> None:
        self.ends, self.stops = ends, stops
        self.known = job
        self.others: list[dict[str, Any]] = []
        """Jobs of other runs."""
        self.asked: list[str] = []

    def run(self, script: str, **_: Any) -> Any:
        self.asked.append(script)
        service = {"name": SERVICE, "status": "Running"}
        stopped = service | {"status": "Stopped", "error": None}
        stuck = service | {"error": "it does not stop"}
        return {
            "Get-PackageVersion": {"versions": []},
            "Get-PatchJob": {"jobs": self.others},
            "Set-QuiesceState": {"quiesce": {}},
            "Get-QuiesceState": {"quiesce": {"services": [service]}},
            "Stop-HostServices": {"complete": self.stops, "services": [stopped if self.stops else stuck]},
            "Start-HostServices": {"services": []},
        }[script]

    def job(self, ids: list[str]) -> list[dict[str, Any]]:
        return [{"id": ids[0], "exists": False, **(self.known or {})}]

    def start_job(self, name: str, script: str, *_: Any, **__: Any) -> dict[str, Any]:
        self.asked.append("Start-PatchJob")
        self.known = self.known or running(name, script)
        return {}

    def wait_job(self, name: str, **_: Any) -> dict[str, Any]:
        if self.ends is not None:
            raise self.ends
        return self.job([name])[0]

    def stop_job(self, *_: Any, **__: Any) -> bool:
        return isinstance(self.ends, JobNotBegun)


def running(name: str, script: str) -> dict[str, Any]:
    """A job that has begun and goes on."""
    return {
        "id": name,
        "exists": True,
        "job": {"id": name, "script": script, "state": "running"},
        "task_state": "Running",
    }


def run_on(host: Host) -> Any:
    """As much of a run as one package takes."""
    return SimpleNamespace(
        hosts={"web01": host}, journal=Journal(), key=RunKey.for_change("acme", "CHG1"), number=1, fence=1, poll=0.01,
        called="acme", lease_lost="", stop=threading.Event(), estate=SimpleNamespace(services_on=lambda _: ()),
        login_of=lambda *_: {},
    )  # fmt: skip


@pytest.mark.parametrize("ends", [WaitStopped("web01", "job 1"), HostUnreachable("web01", "nothing answers")])
def test_no_service_starts_under_an_installer_that_goes_on(ends: Exception) -> None:
    """Cancel, Ctrl-C, or a connection that is gone end the wait for it, not the installer: its files are at work."""
    host = Host(ends)
    with pytest.raises(type(ends)):
        install_package(run_on(host), package())
    assert "Start-PatchJob" in host.asked
    assert "Start-HostServices" not in host.asked


def test_nor_where_an_earlier_start_of_the_run_has_begun_it() -> None:
    """The same run, started again, stops the services again: one that does not stop is no reason to start the others."""
    host = Host(None, running("1", "Install-Package"), stops=False)
    with pytest.raises(Exception, match="it does not stop"):
        install_package(run_on(host), package())
    assert "Start-HostServices" not in host.asked


def test_services_of_an_installer_that_was_never_begun_run_again() -> None:
    """Its job was withdrawn: nothing of it has run, and nothing of it will."""
    host = Host(JobNotBegun("web01", "1", 300, "its scheduled task is queued"))
    with pytest.raises(JobNotBegun):
        install_package(run_on(host), package())
    assert host.asked[-1] == "Start-HostServices"


def test_no_installer_begins_beside_that_of_another_attempt() -> None:
    """Attempt 2 is typed while attempt 1's still runs: nothing is stopped for it, and nothing is written down as begun."""
    host = Host(None)
    host.others = [running("acme.CHG1.9.1.package.web01-Agent", "Install-Package")]
    with pytest.raises(
        Stopped, match=r"Agent was not begun, for job acme\.CHG1\.9\.1\.package\.web01-Agent still goes on"
    ):
        install_package(run_on(host), package())
    assert not {"Set-QuiesceState", "Stop-HostServices", "Start-PatchJob"} & set(host.asked)


def test_nor_do_windows_updates() -> None:
    """Their installer and that of a package would each find the other at work, or the other's files."""
    host, update = Host(None), PlanStep(stage="install", subject="KB1", host="web01", update="u", revision=1)
    host.others = [running("acme.CHG1.9.1.package.web01-Agent", "Install-Package")]
    run = run_on(host)
    run.estate = SimpleNamespace(
        updates=SimpleNamespace(folder=None, asked="windows-update", accept_eulas=False, packages=()),
        upgrades=lambda: (),
    )
    step: Any = install_on
    stopped = step._task.fn(run, "web01", 1, [update]).data
    assert "windows-update was not begun, for job acme.CHG1.9.1.package.web01-Agent" in str(stopped)
    assert "Start-PatchJob" not in host.asked


def test_each_installer_that_is_left_running_is_written_down() -> None:
    """A section is written once: under one name the second attempt's would be forgotten. An older record is read, too."""
    first, second = ({"name": name, "processes": []} for name in ("Agent", "Viewer"))
    sections = [left_running_section(f"acme.CHG1.{attempt}.1.package.web01-x") for attempt in (1, 2)]
    assert len(set(sections)) == 2
    held = {sections[0]: first, sections[1]: second, "left-running": first, INSTALLING: {"round": 1}}
    assert left_running({"held": held}) == [first, second, first]
    assert left_running({}) == []
