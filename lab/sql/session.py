"""One session on the server: who, in which database, doing what, and its view of the databases through SQLite."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lab.sql import catalog, ddl, functions
from lab.sql.databases import Entry
from lab.sql.errors import SqlError, error
from lab.sql.inference import Source
from lab.sql.values import parse_type, store

if TYPE_CHECKING:
    from lab.sql.instance import SqlInstance


@dataclass
class Request:
    """What a session is running just now."""

    command: str
    started: datetime
    database: str
    percent: float = 0.0
    wait: str | None = None


def _like(pattern: str, text: Any, escape: str = "") -> int | None:
    """T-SQL's LIKE: %, _, [a-z], [^a-z], any case."""
    if pattern is None or text is None:
        return None
    out, at = "", 0
    while at < len(pattern):
        char = pattern[at]
        closing = pattern.find("]", at + 1) if char == "[" else -1
        if char == escape and at + 1 < len(pattern):
            at += 1
            out += re.escape(pattern[at])
        elif closing > 0:
            inner = pattern[at + 1 : closing]
            negated = inner.startswith("^")
            out += "[" + ("^" if negated else "") + re.sub(r"([\\\]\[^])", r"\\\1", inner[negated:]) + "]"
            at = closing
        else:
            out += {"%": ".*", "_": "."}.get(char, re.escape(char))
        at += 1
    return int(re.fullmatch(out, str(text), re.IGNORECASE | re.DOTALL) is not None)


@dataclass
class Session:
    """``database`` is the current one; ``killed`` is set by KILL, by a stop of the service and by the host going down."""

    instance: SqlInstance
    spid: int
    login: str
    sysadmin: bool
    remote: bool
    database: str = "master"
    client: str = ""
    program: str = ""
    killed: threading.Event = field(default_factory=threading.Event)
    on_kill: Callable[[], None] | None = None
    request: Request | None = None
    transactions: int = 0
    transaction_began: datetime | None = None
    implicit: bool = False
    nocount: bool = False
    xact_abort: bool = False
    rowcount: int = 0
    error_number: int = 0
    identity: int | None = None
    last_end: datetime | None = None
    failures: list[SqlError] = field(default_factory=list)
    _attached: dict[str, tuple[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.connected = self.last_start = self.instance.now()
        self.sqlite = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False, timeout=5, cached_statements=0
        )
        functions.register(self.sqlite, self, self.failures)
        self.sqlite.create_function("like", 2, _like)
        self.sqlite.create_function("like", 3, _like)
        self.sqlite.execute("PRAGMA foreign_keys = ON")

    def close(self) -> None:
        """Roll back what is open and let go of the files."""
        self.killed.set()
        with contextlib.suppress(sqlite3.Error):
            self.sqlite.close()

    # Databases and tables ----------------------------------------------------------------------------------------------

    def attach(self, entry: Entry) -> str:
        """The SQLite schema under which the database's file is open, opened anew when the file was replaced."""
        schema, generation = self._attached.get(entry.name, ("", -1))
        if generation == entry.generation:
            return schema
        if schema:
            self.detach(entry)
        schema = f"db{entry.number}"
        path = self.instance.databases.path(entry)
        if not path.exists():
            raise error(
                5120,
                f'Unable to open the physical file "{entry.file}". Operating system error 2: "2(The system cannot find the file specified.)".',
                16,
                101,
            )
        self.sqlite.execute(f"ATTACH DATABASE ? AS `{schema}`", (str(path),))
        self.sqlite.execute(f"PRAGMA `{schema}`.synchronous = OFF")
        self._attached[entry.name] = (schema, entry.generation)
        return schema

    def detach(self, entry: Entry) -> None:
        """Close the database's file in this session."""
        schema, _ = self._attached.pop(entry.name, ("", -1))
        if schema:
            with contextlib.suppress(sqlite3.Error):
                if self.sqlite.in_transaction:
                    self.sqlite.execute("ROLLBACK")
                self.sqlite.execute(f"DETACH DATABASE `{schema}`")

    def use(self, name: str) -> None:
        """Make ``name`` the current database; SqlError where it cannot be opened."""
        self.database = self.instance.databases.usable(name).name

    def find(self, parts: list[str]) -> Source:
        """A table or system view by the parts of its name."""
        written = ".".join(parts)
        if len(parts) > 3:
            raise error(
                7202,
                f"Could not find server '{parts[0]}' in sys.servers. Verify that the correct server name was specified. If necessary, execute the stored procedure sp_addlinkedserver to add the server to sys.servers.",
                11,
                2,
            )
        database = parts[-3] if len(parts) == 3 and parts[-3] else self.database
        schema = parts[-2].casefold() if len(parts) > 1 else ""
        if parts[-1].startswith("#"):
            columns = ddl.columns_of(self.sqlite, "main", parts[-1])
            if columns:
                return Source("main", parts[-1], columns)
            raise error(208, f"Invalid object name '{written}'.")
        entry = self.instance.databases.usable(database)
        if f"{schema}.{parts[-1].casefold()}" in catalog.VIEWS:
            return self._view(f"{schema}.{parts[-1].casefold()}", entry)
        if schema in ("", "dbo"):
            alias = self.attach(entry)
            row = self.sqlite.execute(
                f"SELECT name FROM `{alias}`.sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE",
                (parts[-1],),
            ).fetchone()
            if row and row[0] != "lab_identity":
                return Source(alias, row[0], ddl.columns_of(self.sqlite, alias, row[0]))
        raise error(208, f"Invalid object name '{written}'.")

    def _view(self, name: str, entry: Entry) -> Source:
        """Fill a temporary table with the view's rows of this moment."""
        view = catalog.VIEWS[name]
        if name.startswith("sys.dm_") and not self.sysadmin:
            raise error(300, "VIEW SERVER STATE permission was denied on object 'server', database 'master'.", 14)
        rows = [tuple(store(value) for value in row) for row in view.rows(self.instance, self, entry)]
        table = f"{name}.{uuid.uuid4().hex}"
        ddl.create(self.sqlite, "temp", table, view.columns)
        places = ", ".join("?" * len(view.columns))
        self.sqlite.executemany(f"INSERT INTO temp.{ddl.quoted(table)} VALUES ({places})", rows)
        return Source("temp", table, {column: parse_type(kind) for column, kind in view.columns.items()})

    def drop_views(self) -> None:
        """Throw the snapshots of system views away."""
        for (table,) in self.sqlite.execute("SELECT name FROM sqlite_temp_master WHERE type = 'table'").fetchall():
            self.sqlite.execute(f"DROP TABLE temp.{ddl.quoted(table)}")

    # What functions ask (functions.Context) -----------------------------------------------------------------------------

    def now(self) -> datetime:
        return self.instance.now()

    def server_property(self, name: str) -> Any:
        return self.instance.property(name)

    def global_variable(self, name: str) -> Any:
        known: dict[str, Any] = {
            "version": self.instance.version_text, "servername": self.instance.server_name, "spid": self.spid, "rowcount": self.rowcount,
            "error": self.error_number, "trancount": self.transactions, "identity": self.identity, "servicename": self.instance.name,
            "language": "us_english", "max_precision": 38, "microsoftversion": self.instance.major << 24,
        }  # fmt: skip
        return known[name]

    def database_name(self, number: int | None) -> str | None:
        return (
            self.database
            if number is None
            else next((e.name for e in self.instance.databases if e.number == number), None)
        )

    def database_number(self, name: str | None) -> int | None:
        entry = self.instance.databases.find(self.database if name is None else name)
        return entry.number if entry else None

    def database_property(self, database: str, name: str) -> Any:
        entry = self.instance.databases.find(database)
        if entry is None:
            return None
        known = {
            "status": entry.state, "useraccess": entry.access, "recovery": entry.spec.recovery_model,
            "updateability": "READ_ONLY" if entry.read_only else "READ_WRITE", "collation": "SQL_Latin1_General_CP1_CI_AS",
        }  # fmt: skip
        return known.get(name.casefold())

    def object_number(self, name: str, kind: str | None) -> int | None:
        parts = [part.strip("[]") for part in name.split(".")]
        if kind and kind.strip().upper() not in ("U", "V"):
            return None
        with contextlib.suppress(SqlError):
            return catalog.object_number(self.find(parts).table)
        return None

    def has_access(self, database: str) -> int | None:
        entry = self.instance.databases.find(database)
        return None if entry is None else int(entry.refusal() is None)

    def is_member(self, role: str) -> int | None:
        return {"sysadmin": int(self.sysadmin), "public": 1}.get(role.casefold())

    def login_name(self) -> str:
        return self.login
