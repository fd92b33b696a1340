"""Readiness: a host is ready when what runs on it can be used, not when a port answers."""

from __future__ import annotations

import time
from dataclasses import dataclass

from blocks.winrm.errors import HostError
from model.outcome import Problem, Stopped
from model.records import HostFacts
from model.sql.readiness import NotReady, Ready, Sample, readiness
from tasks.progress import tell
from tasks.run import Run

_WEB_SERVICES = ("WAS", "W3SVC")


def sql_services(instance: str) -> tuple[str, str]:
    """The services of an instance, in the order in which they are stopped: Agent, then the engine."""
    if instance.upper() == "MSSQLSERVER":
        return "SQLSERVERAGENT", "MSSQLSERVER"
    return f"SQLAgent${instance}", f"MSSQL${instance}"


@dataclass(frozen=True)
class Before:
    """What was true of a SQL Server before its host restarted."""

    start: str | None = None
    agent: bool = False


def before(run: Run, host: str) -> Before:
    """Look at the SQL Server of ``host`` before it goes down; nothing to know where it has none."""
    if host not in run.sql:
        return Before()
    facts = run.sql[host].facts()
    return Before(facts.start, facts.agent == "running")


def await_sql(run: Run, host: str, deadline: float, *, build: str | None = None, known: Before | None = None) -> None:
    """Wait until the SQL Server of ``host`` is ready (``model.sql.readiness``); raises Stopped at ``deadline``.

    ``deadline`` is a moment of ``time.monotonic``.
    """
    known = known or Before()
    samples: list[Sample] = []
    said = ""
    while True:
        samples = [*samples[-20:], run.sql[host].probe()]
        verdict = readiness(
            samples,
            databases=run.estate.sql[host].backup_databases,
            build=build,
            start_before=known.start,
            agent=known.agent,
        )
        if isinstance(verdict, Ready):
            return
        if verdict.waiting_for != said:
            said = verdict.waiting_for
            tell("readiness", host, f"waiting for {said}")
        if _over(verdict, deadline):
            raise Stopped(
                "readiness",
                [Problem(f"{host}: SQL Server is not ready, it still waits for {said}. See its ERRORLOG on {host}.")],
            )
        run.pause()


def await_iis(run: Run, host: str, deadline: float) -> None:
    """Wait until the web server's services run and the declared sites and their pools are started.

    Pools are recycled first: an application that started before its database remembers that until it is recycled.
    """
    sites = [site.iis_name for site in run.estate.sites_on(host)]
    said = "its web services"
    while time.monotonic() < deadline:
        try:
            facts = HostFacts.of(host, run.hosts[host].run("Get-HostFacts", services=list(_WEB_SERVICES)))
            waiting = [f"service {s.name} ({s.status})" for s in facts.services if s.status != "Running"]
            if not waiting:
                state = run.hosts[host].run("Get-IisState", sites=sites)
                waiting = [f"site {s['name']} ({s['state']})" for s in state["sites"] if s["state"] != "Started"]
            if not waiting:
                run.hosts[host].run("Restart-AppPools", sites=sites, fence=run.fence)
                return
            said = ", ".join(waiting)
        except HostError as error:
            if not error.retryable:
                raise
            said = "WinRM to answer"
        tell("readiness", host, f"waiting for {said}")
        run.pause()
    raise Stopped("readiness", [Problem(f"{host}: IIS is not ready, it still waits for {said}. Look at {host}.")])


def _over(verdict: NotReady, deadline: float) -> bool:
    return verdict.hopeless or time.monotonic() > deadline
