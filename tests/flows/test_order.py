"""Order and readiness over the lab: SQL Server first, then IIS; what does not come back is named, the rest is served."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from standing import assert_released, standing

from flows.patch import patch_estate
from model.outcome import Stopped
from tasks.progress import subscribe
from tasks.rescue import recover_directly
from tasks.run import open_run, read_estate
from tasks.web_readiness import await_iis, await_routes
from tests.test_invariants import assert_promise_2, assert_promise_7


def edited(lab: Any, **sections: Any) -> str:
    """A copy of the lab's estate file with other sections: ``restart={"deadline": "20s"}`` is merged into what is there."""

    def change(document: Any) -> None:
        for name, changes in sections.items():
            document[name] |= changes

    changed: str = lab.estate_with(change)
    return changed


def order(lab: Any, *events: str) -> list[tuple[str, str]]:
    """(event, host) of these events, in order."""
    return [(each["event"], each["host"]) for each in lab.audit(*events, effects_only=False)]


def stopped_before(lab: Any, host: str) -> list[list[tuple[str, str]]]:
    """What was stopped, and where, before each restart of ``host`` was asked for; each since the last that was asked for."""
    found, since = [], []
    for each in lab.audit("pool.stop", "service.stop", "host.restart_requested"):
        if each["event"] != "host.restart_requested":
            since.append((each["host"], each.get("pool") or each["service"]))
            continue
        if each["host"] == host:
            found.append(since)
        since = []
    return found


def page(lab: Any, site: str, host: str, *, private: bool = False) -> httpx.Response:
    """What a customer is shown, or the checks."""
    port = {"AdminPortal": 8080, "Portal": 8090}[site] + private
    return httpx.get(f"http://{lab.state()['hosts'][host]['address']}:{port}/{site}/", follow_redirects=True)


def rename_pending(lab: Any, host: str) -> None:
    """Leave a file that waits for a restart to be renamed, as antivirus does."""
    path = lab.folder / "hosts" / host / "registry.json"
    registry = json.loads(path.read_text(encoding="utf-8"))
    manager = registry["HKLM"]["SYSTEM"]["CurrentControlSet"]["Control"]["Session Manager"]
    manager["@"]["PendingFileRenameOperations"] = [r"\??\C:\Windows\Temp\av.tmp", ""]
    path.write_text(json.dumps(registry), encoding="utf-8")


@pytest.mark.night
def test_sql_server_is_ready_before_any_web_server_restarts(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """However slow its databases recover; web servers go one at a time, and none ever meets a SQL Server half-awake.

    A file that waits to be renamed would make SQL Server setup refuse: its host restarts before, once.
    """
    lab = start_lab("farm")
    lab.declare("sql.slow_recovery", "EngageIP", seconds=300)
    rename_pending(lab, "sql01")
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG1")
    assert ran.type == "COMPLETED", ran.message
    assert_promise_2(lab.audit(effects_only=False), read_estate(lab.estate))
    assert_promise_7(lab.audit(effects_only=False), read_estate(lab.estate))
    assert order(lab, "host.shutdown", "sqlpatch.install") == [
        ("host.shutdown", "sql01"),
        ("sqlpatch.install", "sql01"),
        ("host.shutdown", "sql01"),
        ("host.shutdown", "web01"),
        ("host.shutdown", "web02"),
    ]
    web = order(lab, "host.shutdown", "host.boot")[4:]
    assert web == [(event, host) for host in ("web01", "web02") for event in ("host.shutdown", "host.boot")]
    assert lab.audit("iis.worker_broken") == []
    phases = [event for event, _ in order(lab, "sql.upgrading", "sql.paused", "sql.recovering")]  # 18401, 17142, 922
    assert phases == ["sql.paused", "sql.recovering", "sql.upgrading", "sql.recovering", "sql.paused", "sql.recovering"]
    assert [each["waited_for"] for each in ran.report["restarts"]][-2:] == [["sql01"], ["sql01"]]
    # Pools hold no connections into a SQL Server that goes, and both its services end before the machine ends them.
    quiet = [(web, pool) for web in ("web01", "web02") for pool in ("AdminPortal", "Portal")]
    quiet += [("sql01", "SQLSERVERAGENT"), ("sql01", "MSSQLSERVER")]
    assert [each[-len(quiet) :] for each in stopped_before(lab, "sql01")] == [quiet, quiet]


@pytest.mark.night
def test_a_naive_order_breaks_the_portals_until_their_pools_are_recycled(start_lab: Callable[..., Any]) -> None:
    """The test of the test: all servers at once, as somebody in a hurry does it."""
    lab = start_lab("farm")
    lab.declare("sql.slow_start", "sql01", seconds=300)
    lab.disorderly = True
    for host in ("sql01", "web01"):
        httpx.post(f"{lab.papers['control']}/hosts/{host}/restart", json={"seconds_down": 5}).raise_for_status()
    lab.until(lambda: lab.audit("iis.worker_broken"), "a portal that started without its database")
    down = lab.audit("sql.down", effects_only=False)[0]["n"]
    lab.until(lambda: any(e["n"] > down for e in lab.audit("sql.ready", effects_only=False)), "SQL Server")
    with pytest.raises(AssertionError, match="web01 went down while sql01"):
        assert_promise_2(lab.audit(effects_only=False), read_estate(lab.estate))
    broken = page(lab, "AdminPortal", "web01")
    assert broken.status_code == 500
    assert "TypeInitializationException" in broken.text
    assert page(lab, "AdminPortal", "web02").status_code == 200
    with open_run(lab.estate) as run:
        run.hosts["web01"].run("Restart-AppPools", sites=["AdminPortal"], fence=1)
    assert page(lab, "AdminPortal", "web01").status_code == 200


@pytest.mark.night
def test_everything_on_one_host(start_lab: Callable[..., Any], run_flow: Callable[..., Any]) -> None:
    """IIS and billing start with the machine, before SQL Server is ready: once it is, pools and services start anew.

    SQL Server Agent does not: it ran because somebody had started it, and is started again.
    """
    lab = start_lab("single")
    start_by_hand(lab, "all01", "SQLSERVERAGENT")
    lab.declare("sql.slow_recovery", "EngageIP", seconds=300)
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG1")
    assert ran.type == "COMPLETED", ran.message
    assert_promise_7(lab.audit(effects_only=False), read_estate(lab.estate))
    assert lab.audit("iis.worker_broken")
    trail = lab.audit("host.boot", "sql.ready", "pool.recycle", "service.stop", "service.start", effects_only=False)
    boot = max(each["n"] for each in trail if each["event"] == "host.boot")
    ready = max(each["n"] for each in trail if each["event"] == "sql.ready")
    recycled = [each["pool"] for each in trail if each["event"] == "pool.recycle" and each["n"] > ready]
    assert {"AdminPortal", "Portal"} <= set(recycled)
    billing = [
        (each["event"], each["service"])
        for each in trail
        if each["n"] > boot and "EngageIP" in str(each.get("service"))
    ]
    names = ("EngageIP Event Manager", "EngageIP Job Service")
    assert billing == [("service.stop", name) for name in names] + [("service.start", name) for name in reversed(names)]
    starts = [(each["n"], each["service"]) for each in trail if each["n"] > boot and each["event"] == "service.start"]
    assert min(starts)[0] > ready
    assert "SQLSERVERAGENT" in dict(starts).values()
    assert lab.host_json("all01", "services.json")["SQLSERVERAGENT"]["status"] == "Running"
    assert page(lab, "AdminPortal", "all01").status_code == page(lab, "Portal", "all01").status_code == 200
    (stopped,) = stopped_before(lab, "all01")
    assert [name for _, name in stopped[-4:]] == ["AdminPortal", "Portal", "SQLSERVERAGENT", "MSSQLSERVER"]


@pytest.mark.night
def test_a_web_server_that_does_not_come_back_is_named_and_the_rest_is_served(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """Two may be down at once, so both restart together; later `recover` brings the lost one back too, services included."""
    lab = start_lab("farm")
    estate = edited(lab, restart={"max_unavailable": 2, "deadline": "25s"})
    lab.declare("power.slow_boot", "web02", seconds=None)
    add_service(lab, "web02", "Backup Agent")
    ran = run_flow(patch_estate, estate=estate, change="CHG1")
    assert ran.type == "FAILED"
    assert ran.message.startswith(
        "acme-farm: failed at restart, 5 updates were installed, down: web02. "
        "web02: not back after its restart within 0:00:25 (WinRM to answer ("
    )
    assert ran.message.endswith("Look at its console, then run: billpatch recover acme-farm")
    assert_promise_2(lab.audit(effects_only=False), read_estate(estate))
    going = order(lab, "host.shutdown", "host.boot")
    assert set(going[2:4]) == {("host.shutdown", "web01"), ("host.shutdown", "web02")}
    report = ran.report
    assert report["next_command"] == "billpatch recover acme-farm"
    assert report["down"] == ["web02"]
    assert {check["status"] for check in report["checks"] if check["host"] == "web02"} == {"not-run"}
    assert {check["status"] for check in report["checks"] if check["host"] != "web02"} == {"passed"}
    assert [page(lab, site, "web01").status_code for site in ("AdminPortal", "Portal")] == [200, 200]
    assert lab.host_json("web01", "services.json")["EngageIP Job Service"]["status"] == "Running"
    assert "web02: not back after its restart" in lab.audit("pager.page")[-1]["text"]

    lab.clear()
    lab.declare("service.down_after_boot", "Backup Agent")
    httpx.post(f"{lab.papers['control']}/hosts/web02/restart", json={"seconds_down": 1}).raise_for_status()
    before = len(lab.audit())
    outcome = recover_directly(estate).report.outcome
    assert (outcome.verdict, outcome.down) == ("succeeded", ())
    assert [page(lab, site, "web02").status_code for site in ("AdminPortal", "Portal")] == [200, 200]
    since = lab.audit()[before:]
    assert [each for each in since if each["event"] == "service.stop"] == []
    assert lab.host_json("web02", "services.json")["Backup Agent"]["status"] == "Running"
    assert_promise_7(lab.audit(effects_only=False), read_estate(estate))


@pytest.mark.night
def test_no_web_server_restarts_while_sql_server_is_not_ready(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """A database that does not come online: portals stay behind the page, a person is paged; once it is, all opens."""
    lab = start_lab("acme")
    estate = edited(lab, updates={"packages": []})
    lab.declare("sql.recovery_fails", "Reporting", state="RECOVERY_PENDING")
    ran = run_flow(patch_estate, estate=estate, change="CHG1")
    waits = "sql01: SQL Server is not ready, it still waits for database Reporting (RECOVERY_PENDING). See its ERRORLOG on sql01."
    assert ran.type == "FAILED"
    assert ran.message.startswith(f"acme-billing: NOT reopened, a person is needed. (1) {waits} ")
    assert order(lab, "host.shutdown") == [("host.shutdown", "sql01")]
    assert [page(lab, site, "web01").status_code for site in ("AdminPortal", "Portal")] == [503, 503]
    assert waits in lab.audit("pager.page")[-1]["text"]
    assert ran.report["next_command"] == "billpatch recover acme-billing"
    assert lab.host_json("web01", "services.json")["EngageIP Job Service"]["status"] == "Stopped"

    lab.clear()
    httpx.post(f"{lab.papers['control']}/hosts/sql01/restart", json={"seconds_down": 1}).raise_for_status()
    lab.until(lambda: order(lab, "sql.ready", "sql.down")[-1:] == [("sql.ready", "sql01")], "SQL Server")
    outcome = recover_directly(estate).report.outcome
    assert (outcome.verdict, outcome.down) == ("succeeded", ())
    assert page(lab, "AdminPortal", "web01").status_code == 200
    assert_promise_7(lab.audit(effects_only=False), read_estate(estate))


@pytest.mark.night
def test_a_sql_server_that_does_not_come_back_keeps_the_portals_closed(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """Nobody can read on it what was begun; no web server restarts, and the page stays up."""
    lab = start_lab("acme")
    estate = edited(lab, restart={"deadline": "20s"})
    lab.declare("power.slow_boot", "sql01", seconds=None)
    ran = run_flow(patch_estate, estate=estate, change="CHG1")
    assert ran.type == "FAILED"
    assert ran.message.startswith(
        "acme-billing: NOT reopened, a person is needed. "
        "(1) sql01: not back after its restart within 0:00:20 (WinRM to answer ("
    )
    assert ran.report["down"][0] == "sql01"
    assert {"AdminPortal on web01", "Portal on web01", "EngageIP Job Service on web01"} <= set(ran.report["down"])
    assert order(lab, "host.shutdown") == [("host.shutdown", "sql01")]
    assert [page(lab, site, "web01").status_code for site in ("AdminPortal", "Portal")] == [503, 503]
    assert_promise_7(lab.audit(effects_only=False), read_estate(estate))


@pytest.mark.night
def test_only_what_was_patched_restarts(start_lab: Callable[..., Any], run_flow: Callable[..., Any]) -> None:
    """An update that can never go in is tried once and named; its host stays up, and its portals start anew."""
    lab = start_lab("acme")
    estate = edited(lab, updates={"kb_reject": ["KB5044284", "KB5033904"]})
    lab.declare("update.fail", "web01", hresult="80070643")
    ran = run_flow(patch_estate, estate=estate, change="CHG1")
    assert (ran.type, ran.message) == (
        "FAILED",
        (
            "acme-billing: failed, 2 updates were installed, everything is up. web01: 2024-01 Cumulative Update for Windows "
            "Server 2019 for x64-based Systems (KB5034127) was not installed: 0x80070643: the package's own installer failed "
            "fatally; look at the KB's known issues"
        ),
    )
    assert order(lab, "host.shutdown") == [("host.shutdown", "sql01")]
    assert len(lab.audit("update.install_failed")) == 1
    trail = lab.audit("sql.ready", "pool.recycle", "web.request", effects_only=False)
    ready = max(each["n"] for each in trail if each["event"] == "sql.ready")
    after = [(each["event"], each.get("pool")) for each in trail if each["n"] > ready]
    assert after[:2] == [("pool.recycle", "AdminPortal"), ("pool.recycle", "Portal")]


@pytest.mark.night
def test_a_web_server_that_is_lost_keeps_the_next_one_up(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """With one allowed to be down, web02 is not restarted after web01 was lost: it goes on serving, and its update waits.

    web01 runs the billing services: their Agent schedules stay held, which is told, until `recover` finds all of it back.
    """
    lab = start_lab("farm")
    before = standing(lab)
    estate = edited(lab, restart={"deadline": "25s"})
    lab.declare("power.slow_boot", "web01", seconds=None)
    ran = run_flow(patch_estate, estate=estate, change="CHG1")
    assert ran.type == "FAILED"
    assert order(lab, "host.shutdown") == [("host.shutdown", "sql01"), ("host.shutdown", "web01")]
    assert "web01: not back after its restart within 0:00:25" in ran.message
    assert "web02: not restarted, for restart.max_unavailable allows 1 host down" in ran.message
    assert ran.report["down"][0] == "web01"
    assert ran.message.startswith(
        "acme-farm: failed at restart, 5 updates were installed, down: web01, Agent job EngageIP Billing Run on sql01. "
    )
    waits = "Agent job EngageIP Billing Run on sql01: stopped, it waits for web01 (the host does not answer)"
    assert waits in ran.report["problems"]
    assert [page(lab, site, "web02").status_code for site in ("AdminPortal", "Portal")] == [200, 200]

    lab.clear()
    httpx.post(f"{lab.papers['control']}/hosts/web01/restart", json={"seconds_down": 1}).raise_for_status()
    outcome = recover_directly(estate).report.outcome
    assert (outcome.verdict, outcome.down) == ("succeeded", ())
    assert standing(lab) == before
    assert_released(lab)


def settings_of_service(lab: Any, host: str, name: str, **values: Any) -> None:
    """What Windows keeps of a service: ``DelayedAutostart=1``, ``TriggerInfo={}`` (a key)."""
    path = lab.folder / "hosts" / host / "registry.json"
    registry = json.loads(path.read_text(encoding="utf-8"))
    services = registry["HKLM"]["SYSTEM"]["CurrentControlSet"].setdefault("Services", {})
    keys = {key: value for key, value in values.items() if isinstance(value, dict)}
    services[name] = {"@": {key: value for key, value in values.items() if key not in keys}, **keys}
    path.write_text(json.dumps(registry), encoding="utf-8")


def start_by_hand(lab: Any, host: str, name: str) -> None:
    """Have a service not start with its machine, as setup of SQL Server leaves Agent where nobody asks for more."""
    path = lab.folder / "hosts" / host / "services.json"
    services = json.loads(path.read_text(encoding="utf-8"))
    services[name]["start"] = "Manual"
    path.write_text(json.dumps(services), encoding="utf-8")


def add_service(lab: Any, host: str, name: str, **settings: Any) -> None:
    """Give a host an automatic service that runs."""
    path = lab.folder / "hosts" / host / "services.json"
    services = json.loads(path.read_text(encoding="utf-8"))
    services[name] = {"status": "Running", "start": "Automatic", "depends": []}
    path.write_text(json.dumps(services), encoding="utf-8")
    settings_of_service(lab, host, name, **settings)


@pytest.mark.night
def test_a_host_that_restarts_twice_is_ready_after_the_second(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """It goes down again while its databases recover: billing is held again, services that ran are back, or are named.

    A delayed service is waited for; one that Windows could not start is started; a trigger-start one is left alone.
    """
    lab = start_lab("single")
    lab.declare("sql.slow_recovery", "EngageIP", seconds=500)
    lab.declare("power.double_boot", "all01", times=1, seconds=350)  # seen to be up before, and not yet ready
    lab.declare("service.down_after_boot", "Backup Agent")
    lab.declare("service.down_after_boot", "Licence Server")
    lab.declare("service.down_after_boot", "Ignored")
    lab.declare("service.broken", "Licence Server")
    for name, settings in {
        "Backup Agent": {},
        "Licence Server": {},
        "Ignored": {},
        "Monitoring": {"DelayedAutostart": 1},
        "Triggered": {"TriggerInfo": {}},
    }.items():
        add_service(lab, "all01", name, **settings)  # type: ignore[arg-type]
    estate = edited(lab, updates={"packages": []}, restart={"ignore_services": ["Ignored"]})
    ran = run_flow(patch_estate, estate=estate, change="CHG1")
    assert ran.type == "FAILED"
    assert ran.message.endswith(
        "everything is up. all01: check 'services that ran before the restart run again' failed: down: Licence Server "
        "(Service 'Licence Server' cannot be started due to the following error: Cannot start service Licence Server on "
        "computer '.'.). Start them, or find out why they do not"
    )
    assert order(lab, "host.shutdown", "host.boot") == [("host.shutdown", "all01"), ("host.boot", "all01")] * 2
    assert len(lab.audit("host.restart_requested")) == 1
    assert ran.report["restarts"][0]["remark"] == "it restarted 2 times, the last unasked"
    trail = lab.audit(effects_only=False)
    assert_promise_7(trail, read_estate(lab.estate))
    last = max(each["n"] for each in trail if each["event"] == "host.boot")
    services = [(e["event"], e["service"]) for e in trail if e["n"] > last and e["event"].startswith("service.")]
    assert services.index(("service.stop", "EngageIP Job Service")) < services.index(
        ("service.start", "EngageIP Job Service")
    )
    assert services.count(("service.start", "Backup Agent")) == services.count(("service.start", "Monitoring")) == 1
    standing = lab.host_json("all01", "services.json")
    assert [standing[name]["status"] for name in ("Triggered", "Licence Server", "Ignored")] == ["Stopped"] * 3


@pytest.mark.night
def test_services_only_where_windows_asks_for_nothing(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """``restart.policy: services-only``: SQL Server and IIS restart, in order, and no machine goes down.

    While SQL Server is away the portals' pools are stopped; then the web server must reach it by its name, and its
    first pages must be answered, before anything else. What is waited for is shown.
    """
    lab = start_lab("acme")
    estate = edited(
        lab, restart={"policy": "services-only"}, updates={"kb_reject": ["KB5044284", "KB5034127", "KB5033904"]}
    )

    def lose_the_way() -> None:
        lab.until(lambda: lab.audit("sqlpatch.start"), "a patch")
        lab.declare("sql.no_route", "web01", times=2, error="TimedOut")

    told: list[str] = []
    unsubscribe = subscribe(lambda progress: told.append(f"{progress.subject}: {progress.message}"))
    loses = threading.Thread(target=lose_the_way)
    loses.start()
    ran = run_flow(patch_estate, estate=estate, change="CHG1")
    loses.join()
    unsubscribe()
    assert ran.type == "COMPLETED", ran.message
    assert order(lab, "host.shutdown") == []
    only = "services only: nothing asks for a restart of Windows"
    assert [(each["host"], each["remark"]) for each in ran.report["restarts"]] == [("sql01", only)]
    trail = lab.audit(effects_only=False)
    assert_promise_2(trail, read_estate(estate))
    assert_promise_7(trail, read_estate(estate))
    patched = max(each["n"] for each in trail if each["event"] == "sqlpatch.install")
    shown = {"pool.stop", "sql.down", "sql.ready", "pool.recycle", "service.stop", "service.start"}
    after = [(e["event"], e["host"]) for e in trail if e["n"] > patched and e["event"] in shown]
    first = after.index(("pool.stop", "web01"))
    assert list(dict.fromkeys(after[first:]))[:6] == [
        ("pool.stop", "web01"),
        ("service.stop", "sql01"),
        ("sql.down", "sql01"),
        ("service.start", "sql01"),
        ("sql.ready", "sql01"),
        ("pool.recycle", "web01"),
    ]
    address = lab.state()["hosts"]["sql01"]["address"]
    assert f"sql01: waiting for web01 to reach it as {address} on port 1433 (TimedOut)" in told
    assert {"web01: AdminPortal answers", "web01: Portal answers"} <= set(told)


@pytest.mark.night
def test_a_sql_server_that_policy_restarts_in_the_middle_is_waited_for(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """It goes down unasked while its web server restarts: that one is ready once SQL Server is again, and starts anew then."""
    lab = start_lab("acme")
    lab.declare("power.slow_boot", "web01", seconds=300)
    lab.declare("sql.slow_recovery", "EngageIP", seconds=450)  # longer than that
    with ThreadPoolExecutor(1) as beside:
        beside.submit(restart_by_policy, lab, "sql01", once="web01")
        ran = run_flow(patch_estate, estate=edited(lab, updates={"packages": []}), change="CHG1")
    assert ran.type == "COMPLETED", ran.message
    assert order(lab, "host.shutdown") == [("host.shutdown", host) for host in ("sql01", "web01", "sql01")]
    trail = lab.audit(effects_only=False)
    assert_promise_2(trail, read_estate(lab.estate))
    assert_promise_7(trail, read_estate(lab.estate))
    ready = max(each["n"] for each in trail if each["event"] == "sql.ready")
    assert {"AdminPortal", "Portal"} <= {e["pool"] for e in trail if e["event"] == "pool.recycle" and e["n"] > ready}


def restart_by_policy(lab: Any, host: str, once: str) -> None:
    """Restart a host unasked, as soon as another one is down."""
    lab.until(lambda: ("host.shutdown", once) in order(lab, "host.shutdown"), f"the restart of {once}", 120)
    httpx.post(f"{lab.papers['control']}/hosts/{host}/restart", json={"seconds_down": 5}).raise_for_status()


@pytest.mark.night
def test_a_web_server_is_ready_with_its_first_pages(start_lab: Callable[..., Any]) -> None:
    """Silence is waited for, an error that lasts is told and left to the checks, and a stopped pool is started."""
    lab = start_lab("acme")
    told: list[str] = []
    unsubscribe = subscribe(lambda progress: told.append(f"{progress.subject}: {progress.message}"))
    with open_run(lab.estate) as run:
        run.hosts["web01"].run("Stop-AppPools", sites=["Portal"], fence=0)
        lab.declare("web.error", "web01/AdminPortal", status=503)
        with pytest.raises(Stopped, match=r"still waits for the first page of AdminPortal \(answers 503"):
            await_iis(run, "web01", time.monotonic() + 3)
        assert lab.host_json("web01", "iis.json")["pools"]["Portal"]["state"] == "Started"
        assert "web01: Portal answers" in told
        lab.clear()
        lab.declare("web.error", "web01/AdminPortal", status=500)
        await_iis(run, "web01", time.monotonic() + 60)
        assert any("AdminPortal answers 500" in each and "the checks will say" in each for each in told)
        lab.declare("sql.no_route", "web01", error="HostNotFound")
        with pytest.raises(Stopped, match=r"still waits for web01 to reach it as .* \(HostNotFound\)"):
            await_routes(run, "sql01", time.monotonic())
    unsubscribe()
