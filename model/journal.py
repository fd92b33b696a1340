"""What has happened in a run so far: the records of its steps, in the order in which they were written."""

from __future__ import annotations

import threading
from typing import TypeVar

from model.records import Record

R = TypeVar("R", bound=Record)


class Journal:
    """Records of every kind; tasks write from their threads, the report reads at the end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: list[Record] = []

    def write(self, record: R) -> R:
        """Add ``record`` and return it."""
        with self._lock:
            self._records.append(record)
        return record

    def replace(self, old: Record, new: Record) -> None:
        """Put ``new`` in the place of ``old``: more is known of the same thing."""
        with self._lock:
            self._records = [new if record is old else record for record in self._records]

    def of(self, kind: type[R]) -> list[R]:
        """Every record of ``kind``, oldest first."""
        with self._lock:
            return [record for record in self._records if isinstance(record, kind)]
