"""A SQL Server patch: setup as a job on the host, and its effect judged by builds and Summary.txt, never by an exit code."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from model.estate import MssqlPatch
from model.gate import CLOCK_TOLERANCE
from model.hresults import Meaning, sql_setup_meaning
from model.jobs import JobFacts, Queued, Running, job_state
from model.outcome import Stopped
from model.reboot import pending_verdict
from model.records import BackupRecord, HostFacts, UpdateRecord
from model.reopen import sql_patch_section
from model.sql.applicability import Fit, patches_of_host
from model.sql.builds import Build, at_least
from model.sql.facts import SetupFacts
from model.sql.summary import Summary, newest_patch
from model.words import duration_text
from tasks import readiness, sql_aftermath
from tasks.jobs import Job, JobFailed, OutcomeUnknown, identity, is_begun, run_job
from tasks.packages import source_secrets
from tasks.progress import tell
from tasks.run import Run

_AROUND_SETUP = 1800.0
"""Seconds that a job has besides setup's own deadline: for fetching, hashing and unpacking."""
Result = Literal["installed", "not-needed", "failed", "unknown"]


def sql_patch_job(run: Run, package: MssqlPatch) -> Job:
    """The job that patches an instance. The host pulls the package, and checks hash and publisher before it runs it."""
    parameters: dict[str, Any] = {
        "source": package.source,
        "sha256": package.sha256,
        "instance": run.estate.sql[package.on].instance,
        "publisher": package.publisher,
        "all_instances": package.all_instances,
        "arguments": list(package.arguments),
        "deadline_seconds": int(package.deadline.total_seconds()),
    }
    deadline = package.deadline.total_seconds() + _AROUND_SETUP
    secrets = source_secrets(run, package)
    return Job(package.on, "sql-patch", package.name, "Install-SqlPatch", parameters, secrets, deadline=deadline)


@dataclass(frozen=True)
class _Evidence:
    """What is known once setup has ended: its verdict, its own words, and the builds that it has left."""

    meaning: Meaning | None
    summary: Summary | None
    setup: SetupFacts
    instance: str

    @property
    def build(self) -> str | None:
        """PatchLevel of the instance."""
        engine = self.setup.engine(self.instance)
        return engine.build if engine else None

    @property
    def explanation(self) -> str:
        """What Summary.txt says of a failure, in one line; empty where it says nothing."""
        return self.summary.explain(self.instance) if self.summary else ""

    @property
    def said(self) -> str:
        """Setup's answer and its reason, for a message."""
        if self.meaning is None:
            answer = "setup was cut off"
        elif self.explanation and self.meaning.do == "unknown":
            answer = f"setup answered {self.meaning.hex}"
        else:
            answer = f"setup answered {self.meaning}"
        return f"{answer} ({self.explanation})" if self.explanation else answer


def install_sql_patch(run: Run, package: MssqlPatch, round_number: int) -> UpdateRecord:
    """Patch an instance, unless its build says that it is patched already, and wait until its upgrade scripts are done.

    A patch for which setup wants a restart first is written down as failed (``wants_restart_first``): it is tried once
    more, in the round after that restart. Raises Stopped where the build is not the patch's, or the engine does not come
    up again.
    """
    host, job, started = package.on, sql_patch_job(run, package), datetime.now(UTC)
    evidence: _Evidence | None = None
    adopted = is_begun(run, round_number, job)
    if not adopted:
        evidence = _left_by_another(run, package, job)
        done = None if evidence else _there_already(run, package)
        if done:
            return _write(run, package, started, "not-needed", remark=done)
    # From here on the instance may be half-patched: bring_back reads this on the host, whoever calls it.
    run.hosts[host].run(
        "Set-QuiesceState",
        number=run.number,
        fence=run.fence,
        state="open",
        held={sql_patch_section(package.build): _note(run, package)},
    )
    evidence = evidence or _evidence(run, package, round_number, job, started, adopted=adopted)
    if evidence.meaning is not None and evidence.meaning.do == "reboot" and not _is_there(evidence, package):
        return _restart_first(run, package, round_number, started, evidence)
    _must_be_patched(run, package, started, evidence)
    return _write(run, package, started, "installed", evidence.meaning, remark=_remark(evidence))


def wants_restart_first(record: UpdateRecord | None) -> bool:
    """Whether setup has refused to begin before a restart: the patch is tried again after it."""
    if record is None or record.kind != "mssql-patch" or record.result != "failed" or record.hresult is None:
        return False
    return sql_setup_meaning(record.hresult).do == "reboot"


def _there_already(run: Run, package: MssqlPatch) -> str | None:
    """Why there is nothing to do, by the builds of just now; raises Stopped where the patch does not go on (any more)."""
    verdict = fits(run, [package])[package.name]
    if verdict.state == "refused":
        raise Stopped.because("install", f"{package.on}: {verdict.why}")
    return verdict.why if verdict.state == "not-needed" else None


def fits(run: Run, patches: Sequence[MssqlPatch]) -> dict[str, Fit]:
    """How patches of one host go onto its instance, by the builds of just now."""
    host = patches[0].on
    instance, facts = run.estate.sql[host].instance, run.sql[host].facts()
    seen = HostFacts.of(host, run.hosts[host].run("Get-HostFacts"))
    pending = pending_verdict(seen.pending_reboot, before_sql_setup=True).due
    setup = sql_aftermath.setup_facts(run, host)
    return patches_of_host(patches, instance, facts.build, facts.edition, setup, restart_pending=pending)


def _left_by_another(run: Run, package: MssqlPatch, job: Job) -> _Evidence | None:
    """What a job of another round or run has left that was at work on the host; None where none was, or it has not brought it.

    A run that is resumed may come to a patch in an earlier round than the one that was at it when it was cut: a second job
    would delete what the first one unpacks.
    """
    began = _once_no_other_runs(run, job)
    if began is None:
        return None
    evidence = _judged(run, package, sql_aftermath.setup_facts(run, job.host, since=began - CLOCK_TOLERANCE))
    if _is_there(evidence, package):
        return evidence
    budget = run.estate.sql[job.host].script_upgrade.total_seconds()
    readiness.await_sql(run, job.host, time.monotonic() + budget, scripts=True, stop=run.stop)
    return None


def _once_no_other_runs(run: Run, job: Job) -> datetime | None:
    """Wait for the jobs of other rounds and runs that patch SQL Server on that host; when the last began, None for none."""
    host, began = run.hosts[job.host], None
    while True:
        known = [JobFacts.model_validate(each) for each in host.run("Get-PatchJob")["jobs"]]
        ours = [each for each in known if each.job is not None and each.job.script == job.script]
        other = next((each for each in ours if isinstance(job_state(each), Running | Queued)), None)
        if other is None:
            return began
        tell("install", job.host, f"waiting for another job that patches SQL Server there ({other.id})")
        facts = host.wait_job(
            other.id, deadline=job.deadline, start_within=job.start_within, stop=run.stop, every=run.poll
        )
        ended = JobFacts.model_validate(facts).job
        began = (ended.started if ended else None) or datetime.now(UTC)


def _note(run: Run, package: MssqlPatch) -> dict[str, Any]:
    """What a person needs who finds the instance half-patched, and has nothing but its host; and what ran there."""
    backups = [r for r in run.journal.of(BackupRecord) if r.host == package.on and r.kind == "database"]
    stores: dict[str, str] = {}
    for record in backups:
        stores.setdefault(record.subject, record.path)
    services = [each.name for each in sql_aftermath.setup_facts(run, package.on).services if each.status == "Running"]
    return {"name": package.name, "source": package.source, "backups": stores, "services": services}


# What setup did ------------------------------------------------------------------------------------------------------


def _evidence(
    run: Run, package: MssqlPatch, round_number: int, job: Job, started: datetime, *, adopted: bool
) -> _Evidence:
    """Run setup, or wait for the one that runs, and gather what it has left; raises Stopped where nothing was run."""
    host = package.on
    try:
        answer = run_job(run, round_number, job)
    except JobFailed as failed:
        return _there_all_the_same(run, package, started, failed)
    except OutcomeUnknown as unknown:
        tell("install", host, f"{unknown}; builds and Summary.txt will tell")
        return _once_setup_ended(run, package, round_number, job, started)
    if answer["ended"] == "late" and not adopted:
        _still_runs(run, package, started)
    if answer["ended"] == "late":
        # That was an earlier run's news: setup may have ended since.
        return _once_setup_ended(run, package, round_number, job, started)
    if answer["ended"] == "lost":
        tell("install", host, f"its job lost sight of setup: {answer['trouble']}; builds and Summary.txt will tell")
        return _once_setup_ended(run, package, round_number, job, started)
    setup = sql_aftermath.setup_facts(run, host)
    setup = SetupFacts.model_validate({**setup.model_dump(), "summaries": answer["summaries"]})
    return _judged(run, package, setup, answer["exit_code"])


def _there_all_the_same(run: Run, package: MssqlPatch, started: datetime, failed: JobFailed) -> _Evidence:
    """A failed job is final under its key, and what it was to install may have come since; raises Stopped where it has not."""
    evidence = _judged(run, package, sql_aftermath.setup_facts(run, package.on))
    if _is_there(evidence, package) and not evidence.setup.running:
        tell("install", package.on, f"its job has failed ({failed.message}); the builds say that it is installed")
        return evidence
    _write(run, package, started, "failed", remark=failed.message)
    why = f"{package.on}: {package.name} was not installed: {failed.message}"
    raise Stopped.because("install", f"{why.rstrip('.')}. Mend that, then raise the attempt.") from None


def _judged(run: Run, package: MssqlPatch, setup: SetupFacts, code: int | None = None) -> _Evidence:
    """What setup has left, with its exit code, or what its Summary.txt says in the place of one."""
    instance, summary = run.estate.sql[package.on].instance, newest_patch(setup.summaries, package.build)
    if code is None and summary is not None:
        code = summary.of(instance).code
    return _Evidence(None if code is None else sql_setup_meaning(code), summary, setup, instance)


def _once_setup_ended(run: Run, package: MssqlPatch, round_number: int, job: Job, started: datetime) -> _Evidence:
    """What setup has left, once it runs no more: it may have outlived the job that was to watch it."""
    host, deadline = package.on, time.monotonic() + package.deadline.total_seconds()
    since = _job_started(run, round_number, job) or started
    while True:
        setup = sql_aftermath.setup_facts(run, host, since=since - CLOCK_TOLERANCE)
        if not setup.running:
            return _judged(run, package, setup)
        if time.monotonic() > deadline:
            _still_runs(run, package, started)
        tell("install", host, f"waiting for {setup.running[0].name} of SQL Server setup to end")
        if run.pause(run.stop):
            raise Stopped.because("install", f"{host}: asked to stop while {setup.running[0].name} of setup still runs")


def _job_started(run: Run, round_number: int, job: Job) -> datetime | None:
    """When the job began, which a run that adopts it has not seen."""
    facts = JobFacts.model_validate(run.hosts[job.host].job([identity(run, round_number, job)])[0])
    return facts.job.started if facts.job else None


def _still_runs(run: Run, package: MssqlPatch, started: datetime) -> None:
    """Raise Stopped: nobody kills a setup that may be at work."""
    _write(run, package, started, "unknown", remark="setup has not ended")
    raise Stopped.because(
        "install",
        f"{package.on}: setup of {package.name} has not ended within {duration_text(package.deadline)}, and still runs. It is "
        f"left alone: killed at work, it would leave {run.estate.sql[package.on].instance} half-patched. Look at "
        f"Detail.txt in its newest log folder; once it has ended, run: billpatch recover {run.called}",
    )


def _has_build(evidence: _Evidence, package: MssqlPatch) -> bool:
    return evidence.build is not None and at_least(evidence.build, package.build)


def _is_there(evidence: _Evidence, package: MssqlPatch) -> bool:
    """Whether setup has left the patch's build on every instance that it is for."""
    return _has_build(evidence, package) and sql_aftermath.left_behind(package, evidence.setup) is None


def _restart_first(
    run: Run, package: MssqlPatch, round_number: int, started: datetime, evidence: _Evidence
) -> UpdateRecord:
    """Setup wants a restart before it begins: granted, unless the host comes right from one. Then Stopped is raised."""
    host = package.on
    record = _write(run, package, started, "failed", evidence.meaning, remark=f"{evidence.meaning}")
    before = f"{run.key}.{round_number - 1}"
    asked = run.hosts[host].run("Get-RebootState", intent=before)["asked"]
    if asked and asked["intent"] == before:
        facts = HostFacts.of(host, run.hosts[host].run("Get-HostFacts"))
        signals = pending_verdict(facts.pending_reboot, before_sql_setup=True).signals
        raise Stopped.because(
            "install",
            f"{host}: {package.name} was not installed: setup wants a restart although the host has just been restarted "
            f"({evidence.said}). What asks for it: {', '.join(signals) or 'none of the usual signals'}. Mend that, then raise "
            f"the attempt.",
        )
    return record


def _must_be_patched(run: Run, package: MssqlPatch, started: datetime, evidence: _Evidence) -> None:
    host, instance, setup = package.on, evidence.instance, evidence.build
    where = f"See Summary.txt of setup on {host}."
    if setup is None or not at_least(setup, package.build):
        _write(run, package, started, "failed", evidence.meaning, remark=evidence.said)
        raise Stopped.because(
            "install", f"{host}: {package.name} failed, {evidence.said}. {instance} is still at {setup}. {where}"
        )
    left = sql_aftermath.left_behind(package, evidence.setup)
    if left:
        _write(run, package, started, "unknown", evidence.meaning, remark=evidence.said)
        raise Stopped.because("install", f"{host}: {package.name} is half-done, {evidence.said}. {left}. {where}")
    budget = run.estate.sql[host].script_upgrade
    deadline = time.monotonic() + budget.total_seconds()
    try:
        others = sql_aftermath.beside(package, evidence.setup, instance)
        readiness.await_others(run, host, others, deadline, stop=run.stop)
        if evidence.meaning is not None and evidence.meaning.do == "done-reboot":
            # The engine may run the old binaries until then; a restart in the middle of its scripts may ruin master.
            readiness.await_scripts(run, host, deadline, stop=run.stop)
            return
        engine = readiness.await_sql(run, host, deadline, scripts=True, stop=run.stop)
    except Stopped:
        _write(run, package, started, "unknown", evidence.meaning, remark=evidence.said)
        raise
    if not at_least(engine, package.build) or Build.parse(engine) != Build.parse(setup):
        _write(run, package, started, "unknown", evidence.meaning, remark=evidence.said)
        raise Stopped.because(
            "install",
            f"{host}: {package.name} is half-done, {evidence.said}. It has left build {setup}, {instance} runs {engine}. {where}",
        )


def _remark(evidence: _Evidence) -> str | None:
    """What to know of a patch that is installed: what setup said besides that it went well."""
    if evidence.meaning is None:
        return "setup was cut off; the builds tell that it is installed"
    if evidence.meaning.do in {"done", "done-reboot"}:
        return evidence.explanation or None
    return evidence.said


def _write(
    run: Run,
    package: MssqlPatch,
    started: datetime,
    result: Result,
    meaning: Meaning | None = None,
    *,
    remark: str | None = None,
) -> UpdateRecord:
    """Write the record in the place of one that tells of an earlier round."""
    tell("install", package.on, f"{package.name}: {result}{f' ({remark})' if remark else ''}")
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
    earlier = last_record(run, package.on, package.name)
    if earlier is None:
        return run.journal.write(record)
    run.journal.replace(earlier, record)
    return record


def last_record(run: Run, host: str, name: str) -> UpdateRecord | None:
    """The newest record of a patch on a host; None where it was not tried."""
    same = [r for r in run.journal.of(UpdateRecord) if (r.host, r.update, r.kind) == (host, name, "mssql-patch")]
    return same[-1] if same else None


def proof(run: Run, record: UpdateRecord) -> str | None:
    """What proves that a patch is installed: one build, of the engine over a fresh connection and of the registry.

    Where it is for all instances of its host, none of them may be left behind.
    """
    host, setup = record.host, sql_aftermath.setup_facts(run, record.host)
    engine, registered = run.sql[host].facts().build, setup.engine(run.estate.sql[host].instance)
    packages = [p for p in run.estate.updates.packages if isinstance(p, MssqlPatch) and p.on == host]
    if any(p.name == record.update and sql_aftermath.left_behind(p, setup) for p in packages):
        return None
    one = registered is not None and registered.build and Build.parse(registered.build) == Build.parse(engine)
    return f"build {engine}" if one else None
