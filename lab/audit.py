"""The audit trail: one JSON line for everything that happened in the lab, appended and never changed.

The tests judge by it. ``effect`` is true where something outside the reader's head changed.
"""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class Audit:
    """Writes events to ``path`` (JSON Lines); safe to call from any thread of the lab's process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._number = 0
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, host: str, event: str, *, effect: bool = True, **fields: Any) -> None:
        """Append one event of ``host``; ``fields`` must be plain JSON values and never secrets."""
        with self._lock:
            self._number += 1
            line = {
                "n": self._number,
                "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "t": round(time.monotonic(), 4),
                "host": host,
                "event": event,
                "effect": effect,
                **fields,
            }
            with self.path.open("a", encoding="utf-8") as out:
                out.write(json.dumps(line, ensure_ascii=False) + "\n")
