"""Get-EventRecords, over events.json: a list of {log, provider, id, level, time, record, data, message}."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from lab.host import Host
from lab.scripts import ScriptFailure, script
from lab.scripts.library import iso

KNOWN = ("Application", "Security", "Setup", "System")
"""The logs that every Windows has, empty or not."""
MOST_IDS = 20
NO_SUCH_LOG = -2146233088


@script("Get-EventRecords")
def get_event_records(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    log, ids, levels = parameters["log"], parameters.get("ids") or [], parameters.get("levels") or []
    most = parameters.get("max", 500)
    if len(ids) > MOST_IDS:
        message = f"{len(ids)} event ids in one query; Windows takes about 20. Ask in parts."
        raise ScriptFailure(message, "TooManyIds")
    since = _moment(parameters["since"])
    path = host.folder / "events.json"
    with host.lock:
        everything: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    if not any(name.casefold() == log.casefold() for name in (*KNOWN, *(event["log"] for event in everything))):
        message = f'There is not an event log on the localhost computer that matches "{log}".'
        error = "NoMatchingLogsFound,Microsoft.PowerShell.Commands.GetWinEventCommand"
        raise ScriptFailure(message, error, "System.Exception", NO_SUCH_LOG)
    found = [
        event
        for event in everything
        if event["log"].casefold() == log.casefold()
        and _moment(event["time"]) >= since
        and (not ids or event["id"] in ids)
        and (not levels or event["level"] in levels)
    ]
    found.sort(key=lambda event: event["record"])
    return {"events": [_record(event) for event in found[:most]], "complete": len(found) <= most}


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))


def _record(event: dict[str, Any]) -> dict[str, Any]:
    data = event.get("data") or {}
    pairs = list(data.items()) if isinstance(data, dict) else [(None, value) for value in data]
    return {
        "provider": event["provider"],
        "id": event["id"],
        "level": event["level"],
        "time": iso(_moment(event["time"])),
        "record": event["record"],
        "names": [name for name, _ in pairs],
        "data": [str(value) for _, value in pairs],
        "binary": event.get("binary"),
        "message": event.get("message"),
    }
