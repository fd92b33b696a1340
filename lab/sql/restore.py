"""RESTORE: VERIFYONLY, HEADERONLY, FILELISTONLY, LABELONLY, and DATABASE, which brings the rows back."""

from __future__ import annotations

from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Any

from lab.sql import media
from lab.sql import statements as st
from lab.sql.databases import Database
from lab.sql.errors import Message, error, terminating
from lab.sql.output import Output
from lab.sql.values import Column, parse_type, present

if TYPE_CHECKING:
    from lab.sql.engine import Engine

_VERBS = {"DATABASE": "RESTORE DATABASE", "VERIFYONLY": "VERIFY DATABASE"}
_BUILD_BOUND = ("master", "model", "msdb")


def run(engine: Engine, statement: st.Restore, out: Output) -> None:
    """Act a RESTORE out; every failure ends with 3013."""
    verb = _VERBS.get(statement.verb, f"RESTORE {statement.verb}")
    if engine.session.transactions:
        raise terminating(
            verb, Message(3021, 16, 0, "Cannot perform a backup or restore operation within a transaction.")
        )
    if not engine.session.sysadmin:
        raise terminating(verb, Message(262, 14, 1, "CREATE DATABASE permission denied in database 'master'."))
    if not statement.disks:
        _recover(engine, str(engine.value(statement.database)), out)
        return
    if len(statement.disks) != 1:
        raise error(102, "Incorrect syntax near ','.", 15)  # stripes are not built in the lab
    device = str(engine.value(statement.disks[0]))
    sets = _read(engine, device, verb)
    if statement.verb == "HEADERONLY":
        _header_rows(sets, out)
        return
    position = int(engine.value(statement.options.get("FILE")) or 1)
    if not 1 <= position <= len(sets):
        text = f"The file ID {position} on device '{device}' is not a valid backup set."
        raise terminating(verb, Message(3287, 16, 1, text))
    chosen = sets[position - 1]
    match statement.verb:
        case "VERIFYONLY":
            _verify(engine, statement, chosen, position, out)
        case "FILELISTONLY":
            _file_rows(chosen, out)
        case "LABELONLY":
            columns = "MediaName nvarchar(128); FamilyCount int; FamilySequenceNumber int; MediaDate datetime"
            _rows(out, columns, [(None, 1, 1, chosen.header["started"])])
        case _:
            _restore(engine, statement, chosen, out)


def _read(engine: Engine, device: str, verb: str) -> list[media.BackupSet]:
    try:
        return media.decode(media.read(engine.instance.host, device), device)
    except media.Unreachable as failure:
        text = f"Cannot open backup device '{device}'. {failure}."
        raise terminating(verb, Message(3201, 16, 2, text)) from None
    except media.Damaged as damage:
        raise terminating(verb, damage.message) from None


def _verify(engine: Engine, statement: st.Restore, chosen: media.BackupSet, position: int, out: Output) -> None:
    wants = "CHECKSUM" in statement.options
    if wants and not chosen.header["checksums"]:
        text = "RESTORE WITH CHECKSUM cannot be specified because the backup set does not contain checksum information."
        raise terminating(_VERBS["VERIFYONLY"], Message(3187, 16, 1, text))
    out.wait(engine.instance.durations.verify)
    try:
        chosen.content(checked="NO_CHECKSUM" not in statement.options)
    except media.Damaged as damage:
        raise terminating(_VERBS["VERIFYONLY"], damage.message) from None
    out.message(Message(3262, 0, 1, f"The backup set on file {position} is valid."))
    engine.instance.host.event("backup.verified", effect=False, database=chosen.header["database"])
    out.affected(None)


def _rows(out: Output, columns: str, rows: list[tuple[Any, ...]]) -> None:
    kinds = [part.split(" ", 1) for part in columns.split("; ")]
    shaped = [Column(name, parse_type(kind)) for name, kind in kinds]
    out.rows(shaped, [[present(value, column.type) for value, column in zip(row, shaped, strict=True)] for row in rows])


def _header_rows(sets: list[media.BackupSet], out: Output) -> None:
    columns = (
        "BackupName nvarchar(128); BackupType smallint; Compressed bit; Position smallint; DeviceType tinyint; UserName nvarchar(128); "
        "ServerName nvarchar(128); DatabaseName nvarchar(128); DatabaseCreationDate datetime; BackupSize numeric(20,0); FirstLSN numeric(25,0); "
        "LastLSN numeric(25,0); BackupStartDate datetime; BackupFinishDate datetime; SoftwareVersionMajor int; SoftwareVersionMinor int; "
        "SoftwareVersionBuild int; MachineName nvarchar(128); HasBackupChecksums bit; IsDamaged bit; IsCopyOnly bit; IsSnapshot bit; "
        "RecoveryModel nvarchar(60); BackupSetGUID uniqueidentifier; BackupTypeDescription nvarchar(60)"
    )
    rows = []
    for number, one in enumerate(sets, 1):
        h = one.header
        build = [int(part) for part in h["build"].split(".")]
        rows.append((
            h["name"], 1, h["compressed"], number, 2, h["login"], h["server"], h["database"], h["created"], h["size"], h["first_lsn"], h["last_lsn"],
            h["started"], h["started"], *build[:3], h["machine"], h["checksums"], False, h["copy_only"], False, h["recovery_model"], h["guid"], "Database",
        ))  # fmt: skip
    _rows(out, columns, rows)


def _file_rows(chosen: media.BackupSet, out: Output) -> None:
    columns = "LogicalName nvarchar(128); PhysicalName nvarchar(260); Type char(1); FileGroupName nvarchar(128); Size numeric(20,0); MaxSize numeric(20,0); FileID bigint"
    files = enumerate(chosen.header["files"], 1)
    _rows(
        out,
        columns,
        [
            (name, path, kind, "PRIMARY" if kind == "D" else None, chosen.header["size"], 35184372080640, n)
            for n, (name, path, kind) in files
        ],
    )


def _restore(engine: Engine, statement: st.Restore, chosen: media.BackupSet, out: Output) -> None:
    instance, verb = engine.instance, _VERBS["DATABASE"]
    name = str(engine.value(statement.database))
    header = chosen.header
    _allowed(engine, name, statement, header)
    try:
        content = chosen.content(checked=True)
    except media.Damaged:
        text = (
            f'RESTORE detected an error on page (0:0) in database "{header["database"]}" as read from the backup set.'
        )
        raise terminating(verb, Message(3183, 16, 2, text)) from None
    entry = instance.databases.find(name) or instance.databases.add(_moved(name, engine, statement, header))
    entry.state = "RESTORING"
    instance.databases.save(entry)
    for part in range(10):
        out.wait(instance.durations.restore / 10)
        if engine.session.request:
            engine.session.request.percent = (part + 1) * 10.0
        if engine.value(statement.options.get("STATS")):
            out.message(Message(3211, 10, 1, f"{(part + 1) * 10} percent processed."))
            out.affected(None)
    instance.databases.replace(entry, content)
    if "NORECOVERY" not in statement.options:
        entry.state = "ONLINE"
    instance.databases.save(entry)
    pages = header["pages"]
    out.message(
        Message(4035, 10, 1, f"Processed {pages} pages for database '{name}', file '{header['database']}' on file 1.")
    )
    out.affected(None)
    out.message(
        Message(
            3014,
            10,
            1,
            f"RESTORE DATABASE successfully processed {pages + 2} pages in {instance.durations.restore:.3f} seconds.",
        )
    )
    instance.host.event("restore.database", database=name, source=header["database"], guid=header["guid"])
    instance.history.keep_restore(name, engine.session.login, header["guid"], instance.now())
    out.affected(None)


def _allowed(engine: Engine, name: str, statement: st.Restore, header: dict[str, Any]) -> None:
    instance, verb = engine.instance, _VERBS["DATABASE"]
    entry = instance.databases.find(name)
    if (
        header["database"] in _BUILD_BOUND
        and name.casefold() == header["database"]
        and header["build"] != instance.build
    ):
        text = (
            f"The backup of the system database on the device {statement.disks[0]} cannot be restored because it was created by a different version "
            f"of the server ({header['build']}) than this server ({instance.build})."
        )
        raise terminating(verb, Message(3168, 16, 1, text))
    if tuple(map(int, header["build"].split(".")[:2])) > tuple(map(int, instance.build.split(".")[:2])):
        text = f"The database was backed up on a server running version {header['build']}. That version is incompatible with this server, which is running version {instance.build}. Either restore the database on a server that supports the backup, or use a backup that is compatible with this server."
        raise terminating(verb, Message(3169, 16, 1, text))
    if name.casefold() == "master":
        raise terminating(
            verb,
            Message(3108, 16, 1, "To restore the master database, the server must be running in single-user mode."),
        )
    if entry is None:
        return
    if entry.name != header["database"] and "REPLACE" not in statement.options:
        raise terminating(
            verb,
            Message(
                3154, 16, 4, f"The backup set holds a backup of a database other than the existing '{name}' database."
            ),
        )
    if (
        any(s.database == entry.name and s is not engine.session for s in instance.sessions())
        or engine.session.database == entry.name
    ):
        raise terminating(
            verb, Message(3101, 16, 1, "Exclusive access could not be obtained because the database is in use.")
        )
    if entry.state == "ONLINE" and entry.spec.recovery_model != "SIMPLE" and "REPLACE" not in statement.options:
        text = f'The tail of the log for the database "{name}" has not been backed up. Use BACKUP LOG WITH NORECOVERY to backup the log if it contains work you do not want to lose. Use the WITH REPLACE or WITH STOPAT clause of the RESTORE statement to just overwrite the contents of the log.'
        raise terminating(verb, Message(3159, 16, 1, text))


def _moved(name: str, engine: Engine, statement: st.Restore, header: dict[str, Any]) -> Database:
    logical, physical, _ = header["files"][0]
    target = str(engine.value(statement.moves.get(logical)) or physical)
    used = next((e for e in engine.instance.databases if e.file.casefold() == target.casefold()), None)
    if used:
        text = f"The file '{target}' cannot be overwritten.  It is being used by database '{used.name}'."
        raise terminating(_VERBS["DATABASE"], Message(1834, 16, 1, text))
    folder = str(PureWindowsPath(target).parent)
    if not engine.instance.host.disk.path(folder).is_dir():
        text = f'Directory lookup for the file "{target}" failed with the operating system error 3(The system cannot find the path specified.).'
        raise terminating(_VERBS["DATABASE"], Message(5133, 16, 1, text))
    return Database(name, folder, recovery_model=header["recovery_model"])


def _recover(engine: Engine, name: str, out: Output) -> None:
    entry = engine.instance.databases.find(name)
    if entry is None:
        raise error(911, f"Database '{name}' does not exist. Make sure that the name is entered correctly.")
    if entry.state != "RESTORING":
        raise terminating(_VERBS["DATABASE"], Message(3153, 16, 2, "The database is already fully recovered."))
    entry.state = "ONLINE"
    engine.instance.databases.save(entry)
    out.message(
        Message(3014, 10, 1, "RESTORE DATABASE successfully processed 0 pages in 0.100 seconds (0.000 MB/sec).")
    )
    out.affected(None)
