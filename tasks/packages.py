"""Packages that a host pulls as a file and runs: one job each, judged by the version that is installed afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from blocks.s3_store import S3BackupStore
from blocks.winrm.errors import DeadlineExceeded, HostError, JobNotBegun
from model.installers import (
    Judgement,
    Ran,
    after_restart,
    codes_to_wait_for,
    file_kind,
    installed_version,
    is_there,
    judged_package,
    proof,
)
from model.jobs import left_by
from model.outcome import Stopped
from model.packages import FileBorne, MsuPackage, SchemaScript, probe_of
from model.records import UpdateRecord
from model.reopen import INSTALLING, left_running_section
from model.wanted import MssqlPatch
from tasks.jobs import Job, JobFailed, OutcomeUnknown, facts_of, identity, is_begun, is_over, run_job
from tasks.progress import tell
from tasks.run import Run
from tasks.still_installing import must_not_meet_another, still_at_work

ROUND = 1
"""A package goes in once; the number is part of its job's id, which a later start of the same run finds again."""
SCHEMA_STEP = "schema"
"""The step of the job that runs an upgrade's T-SQL script."""
FETCHING = timedelta(hours=1)
"""What a job may take for the file, besides the package's own deadline."""
_URL_LIFETIME = timedelta(hours=2)
_SERVICE_SECONDS = 300
_WAIT_SECONDS = 30


def package_job(package: FileBorne) -> Job:
    """The job that installs a package, without the secrets of its source."""
    parameters = {
        "name": package.name,
        "kind": file_kind(package),
        "source": package.source,
        "sha256": package.sha256,
        "publisher": package.publisher or "",
        "arguments": list(package.arguments),
        "probe": probe_of(package),
        "wait_codes": list(codes_to_wait_for(package)),
        "wait_seconds": _WAIT_SECONDS,
        "deadline_seconds": int(package.deadline.total_seconds()),
        "largest": package.largest_mb << 20,
        "proxy": package.proxy or "",
    }
    deadline = (package.deadline + FETCHING).total_seconds()
    return Job(package.on, "package", package.name, "Install-Package", parameters, deadline=deadline)


def source_secrets(run: Run, file: FileBorne | SchemaScript | MssqlPatch) -> dict[str, object]:
    """What a host needs to pull a file: the login of its share, or a URL signed for this one object."""
    if file.source.casefold().startswith("s3://"):
        bucket, _, key = file.source[5:].partition("/")
        block = file.credentials or next(s.credentials for s in run.buckets_of_estate if s.s3 == bucket)
        store = S3BackupStore(bucket, "", run.credentials[block])
        return {"source.url": store.presign_get(key, expires=_URL_LIFETIME)}
    if not file.source.startswith("\\\\"):
        return {}
    return run.login_of(file.source, file.credentials, "source")


def version_of(run: Run, package: FileBorne) -> str | None:
    """The version that is installed now; None where there is none."""
    found = run.hosts[package.on].run("Get-PackageVersion", probe=probe_of(package))["versions"]
    return installed_version(package, found)


def run_package(run: Run, package: FileBorne) -> Ran:
    """Run a package's job, or adopt the one of an earlier start, and look which version is there since.

    Raises JobFailed where it was not run at all: not found, not what was approved, not signed by its publisher; Stopped
    where nobody knows what became of it; DeadlineExceeded where its job has not ended.
    """
    # What was begun before has had its own; whether it was may be known too late.
    job = replace(package_job(package), secrets=source_secrets(run, package))
    try:
        answer = run_job(run, ROUND, job)
    except OutcomeUnknown as unknown:
        tell("install", package.on, f"{unknown}; its version will tell")
        left, found = _when_back(run, package, job)
        return Ran(None, found, left, unknown.message if left else None)
    try:
        found = version_of(run, package)
    except HostError:
        # It may be on its way down, for a restart of the installer's own.
        found = installed_version(package, answer["versions_after"])
    return Ran.of(answer, found)


def _when_back(run: Run, package: FileBorne, job: Job) -> tuple[tuple[Mapping[str, Any], ...], str | None]:
    """What of a package's installer still runs, and the installed version, once a host that was cut off answers again.

    The installer outlives a job that ends under it in the same boot. Raises Stopped where the host does not answer, for
    nobody knows then.
    """
    deadline = time.monotonic() + run.estate.restart.deadline.total_seconds()
    while True:
        try:
            left = tuple(still_at_work(run, package.on, left_by(facts_of(run, ROUND, job))))
            return left, version_of(run, package)
        except HostError as error:
            trouble = error
        if not trouble.retryable or time.monotonic() > deadline or run.pause(run.stop):
            raise Stopped.because(
                "install",
                f"{package.on}: nobody knows what became of {package.name}: its job was cut off, and {trouble}. "
                f"Look at {package.on}, then run again: its version will tell.",
            )


def _left_alone(run: Run, package: FileBorne, why: str) -> str:
    """What to say of an installer that nobody may cut, and under which nothing else is begun."""
    return (
        f"{package.on}: {package.name} has not ended: {why.rstrip('.')}. It is left alone: cut at work, it would leave "
        f"{package.on} half-installed, and so it is not restarted. Look at it there; once it has ended, run: billpatch recover {run.called}"
    )


def _leave_running(run: Run, package: FileBorne, ran: Ran, why: str) -> Stopped:
    """Have the host of an installer that has not ended know of it; what to say of it."""
    left = {"name": package.name, "processes": [dict(each) for each in ran.running]}
    section = left_running_section(identity(run, ROUND, package_job(package)))
    run.hosts[package.on].run(
        "Set-QuiesceState", number=run.number, fence=run.fence, state="open", held={section: left}
    )
    return Stopped.because("install", _left_alone(run, package, why))


def install_package(run: Run, package: FileBorne) -> UpdateRecord:
    """Install a package, unless it is there, or one that it needs is not.

    One that fails is a record: others go on. Raises as ``carry_out``, and Stopped where another installer is at work.
    """
    started = datetime.now(UTC)
    needed = lacks(run, package)
    if needed:
        return write(run, package, started, Judgement("failed", restart=False, remark=f"not begun: {needed} is not in"))
    found = version_of(run, package)
    if is_there(package, found) and not is_begun(run, ROUND, package_job(package)):
        return write(run, package, started, Judgement("not-needed", restart=False, proof=proof(package, found)))
    must_not_meet_another(run, ROUND, package_job(package))
    run.hosts[package.on].run(
        "Set-QuiesceState", number=run.number, fence=run.fence, state="open", held={INSTALLING: {"round": ROUND}}
    )
    return write(run, package, started, carry_out(run, package, started))


def carry_out(run: Run, package: FileBorne, started: datetime) -> Judgement:
    """Run a package with its services stopped, and say what became of it.

    Raises JobFailed where its file is not what was approved, and Stopped where its installer still runs, both once that is
    written down; Stopped where its services do not stop.
    """
    try:
        with _services_stopped(run, package):
            try:
                ran = run_package(run, package)
            except DeadlineExceeded:
                why = "its job has not ended in time"
                write(run, package, started, Judgement("unknown", restart=False, remark=why))
                raise Stopped.because("install", _left_alone(run, package, why)) from None
            judged = judged_package(package, ran)
            # What still runs once the installer has ended, with the version there: many start their program at their end.
            if ran.open or (ran.running and judged.result == "failed"):
                write(run, package, started, judged)
                raise _leave_running(run, package, ran, judged.remark or "")
    except JobFailed as failed:
        write(run, package, started, Judgement("failed", restart=False, remark=failed.message))
        raise
    return judged


def lacks(run: Run, package: FileBorne) -> str:
    """The package that this one needs and that is not in; empty where all are."""
    known = {record.title: record.result for record in run.journal.of(UpdateRecord) if record.host == package.on}
    return next((name for name in package.after if known.get(name, "failed") == "failed"), "")


@contextmanager
def _services_stopped(run: Run, package: FileBorne) -> Iterator[None]:
    """Stop the package's services, and start afterwards those that ran before; EngageIP's stay for bring_back.

    Where an earlier start of this run has come to the end of the installer, it may only have left them stopped. Where
    nobody knows that it has ended, or never begun, its files may be at work: they are for bring_back too.
    """
    names = list(package.services_to_stop)
    job = package_job(package)
    at_work = False
    try:
        if names and not is_over(run, ROUND, job):
            at_work = is_begun(run, ROUND, job)
            names = _stop_services(run, package, names)
        at_work = True
        yield
    except (JobFailed, JobNotBegun):
        raise
    except BaseException:
        # Also where nobody waits any more (Cancel, Ctrl-C, a connection that is gone): the installer is not cut.
        if at_work:
            names = []
        raise
    finally:
        if names:
            _start_again(run, package, names)


def _stop_services(run: Run, package: FileBorne, names: list[str]) -> list[str]:
    """Stop these services and those that depend on them; all of them, in the order of their stopping."""
    answer = run.hosts[package.on].run(
        "Stop-HostServices",
        names=names,
        number=run.number,
        fence=run.fence,
        timeout_seconds=_SERVICE_SECONDS,
        deadline=_SERVICE_SECONDS + 30,
    )
    if not answer["complete"]:
        stuck = [f"{s['name']} is {s['status']} ({s['error']})" for s in answer["services"] if s["error"]]
        raise Stopped.because(
            "install",
            f"{package.on}: {package.name} was not begun: {'; '.join(stuck)}. Stop it by hand, then run again.",
        )
    tell("install", package.on, f"stopped for {package.name}: {', '.join(s['name'] for s in answer['services'])}")
    return [s["name"] for s in answer["services"]]


def _start_again(run: Run, package: FileBorne, names: list[str]) -> None:
    """Start those of these services that ran before the night; what cannot be started now is for bring_back to tell."""
    billing = {name.casefold() for name in run.estate.services_on(package.on)}
    host = run.hosts[package.on]
    try:
        before = host.run("Get-QuiesceState")["quiesce"] or {}
        ran = {s["name"].casefold() for s in before.get("services") or () if s["status"] == "Running"} - billing
        # In the reverse order of their stopping.
        names = [name for name in reversed(names) if name.casefold() in ran]
        if names:
            host.run(
                "Start-HostServices",
                names=names,
                fence=run.fence,
                timeout_seconds=_SERVICE_SECONDS,
                deadline=_SERVICE_SECONDS + 30,
            )
    except HostError as error:
        tell("install", package.on, f"{', '.join(names)} not started again yet: {error}")


def verify_packages(run: Run, host: str, packages: dict[str, FileBorne]) -> None:
    """Look again at what a restart was to complete."""
    for record in run.journal.of(UpdateRecord):
        package = packages.get(record.update)
        if package is None or record.host != host or record.result != "reboot-pending" or record.restart is False:
            continue
        judged = after_restart(package, version_of(run, package))
        told = {"result": judged.result, "verified_by": judged.proof, "remark": judged.remark or record.remark}
        run.journal.replace(record, record.model_copy(update=told))


def write(run: Run, package: FileBorne, started: datetime, judged: Judgement) -> UpdateRecord:
    """Write down what became of a package, in the place of what was known of it before."""
    tell("install", package.on, f"{package.name}: {judged.result}{f' ({judged.remark})' if judged.remark else ''}")
    unsigned = f"run without a signature: {package.unsigned}" if package.unsigned else None
    record = UpdateRecord(
        host=package.on,
        update=package.name,
        kb=package.kb if isinstance(package, MsuPackage) else None,
        title=package.name,
        kind=package.kind,
        result=judged.result,
        hresult=judged.code,
        remark=judged.remark or (unsigned if judged.result in {"installed", "reboot-pending"} else None),
        started=started,
        ended=datetime.now(UTC),
        verified_by=judged.proof,
        restart=judged.restart,
        restarting=judged.restarting,
    )
    for earlier in run.journal.of(UpdateRecord):
        if (earlier.host, earlier.update) == (record.host, record.update):
            run.journal.replace(earlier, record)
            return record
    return run.journal.write(record)
