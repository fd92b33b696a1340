"""A SQL Server patch: setup as a job on the host, and its effect judged by builds, never by an exit code.

Also what is left of one that was begun: whole, or half-patched, and then the way back.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from model.estate import MssqlPatch
from model.hresults import Meaning, sql_setup_meaning
from model.outcome import Stopped
from model.records import BackupRecord, UpdateRecord
from model.reopen import begun_on, sql_patch_section
from model.sql.builds import at_least
from model.sql.patched import SqlBefore, half_patched, way_back
from tasks import readiness
from tasks.jobs import Job, OutcomeUnknown, is_begun, run_job
from tasks.progress import tell
from tasks.run import Run

_HOUR = 3600.0


def sql_patch_job(run: Run, package: MssqlPatch) -> Job:
    """The job that patches an instance. The host pulls the package, and checks its hash before it runs it."""
    instance = run.estate.sql[package.on].instance
    parameters: dict[str, Any] = {"path": package.source, "sha256": package.sha256, "instance": instance}
    if package.arguments:
        usual = ["/quiet", "/IAcceptSQLServerLicenseTerms", "/Action=Patch", f"/InstanceName={instance}"]
        parameters["arguments"] = [*usual, *package.arguments]
    login = run.package_login(package)
    return Job(package.on, "sql-patch", package.name, "Install-SqlPatch", parameters, login, deadline=3 * _HOUR)


def install_sql_patch(run: Run, package: MssqlPatch, round_number: int) -> UpdateRecord:
    """Patch an instance, unless its build says that it is patched already, and wait until its upgrade scripts are done.

    Raises Stopped where the build that it runs is not the patch's, or the engine does not come up again.
    """
    host, job = package.on, sql_patch_job(run, package)
    started = datetime.now(UTC)
    if not is_begun(run, round_number, job) and at_least(run.sql[host].facts().build, package.build):
        return _write(run, package, started, "not-needed")
    # From here on the instance may be half-patched: bring_back reads this on the host, whoever calls it.
    run.hosts[host].run(
        "Set-QuiesceState",
        number=run.number,
        fence=run.fence,
        state="open",
        held={sql_patch_section(package.build): _note(run, package)},
    )
    try:
        answer = run_job(run, round_number, job)
    except OutcomeUnknown as unknown:
        tell("install", host, f"{unknown}; the build will tell")
        answer = {"exit_code": None, "build_after": build_by_setup(run, host)}
    meaning = None if answer["exit_code"] is None else sql_setup_meaning(answer["exit_code"])
    _must_be_patched(run, package, started, meaning, answer["build_after"])
    return _write(run, package, started, "installed", meaning)


def _note(run: Run, package: MssqlPatch) -> dict[str, Any]:
    """What a person needs who finds the instance half-patched, and has nothing but its host."""
    backups = [r for r in run.journal.of(BackupRecord) if r.host == package.on and r.kind == "database"]
    stores: dict[str, str] = {}
    for record in backups:
        stores.setdefault(record.subject, record.path)
    return {"name": package.name, "source": package.source, "backups": stores}


def _must_be_patched(
    run: Run, package: MssqlPatch, started: datetime, meaning: Meaning | None, setup: str | None
) -> None:
    host, instance = package.on, run.estate.sql[package.on].instance
    said = f"setup answered {meaning}" if meaning else "setup was cut off"
    where = f"See Summary.txt of setup on {host}."
    if setup is None or not at_least(setup, package.build):
        _write(run, package, started, "failed", meaning)
        raise Stopped.because(
            "install", f"{host}: {package.name} failed, {said}. {instance} is still at {setup}. {where}"
        )
    if meaning is not None and meaning.do == "done-reboot":
        return
    # The scripts of the new build run at the engine's first start; a restart in the middle of them may ruin master.
    deadline = time.monotonic() + run.estate.restart.deadline.total_seconds()
    try:
        engine = readiness.await_sql(run, host, deadline, stop=run.stop)
    except Stopped:
        _write(run, package, started, "unknown", meaning)
        raise
    if not at_least(engine, package.build):
        _write(run, package, started, "unknown", meaning)
        raise Stopped.because(
            "install",
            f"{host}: {package.name} is half-done, {said}. It has left build {setup}, {instance} runs {engine}. {where}",
        )


def _write(
    run: Run,
    package: MssqlPatch,
    started: datetime,
    result: Literal["installed", "not-needed", "failed", "unknown"],
    meaning: Meaning | None = None,
) -> UpdateRecord:
    tell("install", package.on, f"{package.name}: {result}")
    remark = None if meaning is None or meaning.do in {"done", "done-reboot"} else str(meaning)
    record = UpdateRecord(
        host=package.on,
        update=package.name,
        kb=package.kb,
        title=package.name,
        kind="mssql-patch",
        result=result,
        hresult=meaning.hex if meaning else None,
        remark=remark,
        started=started,
        ended=datetime.now(UTC),
    )
    return run.journal.write(record)


# What is left of one -------------------------------------------------------------------------------------------------


def build_by_setup(run: Run, host: str) -> str | None:
    """The build that setup has left in the registry; None where it knows no such instance."""
    build: str | None = run.hosts[host].run("Get-SqlBuild", instance=run.estate.sql[host].instance)["build"]
    return build


def must_be_whole(run: Run, host: str, quiesce: Mapping[str, Any], engine: str) -> None:
    """Raise Stopped where a patch was begun under ``quiesce`` and the instance, which runs ``engine``, is not whole."""
    wanted = begun_on({host: quiesce}).builds.get(host)
    if wanted is None:
        return
    why = half_patched(readiness.sql_before(quiesce).build, wanted, build_by_setup(run, host), engine)
    if why is not None:
        instance = run.estate.sql[host].instance
        raise Stopped.because(
            "bring back", f"{host}: {instance} is half-patched: {why}. See Summary.txt of setup on {host}."
        )


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
