"""An upgrade of EngageIP: its pools stopped on every node, the installer, the schema, and both versions read back.

From its beginning EngageIP may be half-upgraded: what it was, and what it is to be, is written down on every host first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from blocks.sql_errors import SqlServerError
from blocks.winrm.errors import HostError
from model.estate import EngageIPUpgrade
from model.installers import Judgement, is_there
from model.outcome import Stopped
from model.packages import SchemaScript
from model.plan import Plan
from model.records import BackupRecord, UpdateRecord
from model.upgrade import Upgrade, Versions, half_upgraded, upgrade_section, upgrade_way_back
from model.versions import reached
from tasks import packages, web_readiness
from tasks.jobs import Job, JobFailed, OutcomeUnknown, is_begun, run_job
from tasks.progress import tell
from tasks.run import Run
from tasks.step import step
from tasks.still_installing import must_not_meet_another

FIRST_RESTART = 20
"""Its restarts are numbered from here, after those of the rounds."""
_POOL_SECONDS = 120
_SCRIPT_SECONDS = 4 * 3600.0


@dataclass(frozen=True)
class Begun:
    """An upgrade whose installer has run; ``upgrade`` is None where nothing was to be done, or it was not begun."""

    upgrade: Upgrade | None
    record: UpdateRecord


def wanted(run: Run, plan: Plan) -> list[EngageIPUpgrade]:
    """The upgrades that the plan admits, in order; raises Stopped where a host that they need is lost."""
    admitted = {each.update for each in plan.of("upgrade") if each.update is not None}
    found = [package for package in run.estate.upgrades() if package.name in admitted]
    if found and run.lost:
        raise Stopped.because(
            "upgrade",
            *run.lost.values(),
            f"{found[0].name} was not begun: every host of EngageIP must be there for it.",
        )
    return found


@step("upgrade to {package.name}")
def begin(run: Run, package: EngageIPUpgrade) -> Begun:
    """Take EngageIP offline on every node and run the installer, unless programs and schema are there already.

    One that needs a package which is not in is a record, and nothing is touched for it. Raises Stopped where it has not
    brought its version, or still runs; JobFailed where its file is not what was approved.
    """
    started = datetime.now(UTC)
    now = _versions(run, package)
    job = packages.package_job(package)
    there = is_there(package, now.application) and reached(now.schema, package.schema_wanted)
    if there and not is_begun(run, packages.ROUND, job):
        return Begun(
            None, packages.write(run, package, started, Judgement("not-needed", restart=False, proof=str(now)))
        )
    needed = packages.lacks(run, package)
    if needed:
        remark = f"not begun: {needed} is not in"
        return Begun(None, packages.write(run, package, started, Judgement("failed", restart=False, remark=remark)))
    must_not_meet_another(run, packages.ROUND, job)
    backups = _must_be_backed_up(run, package)
    upgrade = _write_down(run, Upgrade.beginning(package, now, backups))
    _take_offline(run)
    if is_there(package, now.application) and not is_begun(run, packages.ROUND, job):
        # An earlier attempt has come so far; what is left is the schema.
        return Begun(upgrade, packages.write(run, package, started, _waiting(restart=False)))
    judged = packages.carry_out(run, package, started)
    if judged.result == "failed":
        packages.write(run, package, started, judged)
        raise Stopped.because("upgrade", f"{package.on}: {package.name} failed: {judged.remark}.")
    return Begun(upgrade, packages.write(run, package, started, _waiting(restart=judged.restart)))


def _waiting(*, restart: bool) -> Judgement:
    return Judgement("unknown", restart=restart, remark="its installer has run; the schema is not proven yet")


@step("bring the schema to {package.name}")
def complete(run: Run, package: EngageIPUpgrade, begun: Begun) -> UpdateRecord:
    """Upgrade the database where the installer has not, read both versions back, and start the pools again.

    Raises Stopped where they do not agree: EngageIP stays closed then, as ``half_done`` will say.
    """
    upgrade, started = begun.upgrade, begun.record.started
    if upgrade is None:
        return begun.record
    _take_offline(run)
    failed = _run_script(run, package)
    now = _versions(run, package)
    # The portals must not run on half an upgrade; and an installer may have started what bills.
    if run.estate.services_on(package.on):
        _stop_services(run, package.on)
    if not (is_there(package, now.application) and reached(now.schema, package.schema_wanted)):
        why = f"it stands at {now}, and must be {upgrade.wanted}{f'; {failed}' if failed else ''}"
        packages.write(run, package, started, Judgement("failed", restart=False, remark=why))
        raise Stopped.because("upgrade", f"{package.on}: {package.name} is not whole: {why}.")
    record = packages.write(run, package, started, Judgement("installed", restart=False, proof=str(now), remark=failed))
    for host in _nodes(run):
        web_readiness.refresh(run, host)
    return record


def _nodes(run: Run) -> list[str]:
    return [host for host in run.estate.hosts_with("iis") if web_readiness.iis_names(run.estate, host)]


def _take_offline(run: Run) -> None:
    """Stop the pools of EngageIP's sites on every node: no worker holds a file, and none meets half a schema."""
    for host in _nodes(run):
        answer = run.hosts[host].run(
            "Stop-AppPools",
            sites=web_readiness.iis_names(run.estate, host),
            fence=run.fence,
            timeout_seconds=_POOL_SECONDS,
            deadline=_POOL_SECONDS + 30,
        )
        if not answer["complete"]:
            going = [f"{pool['name']} is {pool['after']}" for pool in answer["pools"] if pool["after"] != "Stopped"]
            raise Stopped.because("upgrade", f"{host}: pool {', '.join(going)}. Look at its requests, then run again.")
        tell("upgrade", host, f"offline: {', '.join(pool['name'] for pool in answer['pools'])}")


def _stop_services(run: Run, host: str) -> None:
    run.hosts[host].run(
        "Stop-HostServices",
        names=list(run.estate.services_on(host)),
        number=run.number,
        fence=run.fence,
        timeout_seconds=300,
        deadline=330,
    )


def _must_be_backed_up(run: Run, package: EngageIPUpgrade) -> dict[str, str]:
    """Where the gate has let through what this upgrade changes, by what it is; Stopped where one of them is not there."""
    folder, schema = run.estate.engageip.folder, package.schema_version
    needed = {
        f"{folder} of {package.on}": (package.on, folder),
        f"database {schema.database} of {schema.on}": (schema.on, schema.database),
    }
    found: dict[str, str] = {}
    for record in run.journal.of(BackupRecord):
        for what, (host, subject) in needed.items():
            if record.host == host and record.subject.casefold() == subject.casefold() and record.verified:
                found.setdefault(what, record.path)
    missing = [what for what in needed if what not in found]
    if missing:
        raise Stopped.because(
            "upgrade", f"{package.name} was not begun: no verified backup of {' and '.join(missing)}. Run again."
        )
    return found


def _write_down(run: Run, upgrade: Upgrade) -> Upgrade:
    """Write on every host what is about to be upgraded; answers what was written first, where that was earlier."""
    section = upgrade_section(upgrade.name)
    recorded = upgrade
    for host in run.hosts:
        answer = run.hosts[host].run(
            "Set-QuiesceState", number=run.number, fence=run.fence, state="open", held={section: upgrade.note()}
        )
        if host == upgrade.host:
            recorded = Upgrade.of(answer["quiesce"]["held"][section])
    return recorded


def _run_script(run: Run, package: EngageIPUpgrade) -> str | None:
    """Run the T-SQL script, where there is one and the schema is not there yet; what went wrong, None where nothing did."""
    schema = package.schema_version
    if schema.script is None:
        return None
    job = _script_job(run, package, schema.script)
    begun = is_begun(run, packages.ROUND, job)
    if not begun and reached(_schema_version(run, schema.on, schema.database, schema.sql), package.schema_wanted):
        return None
    login = run.credentials[run.estate.sql[schema.on].credentials]
    secrets = {"username": login.username, "password": login.password, **packages.source_secrets(run, schema.script)}
    try:
        answer = run_job(run, packages.ROUND, replace(job, secrets=secrets))
    except JobFailed as failed:
        return failed.message
    except OutcomeUnknown as unknown:
        return str(unknown)
    if not answer["errors"]:
        return None
    first = answer["errors"][0]
    return f"batch {answer['done'] + 1} of {answer['batches']} failed: error {first['number']}: {first['message'].rstrip('.')}"


def _script_job(run: Run, package: EngageIPUpgrade, script: SchemaScript) -> Job:
    schema = package.schema_version
    instance = run.estate.sql[schema.on].instance
    parameters = {
        "server": "localhost" if instance == "MSSQLSERVER" else f"localhost\\{instance}",
        "database": schema.database,
        "source": script.source,
        "sha256": script.sha256,
        "proxy": package.proxy or "",
    }
    return Job(schema.on, packages.SCHEMA_STEP, package.name, "Invoke-SqlScript", parameters, deadline=_SCRIPT_SECONDS)


def _versions(run: Run, package: EngageIPUpgrade) -> Versions:
    schema = package.schema_version
    return Versions(packages.version_of(run, package), _schema_version(run, schema.on, schema.database, schema.sql))


def _schema_version(run: Run, host: str, database: str, query: str) -> str | None:
    rows = run.sql[host].query(query, database=database)
    first = next(iter(rows[0].values()), None) if rows else None
    return None if first is None else str(first).strip() or None


# What is left of one -------------------------------------------------------------------------------------------------


def half_done(run: Run, upgrades: Iterable[Upgrade], lost: Mapping[str, str]) -> dict[str, str]:
    """By name, why EngageIP is not whole after the upgrades that were begun; empty where it is."""
    problems: dict[str, str] = {}
    for upgrade in upgrades:
        gone = next((host for host in (upgrade.host, upgrade.sql_host) if host in lost or host not in run.hosts), None)
        if gone is not None:
            problems[upgrade.name] = f"EngageIP: {upgrade.name} was begun, and {gone} does not tell how it stands"
            continue
        try:
            found = run.hosts[upgrade.host].run("Get-PackageVersion", probe=dict(upgrade.probe))["versions"]
            schema = _schema_version(run, upgrade.sql_host, upgrade.database, upgrade.query)
        except (HostError, SqlServerError) as trouble:
            run.heed(trouble)
            problems[upgrade.name] = f"EngageIP: {upgrade.name} was begun, and nobody can tell how it stands: {trouble}"
            continue
        aims = upgrade.wanted.application or ""
        application = next((one for one in found if reached(one, aims)), found[0] if found else None)
        why = half_upgraded(upgrade, Versions(application, schema))
        if why is not None:
            problems[upgrade.name] = f"EngageIP is half-upgraded: {why}"
    return problems


def ways_back(run: Run, upgrades: Mapping[str, Upgrade], problems: Mapping[str, str]) -> tuple[str, ...]:
    """What a person can do about each upgrade that is not whole."""
    return tuple(line for name, why in problems.items() for line in upgrade_way_back(run.called, upgrades[name], why))
