"""What patching would do as far as the hosts know today: the plan of their last scans, and how old those are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from model.plan import Plan

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Outlook:
    """A plan that nobody has frozen: ``scanned`` is when each host was last scanned, ``now`` when that was asked."""

    plan: Plan
    scanned: Mapping[str, datetime | None]
    now: datetime

    def lines(self) -> tuple[str, ...]:
        """The plan for people, and below it the age of what it is made from."""
        heading = "Last scans, of which this is made; a run scans anew before it installs anything"
        return (*self.plan.lines(), heading, *(f"    - {line}" for line in self.ages()))

    def as_json(self) -> dict[str, Any]:
        """The same for programs; times are ISO 8601 in UTC."""
        return {
            "hash": self.plan.hash,
            "plan": self.plan.model_dump(mode="json"),
            "last_scans": {host: at.isoformat() if at else None for host, at in self.scanned.items()},
        }

    def ages(self) -> tuple[str, ...]:
        """How old the last scan of each host is, one line each."""
        return tuple(
            f"{host}: {age_text(self.now - at) + ' ago' if at else 'not scanned yet'}"
            for host, at in self.scanned.items()
        )


def age_text(age: timedelta) -> str:
    """An age in the one unit that matters: ``40 seconds``, ``2 hours``, ``31 days``."""
    for unit, name in ((_DAY, "day"), (timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute")):
        if age >= 2 * unit:
            return f"{age // unit} {name}s"
    seconds = max(0, int(age.total_seconds()))
    return f"{seconds} second{'' if seconds == 1 else 's'}"
