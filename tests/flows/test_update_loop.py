"""Updates that go on being offered come to an end: the rounds are bounded, over a host that answers the same for ever."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from prefect import flow

import flows.patch
from flows.patch import patch
from model.estate import load_estate
from model.journal import Journal
from model.keys import RunKey
from model.outcome import Stopped
from model.plan import plan_of
from model.policy import FoundUpdate

ESTATE = r"""
estate: acme
timezone: UTC
hosts: {all01: {address: all01, roles: [mssql, iis, app], credentials: winrm}}
sql: {all01: {credentials: sql, databases: [EngageIP]}}
engageip:
  host: all01
  folder: 'C:\EngageIP'
  services: []
  sites: [{name: Portal, url: 'https://a.example/Portal', check_url: 'http://{host}:8081/Portal'}]
backup: {stores: [{share: '\\nas\b', credentials: nas}]}
checks: [{http: Portal}]
"""
OFFER = {"id": "u", "revision": 1, "title": "Update", "kb": ["5000001"], "categories": [{"name": "Security Updates"}]}
SKIPPED = {"id": "u", "revision": 1, "skipped": "not offered", "download": None, "install": None}
NOW = "2026-01-02T03:00:00Z"
FACTS = {
    "computer": "ALL01", "powershell": "5.1", "now": NOW, "last_boot": NOW,
    "os": {"caption": "Windows", "version": "10.0", "build": "17763", "domain_role": 3},
}  # fmt: skip
ANSWERS = {"Find-WindowsUpdate": {"updates": [OFFER], "installed": []}, "Install-WindowsUpdate": {"updates": [SKIPPED]}}


class Host:
    """Every search offers the update, and every install finds it gone."""

    def __init__(self) -> None:
        self.jobs: dict[str, str] = {}

    def run(self, script: str, **_: Any) -> Any:
        quiet = {"Get-PatchJob": {"jobs": []}, "Get-QuiesceState": {"quiesce": None}, "Set-QuiesceState": {}}
        return {"Get-HostFacts": FACTS, **quiet}[script]

    def job(self, ids: list[str]) -> list[dict[str, Any]]:
        return [{"id": one, "exists": one in self.jobs} for one in ids]

    def start_job(self, named: str, script: str, *_: Any, **__: Any) -> dict[str, Any]:
        self.jobs[named] = script
        return {"adopted": False}

    def wait_job(self, named: str, **_: Any) -> dict[str, Any]:
        script = self.jobs[named]
        done = {"id": named, "script": script, "state": "succeeded", "result": ANSWERS[script]}
        return {"id": named, "exists": True, "job": done}


@pytest.mark.usefixtures("prefect_harness")
def test_six_rounds_and_no_more_and_the_loop_is_named_by_its_kb() -> None:
    """The seventh round never begins; the message says which update it is, and what to do about it."""
    host = Host()
    with pytest.raises(Stopped) as stopped:
        night(run_on(host))
    assert str(stopped.value) == (
        "install: all01: Update (KB5000001) is still offered after 6 rounds. "
        "Put KB5000001 under updates.kb_reject, and look at CBS.log on all01."
    )
    assert list(host.jobs.values()) == ["Install-WindowsUpdate", "Find-WindowsUpdate"] * 6


@pytest.mark.usefixtures("prefect_harness")
def test_nothing_is_installed_on_a_host_that_is_lost_before_the_first_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """It did not come back from the restart that it had waited for."""
    monkeypatch.setattr(flows.patch, "restart_in_order", lambda run, *_: run.lost.update(all01="all01: not back."))
    host = Host()
    night(run_on(host))
    assert host.jobs == {}


def run_on(host: Host) -> Any:
    """As much of a run as the rounds of one host take."""
    return SimpleNamespace(
        estate=load_estate(ESTATE, "acme.yaml"), key=RunKey.for_change("acme", "CHG1"), hosts={"all01": host},
        journal=Journal(), builds={}, lost={}, number=1, fence=1, poll=0.0, stop=threading.Event(),
    )  # fmt: skip


@flow
def night(run: Any) -> None:
    """The rounds of a plan with the one update."""
    patch(run, plan_of(run.estate, {"all01": [FoundUpdate.model_validate(OFFER)]}))
