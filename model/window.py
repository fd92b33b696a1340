"""The maintenance window: when it opens and closes, in the estate's time zone, across daylight-saving changes.

Durations are real time: a window of four hours closes four hours after it opened, whatever the clocks on the wall did.
A start that the spring change skips (02:30 where 02:00 becomes 03:00) is moved on by the hour that is missing; one
that autumn repeats is the first of the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from model.parts import Window
from model.words import duration_text


@dataclass(frozen=True)
class OpenWindow:
    """One occurrence of a window; both ends in UTC, the end not included."""

    opens: datetime
    closes: datetime

    def contains(self, moment: datetime) -> bool:
        """Whether it is open at ``moment`` (aware)."""
        return self.opens <= moment < self.closes

    def left(self, moment: datetime) -> timedelta:
        """How long it stays open after ``moment``; zero where it does not."""
        return max(self.closes - moment, timedelta(0)) if self.contains(moment) else timedelta(0)


@dataclass(frozen=True)
class WindowVerdict:
    """Whether work that takes ``needs`` may start now; ``reason`` says why not, and when it may."""

    allowed: bool
    reason: str = ""
    closes: datetime | None = None


def opening(window: Window, timezone: str, day: date) -> OpenWindow:
    """The window that opens on that calendar day of the estate."""
    local = datetime.combine(day, window.start, ZoneInfo(timezone))
    # To UTC by the offset before the change (fold=0): a skipped 02:30 becomes 03:30, as PEP 495 has it.
    opens = local.astimezone(UTC)
    return OpenWindow(opens, opens + timedelta(hours=window.hours))


def around(window: Window, timezone: str, now: datetime) -> OpenWindow:
    """The window that is open at ``now`` (aware), else the next one."""
    if now.tzinfo is None:
        raise ValueError("a moment must know its time zone; pass datetime.now(UTC)")
    today = now.astimezone(ZoneInfo(timezone)).date()
    for days in (-1, 0, 1, 2):
        found = opening(window, timezone, today + timedelta(days=days))
        if found.closes > now:
            return found
    raise AssertionError("a window opens every day")


def may_start(window: Window | None, timezone: str, now: datetime, needs: timedelta = timedelta(0)) -> WindowVerdict:
    """Whether work of that length may start now and end inside the window; without a window always."""
    if window is None:
        return WindowVerdict(allowed=True)
    found = around(window, timezone, now)
    zone = ZoneInfo(timezone)
    if not found.contains(now):
        opens = found.opens.astimezone(zone)
        return WindowVerdict(
            False, f"the window is closed; it opens {opens:%Y-%m-%d at %H:%M} ({timezone})", found.closes
        )
    left = found.left(now)
    if needs > left:
        closes = found.closes.astimezone(zone)
        reason = f"{duration_text(needs)} are needed, and the window closes at {closes:%H:%M} ({timezone}), in {duration_text(left)}"
        return WindowVerdict(False, reason, found.closes)
    return WindowVerdict(True, "", found.closes)


def end(window: Window | None, timezone: str, now: datetime, otherwise: timedelta) -> datetime:
    """When the window that is open at ``now`` closes; after ``otherwise`` where there is none, or it has closed already."""
    verdict = may_start(window, timezone, now)
    return verdict.closes if verdict.allowed and verdict.closes else now + otherwise
