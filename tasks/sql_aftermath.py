"""What a SQL Server patch has left on its host: builds, services that ran before, whole or half-patched, and the way back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from model.estate import MssqlPatch
from model.outcome import Stopped
from model.reopen import begun_on, patches_begun, sql_patch_section
from model.sql.builds import Build, at_least
from model.sql.facts import SetupFacts
from model.sql.patched import SqlBefore, half_patched, way_back
from tasks import readiness
from tasks.progress import tell
from tasks.run import Run

_SERVICE_SECONDS = 300


def setup_facts(run: Run, host: str, *, since: datetime | None = None) -> SetupFacts:
    """What setup has left on ``host``, with the summaries that it has written ``since``, if a moment is named."""
    return SetupFacts.model_validate(run.hosts[host].run("Get-SqlSetup", since=since.isoformat() if since else ""))


def build_by_setup(run: Run, host: str) -> str | None:
    """The build that setup has left in the registry; None where it knows no such instance."""
    engine = setup_facts(run, host).engine(run.estate.sql[host].instance)
    return engine.build if engine else None


def engines(run: Run, host: str) -> tuple[str, ...]:
    """Every engine of ``host``, also those that the estate does not name."""
    return tuple(each.name for each in setup_facts(run, host).instances if each.kind == "SQL")


def left_behind(package: MssqlPatch, setup: SetupFacts) -> str | None:
    """Which instances an ``all_instances`` patch has left at an older build; None where it has left none."""
    behind = [
        f"{name} is still at {build}"
        for name, build in _all_of(package, setup).items()
        if not at_least(build, package.build)
    ]
    return ", ".join(behind) or None


def beside(package: MssqlPatch, setup: SetupFacts, instance: str) -> tuple[str, ...]:
    """The other instances that an ``all_instances`` patch is for."""
    return tuple(name for name in _all_of(package, setup) if name.casefold() != instance.casefold())


def await_beside(
    run: Run,
    host: str,
    quiesce: Mapping[str, Any],
    setup: SetupFacts,
    deadline: float,
    *,
    stop: threading.Event | None = None,
) -> None:
    """Wait until the other instances that the patches begun under ``quiesce`` were for are through with their scripts.

    Raises Stopped where they fail, or have not ended at ``deadline``.
    """
    begun = patches_begun(quiesce)
    names = {
        name: None
        for package in run.estate.updates.packages
        if isinstance(package, MssqlPatch) and package.on == host and package.build in begun
        for name in beside(package, setup, run.estate.sql[host].instance)
    }
    readiness.await_others(run, host, tuple(names), deadline, stop=stop)


def _all_of(package: MssqlPatch, setup: SetupFacts) -> dict[str, str]:
    """The engines of the patch's version and their builds, where it is for all of them."""
    engines = {each.name: each.build for each in setup.instances if each.kind == "SQL" and each.build}
    major = Build.parse(package.build).major
    return {
        name: build for name, build in engines.items() if package.all_instances and Build.parse(build).major == major
    }


# Services ------------------------------------------------------------------------------------------------------------


def start_what_ran(run: Run, host: str) -> dict[str, str]:
    """Start the services of SQL Server that ran before the first patch and do not now; those that stay down, and why.

    Agent first, for it comes right after the engine; then Reporting, Integration and Analysis Services and the rest. Not
    before the last restart: jobs that Agent has begun would be cut by it.
    """
    ran = _ran(run.hosts[host].run("Get-QuiesceState")["quiesce"])
    if not ran:
        return {}
    status = {each.name: each.status for each in setup_facts(run, host).services}
    names = [name for name in ran if status.get(name) not in {"Running", None}]
    agent, engine = readiness.sql_services(run.estate.sql[host].instance)
    names = [name for name in names if name.casefold() != engine.casefold()]
    names.sort(key=lambda name: name.casefold() != agent.casefold())
    if not names:
        return {}
    answer = run.hosts[host].run(
        "Start-HostServices",
        names=names,
        fence=run.fence,
        timeout_seconds=_SERVICE_SECONDS,
        deadline=_SERVICE_SECONDS + 30,
    )
    tell("bring back", host, f"started again: {', '.join(names)}")
    return {s["name"]: f"{s['status']} ({s['error']})" for s in answer["services"] if s["status"] != "Running"}


def _ran(quiesce: Mapping[str, Any] | None) -> Iterable[str]:
    """The services that ran before the first of the patches, as the host's record tells."""
    held = (quiesce or {}).get("held") or {}
    first = next((held[sql_patch_section(build)] for build in patches_begun(quiesce or {})), None)
    services: list[str] = (first or {}).get("services") or []
    return services


# Whole, or half-patched ----------------------------------------------------------------------------------------------


def must_be_whole(run: Run, host: str, quiesce: Mapping[str, Any], engine: str) -> None:
    """Raise Stopped where a patch was begun under ``quiesce`` and the instance, which runs ``engine``, is not whole.

    Of the other instances that it was for, their upgrade scripts must have ended well.
    """
    wanted = patches_begun(quiesce)
    if not wanted:
        return
    instance = run.estate.sql[host].instance
    setup = setup_facts(run, host)
    if setup.running:
        raise Stopped.because(
            "bring back", f"{host}: {setup.running[0].name} of SQL Server setup still runs on {instance}."
        )
    registered = setup.engine(instance)
    why = half_patched(readiness.sql_before(quiesce).build, wanted, registered.build if registered else None, engine)
    if why is not None:
        raise Stopped.because(
            "bring back", f"{host}: {instance} is half-patched: {why}. See Summary.txt of setup on {host}."
        )
    budget = run.estate.sql[host].script_upgrade.total_seconds()
    await_beside(run, host, quiesce, setup, time.monotonic() + budget)


def ways_back(run: Run, host: str, quiesce: Mapping[str, Any] | None, problem: str) -> tuple[str, ...]:
    """What a person can do about an instance on which a patch was begun and which is not as it must be; else nothing."""
    quiesce = quiesce or {}
    wanted = begun_on({host: quiesce}).builds.get(host)
    if wanted is None:
        return ()
    before: SqlBefore = readiness.sql_before(quiesce)
    note = (quiesce.get("held") or {})[sql_patch_section(wanted)] or {}
    instance = run.estate.sql[host].instance
    return way_back(run.called, host, instance, {"name": f"the patch to {wanted}", **note}, before.build, problem)
