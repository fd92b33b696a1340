"""ALTER DATABASE, DBCC CHECKDB, KILL, and the stored procedures that the lab has."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from lab.sql import statements as st
from lab.sql.databases import Entry
from lab.sql.errors import Message, SqlError, error
from lab.sql.output import Output
from lab.sql.values import Column, Type, store

if TYPE_CHECKING:
    from lab.sql.engine import Engine


def alter(engine: Engine, statement: st.AlterDatabase, out: Output) -> None:
    """ALTER DATABASE ... SET ONLINE, OFFLINE, SINGLE_USER and the like."""
    instance, session = engine.instance, engine.session
    entry = instance.databases.find(statement.database)
    if entry is None:
        raise SqlError(
            Message(5011, 14, 5, f"User does not have permission to alter database '{statement.database}', the database does not exist, or the database is not in a state that allows access checks."),
            Message(5069, 16, 1, "ALTER DATABASE statement failed."),
        )  # fmt: skip
    if not session.sysadmin or entry.is_system:
        raise SqlError(Message(5058, 16, 1, f"Option '{statement.action}' cannot be set in database '{entry.name}'."))
    if statement.action in ("OFFLINE", "SINGLE_USER", "RESTRICTED_USER", "READ_ONLY"):
        _clear(engine, entry, kill=statement.rollback)
    match statement.action:
        case "ONLINE":
            out.wait(instance.durations.recover)
            entry.state = "ONLINE"
        case "OFFLINE":
            entry.state = "OFFLINE"
            entry.generation += 1
        case "READ_ONLY" | "READ_WRITE":
            entry.read_only = statement.action == "READ_ONLY"
        case access:
            entry.access = access
    instance.databases.save(entry)
    instance.host.event("database.altered", database=entry.name, action=statement.action)
    instance.log(f"Setting database option {statement.action} to ON for database '{entry.name}'.")
    out.affected(None)


def _clear(engine: Engine, entry: Entry, *, kill: bool) -> None:
    others = [s for s in engine.instance.sessions() if s.database == entry.name and s is not engine.session]
    if others and not kill:
        raise SqlError(
            Message(
                5061,
                16,
                1,
                f"ALTER DATABASE failed because a lock could not be placed on database '{entry.name}'. Try again later.",
            ),
            Message(5069, 16, 1, "ALTER DATABASE statement failed."),
        )
    for other in others:
        engine.instance.doors.kill(other)
    for session in engine.instance.sessions():
        session.detach(entry)


def check(engine: Engine, statement: st.CheckDb, out: Output) -> None:
    """DBCC CHECKDB: SQLite's own check of the real file; 8939 and 8990-like errors where it is damaged."""
    instance = engine.instance
    entry = instance.databases.usable(str(engine.value(statement.database) or engine.session.database))
    out.wait(instance.durations.checkdb)
    try:
        with contextlib.closing(sqlite3.connect(instance.databases.path(entry))) as file:
            found = [str(row[0]) for row in file.execute("PRAGMA integrity_check").fetchall()]
    except sqlite3.DatabaseError as failure:
        found = [str(failure)]
    damage = [] if found == ["ok"] else found
    instance.host.event("database.checked", effect=False, database=entry.name, errors=len(damage))
    if damage:
        raise SqlError(
            *(Message(8939, 16, 98, f"Table error in database '{entry.name}': {text}") for text in damage[:5]),
            Message(
                8990,
                16,
                1,
                f"CHECKDB found 0 allocation errors and {len(damage)} consistency errors in database '{entry.name}'.",
            ),
        )
    out.message(
        Message(8989, 10, 1, f"CHECKDB found 0 allocation errors and 0 consistency errors in database '{entry.name}'.")
    )
    out.message(
        Message(
            2528, 10, 1, "DBCC execution completed. If DBCC printed error messages, contact your system administrator."
        )
    )
    out.affected(None)


def kill(engine: Engine, statement: st.Kill, out: Output) -> None:
    """KILL a session."""
    if statement.spid == engine.session.spid:
        raise error(6104, "Cannot use KILL to kill your own process.")
    other = next((s for s in engine.instance.sessions() if s.spid == statement.spid), None)
    if other is None:
        raise error(6106, f"Process ID {statement.spid} is not an active process ID.", 16, 2)
    engine.instance.doors.kill(other)
    out.affected(None)


def execute(engine: Engine, statement: st.Execute, out: Output) -> None:
    """EXEC of the procedures that the lab has; 2812 for the rest."""
    parts = statement.procedure.casefold().split(".")
    name, database = parts[-1], parts[0] if len(parts) == 3 else engine.session.database.casefold()
    arguments = {key: engine.value(value) for key, value in statement.arguments}
    if name == "sp_update_job" and database == "msdb":
        _update_job(engine, arguments)
    elif name in ("sp_start_job", "sp_stop_job") and database == "msdb":
        job = _job(engine, arguments)
        engine.instance.agent.start_job(job) if name == "sp_start_job" else engine.instance.agent.stop_job(job)
    elif name == "sp_who":
        columns = [
            Column("spid", Type("smallint")),
            Column("loginame", Type("nvarchar", 128)),
            Column("dbname", Type("nvarchar", 128)),
        ]
        out.rows(columns, [[s.spid, s.login, s.database] for s in engine.instance.sessions()])
    else:
        raise error(2812, f"Could not find stored procedure '{statement.procedure}'.", 16, 62)
    out.affected(None)


def _job(engine: Engine, arguments: dict[str, object]) -> str:
    wanted = str(arguments.get("job_name", arguments.get("", "")))
    row = engine.instance.msdb("SELECT name FROM sysjobs WHERE name = ?", wanted)
    if not row:
        raise error(14262, f"The specified @job_name ('{wanted}') does not exist.")
    return str(row[0][0])


def _update_job(engine: Engine, arguments: dict[str, object]) -> None:
    unknown = set(arguments) - {"job_name", "enabled", "description"}
    if unknown:
        raise error(8145, f"@{min(unknown)} is not a parameter for procedure sp_update_job.", 16, 2)
    name = _job(engine, arguments)
    if arguments.get("enabled") is not None:
        at = store(engine.instance.now().replace(tzinfo=None))
        engine.instance.msdb(
            "UPDATE sysjobs SET enabled = ?, date_modified = ?, version_number = version_number + 1 WHERE name = ?",
            arguments["enabled"],
            at,
            name,
        )
        engine.instance.host.event("job.enabled" if arguments["enabled"] else "job.disabled", job=name)
    if arguments.get("description") is not None:
        engine.instance.msdb("UPDATE sysjobs SET description = ? WHERE name = ?", arguments["description"], name)
