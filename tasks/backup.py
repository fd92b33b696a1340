"""Backups: made on the hosts, sent off them, verified where they lie. They gate the patching.

No byte passes through the orchestrator: a host packs its folders, SQL Server writes its own backup file, and the host
sends both to every store; to S3 by a URL that is signed here for exactly those bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from blocks.s3_errors import StoreError
from blocks.sql_errors import SqlServerError
from blocks.winrm.errors import HostError
from model.estate import BackupItem, S3Store, ShareStore
from model.gate import GateVerdict, may_patch
from model.keys import job_id
from model.outcome import Problem, Stopped
from model.records import BackupRecord, HostFacts, QuiesceRecord
from model.sql.backup import judge
from model.sql.statements import backup_statement, verify_statement
from model.stores import object_name, windows_path
from model.storing import not_packed, not_stored, not_what_was_sent
from tasks import artifacts
from tasks.jobs import Ended, Job, JobFailed, OutcomeUnknown, end_of, run_job
from tasks.progress import tell
from tasks.run import Run
from tasks.step import step

IIS_CONFIGURATION = r"C:\Windows\System32\inetsrv\config"
_URL_LIFETIME = timedelta(hours=12)


@step("back up {item}")
def back_up_folder(run: Run, item: BackupItem) -> list[BackupRecord]:
    """Pack a folder of a host and send the archive to every store; one record per store."""
    source = IIS_CONFIGURATION if item.kind == "iis" else item.subject
    path = _staged(run, item, ".zip")
    with _staging(run, item, path):
        try:
            parameters = {"source": source, "destination": path, "snapshot": run.estate.backup.snapshots}
            archive = _job(run, item, "archive", "New-FolderArchive", parameters)
        except JobFailed as failed:
            raise _stopped(item, not_packed(path, failed.message, failed.hresult)) from None
        if archive.result.get("remark"):
            tell("backup", f"{item.host} {item.subject}", archive.result["remark"])
        return _send(run, item, archive.result, archive.started)


@step("back up {item}")
def back_up_database(run: Run, item: BackupItem) -> list[BackupRecord]:
    """Have SQL Server back up a database and verify the file, and send it to every store; one record per store.

    Raises Stopped with the one line that says why it does not count: an exit code alone never decides.
    """
    path = _staged(run, item, ".bak")
    with _staging(run, item, path):
        backup = _statement(run, item, "backup", backup_statement(item.subject, path))
        made = backup.result
        if made["errors"]:
            needs, free = _room(run, item, path)
            verdict = judge(item.host, item.subject, path=path, backup=made, needs=needs, free=free)
            raise Stopped.because("backup", verdict.reason)
        verified = _statement(run, item, "verify", verify_statement(path)).result
        measured = _job(run, item, "measure", "Measure-BackupFile", {"path": path}).result
        verdict = judge(
            item.host,
            item.subject,
            path=path,
            backup=made,
            verify=verified,
            file=measured,
            history=run.sql[item.host].backup_rows(path),
        )
        if not verdict.good:
            raise Stopped.because("backup", verdict.reason)
        return _send(run, item, measured, backup.started)


@step("the gate: every backup complete, verified, off the servers")
def gate(run: Run, quiesce: QuiesceRecord, records: list[BackupRecord]) -> GateVerdict:
    """Promise 1: nothing is installed before every declared backup is complete, verified and off the servers.

    Raises Stopped with what is missing.
    """
    artifacts.backups(run)
    computers = {facts.computer for facts in run.facts.values()}
    verdict = may_patch(run.estate, records, quiesce, datetime.now(UTC), computers=computers)
    if not verdict.allowed:
        raise Stopped("backup", [Problem(reason, reason.partition(": ")[0]) for reason in verdict.reasons])
    return verdict


def _job(
    run: Run,
    item: BackupItem,
    step_name: str,
    script: str,
    parameters: dict[str, Any],
    secrets: dict[str, Any] | None = None,
    *,
    part: str = "",
) -> Ended:
    subject = f"{item.subject} {part}".strip()
    return end_of(run, run.number, Job(item.host, step_name, subject, script, parameters, secrets))


def _statement(run: Run, item: BackupItem, step_name: str, statement: str) -> Ended:
    login = run.credentials[run.estate.sql[item.host].credentials]
    instance = run.estate.sql[item.host].instance
    server = "localhost" if instance == "MSSQLSERVER" else f"localhost\\{instance}"
    parameters = {"server": server, "database": "master", "statement": statement}
    secrets = {"username": login.username, "password": login.password}
    return _job(run, item, step_name, "Invoke-SqlStatement", parameters, secrets)


def _room(run: Run, item: BackupItem, path: str) -> tuple[int | None, int | None]:
    """Bytes that the backup may need, and that are free for it now, as far as anybody can be asked."""
    try:
        needs = run.sql[item.host].data_bytes(item.subject)
        facts = HostFacts.of(item.host, run.hosts[item.host].run("Get-HostFacts"))
    except (SqlServerError, HostError):
        return None, None
    return needs, next((drive.free for drive in facts.drives if drive.letter.upper() == path[0].upper()), None)


def _stopped(item: BackupItem, why: str) -> Stopped:
    return Stopped("backup", [Problem(f"{item}: {why}", str(item))])


def _staged(run: Run, item: BackupItem, extension: str) -> str:
    folder = run.estate.backup.staging.get(item.host, r"C:\ProgramData\EngageIPPatching\staging")
    return f"{folder}\\{_name(run, item, extension).rpartition('/')[2]}"


def _name(run: Run, item: BackupItem, extension: str) -> str:
    return object_name(run.key, run.number, item.kind, item.host, item.subject, extension)


@contextmanager
def _staging(run: Run, item: BackupItem, path: str) -> Iterator[None]:
    """Remove the staged file once it is in the stores, and where it never will be: the next run makes another.

    It stays where nobody knows what still reads or writes it.
    """
    try:
        yield
    except (Stopped, JobFailed, StoreError):
        _clear(run, item, path)
        raise
    _clear(run, item, path)


def _clear(run: Run, item: BackupItem, path: str) -> None:
    job = Job(item.host, "clear", item.subject, "Remove-BackupStaging", {"paths": [path]}, deadline=300)
    try:
        left = run_job(run, run.number, job)["failed"]
        why = left[0]["error"] if left else ""
    except (HostError, JobFailed, OutcomeUnknown) as error:
        why = str(error)
    if why:
        tell("backup", f"{item.host} {item.subject}", f"{path} stays on the host: {why}")


def _send(run: Run, item: BackupItem, made: dict[str, Any], started: datetime) -> list[BackupRecord]:
    """Send the file to every store in one job, and prove each store's copy where it lies."""
    name = _name(run, item, "." + made["path"].rpartition(".")[2])
    targets: list[dict[str, Any]] = []
    secrets: dict[str, Any] = {}
    for number, store in enumerate(run.estate.backup.stores):
        label = f"store{number}"
        if isinstance(store, S3Store):
            signed = run.buckets[store.name].presign_put(
                name, sha256=made["sha256"], size=made["size"], expires=_URL_LIFETIME
            )
            targets.append({"name": label, "kind": "s3", "path": f"{store.name}{name}", "headers": signed.headers})
            secrets[f"{label}.url"] = signed.url
        else:
            secrets |= run.share_login(store.credentials, label)
            targets.append({"name": label, "kind": "share", "path": windows_path(store.share, name)})
    parameters = {"source": made["path"], "sha256": made["sha256"], "targets": targets}
    try:
        sent = _job(run, item, "send", "Send-BackupFile", parameters, secrets).result
    except JobFailed as failed:
        raise _stopped(item, failed.message) from None
    records: list[BackupRecord] = []
    problems: list[Problem] = []
    for store, target in zip(run.estate.backup.stores, sent["targets"], strict=True):
        if target["status"] != "stored":
            problems.append(Problem(f"{item} {not_stored(store, target, made['sha256'])}", str(item)))
            continue
        fault = _fault(run, item, store, name, made)
        records.append(
            run.journal.write(
                BackupRecord(
                    kind=item.kind,
                    host=item.host,
                    subject=item.subject,
                    store=store.name,
                    path=target["path"],
                    size=made["size"],
                    sha256=made["sha256"],
                    started=started,
                    ended=datetime.now(UTC),
                    verified=fault is None,
                    remark=fault or made.get("remark"),
                    quiesce=run.number,
                    job=job_id(run.key, run.number, "send", f"{item.host}-{item.subject}"),
                )
            )
        )
    if problems:
        raise Stopped("backup", problems)
    proved = sum(record.verified for record in records)
    tell("backup", f"{item.host} {item.subject}", f"in {len(records)} stores, {proved} verified")
    return records


def _fault(run: Run, item: BackupItem, store: ShareStore | S3Store, name: str, made: dict[str, Any]) -> str | None:
    """None where the store holds what was made; else what is wrong with its copy, for the gate to tell.

    S3 is asked here. A share is read by a job of its own: what the sender read back may have come from a cache, or
    have changed when the file got its name. It is another one for each run, by the number of its lease: what an earlier
    run has read there may be gone by now.
    """
    try:
        if isinstance(store, S3Store):
            run.buckets[store.name].verify(name, sha256=made["sha256"], size=made["size"])
            return None
        path, login = windows_path(store.share, name), run.share_login(store.credentials)
        part = f"in {store.share} by {run.fence}"
        found = _job(run, item, "prove", "Measure-BackupFile", {"path": path}, login, part=part).result
    except StoreError as error:
        return str(error).removeprefix(f"{store.name}: ")
    except JobFailed as failed:
        return f"it cannot be read there: {failed.message.rstrip('.')}. Look at the share from {item.host}."
    return not_what_was_sent(store, found, made)
