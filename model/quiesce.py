"""The number of a quiesce: backups carry it, and a reopening ends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from model.reopen import REOPENING


@dataclass(frozen=True)
class NextQuiesce:
    """The number to go on with; ``carried`` are the hosts whose open record goes on under it, and its old number.

    Such a record still tells how the host was before it was first made quiet, while backups have to be taken anew.
    """

    number: int
    carried: Mapping[str, int] = field(default_factory=dict)


def next_quiesce(known: Mapping[str, Mapping[str, Any] | None]) -> NextQuiesce:
    """What to call the next quiesce; ``known`` is ``quiesce.json`` of each host, None where there is none.

    One that an unfinished run left open everywhere is gone on with, and its backups count. Where customers may have
    been at work since (a host has been brought back, or was about to be) it has ended, and the next number begins.
    """
    records = {host: record for host, record in known.items() if record}
    still_open = {host: int(record["number"]) for host, record in records.items() if record["state"] == "open"}
    last = max((int(record["number"]) for record in records.values()), default=0)
    brought_back = any(
        REOPENING in (record.get("held") or {}) if host in still_open else int(record["number"]) == last
        for host, record in records.items()
    )
    if still_open and not brought_back and set(still_open.values()) == {last}:
        return NextQuiesce(last)
    return NextQuiesce(last + 1, still_open)
