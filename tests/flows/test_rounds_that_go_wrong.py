"""A round in which something goes wrong on one host: what the others were owed is done all the same, and all of it is told."""

# ruff: noqa: ARG002, ARG005 - what stands for a step is given what the step is given

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from prefect import flow

from flows.patch import patch
from model.estate import load_estate
from model.journal import Journal
from model.keys import RunKey
from model.outcome import Stopped
from model.plan import plan_of
from model.policy import FoundUpdate
from model.records import UpdateRecord
from model.reopen import INSTALLING
from model.scan import Scan
from tasks import install, restart, review, switch
from tasks.step import step

ESTATE = r"""
estate: acme
timezone: UTC
hosts:
  sql01: {address: sql01, roles: [mssql], credentials: winrm}
  web01: {address: web01, roles: [iis, app], credentials: winrm}
  file01: {address: file01, roles: [app], credentials: winrm, depends_on: []}
sql: {sql01: {credentials: sql, databases: [EngageIP]}}
engageip:
  host: web01
  folder: 'C:\EngageIP'
  services: []
  sites: [{name: Portal, url: 'https://a.example/Portal', check_url: 'http://{host}:8081/Portal'}]
backup: {stores: [{share: '\\nas\b', credentials: nas}]}
checks: [{http: Portal}]
"""
OFFER = {"id": "u", "revision": 1, "title": "Update", "kb": ["5000001"], "categories": [{"name": "Security Updates"}]}
NOW = "2026-01-02T03:00:00Z"


class Hosts:
    """Three hosts that want one update; on which of them what fails, what was restarted, and who still installs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.estate = load_estate(ESTATE, "acme.yaml")
        self.failed: set[str] = set()
        self.unscanned: set[str] = set()
        self.offered: set[str] = set()
        self.busy: set[str] = set()
        self.restarted: list[str] = []
        self.run: Any = SimpleNamespace(
            estate=self.estate, key=RunKey.for_change("acme", "CHG1"), journal=Journal(), builds={}, lost={},
            hosts={host: SimpleNamespace(run=self._asked(host)) for host in self.estate.hosts},
            stop=threading.Event(), heed=lambda _: None,
        )  # fmt: skip
        monkeypatch.setattr(switch, "stand_down", step("stand down {host}")(lambda run, host: None))
        monkeypatch.setattr(install, "waits_for_restart", step("look at {host}")(lambda run, host, steps: False))
        monkeypatch.setattr(install, "install_on", step("install on {host}")(self._install))
        monkeypatch.setattr(restart, "restart_host", step("restart {host}")(self._restart))
        monkeypatch.setattr(restart, "recycle", step("recycle {host}")(lambda run, host: None))
        monkeypatch.setattr(review, "scan", step("scan {host}")(self._scan))

    def _asked(self, host: str) -> Callable[..., Any]:
        job = {"id": "acme.CHG1.1.1.package.x", "script": "Install-Package", "state": "running"}
        going = {"id": job["id"], "exists": True, "job": job, "task_state": "Running"}

        def run(script: str, **_: Any) -> Any:
            jobs = [going] if host in self.busy else []
            return {"Get-PatchJob": {"jobs": jobs}, "Get-QuiesceState": {"quiesce": {"held": {INSTALLING: 1}}}}[script]

        return run

    def _install(self, run: Any, host: str, round_number: int, steps: Any) -> install.Installed:
        if host in self.failed:
            raise Stopped.because("install", f"{host}: it failed.")
        record = UpdateRecord(
            host=host, update="u", revision=1, title="Update", kind="windows-update", result="reboot-pending", started=NOW
        )  # type: ignore[arg-type]  # fmt: skip
        run.journal.write(record)
        return install.Installed((record,), restart=True)

    def _restart(self, run: Any, host: str, round_number: int) -> None:
        self.restarted.append(host)

    def _scan(self, run: Any, host: str, round_number: int) -> Scan:
        if host in self.unscanned:
            raise Stopped.because("review", f"{host}: the scan failed.")
        return Scan.model_validate({"updates": [OFFER] if host in self.offered else [], "installed": None})

    def stopped(self) -> Stopped:
        """Patch them, and say what that ends with."""
        offers = {host: [FoundUpdate.model_validate(OFFER)] for host in self.estate.hosts}

        @flow
        def night() -> None:
            patch(self.run, plan_of(self.estate, offers))

        with pytest.raises(Stopped) as stopped:
            night()
        return stopped.value

    @property
    def results(self) -> dict[str, str]:
        return {record.host: record.result for record in self.run.journal.of(UpdateRecord)}


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch, prefect_harness: dict[str, str]) -> Hosts:  # noqa: ARG001 - a server is needed
    return Hosts(monkeypatch)


def messages(stopped: Stopped) -> list[str]:
    return [problem.message for problem in stopped.problems]


def test_a_web_server_that_failed_keeps_nobody_from_the_restart_that_is_due(hosts: Hosts) -> None:
    """The others restart, SQL Server first, and are looked at again; the night ends with what failed."""
    hosts.failed = {"web01"}
    stopped = hosts.stopped()
    assert (stopped.stage, messages(stopped)) == ("install", ["web01: it failed."])
    assert sorted(hosts.restarted) == ["file01", "sql01"]
    assert hosts.results == {"sql01": "installed", "file01": "installed"}


def test_no_web_server_restarts_after_a_sql_server_that_failed(hosts: Hosts) -> None:
    """It stays as it is, and that is told; who does not depend on it restarts."""
    hosts.failed = {"sql01"}
    assert messages(hosts.stopped()) == [
        "sql01: it failed.",
        "web01: not restarted, for it depends on sql01, where the install has not ended well.",
    ]
    assert hosts.restarted == ["file01"]
    assert hosts.results == {"web01": "reboot-pending", "file01": "installed"}


def test_no_sql_server_restarts_under_an_installer_that_goes_on(hosts: Hosts) -> None:
    """What is at work on a web server may be at work in its database."""
    hosts.failed = hosts.busy = {"web01"}
    assert messages(hosts.stopped()) == [
        "web01: it failed.",
        "sql01: not restarted, for job acme.CHG1.1.1.package.x still goes on on web01.",
    ]
    assert hosts.restarted == ["file01"]


def test_nobody_restarts_once_the_run_is_to_end(hosts: Hosts) -> None:
    """Another run has the estate, or somebody has said so: what failed is told."""
    hosts.failed = {"web01"}
    hosts.run.stop.set()
    assert messages(hosts.stopped()) == ["web01: it failed."]
    assert hosts.restarted == []


def test_a_scan_that_fails_on_one_host_hides_nothing_of_another(hosts: Hosts) -> None:
    """What was rolled back on SQL Server is told, although the web server's source does not answer."""
    hosts.unscanned, hosts.offered = {"web01"}, {"sql01"}
    stopped = hosts.stopped()
    assert (stopped.stage, messages(stopped)) == ("review", ["web01: the scan failed."])
    assert hosts.results == {"sql01": "failed", "web01": "reboot-pending", "file01": "installed"}
