"""The databases of an instance: each one an SQLite file under its ``.mdf`` name on the host's disk."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from lab.host import Host
from lab.sql import msdb
from lab.sql.errors import Message, SqlError, error

SYSTEM = ("master", "tempdb", "model", "msdb")
STATES = {"ONLINE": 0, "RESTORING": 1, "RECOVERING": 2, "RECOVERY_PENDING": 3, "SUSPECT": 4, "OFFLINE": 6}
Seed = Callable[[sqlite3.Connection], None]


@dataclass(frozen=True)
class Login:
    """A SQL Server login; without ``sysadmin`` it can use databases but not back them up."""

    name: str
    password: str = field(repr=False)
    sysadmin: bool = True


@dataclass(frozen=True)
class Database:
    """A database to create: where its files lie, what is in it, and how long it takes to back up and to recover (lab seconds)."""

    name: str
    folder: str = r"D:\Data"
    seed: Seed | None = None
    recovery_model: str = "FULL"
    backup_seconds: float | None = None
    recovery_seconds: float | None = None
    encrypted: bool = False
    state: str = "ONLINE"


@dataclass
class Entry:
    """One database as it is now."""

    spec: Database
    number: int
    file: str
    log: str
    created: datetime
    state: str = "ONLINE"
    access: str = "MULTI_USER"
    read_only: bool = False
    generation: int = 0
    """Counts up when the file under open connections is replaced or taken away."""

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def is_system(self) -> bool:
        return self.number <= len(SYSTEM)

    def refusal(self) -> Message | None:
        """Why the database cannot be opened; None where it can."""
        texts = {
            "RECOVERING": (922, f"Database '{self.name}' is being recovered. Waiting until recovery is finished."),
            "RESTORING": (927, f"Database '{self.name}' cannot be opened. It is in the middle of a restore."),
            "OFFLINE": (942, f"Database '{self.name}' cannot be opened because it is offline."),
            "SUSPECT": (926, f"Database '{self.name}' cannot be opened. It has been marked SUSPECT by recovery. See the SQL Server errorlog for more information."),
            "RECOVERY_PENDING": (945, f"Database '{self.name}' cannot be opened due to inaccessible files or insufficient memory or disk space. See the SQL Server errorlog for details."),
        }  # fmt: skip
        found = texts.get(self.state)
        return Message(found[0], 14, 1, found[1]) if found else None


class Databases:
    """All of them, by name in any case; states survive in ``sql.json`` of the host's folder."""

    def __init__(self, host: Host, specs: Sequence[Database], data_folder: str, now: Callable[[], datetime]) -> None:
        self.host, self._now = host, now
        self._lock = threading.RLock()
        self._entries: dict[str, Entry] = {}
        system = [
            Database(name, data_folder, msdb.seed if name == "msdb" else None, "SIMPLE", 2.0, 0.0) for name in SYSTEM
        ]
        for number, spec in enumerate([*system, *specs], 1):
            self._open(spec, number)

    def _open(self, spec: Database, number: int) -> None:
        saved = self.host.read("sql.json").get("databases", {}).get(spec.name, {})
        created = datetime.fromisoformat(saved["created"]) if "created" in saved else self._now()
        log = f"{spec.folder}\\{'mastlog' if spec.name == 'master' else spec.name + '_log'}.ldf"
        entry = Entry(
            spec,
            number,
            f"{spec.folder}\\{spec.name}.mdf",
            log,
            created,
            saved.get("state", spec.state),
            saved.get("access", "MULTI_USER"),
        )
        self._entries[spec.name.casefold()] = entry
        path = self.path(entry)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as fresh:
                # A page in each database, so that even an empty one has bytes to back up and to damage.
                fresh.execute("PRAGMA synchronous = OFF")
                fresh.execute("BEGIN")
                fresh.execute("CREATE TABLE `lab_identity` (`database` TEXT nvarchar(128), `id` TEXT uniqueidentifier)")
                fresh.execute("INSERT INTO lab_identity VALUES (?, ?)", (spec.name, str(uuid.uuid4())))
                if spec.seed:
                    spec.seed(fresh)
                fresh.execute("COMMIT")
            self.host.disk.path(log).write_bytes(b"\0" * 8192)
        self.save(entry)

    def save(self, entry: Entry) -> None:
        """Write down what must survive a restart of the lab."""
        with self.host.edit("sql.json") as state:
            kept = "ONLINE" if entry.state == "RECOVERING" else entry.state
            state.setdefault("databases", {})[entry.name] = {
                "created": entry.created.isoformat(),
                "state": kept,
                "access": entry.access,
            }

    def add(self, spec: Database) -> Entry:
        """A database that a RESTORE brings into being; its file is the caller's to write."""
        with self._lock:
            number = max(e.number for e in self._entries.values()) + 1
            entry = Entry(
                spec,
                number,
                f"{spec.folder}\\{spec.name}.mdf",
                f"{spec.folder}\\{spec.name}_log.ldf",
                self._now(),
                "RESTORING",
            )
            self._entries[spec.name.casefold()] = entry
            return entry

    def __iter__(self) -> Iterator[Entry]:
        with self._lock:
            return iter(sorted(self._entries.values(), key=lambda e: e.number))

    def find(self, name: str) -> Entry | None:
        return self._entries.get(name.casefold())

    def usable(self, name: str) -> Entry:
        """The database of that name, open for use; SqlError 911, 922, 927, 942 ... where it is not."""
        entry = self.find(name)
        if entry is None:
            raise error(911, f"Database '{name}' does not exist. Make sure that the name is entered correctly.")
        refusal = entry.refusal()
        if refusal:
            raise SqlError(refusal)
        return entry

    def path(self, entry: Entry) -> Path:
        """The real file."""
        return self.host.disk.path(entry.file)

    def content(self, entry: Entry) -> bytes:
        """A consistent copy of the database's bytes, whoever is writing to it."""
        with (
            contextlib.closing(sqlite3.connect(self.path(entry))) as source,
            contextlib.closing(sqlite3.connect(":memory:")) as copy,
        ):
            source.backup(copy)
            return copy.serialize()

    def replace(self, entry: Entry, content: bytes) -> None:
        """Put other bytes under the database: what a RESTORE ends with."""
        path = self.path(entry)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        fresh.write_bytes(content)
        fresh.replace(path)
        entry.generation += 1
