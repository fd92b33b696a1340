"""BACKUP DATABASE: writes the file while time passes, can be cancelled, can fail half-way, and keeps msdb's history.

Faults, on a database: ``backup.disk_full`` {room: bytes that fit}, ``backup.slow`` {seconds}, ``backup.flip_byte`` {at}
spoils the finished file. On a share or drive: see ``lab.sql.media``. Without a fault a disk is full where ``drives.json``
says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from lab.host import Host
from lab.sql import media
from lab.sql import statements as st
from lab.sql.databases import Entry
from lab.sql.errors import Cancelled, ConnectionClosed, Message, error, terminating
from lab.sql.output import Output
from lab.sql.values import store

if TYPE_CHECKING:
    from lab.sql.engine import Engine

VERB = "BACKUP DATABASE"


@dataclass
class _Job:
    entry: Entry
    device: str
    path: Path
    options: dict[str, Any]
    started: datetime
    content: bytes = b""
    header: dict[str, Any] = field(default_factory=dict)
    written: int = 0


def run(engine: Engine, statement: st.Backup, out: Output) -> None:
    """Act BACKUP DATABASE out; see facts: 3211 and 4035 on the way, 3014 at the end, 3013 after every failure."""
    session, instance = engine.session, engine.instance
    if session.transactions or session.implicit:
        raise terminating(
            VERB, Message(3021, 16, 0, "Cannot perform a backup or restore operation within a transaction.")
        )
    entry = _database(engine, str(engine.value(statement.database)))
    if len(statement.disks) != 1:
        raise error(102, "Incorrect syntax near ','.", 15)  # stripes are not built in the lab
    device = str(engine.value(statement.disks[0]))
    options = dict(statement.options)
    if "COMPRESSION" in options and instance.is_express:
        text = f"BACKUP DATABASE WITH COMPRESSION is not supported on {instance.edition}."
        raise terminating(VERB, Message(1844, 16, 1, text))
    job = _Job(entry, device, _open(engine, device), options, instance.now())
    if session.request:
        session.request.database = entry.name
    with contextlib.ExitStack() as at_end:
        instance.backups.add(entry.name)
        at_end.callback(instance.backups.discard, entry.name)
        try:
            _write(engine, job, out)
        except (Cancelled, ConnectionClosed):
            # The half-written file is deleted, and nobody is told but the audit trail: that is the trap.
            job.path.unlink(missing_ok=True)
            percent = session.request.percent if session.request else 0
            instance.host.event("backup.cancelled", database=entry.name, path=device, percent=percent)
            instance.log(
                f"BACKUP failed to complete the command BACKUP DATABASE {entry.name}. Check the backup application log for detailed messages.",
                3041,
            )
            raise
    _finish(engine, job, out)


def _database(engine: Engine, name: str) -> Entry:
    entry = engine.instance.databases.find(name)
    if entry is None:
        raise terminating(
            VERB,
            Message(911, 16, 11, f"Database '{name}' does not exist. Make sure that the name is entered correctly."),
        )
    if not engine.session.sysadmin:
        raise terminating(VERB, Message(262, 14, 1, f"BACKUP DATABASE permission denied in database '{entry.name}'."))
    if entry.name == "tempdb":
        raise terminating(
            VERB, Message(3147, 16, 3, "Backup and restore operations are not allowed on database tempdb.")
        )
    refusal = entry.refusal()
    if refusal:
        raise terminating(VERB, refusal)
    return entry


def _open(engine: Engine, device: str) -> Path:
    try:
        return media.locate(engine.instance.host, device)
    except media.Unreachable as failure:
        engine.instance.log(
            f"BackupDiskFile::CreateMedia: Backup device '{device}' failed to create. {failure}.", 18204
        )
        raise terminating(VERB, Message(3201, 16, 1, f"Cannot open backup device '{device}'. {failure}.")) from None


def _write(engine: Engine, job: _Job, out: Output) -> None:
    session, instance, entry = engine.session, engine.instance, job.entry
    host = instance.host
    job.content = instance.databases.content(entry)
    job.header = _header(engine, job)
    head, pages = media.encode(job.header, job.content)
    append = job.path.exists() and not {"INIT", "FORMAT"} & set(job.options)
    room = host.disk.free(job.device)
    full = host.faults.strike("backup.disk_full", entry.name)
    if full is not None:
        room = int(full.get("room", len(head) + sum(map(len, pages)) * 0.45))
        _fill(host, job.device, room)
    usual = entry.spec.backup_seconds if entry.spec.backup_seconds is not None else instance.durations.backup
    slow = host.faults.strike("backup.slow", entry.name)
    slowly = float(slow.get("seconds", usual * 10)) if slow is not None else usual
    steps, stats = 20, int(engine.value(job.options.get("STATS")) or 0)
    told = 0
    with job.path.open("ab" if append else "wb") as file:
        _put(engine, job, file, head, room)
        for step, share in enumerate(_shares(pages, steps), 1):
            # Once what slows it is withdrawn, the rest goes at its usual pace.
            out.wait((slowly if host.faults.lasts("backup.slow", entry.name) else usual) / steps)
            _put(engine, job, file, b"".join(share), room)
            percent = step * 100 // steps
            if session.request:
                session.request.percent = float(percent)
            while stats and told + stats <= percent:
                told += stats
                out.message(Message(3211, 10, 1, f"{told} percent processed."))
                out.affected(None)
        _put(engine, job, file, media.END, room)
    damage = host.faults.strike("backup.flip_byte", entry.name)
    job.written = job.path.stat().st_size
    if damage is not None:
        _flip(job.path, int(damage.get("at", job.written // 2)))
        host.event("backup.damaged", database=entry.name, path=job.device)


def _fill(host: Host, device: str, room: int) -> None:
    """Leave ``room`` bytes on the drive: whoever asks how much is free is told the same."""
    letter = PureWindowsPath(device).drive.rstrip(":").upper()
    with host.edit("drives.json") as drives:
        if letter in drives:
            drives[letter]["free"] = room


def _put(engine: Engine, job: _Job, file: Any, data: bytes, room: int) -> None:
    if file.tell() + len(data) > room:
        file.close()
        text = f'Write on "{job.device}" failed: 112(There is not enough space on the disk.)'
        engine.instance.log(
            f"BackupMedium::ReportIoError: write failure on backup device '{job.device}'. Operating system error 112(There is not enough space on the disk.).",
            18210,
        )
        engine.instance.host.event("backup.failed", database=job.entry.name, path=job.device, number=3202)
        raise terminating(VERB, Message(3202, 16, 1, text))
    file.write(data)


def _shares(pages: list[bytes], count: int) -> Iterator[list[bytes]]:
    for number in range(count):
        yield pages[len(pages) * number // count : len(pages) * (number + 1) // count]


def _flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0x40]))


def _header(engine: Engine, job: _Job) -> dict[str, Any]:
    instance, entry = engine.instance, job.entry
    lsn = instance.history.next_lsn()
    return {
        "database": entry.name, "server": instance.server_name, "machine": instance.host.name, "login": engine.session.login,
        "build": instance.build, "started": store(job.started.replace(tzinfo=None)), "guid": str(uuid.uuid4()).upper(),
        "position": 1, "name": str(engine.value(job.options.get("NAME")) or f"{entry.name}-Full Database Backup"),
        "copy_only": "COPY_ONLY" in job.options, "checksums": "CHECKSUM" in job.options, "compressed": "COMPRESSION" in job.options,
        "size": len(job.content), "pages": -(-len(job.content) // media.PAGE), "recovery_model": entry.spec.recovery_model,
        "first_lsn": lsn, "last_lsn": lsn + 800001, "created": store(entry.created.replace(tzinfo=None)),
        "files": [[entry.name, entry.file, "D"], [f"{entry.name}_log", entry.log, "L"]],
    }  # fmt: skip


def _finish(engine: Engine, job: _Job, out: Output) -> None:
    instance, entry = engine.instance, job.entry
    pages = -(-len(job.content) // media.PAGE)
    seconds = max((instance.now() - job.started).total_seconds(), 0.001)
    for number, name in ((pages, entry.name), (2, f"{entry.name}_log")):
        out.message(
            Message(4035, 10, 1, f"Processed {number} pages for database '{entry.name}', file '{name}' on file 1.")
        )
        out.affected(None)
    _history(engine, job)
    speed = len(job.content) / seconds / 1e6
    out.message(
        Message(
            3014,
            10,
            1,
            f"BACKUP DATABASE successfully processed {pages + 2} pages in {seconds:.3f} seconds ({speed:.3f} MB/sec).",
        )
    )
    data = job.path.read_bytes()
    instance.host.event(
        "backup.database", database=entry.name, path=job.device, sha256=hashlib.sha256(data).hexdigest(), size=len(data)
    )
    instance.log(
        f"Database backed up. Database: {entry.name}, device information: (FILE=1, TYPE=DISK: {{'{job.device}'}}).",
        18265,
    )
    out.affected(None)


def _history(engine: Engine, job: _Job) -> None:
    instance = engine.instance
    header = job.header
    build = [int(part) for part in instance.build.split(".")]
    row = {
        "backup_set_uuid": header["guid"], "position": 1, "name": header["name"], "user_name": engine.session.login,
        "software_major_version": build[0], "software_minor_version": build[1], "software_build_version": build[2],
        "first_lsn": str(header["first_lsn"]), "last_lsn": str(header["last_lsn"]), "checkpoint_lsn": str(header["first_lsn"]),
        "database_backup_lsn": "0", "database_creation_date": header["created"], "backup_start_date": header["started"],
        "backup_finish_date": store(instance.now().replace(tzinfo=None)), "type": "D", "compatibility_level": instance.compatibility,
        "backup_size": header["size"], "compressed_backup_size": job.written if header["compressed"] else header["size"],
        "database_name": job.entry.name, "server_name": instance.server_name, "machine_name": instance.host.name, "flags": 0,
        "recovery_model": header["recovery_model"], "is_snapshot": 0, "is_readonly": 0, "is_damaged": 0,
        "is_copy_only": int(header["copy_only"]), "has_backup_checksums": int(header["checksums"]), "is_password_protected": 0,
    }  # fmt: skip
    instance.history.keep_backup(row, job.device)
