"""A restart that an installer of an earlier attempt has asked for comes before anything is installed once more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from host_facts import host_facts

from model.estate import load_estate
from model.keys import RunKey, job_id
from tasks import install
from tasks.packages import package_job
from tasks.restart import restart_host

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
updates:
  packages:
    - {kind: msi, name: Agent, on: all01, source: 'C:\agent.msi', sha256: 'AAA', publisher: X, probe: {product: Agent}, version: 4.2.0}
    - {kind: exe, name: Viewer, on: all01, source: 'C:\viewer.exe', sha256: 'BBB', publisher: X, probe: {product: Viewer}, version: '2.1', restart: RESTART}
"""
NOW = "2026-01-02T03:00:00Z"
FACTS = host_facts("ALL01", NOW, pending_reboot={"file_renames": [r"C:\Program Files\Agent\agent.dll"]})


def _estate(restart: str = "auto") -> str:
    return ESTATE.replace("AAA", "a" * 64).replace("BBB", "b" * 64).replace("RESTART", restart)


def waits(
    code: int | None, *, boot: str | None = "now", restart: str = "auto", name: str = "Agent", step: str = ""
) -> bool:
    """Whether attempt 2 restarts first, where attempt 1 has left this answer of an installer."""
    estate = load_estate(_estate(restart), "acme.yaml")
    first, second = (RunKey.for_change("acme", "CHG1", attempt) for attempt in (1, 2))
    package = next(each for each in estate.updates.packages if each.name == name)
    job: Any = package_job(package)  # type: ignore[arg-type]
    named = job_id(first, 1, step or job.step, f"all01-{name}")
    result = {"exit_code": code, "versions_after": []}
    file = {"id": named, "script": job.script, "state": "succeeded", "boot": "now", "result": result}
    known = [{"id": named, "exists": True, "job": file, "task_state": "Ready", "boot_id": boot}]
    answers = {"Get-HostFacts": FACTS, "Get-PatchJob": {"jobs": known}}
    host = SimpleNamespace(
        job=lambda ids: [{"id": one, "exists": one == named} for one in ids], run=lambda script, **_: answers[script]
    )
    run: Any = SimpleNamespace(estate=estate, key=second, hosts={"all01": host})
    look: Any = install.waits_for_restart
    return bool(look._task.fn(run, "all01", ()))


def test_a_restart_that_never_came_comes_first() -> None:
    """Only files wait to be renamed, which antivirus makes too: the probed file is old, and the installer would run twice."""
    assert waits(3010)
    assert not waits(3010, boot="later"), "it has come"
    assert not waits(3010, boot=None), "the boot that answers is so young that it has no name yet"


@pytest.mark.parametrize(
    ("code", "more", "due"),
    [
        (0, {}, False),
        (1603, {}, False),
        (None, {}, False),
        (3010, {"name": "Viewer", "restart": "never"}, False),
        (3010, {"name": "Viewer", "restart": "auto"}, True),
        (3010, {"step": "fetch"}, False),
    ],
)
def test_only_what_was_asked_for_is_owed(code: int | None, more: dict[str, Any], due: bool) -> None:
    """By the exit code, and by what the estate says of it."""
    assert waits(code, **more) is due


def test_services_only_is_no_word_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is installed a restart is due only where Windows itself must: services alone mend nothing."""
    went: list[str] = []

    class EnoughError(Exception):
        """Far enough to see which way it goes."""

    def until_ready(*_: Any) -> None:
        went.append("Windows")
        raise EnoughError

    def services_only(*_: Any) -> None:
        went.append("services")
        raise EnoughError

    monkeypatch.setattr("tasks.restart._until_ready", until_ready)
    monkeypatch.setattr("tasks.restart._restart_services", services_only)
    monkeypatch.setattr("tasks.restart._services_suffice", lambda *_: True)
    monkeypatch.setattr("tasks.restart.balancers", SimpleNamespace(drain=lambda *_: None))
    estate = load_estate(_estate(), "acme.yaml")
    run: Any = SimpleNamespace(
        estate=estate,
        hosts={"all01": None},
        sql={},
        key="acme.CHG1.2",
        restarting=set(),
        journal=SimpleNamespace(write=lambda record: record),
    )
    restart: Any = restart_host
    for round_number in (0, 1):
        with pytest.raises(EnoughError):
            restart._task.fn(run, "all01", round_number)
    assert went == ["Windows", "services"]
