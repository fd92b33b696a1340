"""Is this backup one? By five witnesses: what BACKUP said, msdb's row, the file, what VERIFYONLY said, and no errors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import Any

FINISHED, VALID = 3014, 3262
_NO_SPACE, _NO_DEVICE = (3202, 18210), (3201, 18204)


@dataclass(frozen=True)
class Verdict:
    """``reason`` is the one line that a person reads when the backup does not count; empty where it does."""

    reason: str = ""

    @property
    def good(self) -> bool:
        """Whether the backup counts."""
        return not self.reason


def judge(
    host: str,
    database: str,
    *,
    path: str,
    backup: Mapping[str, Any],
    verify: Mapping[str, Any] | None = None,
    file: Mapping[str, Any] | None = None,
    history: Sequence[Mapping[str, Any]] = (),
    needs: int | None = None,
    free: int | None = None,
) -> Verdict:
    """Judge a backup of ``database`` to ``path``.

    ``backup`` and ``verify`` are what the statements answered: ``messages`` and ``errors``, each with ``number`` and
    ``message``; ``file`` has the ``size`` in bytes, None where it is missing; ``history`` are the rows of
    ``statements.BACKUP_ROWS`` for the path. ``needs`` and ``free`` (bytes) go into the message of a full disk.
    """
    said = f"{host}: BACKUP of {database} failed"
    errors = list(backup.get("errors") or ())
    if errors:
        return Verdict(f"{said}: {_cause(errors, path, _room(needs, free))}")
    if not _has(backup, FINISHED):
        return Verdict(f"{said}: it was cut short, SQL Server never said that it finished (3014). Run again.")
    if (history_reason := _history(database, history)) is not None:
        return Verdict(f"{said}: {history_reason}")
    if file is None or not file.get("size"):
        return Verdict(
            f"{said}: there is no file {path}, although SQL Server says that it wrote it. See who cleans up there."
        )
    if (damage := _verification(verify or {}, path)) is not None:
        return Verdict(f"{host}: the backup of {database} is not usable: {damage}")
    return Verdict()


def _has(answer: Mapping[str, Any], number: int) -> bool:
    return any(int(message["number"]) == number for message in answer.get("messages") or ())


def _history(database: str, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """A hypervisor's snapshot writes rows too (is_snapshot), but not for our file."""
    own = [
        row for row in rows if not row["is_snapshot"] and str(row["database_name"]).casefold() == database.casefold()
    ]
    if not own:
        return "msdb.dbo.backupset has no row for the file. See the ERRORLOG."
    newest = own[-1]
    if newest["is_damaged"]:
        return "SQL Server met damaged pages while reading the database (is_damaged). Run DBCC CHECKDB."
    if not newest["has_backup_checksums"]:
        return "the file holds no checksums, so that nothing can be verified. Back up WITH CHECKSUM."
    return None


def _verification(verify: Mapping[str, Any], path: str) -> str | None:
    errors = list(verify.get("errors") or ())
    if errors:
        first = errors[0]
        drive = PureWindowsPath(path).drive or path
        return f"RESTORE VERIFYONLY says: {_sentence(first)} ({first['number']}). Check the disk behind {drive}, then run again."
    if not _has(verify, VALID):
        return "RESTORE VERIFYONLY was cut short, SQL Server never said that the backup set is valid (3262). Run again."
    return None


def _room(needs: int | None, free: int | None) -> str:
    told = {"needs": needs, "has": free}
    said = [f"{verb} {_size(size)}" for verb, size in told.items() if size is not None]
    return f" ({', '.join(said)})" if said else ""


def _size(size: int) -> str:
    """Bytes as an administrator reads them: 41 GB, 1.5 GB, 320 MB."""
    value, unit = float(size), "bytes"
    for unit in ("KB", "MB", "GB"):  # noqa: B007 - the unit that it stops at is the answer
        value /= 1024
        if value < 1000:
            break
    return f"{value:.0f} {unit}" if value >= 10 or value == int(value) else f"{value:.1f} {unit}"


def _sentence(error: Mapping[str, Any]) -> str:
    return " ".join(str(error["message"]).split()).rstrip(".")


def _cause(errors: Sequence[Mapping[str, Any]], path: str, room: str) -> str:
    """The cause and the fix in one line. 3013 ('terminating abnormally') only says that there is another error."""
    telling = [error for error in errors if int(error["number"]) != 3013] or list(errors)
    first = telling[0]
    number, message = int(first["number"]), _sentence(first)
    drive = PureWindowsPath(path).drive or path
    system = re.search(r"(?:Operating system error |: )(\d+)\(", message)
    code = int(system[1]) if system else 0
    if number in _NO_SPACE and code == 112:
        return f"no space on {drive}{room}. Free space or set backup.staging."
    if number in _NO_DEVICE:
        return _unreachable(path, drive, code, message)
    known = _KNOWN.get(number)
    return f"{known[0]}. {known[1]}" if known else f"{message} ({number}). See the ERRORLOG."


def _unreachable(path: str, drive: str, code: int, message: str) -> str:
    folder = str(PureWindowsPath(path).parent)
    known = {
        3: f"there is no folder {folder} (OS error 3). Make it, or set backup.staging.",
        5: f"SQL Server's service account may not write to {folder} (OS error 5). Give that account the right, or set backup.staging.",
        53: f"{drive} cannot be reached from SQL Server (OS error 53). Check the name, the network and the share.",
        67: f"{drive} is not a share that exists (OS error 67). Check the name.",
        112: f"no space on {drive}. Free space or set backup.staging.",
    }
    return known.get(code, f"{message} (3201). Check backup.staging.")


_KNOWN = {
    262: ("the login has no right to back it up (262)", "Make the login a member of sysadmin or db_backupoperator."),
    911: ("there is no such database (911)", "Correct the name in the estate file."),
    922: ("the database is still being recovered (922)", "Wait until it is ONLINE."),
    927: ("the database is in the middle of a restore (927)", "Finish the restore."),
    942: ("the database is OFFLINE (942)", "Bring it online, or take it out of the estate file."),
    978: ("it is a secondary of an availability group (978)", "Back it up on the primary."),
    1844: ("this edition cannot compress backups (1844)", "Turn compression off."),
    3021: ("it was sent within a transaction (3021)", "Send it with autocommit."),
}
