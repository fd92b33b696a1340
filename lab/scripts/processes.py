"""Find-LeftProcess, and the processes that an installer leaves running (Win32_Process, ``cim.json``); a restart ends them."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import Any

from lab.host import Host
from lab.scripts import script
from lab.scripts.library import now

_SAME_SECONDS = 2.0
_NUMBERS = itertools.count(5001)
"""Windows uses the number of a process that has ended again, but hardly within the next seconds."""


def leave_process(host: Host, name: str) -> dict[str, Any]:
    """Let a process run on that nobody waits for; {id, name, started} of it."""
    with host.edit("cim.json") as cim:
        rows = cim.setdefault("Win32_Process", [])
        number = max([next(_NUMBERS), *(each["ProcessId"] + 1 for each in rows)])
        rows.append({"ProcessId": number, "Name": name, "CreationDate": now()})
        return {"id": number, "name": name, "started": rows[-1]["CreationDate"]}


def end_process(host: Host, process: dict[str, Any]) -> bool:
    """End it; false where it runs no more: its host has been restarted meanwhile."""
    with host.edit("cim.json") as cim:
        rows = cim.get("Win32_Process", [])
        left = [row for row in rows if not _is(row, process)]
        cim["Win32_Process"] = left
        return len(left) < len(rows)


def _is(row: dict[str, Any], process: dict[str, Any]) -> bool:
    if row["ProcessId"] != process["id"] or not row.get("CreationDate"):
        return False
    apart = datetime.fromisoformat(row["CreationDate"]) - datetime.fromisoformat(process["started"])
    return abs(apart.total_seconds()) < _SAME_SECONDS


@script("Find-LeftProcess")
def find_left_process(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    rows = host.read("cim.json").get("Win32_Process", [])
    return {"running": [one for one in parameters["processes"] if any(_is(row, one) for row in rows)]}
