"""ERRORLOG as SQL Server writes it: UTF-16LE with a byte-order mark, a new file for each start."""

from __future__ import annotations

import contextlib
import threading
from datetime import datetime

from lab.disk import Disk


class ErrorLog:
    """The log of one instance, in ``folder`` on the host's disk."""

    def __init__(self, disk: Disk, folder: str) -> None:
        self._folder = disk.path(folder)
        self._lock = threading.Lock()
        self._folder.mkdir(parents=True, exist_ok=True)

    def cycle(self) -> None:
        """ERRORLOG becomes ERRORLOG.1, and so on to 6."""
        with self._lock:
            names = ["ERRORLOG", *(f"ERRORLOG.{n}" for n in range(1, 7))]
            for older, newer in zip(reversed(names), list(reversed(names))[1:], strict=False):
                with contextlib.suppress(FileNotFoundError):
                    (self._folder / newer).replace(self._folder / older)

    def write(self, at: datetime, text: str, number: int | None = None, *, source: str, severity: int) -> None:
        """One entry; with a number, SQL Server writes the line 'Error: ...' before the text. Later lines have no time."""
        stamp = at.strftime("%Y-%m-%d %H:%M:%S.") + f"{at.microsecond // 10000:02}"
        lines = [f"{stamp} {source:<11} Error: {number}, Severity: {severity}, State: 1."] if number else []
        lines.append(f"{stamp} {source:<11} {text}")
        path = self._folder / "ERRORLOG"
        with self._lock:
            mark = b"" if path.exists() else b"\xff\xfe"
            with path.open("ab") as file:
                file.write(mark + "".join(line + "\r\n" for line in lines).encode("utf-16-le"))
