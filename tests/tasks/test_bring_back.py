"""What is brought back, and what stays on record, when hosts come and go under it: hosts that only remember."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from host_facts import host_facts

from blocks.winrm.errors import HostBusy, HostUnreachable
from model.estate import load_estate
from model.journal import Journal
from model.quiesce import next_quiesce
from model.web import WebAnswer
from tasks import bring_back
from tasks.bring_back import BroughtBack, undo

ESTATE = r"""
estate: acme
timezone: America/Toronto
hosts:
  sql01: {address: sql01, roles: [mssql], credentials: winrm}
  web01: {address: web01, roles: [iis, app], credentials: winrm}
  web02: {address: web02, roles: [iis], credentials: winrm}
sql: {sql01: {credentials: sql, databases: [EngageIP], agent_jobs: {hold: [nightly rating]}}}
engageip:
  host: web01
  folder: C:\EngageIP
  services: [Billing]
  sites:
    - {name: Portal, url: 'https://a.example/Portal', check_url: 'http://{host}:8081/Portal', hosts: [web01, web02]}
backup: {stores: [{share: '\\nas\b', credentials: nas}]}
checks: [{http: Portal}]
"""
ME = "here process 1"
NOW = datetime.now(UTC)
Fault = Callable[[str], Exception | None]
"""What a call of this script raises; None lets it through."""


class Host:
    """A quiet host: what of it is held, and whatever the scripts of bring_back do to that."""

    def __init__(self, name: str, sites: list[str], services: list[str], held: dict[str, Any]) -> None:
        self.name = name
        self.page = set(sites)
        self.services = dict.fromkeys(services, "Stopped")
        self.recycled = 0
        self.started: list[list[str]] = []
        self.fault: Fault = lambda _: None
        self.stubborn = False
        self.lease = {"fence": 5, "holder": ME, "key": "acme.CHG1.1", "taken": NOW, "expires": NOW + timedelta(hours=1)}
        self.quiesce: dict[str, Any] = {
            "number": 5,
            "state": "open",
            "sites": [{"name": site} for site in sites],
            "services": [{"name": name, "status": "Running"} for name in services],
            "held": held,
        }

    def run(self, script: str, /, **asked: Any) -> Any:
        if (error := self.fault(script)) is not None:
            raise error
        self._act(script, asked)
        return self._answer(script, asked)

    def _answer(self, script: str, asked: dict[str, Any]) -> dict[str, Any]:
        lease = self.lease | {"released": False, "finished": False}
        services = [
            {"name": name, "exists": True, "status": self.services[name], "error": "it pauses"}
            for name in asked.get("names", ())
        ]
        answers: dict[str, dict[str, Any]] = {
            "Get-HostFacts": host_facts(
                self.name,
                NOW,
                lease=lease,
                quiesce=copy.deepcopy(self.quiesce),
                services=[
                    {"name": each, "status": self.services.get(each, "Running")} for each in asked.get("services", ())
                ],
            ),
            "Get-RebootState": {"asked": None},
            "Get-PatchJob": {"jobs": []},
            "Get-IisState": {"sites": []},
            "Stop-HostServices": {"services": services},
            "Start-HostServices": {"services": services},
            "Disable-DeadMansSwitch": {"said": None},
        }
        return answers.get(script, {})

    def _act(self, script: str, asked: dict[str, Any]) -> None:
        match script:
            case "Set-QuiesceState":
                self.quiesce["state"] = asked["state"]
                self.quiesce["held"] |= asked.get("held") or {}
            case "Exit-Maintenance":
                self.page -= set(asked["sites"])
            case "Restart-AppPools":
                self.recycled += 1
            case "Stop-HostServices" | "Start-HostServices":
                status = "Running" if script.startswith("Start") or self.stubborn else "Stopped"
                self.services |= dict.fromkeys(asked["names"], status)
                if script.startswith("Start"):
                    self.started.append(asked["names"])


class World:
    """Three hosts in a night; ``begun`` are those that were asked to restart."""

    def __init__(self, *begun: str, deadline: float = 0.3) -> None:
        estate = load_estate(ESTATE, "acme.yaml")
        restart = estate.restart.model_copy(update={"deadline": timedelta(seconds=deadline)})
        self.hosts = {
            "sql01": Host("sql01", [], [], {"agent_jobs": ["nightly rating"]}),
            "web01": Host("web01", ["Portal"], ["Billing"], {}),
            "web02": Host("web02", ["Portal"], [], {}),
        }
        for host in begun:
            self.hosts[host].quiesce["held"]["restarting"] = {"intent": "1"}
        self.jobs = {"nightly rating": False}
        self.began = time.monotonic()
        over = threading.Event()
        self.run: Any = SimpleNamespace(
            estate=estate.model_copy(update={"restart": restart}),
            hosts=self.hosts,
            sql={"sql01": SimpleNamespace(set_job_enabled=lambda job, *, enabled: self.jobs.update({job: enabled}))},
            web=SimpleNamespace(get=lambda url: WebAnswer(url=url, status=200, seconds=0.1, text="ok")),
            journal=Journal(),
            number=5,
            fence=5,
            joined=tuple(self.hosts),
            renewal=threading.Lock(),
            lost={},
            in_use=set(),
            lease_lost="",
            over=over,
            holder=ME,
            key="acme.CHG1.1",
            heed=lambda _: None,
            pause=lambda stop=None: (stop or over).wait(0.02),
        )

    def after(self, seconds: float) -> bool:
        return time.monotonic() - self.began > seconds

    def assert_served(self) -> None:
        """Everything is as it was before the night, and nothing is on record."""
        assert {host.name: (host.page, host.quiesce["state"]) for host in self.hosts.values()} == {
            name: (set(), "closed") for name in self.hosts
        }
        assert (self.hosts["web01"].services, self.jobs) == ({"Billing": "Running"}, {"nightly rating": True})


@pytest.fixture(autouse=True)
def sql_server(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is wrong with each SQL Server that answers; at first nothing."""
    wrong: dict[str, str] = {}

    def problems(_: Any, __: Any, ___: Any, lost: dict[str, str]) -> dict[str, str]:
        return wrong | {host: f"{host}: {why}" for host, why in lost.items() if host == "sql01"}

    monkeypatch.setattr(bring_back, "_sql_problems", problems)
    return wrong


def assert_not_forgotten(world: World, back: BroughtBack, *hosts: str) -> None:
    """What is still held on these hosts is on their records, and nobody is told that all is well."""
    assert not back.complete
    assert [world.hosts[host].quiesce["state"] for host in hosts] == ["open"] * len(hosts)


def unreachable(host: str) -> HostUnreachable:
    return HostUnreachable(host, "nothing answers", "")


def test_everything_comes_back() -> None:
    """So that the tests below begin with a night that would end well."""
    for world in (World(), World("sql01", "web01")):
        assert undo(world.run).complete
        world.assert_served()


def test_a_web_server_that_is_always_busy_keeps_nobody_else_waiting() -> None:
    """It answers each look, and nothing else: the others are open at once, and its own record stays."""
    world = World(deadline=0.5)
    busy = HostBusy("web02", "busy", "")
    world.hosts["web02"].fault = lambda script: busy if script == "Get-PatchJob" else None
    back = undo(world.run)
    assert_not_forgotten(world, back, "web02")
    assert (world.hosts["web01"].page, world.hosts["web01"].services) == (set(), {"Billing": "Running"})
    assert world.jobs == {"nightly rating": True}
    assert "web02" in back.unreachable


def test_one_that_goes_away_in_the_last_pass_keeps_its_record() -> None:
    """sql01 restarts again and again: it answers the look and then nothing. The next recover finds all that is held."""
    world = World("sql01")
    away = unreachable("sql01")
    world.hosts["sql01"].fault = lambda script: away if not world.after(0.3) or script == "Get-RebootState" else None
    back = undo(world.run)
    assert_not_forgotten(world, back, "sql01", "web01", "web02")
    assert set(back.closed) == {"Portal on web01", "Portal on web02"}
    world.hosts["sql01"].fault = lambda _: None
    assert undo(world.run).complete
    world.assert_served()


def test_one_blip_when_time_is_up_forgets_nothing() -> None:
    """sql01 is down for good; a connection to web01 breaks in the only pass."""
    world = World("sql01")
    blips = [unreachable("web01")]
    world.hosts["sql01"].fault = lambda _: unreachable("sql01")
    world.hosts["web01"].fault = lambda script: blips.pop() if script == "Get-RebootState" and blips else None
    back = undo(world.run)
    assert blips == []
    assert_not_forgotten(world, back, "sql01", "web01", "web02")


@pytest.mark.parametrize("begun", [(), ("sql01", "web01")], ids=["nothing begun", "begun"])
def test_billing_that_waits_for_its_host_stays_on_record(begun: tuple[str, ...]) -> None:
    """The host of the billing services is away: the Agent schedules of the SQL Server stay held, which is told."""
    world = World(*begun)
    world.hosts["web01"].fault = lambda _: unreachable("web01")
    back = undo(world.run)
    assert_not_forgotten(world, back, "sql01")
    assert back.stopped == {"Agent job nightly rating on sql01": "it waits for web01 (the host does not answer)"}
    assert world.hosts["web02"].page == set(), "who needs no billing is served"
    world.hosts["web01"].fault = lambda _: None
    assert undo(world.run).complete
    world.assert_served()


def test_a_half_patched_sql_server_is_not_forgotten_over_a_host_that_is_away(sql_server: dict[str, str]) -> None:
    """When that is back, the SQL Server is looked at again."""
    world = World("sql01", "web01")
    sql_server["sql01"] = "sql01: half-patched"
    world.hosts["web01"].fault = lambda _: unreachable("web01")
    assert_not_forgotten(world, undo(world.run), "sql01", "web02")
    world.hosts["web01"].fault = lambda _: None
    back = undo(world.run)
    assert back.closed == dict.fromkeys(("Portal on web01", "Portal on web02"), "sql01: half-patched")


def test_sites_that_are_open_again_are_left_alone() -> None:
    """Their pools are recycled before customers come, and not each time that another host is asked for."""
    world = World("web01", "web02", deadline=30)
    world.hosts["web02"].fault = lambda _: None if world.after(0.4) else unreachable("web02")
    assert undo(world.run).complete
    assert [world.hosts[host].recycled for host in ("web01", "web02")] == [1, 1]
    world.assert_served()


def test_a_billing_service_that_does_not_stop_is_told_as_running(sql_server: dict[str, str]) -> None:
    """The boot has started it, over a SQL Server that is half-patched."""
    world = World("sql01", "web01")
    sql_server["sql01"] = "sql01: half-patched"
    world.hosts["web01"].stubborn = True
    back = undo(world.run)
    assert back.running == {"Billing on web01": "it is Running (it pauses)"}
    assert "Billing on web01" not in back.stopped
    assert_not_forgotten(world, back, "sql01", "web01", "web02")


def test_what_was_stopped_for_a_restart_runs_before_it_is_asked_for() -> None:
    """A services-only restart was cut when W3SVC, Agent and the engine were down; billing waits for its proof."""
    world = World("sql01", "web01")
    for host, services in (("sql01", ["SQLSERVERAGENT", "MSSQLSERVER"]), ("web01", ["W3SVC"])):
        world.hosts[host].services |= dict.fromkeys(services, "Stopped")
        world.hosts[host].quiesce["services"] += [{"name": name, "status": "Running"} for name in services]

    def answers(url: str) -> WebAnswer:
        up = world.hosts["web01"].services["W3SVC"] == "Running"
        assert world.hosts["web01"].services["Billing"] == "Stopped"
        return WebAnswer(url=url, status=200 if up else None, seconds=0.1, text="ok")

    world.run.web.get = answers
    assert undo(world.run).complete
    assert set(world.hosts["sql01"].services.values()) == {"Running"}
    assert world.hosts["sql01"].started == [["MSSQLSERVER", "SQLSERVERAGENT"]] * 2, (
        "once before the checks, once for all"
    )
    world.hosts["web01"].services.pop("W3SVC")
    world.assert_served()


@pytest.mark.parametrize("billed", [True, False])
def test_backups_do_not_outlive_what_was_billed_since(sql_server: dict[str, str], *, billed: bool) -> None:
    """A boot has started the billing services, and they are stopped again: the next run takes its backups anew."""
    world = World("sql01", "web01")
    sql_server["sql01"] = "sql01: half-patched"
    if billed:
        world.hosts["web01"].services["Billing"] = "Running"
    assert not undo(world.run).complete
    assert world.hosts["web01"].services["Billing"] == "Stopped"
    known = {name: host.quiesce for name, host in world.hosts.items()}
    assert next_quiesce(known).number == (6 if billed else 5)
