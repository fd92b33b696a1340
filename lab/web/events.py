"""The host's event log: ``events.json``, a list of records, numbered per log as Windows does."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from lab.host import Host

CRITICAL, ERROR, WARNING, INFORMATION = 1, 2, 3, 4


def log_event(host: Host, log: str, source: tuple[str, int], level: int, message: str, **data: Any) -> None:
    """Append one record to ``log`` (``System``, ``Application``) of ``host``; ``source`` is provider and event id."""
    provider, number = source
    path = host.folder / "events.json"
    with host.lock:
        events: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        record = 1 + max((event["record"] for event in events if event["log"] == log), default=0)
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        events.append(
            {
                "log": log,
                "provider": provider,
                "id": number,
                "level": level,
                "time": at,
                "record": record,
                "data": data,
                "message": message,
            }
        )
        fresh = host.folder / f"events.json.{uuid.uuid4().hex}"
        fresh.write_text(json.dumps(events, ensure_ascii=False), encoding="utf-8")
        fresh.replace(path)
