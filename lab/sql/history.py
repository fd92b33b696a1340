"""What the server itself keeps in msdb: backup and restore history."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from datetime import datetime
from typing import Any

from lab.host import Host
from lab.sql.databases import Databases
from lab.sql.values import store


class History:
    """Writes to the tables of msdb past any session; LSNs only grow, beyond 2**53 as real ones do."""

    def __init__(self, host: Host, databases: Databases) -> None:
        self._host, self._databases = host, databases
        self._lock = threading.Lock()

    def msdb(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement of SQLite's own on msdb."""
        entry = self._databases.find("msdb")
        assert entry is not None
        with contextlib.closing(sqlite3.connect(self._databases.path(entry), timeout=10)) as connection, connection:
            return connection.execute(statement, values).fetchall()

    def next_lsn(self) -> int:
        """A log sequence number after all earlier ones."""
        with self._lock, self._host.edit("sql.json") as state:
            state["lsn"] = int(state.get("lsn", 29_000_000_018_800_037)) + 16_000_400_001
            return int(state["lsn"])

    def keep_backup(self, row: dict[str, Any], device: str) -> None:
        """The rows that a finished backup leaves; ``row`` is the one of backupset, but for its media set."""
        self.msdb("INSERT INTO backupmediaset (media_uuid, media_family_count) VALUES (?, 1)", row["backup_set_uuid"])
        media = self.msdb("SELECT MAX(media_set_id) FROM backupmediaset")[0][0]
        columns = "media_set_id, family_sequence_number, media_family_id, physical_device_name, device_type"
        family = f"INSERT INTO backupmediafamily ({columns}) VALUES (?, 1, ?, ?, 2)"
        self.msdb(family, media, row["backup_set_uuid"], device)
        row = {**row, "media_set_id": media}
        self.msdb(f"INSERT INTO backupset ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", *row.values())

    def keep_restore(self, database: str, user: str, guid: str, at: datetime) -> None:
        """The row that a finished restore leaves."""
        found = self.msdb("SELECT backup_set_id FROM backupset WHERE backup_set_uuid = ?", guid)
        columns = "restore_date, destination_database_name, user_name, backup_set_id, restore_type, replace, recovery"
        values = (store(at.replace(tzinfo=None)), database, user, found[0][0] if found else None)
        self.msdb(f"INSERT INTO restorehistory ({columns}) VALUES (?, ?, ?, ?, 'D', 1, 1)", *values)
