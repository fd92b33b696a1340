"""How the report writes things down: sizes, durations, times, hashes, and text that another system gave us."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

_STEP = 1024
_UNITS = ("KB", "MB", "GB", "TB", "PB")
# What neither HTML nor a terminal may see: control characters (but the line's end and tab), halves of surrogates,
# the two non-characters, and the marks that turn the direction of the text around.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]")
_SHORT_HASH = 12


def clean(text: str) -> str:
    """``text`` without what a page or a terminal would not print, but act on; each such character becomes U+FFFD."""
    return _UNPRINTABLE.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


def one_line(text: str) -> str:
    """``text`` on one line: clean, every run of white space one space."""
    return " ".join(clean(text).split())


def size_text(size: int) -> str:
    """Bytes as Windows Explorer shows them (1 KB = 1,024 bytes): ``12.3 GB``, ``512 bytes``."""
    if size < _STEP:
        return "1 byte" if size == 1 else f"{size} bytes"
    value, unit = float(size), ""
    for unit in _UNITS:  # noqa: B007 - the unit that it stops at is the answer
        value /= _STEP
        if round(value) < _STEP:
            break
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"


def seconds_text(seconds: float) -> str:
    """A duration for people: ``0.4 s``, ``41 s``, ``2 min 14 s``, ``1 h 05 min``."""
    if 0 < seconds < 1:
        return f"{max(seconds, 0.1):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min"


def span_text(started: datetime, ended: datetime, zone: ZoneInfo) -> str:
    """From when to when, in the estate's time: ``Sunday 15 November 2026, 03:00 to 03:48 EST``."""
    first, last = started.astimezone(zone), ended.astimezone(zone)
    zones = first.tzname() if first.tzname() == last.tzname() else None
    end = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%A %H:%M}"
    start = f"{first:%A} {first.day} {first:%B %Y, %H:%M}"
    return f"{start} to {end} {zones}" if zones else f"{start} {first:%Z} to {end} {last:%Z}"


def clock_text(at: datetime, zone: ZoneInfo) -> str:
    """A time of the night, in the estate's time: ``03:04:12``."""
    return f"{at.astimezone(zone):%H:%M:%S}"


def iso(at: datetime | None) -> str | None:
    """A time as programs read it: ISO 8601 in UTC, to the millisecond."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def short_hash(digest: str | None) -> str:
    """The first digits of a hash, enough to compare by eye; a dash where there is none."""
    return digest[:_SHORT_HASH] if digest else "-"


def count_text(number: int, one: str, many: str | None = None) -> str:
    """``1 restart``, ``3 restarts``, ``2 copies``."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def list_text(names: tuple[str, ...] | list[str]) -> str:
    """``sql01``, ``sql01 and web01``, ``a, b and c``."""
    *others, last = names or ("",)
    return f"{', '.join(others)} and {last}" if others else last
