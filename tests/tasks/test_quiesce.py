"""What a run that is repeated takes over of the quiet that an earlier one has made, and what it does anew."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from host_facts import host_facts

from blocks.s3_errors import ObjectTooLarge
from blocks.s3_store import S3BackupStore, S3Credentials
from model.estate import BackupItem, load_estate
from model.hooks import CommandCall, SnapshotHook, answered_section, asked_section
from model.journal import Journal
from model.keys import RunKey
from model.records import HookRecord
from model.reopen import PATCHING, RELEASED, REOPENING
from tasks import backup, quiesce, snapshots
from tasks.bring_back import _schedules
from tasks.jobs import Ended, Job

ESTATE = r"""
estate: acme
timezone: America/Toronto
hosts:
  sql01: {address: sql01, roles: [mssql], credentials: winrm}
  web01: {address: web01, roles: [iis, app], credentials: winrm}
sql: {sql01: {credentials: sql, databases: [EngageIP], agent_jobs: {hold: ['nightly rating', 'eCheck export']}}}
engageip:
  host: web01
  folder: 'C:\EngageIP'
  services: ['EngageIP Job Service']
  sites: [{name: AdminPortal, url: 'https://a.example/AdminPortal', check_url: 'http://web01:8081/AdminPortal'}]
backup: {stores: [{share: '\\nas\b', credentials: nas}]}
checks: [{http: AdminPortal}]
"""
SERVICE = "EngageIP Job Service"
PUBLIC = {"protocol": "https", "information": "*:443:a.example"}
FACTS = host_facts("WEB01", "2026-03-08T08:10:00Z", last_boot="2026-03-08T08:00:00Z")


class Host:
    """A host that an earlier run has left quiet under number 5, after it had begun to install."""

    def __init__(self, *, app: bool) -> None:
        self.services = {SERVICE: "Stopped", "W3SVC": "Running"}
        self.bindings: list[dict[str, str]] = []
        self.armed = 0
        self.quiesce: dict[str, Any] = {
            "number": 5, "state": "open", "opened": "2026-03-08T08:00:00Z", "services": [], "sites": [],
            "held": {PATCHING: {"run": "acme.CHG1.1"}, "quiet": {"at": "2026-03-08T08:05:00+00:00"}},
        }  # fmt: skip
        if app:
            self.quiesce["services"] = [{"name": name, "status": "Running"} for name in self.services]
            self.quiesce["sites"] = [{"name": "AdminPortal", "bindings": [PUBLIC]}]

    def arm_switch(self, *_: Any, **__: Any) -> None:
        self.armed += 1

    def run(self, script: str, **given: Any) -> dict[str, Any]:
        acts: dict[str, Callable[..., dict[str, Any]]] = {
            "Get-QuiesceState": lambda: {"quiesce": self.quiesce},
            "Get-HostFacts": self._facts,
            "Get-IisState": lambda sites: {"sites": [{"name": name, "bindings": self.bindings} for name in sites]},
            "Get-AutoServices": lambda: {"services": []},
            "Set-QuiesceState": self._set,
            "Stop-HostServices": self._stop,
        }
        return acts[script](**given)

    def _facts(self, services: list[str]) -> dict[str, Any]:
        return {**FACTS, "services": [{"name": name, "status": self.services[name]} for name in services]}

    def _stop(self, names: list[str], **_: Any) -> dict[str, Any]:
        self.services.update(dict.fromkeys(names, "Stopped"))
        return {"services": [], "complete": True}

    def _set(self, number: int, held: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        if more.get("from") == self.quiesce["number"] and self.quiesce["state"] == "open":
            self.quiesce["number"] = number
        if self.quiesce["state"] == "closed":
            self.quiesce = {**self.quiesce, "number": number, "state": "open", "services": [], "sites": [], "held": {}}
        assert (self.quiesce["number"], self.quiesce["state"]) == (number, "open")
        for section in more.get("forget") or ():
            self.quiesce["held"].pop(section, None)
        for section, value in (held or {}).items():
            self.quiesce["held"].setdefault(section, value)
        return {"quiesce": self.quiesce}


class World:
    """An estate of two hosts, and a run that is repeated over it."""

    def __init__(self) -> None:
        self.web, self.sql = Host(app=True), Host(app=False)
        hosts = {"sql01": self.sql, "web01": self.web}
        over = threading.Event()
        self.run: Any = SimpleNamespace(
            estate=load_estate(ESTATE, "acme.yaml"), hosts=hosts, sql={}, key=RunKey.for_change("acme", "CHG1"),
            number=0, fence=7, called="acme", stop=over, over=over, journal=Journal(), poll=0.01, lease_lost="",
            heed=lambda _: None, started=datetime.now(UTC), pause=lambda *_: False,
        )  # fmt: skip

    def number(self) -> int:
        """Number the quiesce and open it everywhere."""
        found = [plain(quiesce.look)(self.run, host) for host in self.run.hosts]
        following = quiesce.number(self.run, found)
        for host in self.run.hosts:
            plain(quiesce.open_quiesce)(self.run, host, following)
        return following.number


def plain(step: Any) -> Callable[..., Any]:
    """What a step does, without Prefect."""
    function: Callable[..., Any] = step._task.fn.__wrapped__
    return function


@pytest.fixture
def world() -> World:
    return World()


def test_quiet_that_was_kept_is_gone_on_with(world: World) -> None:
    """Its backups count: nothing has worked since, and they were begun after the estate had become quiet."""
    assert world.number() == 5
    assert plain(quiesce.stop_services)(world.run, "web01") == datetime(2026, 3, 8, 8, 5, tzinfo=UTC)


def a_boot(world: World) -> None:
    world.web.services[SERVICE] = "Running"


def a_person(world: World) -> None:
    world.web.bindings = [PUBLIC]


@pytest.mark.parametrize("wakes", [a_boot, a_person])
def test_what_works_again_ends_the_quiet(world: World, wakes: Callable[[World], None]) -> None:
    """The backups from before are not the last word any more; what was begun stays known."""
    wakes(world)
    assert world.number() == 6
    for host in (world.web, world.sql):
        assert host.quiesce["number"] == 6
        assert PATCHING in host.quiesce["held"]
        assert "quiet" not in host.quiesce["held"]
    assert plain(quiesce.stop_services)(world.run, "web01") > datetime.now(UTC) - timedelta(minutes=1)


def test_a_service_that_does_not_bill_ends_no_quiet(world: World) -> None:
    """W3SVC was stopped for an installer, and runs: it shows the maintenance page."""
    assert world.web.services["W3SVC"] == "Running"
    assert not plain(quiesce.look)(world.run, "web01").working


def test_a_reopening_is_forgotten_under_the_next_number(world: World) -> None:
    """It told of the old one."""
    world.web.quiesce["held"] |= {REOPENING: True, RELEASED: True}
    assert world.number() == 6
    assert not {REOPENING, RELEASED} & set(world.web.quiesce["held"])


def a_closed_night(world: World) -> None:
    world.web.quiesce["state"] = "closed"


def a_balancer_that_is_away(world: World) -> None:
    world.web.quiesce["held"] |= {REOPENING: True, RELEASED: True}
    world.web.bindings = [PUBLIC]


@pytest.mark.parametrize("left", [a_closed_night, a_balancer_that_is_away])
def test_what_was_begun_is_forgotten_once_it_was_proven(world: World, left: Callable[[World], None]) -> None:
    """An Agent job could not be released, so that the record stays open: the next night begins whole, and has its switch."""
    left(world)
    world.sql.quiesce["held"] |= {
        REOPENING: True,
        "sql-patch-15.0.4430.1": {},
        "sql": {},
        "agent_jobs": ["nightly rating"],
    }
    assert world.number() == 6
    assert set(world.sql.quiesce["held"]) == {"agent_jobs", "services-that-ran"}
    assert PATCHING not in world.web.quiesce["held"]


def a_site_that_stays_closed(world: World) -> None:
    world.web.quiesce["held"] |= {REOPENING: True, RELEASED: True}


def billing_that_stays_held(world: World) -> None:
    world.web.quiesce["held"][REOPENING] = True
    world.web.bindings = [PUBLIC]


def another_night(world: World) -> None:
    world.web.quiesce |= {"state": "closed", "number": 7}


def an_installer_that_was_left(world: World) -> None:
    world.web.quiesce["held"] |= {REOPENING: True, RELEASED: True, "left-running": {"processes": []}}
    world.web.bindings = [PUBLIC]


@pytest.mark.parametrize(
    ("left", "host"),
    [
        (a_site_that_stays_closed, "web01"),
        (billing_that_stays_held, "web01"),
        (billing_that_stays_held, "sql01"),
        (another_night, "sql01"),
        (an_installer_that_was_left, "web01"),
    ],
)
def test_what_was_begun_and_not_proven_stays_known(world: World, left: Callable[[World], None], host: str) -> None:
    """It is judged again before anything opens, and no switch opens it."""
    left(world)
    world.number()
    assert PATCHING in world.run.hosts[host].quiesce["held"]


def test_a_web_server_without_a_site_has_nothing_to_close(world: World) -> None:
    """Its PowerShell would refuse an empty list, and the night would end there."""
    closed: list[str] = []
    for name, host in world.run.hosts.items():
        host.run = lambda script, name=name, **_: closed.append(f"{script} {name}")
        plain(quiesce.put_page_up)(world.run, name)
    assert closed == ["Enter-Maintenance web01"]


SNAPSHOT = SnapshotHook(
    snapshot="vcenter",
    take=CommandCall(command=("take", "{host}"), id_at="."),
    proof=CommandCall(command=("proof", "{id}")),
)


def test_a_snapshot_of_before_customers_worked_is_no_way_back_and_still_to_be_deleted(world: World) -> None:
    """The next number has one of its own; whoever forgets to delete the old one is reminded of both."""
    old = {"id": "snap-old", "until": "2026-03-11T08:00:00+00:00"}
    asked = {"asked": "2026-03-08T08:05:00+00:00"}
    world.web.quiesce["held"] |= {REOPENING: True, asked_section(SNAPSHOT): asked, answered_section(SNAPSHOT): old}
    calls: list[str] = []

    def make(call: CommandCall, words: dict[str, str], _: float) -> str:
        calls.append(call.command[0])
        return words["id"] or "snap-new"

    world.run.hooks = SimpleNamespace(make=make)
    assert world.number() == 6
    for _ in range(2):
        plain(snapshots.take)(world.run, SNAPSHOT, "web01")
    assert calls == ["take", "proof", "proof"]
    assert [(r.status, r.id) for r in world.run.journal.of(HookRecord)] == [
        ("done", "snap-new"),
        ("adopted", "snap-new"),
    ]
    world.web.quiesce["held"][answered_section(SNAPSHOT)]["until"] = "2026-03-12T08:00:00+00:00"
    world.run.estate = SimpleNamespace(
        name="acme", snapshots=lambda: [(SNAPSHOT, "web01")], hosts=world.run.estate.hosts
    )
    world.run.facts = {"web01": SimpleNamespace(quiesce=world.web.quiesce)}
    assert [line.split()[2] for line in plain(snapshots.remind)(world.run, strict=False)] == ["snap-old", "snap-new"]


class Sql:
    """Agent with two jobs; nothing is disabled that its host has not on record."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.enabled = {"nightly rating": False, "eCheck export": True}

    def facts(self) -> Any:
        return SimpleNamespace(build="15.0.4430.1", agent="running")

    def enabled_jobs(self) -> tuple[str, ...]:
        return tuple(job for job, enabled in self.enabled.items() if enabled)

    def set_job_enabled(self, job: str, *, enabled: bool) -> None:
        assert job in self.host.quiesce["held"]["agent_jobs"]
        self.enabled[job] = enabled


def test_a_job_that_is_held_later_is_on_record_as_well(world: World) -> None:
    """It was declared, or enabled, after the first run had been cut off: without a record nobody would enable it again."""
    world.sql.quiesce["held"]["agent_jobs"] = ["nightly rating"]
    world.run.sql["sql01"] = sql = Sql(world.sql)
    world.run.number = 5
    for _ in range(2):
        assert plain(quiesce.hold_schedules)(world.run, "sql01") == ("nightly rating", "eCheck export")
    assert not any(sql.enabled.values())
    assert list(_schedules(world.sql.quiesce)) == ["nightly rating", "eCheck export"]


def test_what_a_store_refuses_is_not_left_on_the_server(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is too large for one PUT is refused before it is sent: each night would leave one more."""
    jobs: list[str] = []

    def end_of(_: Any, __: int, job: Job) -> Ended:
        jobs.append(job.step)
        return Ended({"path": r"D:\x.zip", "size": 6 * 1024**3, "sha256": "a" * 64}, datetime.now(UTC))

    monkeypatch.setattr(backup, "end_of", end_of)
    monkeypatch.setattr(backup, "run_job", lambda _, __, job: jobs.append(job.step) or {"failed": []})
    keys = S3Credentials(access_key_id="AKIAXXXXXXXX", secret_access_key="x")
    world.run.buckets = {"s3://bkbk/p/": S3BackupStore("bkbk", "p", keys)}
    stores = r"[{share: '\\nas\b', credentials: nas}]"
    world.run.estate = load_estate(ESTATE.replace(stores, "[{s3: bkbk, prefix: p/, credentials: s3}]"), "acme.yaml")
    with pytest.raises(ObjectTooLarge):
        plain(backup.back_up_folder)(world.run, BackupItem("files", "web01", r"D:\Work"))
    assert jobs == ["archive", "clear"]


def test_a_backup_is_as_old_as_the_job_that_made_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adopted one was made when its job ran, and whether its file still lies in the share is asked anew."""
    began = datetime(2026, 3, 8, 8, 6, tzinfo=UTC)
    jobs: list[tuple[str, str]] = []

    def end_of(_: Any, __: int, job: Job) -> Ended:
        jobs.append((job.step, job.subject))
        answers: dict[str, Any] = {
            "archive": {"path": r"D:\x.zip", "size": 9, "sha256": "a" * 64},
            "send": {"targets": [{"status": "stored", "path": r"\\nas\b\x.zip", "sha256": "a" * 64}]},
            "prove": {"path": r"\\nas\b\x.zip", "size": 9, "sha256": "a" * 64},
        }
        return Ended(answers.get(job.step, {"failed": []}), began)

    monkeypatch.setattr(backup, "end_of", end_of)
    monkeypatch.setattr(backup, "run_job", lambda *_: {"failed": []})
    world.run.share_login = lambda *_: {}
    world.run.number = 5
    (first,) = plain(backup.back_up_folder)(world.run, BackupItem("files", "web01", r"D:\Work"))
    assert first.started == began
    world.run.fence = 8
    plain(backup.back_up_folder)(world.run, BackupItem("files", "web01", r"D:\Work"))
    assert len({subject for step, subject in jobs if step == "prove"}) == 2
    assert len({subject for step, subject in jobs if step == "send"}) == 1
