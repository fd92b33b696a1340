"""Sizes, durations and times are written so that nobody has to count."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from report.text import clean, iso, list_text, one_line, seconds_text, short_hash, size_text, span_text

TORONTO = ZoneInfo("America/Toronto")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1023, "1023 bytes"),
        (1024, "1.0 KB"),
        (1536, "1.5 KB"),
        (1024**2 - 1, "1.0 MB"),
        (99 * 1024**2 + 960 * 1024, "99.9 MB"),
        (512 * 1024**3, "512 GB"),
        (3 * 1024**5, "3.0 PB"),
        (5000 * 1024**5, "5000 PB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    """Bytes as Windows Explorer counts them, three digits where they tell something."""
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.01, "0.1 s"),
        (0.4, "0.4 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (134, "2 min 14 s"),
        (3599.7, "1 h 00 min"),
        (3900, "1 h 05 min"),
        (90000, "25 h 00 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    """Never sixty seconds, never sixty minutes."""
    assert seconds_text(seconds) == text


def test_a_night_over_midnight_and_over_the_change_of_clocks_says_so() -> None:
    """From and to name their day where it is another, and their zone where it is another."""
    over_midnight = span_text(
        datetime(2026, 11, 15, 4, 30, tzinfo=UTC), datetime(2026, 11, 15, 5, 10, tzinfo=UTC), TORONTO
    )
    assert over_midnight == "Saturday 14 November 2026, 23:30 to Sunday 00:10 EST"
    spring = span_text(datetime(2027, 3, 14, 6, 30, tzinfo=UTC), datetime(2027, 3, 14, 7, 30, tzinfo=UTC), TORONTO)
    assert spring == "Sunday 14 March 2027, 01:30 EST to 03:30 EDT"


def test_times_for_programs_are_utc() -> None:
    """Whatever zone a time came in, a program reads it in UTC."""
    assert iso(datetime(2026, 11, 15, 3, 0, tzinfo=TORONTO)) == "2026-11-15T08:00:00.000Z"
    assert iso(None) is None


def test_text_of_others_cannot_steer_a_terminal_or_a_page() -> None:
    """Control characters, halves of surrogates and marks of direction become visible; line breaks become spaces."""
    assert clean("a\x1b[31m\x00\ud800\u202eb\n\tc\x85") == "a\ufffd[31m\ufffd\ufffd\ufffdb\n\tc\ufffd"
    assert one_line("a\r\nb\t c\rd ") == "a b c d"


def test_lists_and_hashes() -> None:
    """Names are joined as in a sentence; a hash is cut to what an eye compares."""
    assert [list_text(x) for x in ((), ("a",), ("a", "b"), ("a", "b", "c"))] == ["", "a", "a and b", "a, b and c"]
    assert (short_hash("0123456789abcdef"), short_hash(None)) == ("0123456789ab", "-")
