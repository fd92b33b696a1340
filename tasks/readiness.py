"""Readiness of SQL Server: it is ready when it can be used, not when a port answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from blocks.sql_server import SqlServerError
from blocks.winrm.errors import AuthenticationFailed, CertificateRejected, HostError
from model.gate import CLOCK_TOLERANCE
from model.outcome import Stopped
from model.records import HostFacts
from model.reopen import SQL_BEFORE
from model.sql.errorlog import TELLING, ScriptUpgrade, script_upgrade
from model.sql.patched import SqlBefore
from model.sql.readiness import Ready, Sample, readiness
from model.sql.startup import why_it_died
from model.verdicts import events_of
from tasks.progress import tell
from tasks.run import Run

FINAL = (AuthenticationFailed, CertificateRejected)
"""What no waiting mends, also while a host boots; anything else it may say on its way up."""

_SERVICES_START = timedelta(minutes=10)
"""After a boot, those that start delayed too."""


def sql_services(instance: str) -> tuple[str, str]:
    """The services of an instance, in the order in which they are stopped: Agent, then the engine."""
    if instance.upper() == "MSSQLSERVER":
        return "SQLSERVERAGENT", "MSSQLSERVER"
    return f"SQLAgent${instance}", f"MSSQL${instance}"


def sql_before(quiesce: Mapping[str, Any] | None) -> SqlBefore:
    """What the instance of a host was before the night, as its ``quiesce.json`` tells."""
    return SqlBefore.of(((quiesce or {}).get("held") or {}).get(SQL_BEFORE))


@dataclass(frozen=True)
class Before:
    """What was true of a SQL Server before its host restarted."""

    start: str | None = None
    agent: bool = False


def before(run: Run, host: str, baseline: SqlBefore) -> Before:
    """Look at the SQL Server of ``host`` before it goes down; nothing to know where it has none.

    Whether Agent is to run is told by ``baseline``: an earlier run may have stopped it. One that is down already has no
    start to compare with: whichever comes next is a new one.
    """
    if host not in run.sql:
        return Before()
    try:
        facts = run.sql[host].facts()
    except SqlServerError as error:
        if not error.retryable:
            raise
        return Before(None, baseline.agent)
    return Before(facts.start, baseline.agent or facts.agent == "running")


def await_sql(
    run: Run,
    host: str,
    deadline: float,
    *,
    build: str | None = None,
    known: Before | None = None,
    scripts: bool = False,
    stop: threading.Event | None = None,
) -> str:
    """Wait until the SQL Server of ``host`` is ready (``model.sql.readiness``), and return the build that it runs.

    ``scripts`` says that a patch was begun there: its upgrade scripts must have come to their end, as the ERRORLOG tells.
    ``deadline`` is a moment of ``time.monotonic``. Raises Stopped then, when ``stop`` is set (unsaid: when the run is
    over), and as soon as waiting is of no use: a database that is damaged, an engine that has ended by itself.
    """
    known = known or Before()
    samples: list[Sample] = []
    since = datetime.now(UTC) - CLOCK_TOLERANCE
    said = ""
    while True:
        samples = [*samples[-20:], run.sql[host].probe()]
        upgrade = _script_upgrade(run, host, run.estate.sql[host].instance) if scripts else ScriptUpgrade("none")
        if upgrade.state == "failed" and not samples[-1].waiting:
            raise _failed(host, run.estate.sql[host].instance, upgrade)
        verdict = readiness(
            samples,
            databases=run.estate.sql[host].backup_databases,
            build=build,
            start_before=known.start,
            agent=known.agent,
            scripts=_unended(upgrade),
        )
        if isinstance(verdict, Ready):
            return verdict.build
        if verdict.waiting_for != said:
            said = verdict.waiting_for
            tell("readiness", host, f"waiting for {said}")
        died = _died(run, host, since, upgrade) if samples[-1].waiting else None
        if died:
            raise Stopped.because("readiness", f"{host}: SQL Server has ended by itself: {died}. {_look(host)}")
        if verdict.hopeless or time.monotonic() > deadline:
            raise Stopped.because(
                "readiness", f"{host}: SQL Server is not ready, it still waits for {said}. {_look(host)}"
            )
        _pause(run, host, said, stop)


def await_scripts(run: Run, host: str, deadline: float, *, stop: threading.Event | None = None) -> None:
    """Wait until the engine of ``host`` is through with what its start has begun, whatever its build: no restart cuts it.

    One that is stopped has begun nothing. Raises Stopped as ``await_sql``.
    """
    engine = sql_services(run.estate.sql[host].instance)[1]
    service = HostFacts.of(host, run.hosts[host].run("Get-HostFacts", services=[engine])).service(engine)
    if service is not None and service.status != "Stopped":
        await_sql(run, host, deadline, scripts=True, stop=stop)


def await_others(
    run: Run, host: str, instances: Sequence[str], deadline: float, *, stop: threading.Event | None = None
) -> None:
    """Wait until these instances of ``host``, of which nothing but their ERRORLOG is known, are through with their scripts.

    Raises Stopped where they fail, or as ``await_sql``.
    """
    for instance in instances:
        upgrade = _once_ended(run, host, instance, deadline, stop)
        if upgrade.state == "failed":
            raise _failed(host, instance, upgrade)


def await_none_at_work(
    run: Run, host: str, instances: Sequence[str], deadline: float, *, stop: threading.Event | None = None
) -> None:
    """Wait until none of these instances is at its upgrade scripts, however they end; raises Stopped as ``await_sql``."""
    for instance in instances:
        _once_ended(run, host, instance, deadline, stop)


def _once_ended(run: Run, host: str, instance: str, deadline: float, stop: threading.Event | None) -> ScriptUpgrade:
    """What has become of the scripts of an instance, once none runs; none does where its service is stopped."""
    last = ""
    while True:
        upgrade = _script_upgrade(run, host, instance)
        said = _unended(upgrade, instance)
        if said is None or _is_stopped(run, host, instance):
            return upgrade
        if said != last:
            last = said
            tell("readiness", host, f"waiting for {said}")
        if time.monotonic() > deadline:
            raise Stopped.because("readiness", f"{host}: SQL Server still waits for {said}. {_look(host)}")
        _pause(run, host, said, stop)


def _is_stopped(run: Run, host: str, instance: str) -> bool:
    """Whether the engine of an instance does not run; False where its host does not say."""
    engine = sql_services(instance)[1]
    try:
        facts = HostFacts.of(host, run.hosts[host].run("Get-HostFacts", services=[engine], deadline=30))
    except FINAL:
        raise
    except HostError:
        return False
    service = facts.service(engine)
    return service is not None and service.status == "Stopped"


def _unended(upgrade: ScriptUpgrade, instance: str | None = None) -> str | None:
    """What is to be waited for before the scripts can be said to be through; None where they are, or have failed.

    ``instance`` is named where it is not the host's own.
    """
    whose, of = ("its", "") if instance is None else ("the", f" of {instance}")
    if upgrade.state == "unread":
        return f"{whose} ERRORLOG{of}, which cannot be read ({upgrade.why})"
    return f"{whose} script upgrade{of} ({upgrade.step or 'begun'})" if upgrade.state == "running" else None


def _script_upgrade(run: Run, host: str, instance: str) -> ScriptUpgrade:
    """How far the upgrade scripts of this start are, by the ERRORLOG; a host that does not say has not said that none runs."""
    try:
        answer = run.hosts[host].run("Get-SqlErrorLog", instance=instance, pattern=TELLING, deadline=30)
    except FINAL:
        raise
    except HostError as error:
        return ScriptUpgrade("unread", why=error.cause)
    return script_upgrade("\n".join(answer["lines"]))


def _failed(host: str, instance: str, upgrade: ScriptUpgrade) -> Stopped:
    return Stopped.because(
        "readiness", f"{host}: the upgrade scripts of {instance} failed: {upgrade.why}. {_look(host)}"
    )


def _look(host: str) -> str:
    return f"See its ERRORLOG on {host}."


def _died(run: Run, host: str, since: datetime, upgrade: ScriptUpgrade) -> str | None:
    """Why the engine has ended by itself, in the words of its host's event log; None while it may still come up.

    Where its upgrade scripts have failed, the ERRORLOG tells more: the error that the step has met. It tells of the start
    before as long as a boot has not come to the engine's service, and is believed without an event only after that.

    Whoever cannot connect learns nothing more from the instance: a start that failed and one that is slow look the same.
    """
    engine = sql_services(run.estate.sql[host].instance)[1]
    try:
        facts = HostFacts.of(host, run.hosts[host].run("Get-HostFacts", services=[engine], deadline=30))
        service = facts.service(engine)
        if service is None or service.status != "Stopped":
            return None
        if upgrade.state == "failed" and facts.now - facts.last_boot > _SERVICES_START:
            return upgrade.why
        answer = run.hosts[host].run(
            "Get-EventRecords", log="Application", since=since.isoformat(), levels=[1, 2], deadline=30
        )
    except HostError:
        return None
    why = why_it_died(engine, events_of(answer))
    if why and upgrade.state == "running":  # when it was read
        upgrade = _script_upgrade(run, host, run.estate.sql[host].instance)
    return upgrade.why if why and upgrade.state == "failed" else why


def _pause(run: Run, host: str, said: str, stop: threading.Event | None) -> None:
    if run.pause(stop or run.over):
        raise Stopped.because("readiness", f"{host}: asked to stop while waiting for {said}")
