"""Backups: made on the hosts, sent off them, verified where they lie. They gate the patching.

No byte passes through the orchestrator: a host packs its folders, SQL Server writes its own backup file, and the host
sends both to every store; to S3 by a URL that is signed here for exactly those bytes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from blocks.s3_store import S3BackupStore
from model.estate import BackupItem, S3Store, ShareStore
from model.gate import GateVerdict, may_patch
from model.keys import job_id
from model.outcome import Problem, Stopped
from model.records import BackupRecord, QuiesceRecord
from model.sql.backup import judge
from model.sql.statements import backup_statement, verify_statement
from model.stores import object_name, windows_path
from tasks import artifacts
from tasks.jobs import Job, run_job
from tasks.progress import tell
from tasks.run import Run
from tasks.step import step

IIS_CONFIGURATION = r"C:\Windows\System32\inetsrv\config"
_URL_LIFETIME = timedelta(hours=12)


@step("back up {item}")
def back_up_folder(run: Run, item: BackupItem) -> list[BackupRecord]:
    """Pack a folder of a host and send the archive to every store; one record per store."""
    started = datetime.now(UTC)
    source = IIS_CONFIGURATION if item.kind == "iis" else item.subject
    path = _staged(run, item, ".zip")
    made = run_job(
        run,
        run.number,
        Job(item.host, "archive", item.subject, "New-FolderArchive", {"source": source, "destination": path}),
    )
    return _send(run, item, made, started)


@step("back up {item}")
def back_up_database(run: Run, item: BackupItem) -> list[BackupRecord]:
    """Have SQL Server back up a database and verify the file, and send it to every store; one record per store.

    Raises Stopped with the one line that says why it does not count: an exit code alone never decides.
    """
    started = datetime.now(UTC)
    path = _staged(run, item, ".bak")
    made = _statement(run, item, "backup", backup_statement(item.subject, path))
    if made["errors"]:
        raise Stopped.because("backup", judge(item.host, item.subject, path=path, backup=made).reason)
    verified = _statement(run, item, "verify", verify_statement(path))
    measured = run_job(
        run, run.number, Job(item.host, "measure", item.subject, "Measure-BackupFile", {"path": path})
    )
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
        raise Stopped("backup", [Problem(verdict.reason)])
    return _send(run, item, measured, started)


@step("the gate: every backup complete, verified, off the servers")
def gate(run: Run, quiesce: QuiesceRecord, records: list[BackupRecord]) -> GateVerdict:
    """Promise 1: nothing is installed before every declared backup is complete, verified and off the servers.

    Raises Stopped with what is missing.
    """
    artifacts.backups(run)
    verdict = may_patch(run.estate, records, quiesce, datetime.now(UTC))
    if not verdict.allowed:
        raise Stopped("backup", [Problem(reason) for reason in verdict.reasons])
    return verdict


def _statement(run: Run, item: BackupItem, step_name: str, statement: str) -> dict[str, Any]:
    login = run.credentials[run.estate.sql[item.host].credentials]
    instance = run.estate.sql[item.host].instance
    server = "localhost" if instance == "MSSQLSERVER" else f"localhost\\{instance}"
    return run_job(
        run,
        run.number,
        Job(
            item.host,
            step_name,
            item.subject,
            "Invoke-SqlStatement",
            {"server": server, "database": "master", "statement": statement},
            secrets={"username": login.username, "password": login.password},
        ),
    )


def _staged(run: Run, item: BackupItem, extension: str) -> str:
    folder = run.estate.backup.staging.get(item.host, r"C:\ProgramData\EngageIPPatching\staging")
    return f"{folder}\\{_name(run, item, extension).rpartition('/')[2]}"


def _name(run: Run, item: BackupItem, extension: str) -> str:
    return object_name(run.key, run.number, item.kind, item.host, item.subject, extension)


def _send(run: Run, item: BackupItem, made: dict[str, Any], started: datetime) -> list[BackupRecord]:
    """Send the file to every store in one job, have each store's copy verified, and clear the staging folder."""
    name = _name(run, item, "." + made["path"].rpartition(".")[2])
    targets: list[dict[str, str]] = []
    secrets: dict[str, Any] = {}
    for number, store in enumerate(run.estate.backup.stores):
        label = f"store{number}"
        if isinstance(store, S3Store):
            signed = run.buckets[store.name].presign_put(
                name, sha256=made["sha256"], size=made["size"], expires=_URL_LIFETIME
            )
            targets.append({"name": label, "kind": "s3", "path": f"{store.name}{name}"})
            secrets[f"{label}.url"] = signed.url
        else:
            secrets |= run.share_login(store.credentials, label)
            targets.append({"name": label, "kind": "share", "path": windows_path(store.share, name)})
    sent = run_job(
        run,
        run.number,
        Job(
            item.host,
            "send",
            item.subject,
            "Send-BackupFile",
            {"source": made["path"], "sha256": made["sha256"], "targets": targets},
            secrets=secrets,
        ),
    )
    records: list[BackupRecord] = []
    problems: list[Problem] = []
    for store, target in zip(run.estate.backup.stores, sent["targets"], strict=True):
        if target["status"] != "stored":
            problems.append(Problem(f"{item.host}: {item} did not reach {store.name}: {target['error']}"))
            continue
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
                    verified=_verified(run.buckets.get(store.name), store, name, made, target),
                    quiesce=run.number,
                    job=job_id(run.key, run.number, "send", f"{item.host}-{item.subject}"),
                )
            )
        )
    if problems:
        raise Stopped("backup", problems)
    run_job(
        run,
        run.number,
        Job(item.host, "clear", item.subject, "Remove-BackupStaging", {"paths": [made["path"]]}, deadline=300),
    )
    tell("backup", f"{item.host} {item.subject}", f"in {len(records)} stores, verified")
    return records


def _verified(
    bucket: S3BackupStore | None,
    store: ShareStore | S3Store,
    name: str,
    made: dict[str, Any],
    target: dict[str, Any],
) -> bool:
    """Whether what lies in the store is what was made: S3 is asked here, a share was read back by the host."""
    if isinstance(store, S3Store) and bucket is not None:
        bucket.verify(name, sha256=made["sha256"], size=made["size"])
        return True
    return bool(target["sha256"] == made["sha256"] and target["size"] == made["size"])
