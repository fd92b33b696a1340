"""Readiness of web servers: services, sites and pools run, and the first request has been answered."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

from blocks.web import WebError
from blocks.winrm.errors import HostError
from model.estate import Estate
from model.outcome import Stopped
from model.records import HostFacts
from model.verdicts import judge_http
from model.warm_up import STEADY, Look, first_answer
from tasks.progress import tell
from tasks.readiness import FINAL
from tasks.run import Run

WARM_UP = timedelta(minutes=10)
"""How long the first page may take once everything is started: an application compiles, and fills its caches."""
ROUTE = timedelta(minutes=5)
"""How long a web server may take to reach a SQL Server that is ready."""
STOP_SECONDS = 30
"""How long pools may take to let requests come to their end; one that takes longer stops all the same."""

_WEB_SERVICES = ("WAS", "W3SVC")


def iis_names(estate: Estate, host: str) -> list[str]:
    """The declared sites of a host, as its IIS calls them."""
    return [site.iis_name for site in estate.sites_on(host)]


def askers(estate: Estate, sql: str) -> list[str]:
    """The web servers that ask the SQL Server of this host, itself included where it is one."""
    return [host for host in estate.hosts_with("iis") if host == sql or sql in estate.dependencies_of(host)]


def quiet(run: Run, sql: str) -> None:
    """Stop the pools of the web servers that ask a SQL Server which is about to go down; best effort.

    They would hold connections that are gone, or start while it is half-awake. One that does not answer is told.
    """
    for host in askers(run.estate, sql):
        try:
            run.hosts[host].run(
                "Stop-AppPools", sites=iis_names(run.estate, host), fence=run.fence, timeout_seconds=STOP_SECONDS
            )
        except HostError as error:
            if not error.retryable:
                raise
            tell("restart", host, f"its pools could not be stopped while {sql} restarts ({error.cause})")
        else:
            tell("restart", host, f"pools stopped while {sql} restarts")


def refresh(run: Run, host: str) -> None:
    """Recycle or start the pools of the declared sites: an application that met its database half-awake remembers that."""
    run.hosts[host].run("Restart-AppPools", sites=iis_names(run.estate, host), fence=run.fence)


def await_iis(run: Run, host: str, deadline: float, *, stop: threading.Event | None = None) -> None:
    """Wait until the web server serves: its services, the declared sites and their pools, and each site's first page.

    Pools are recycled once everything is started, whatever they were: on one machine they start before SQL Server. A
    site that goes on answering with an error is told, and left to the checks. Raises Stopped at ``deadline`` (a moment
    of ``time.monotonic``), after ``WARM_UP`` without an answer, and when ``stop`` is set (unsaid: the run is over).
    """
    first: dict[str, list[Look]] = {}
    refreshed, until = False, deadline
    said = "its web services"
    while True:
        try:
            waiting = _not_running(run, host, pools=refreshed)
            if not waiting and not refreshed:
                refresh(run, host)
                first = {site.name: [] for site in run.estate.sites_on(host)}
                refreshed, until = True, min(deadline, time.monotonic() + WARM_UP.total_seconds())
                waiting = _not_running(run, host, pools=True)
            if not waiting:
                waiting = _unanswered(run, host, first)
            if not waiting:
                return
            now = ", ".join(waiting)
        except FINAL:
            raise
        except HostError as error:
            run.heed(error)
            now = f"WinRM to answer ({error.cause})"
            refreshed, until = False, deadline  # it may be restarting: then all of it begins anew
        if now != said:
            said = now
            tell("readiness", host, f"waiting for {said}")
        if time.monotonic() > until:
            raise Stopped.because("readiness", f"{host}: IIS is not ready, it still waits for {said}. Look at {host}.")
        _pause(run, host, said, stop)


def _not_running(run: Run, host: str, *, pools: bool) -> list[str]:
    facts = HostFacts.of(host, run.hosts[host].run("Get-HostFacts", services=list(_WEB_SERVICES)))
    waiting = [f"service {s.name} ({s.status})" for s in facts.services if s.status != "Running"]
    if waiting:
        return waiting
    sites = run.hosts[host].run("Get-IisState", sites=iis_names(run.estate, host))["sites"]
    waiting = [f"site {s['name']} ({s['state']})" for s in sites if s["state"] != "Started"]
    down = {s["pool"]: s["pool_state"] for s in sites if pools and s["pool_state"] != "Started"}
    return waiting + [f"pool {pool} ({state})" for pool, state in down.items()]


def _unanswered(run: Run, host: str, first: dict[str, list[Look]]) -> list[str]:
    """Ask each site for its page; those that have not answered yet, and how."""
    waiting = []
    for name, looks in first.items():
        if first_answer(looks) != "warming-up":
            continue
        looks[:] = [*looks[1 - STEADY :], _look(run, name, host)]
        match first_answer(looks):
            case "broken":
                tell("readiness", host, f"{name} {looks[-1].why}; what that means the checks will say")
            case "warming-up":
                waiting.append(f"the first page of {name} ({looks[-1].why})")
            case _:
                tell("readiness", host, f"{name} answers")
    return waiting


def _look(run: Run, site: str, host: str) -> Look:
    try:
        answer = run.web.get(run.estate.check_url(site, host))
    except WebError as error:
        return Look(None, passed=False, why=str(error))
    verdict = judge_http(answer)
    return Look(answer.status, passed=verdict.status == "passed", why=verdict.detail)


def await_routes(run: Run, sql: str, deadline: float, *, stop: threading.Event | None = None) -> None:
    """Wait until every web server reaches the SQL Server of this host by the name that the application uses.

    It is the way that is proven, and that a SQL Server answers at its end: a login would need the application's own
    password. A web server that does not answer is told, and proves itself after its own restart. Raises Stopped.
    """
    until = min(deadline, time.monotonic() + ROUTE.total_seconds())
    for host in askers(run.estate, sql):
        said = ""
        while host not in run.lost:
            try:
                missing = missing_way(run, host, sql)
            except HostError as error:
                if not error.retryable:
                    raise
                tell("readiness", host, f"its way to {sql} could not be tried ({error.cause})")
                break
            if not missing:
                break
            if missing != said:
                said = missing
                tell("readiness", sql, f"waiting for {said}")
            if run.sql[sql].probe().waiting:  # it has gone again: what the way needs of time begins when it is back
                until = min(deadline, time.monotonic() + ROUTE.total_seconds())
            if time.monotonic() > until:
                raise Stopped.because(
                    "readiness",
                    f"{sql}: SQL Server is ready, and still waits for {said}. {no_way(sql)}",
                )
            _pause(run, sql, said, stop)


def missing_way(run: Run, host: str, sql: str) -> str:
    """What of the way from a web server to the SQL Server of a host is missing; empty where it is there."""
    instance = run.estate.sql[sql]
    server = instance.known_as or run.estate.hosts[sql].address
    strict = run.credentials[instance.credentials].encrypt == "strict"
    answer = run.hosts[host].run("Test-SqlRoute", server=server, port=instance.port, tls_first=strict)
    return "" if answer["reached"] else f"{host} to reach it as {server} on port {instance.port} ({answer['error']})"


def no_way(sql: str) -> str:
    """What to do about it."""
    return f"Look at DNS and the firewalls of both, or correct sql.{sql}.known_as."


def _pause(run: Run, host: str, said: str, stop: threading.Event | None) -> None:
    if run.pause(stop or run.over):
        raise Stopped.because("readiness", f"{host}: asked to stop while waiting for {said}")
