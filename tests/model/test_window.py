"""The window is that of the estate's wall clock, and its length is real time, on the two strange nights too."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.estate import Window
from model.window import around, end, may_start, opening

TORONTO = "America/Toronto"
NIGHT = Window(start="03:00", hours=4)
LATE = Window(start="22:30", hours=4)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        (date(2026, 1, 15), "2026-01-15T08:00", "2026-01-15T12:00"),  # EST
        (date(2026, 7, 15), "2026-07-15T07:00", "2026-07-15T11:00"),  # EDT
        (date(2026, 3, 8), "2026-03-08T07:00", "2026-03-08T11:00"),  # clocks go forward at 02:00
        (date(2026, 11, 1), "2026-11-01T08:00", "2026-11-01T12:00"),  # clocks went back at 02:00
    ],
)
def test_three_oclock_is_three_oclock_in_toronto(day: date, opens: str, closes: str) -> None:
    found = opening(NIGHT, TORONTO, day)
    assert (found.opens, found.closes) == (utc(opens), utc(closes))


def test_a_start_that_spring_skips_is_an_hour_later() -> None:
    """02:30 does not exist on 2026-03-08 in Toronto: it becomes 03:30 EDT."""
    found = opening(Window(start="02:30", hours=2), TORONTO, date(2026, 3, 8))
    assert found.opens == utc("2026-03-08T07:30")
    assert found.closes - found.opens == timedelta(hours=2)


def test_a_start_that_autumn_repeats_is_the_first_of_the_two() -> None:
    """01:30 comes twice on 2026-11-01 in Toronto."""
    assert opening(Window(start="01:30", hours=1), TORONTO, date(2026, 11, 1)).opens == utc("2026-11-01T05:30")


@given(
    st.datetimes(datetime(2025, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.times(),
    st.integers(1, 24),
    st.sampled_from([TORONTO, "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata", "America/St_Johns", "UTC"]),
)
def test_the_window_around_a_moment_is_open_or_the_next_one(now: datetime, start: time, hours: int, zone: str) -> None:
    """It has not closed yet, lasts exactly its hours, and opens within a day and an hour."""
    window = Window(start=start.strftime("%H:%M"), hours=hours)
    found = around(window, zone, now)
    assert found.closes > now
    assert found.closes - found.opens == timedelta(hours=hours)
    assert found.opens - now <= timedelta(hours=25)
    assert found.contains(now) == (found.opens <= now)


def test_a_window_over_midnight_is_still_yesterdays() -> None:
    found = around(LATE, TORONTO, utc("2026-01-16T06:00"))  # 01:00 local
    assert found.opens == utc("2026-01-16T03:30")
    assert found.left(utc("2026-01-16T06:00")) == timedelta(hours=1, minutes=30)


def test_the_end_is_no_longer_open() -> None:
    assert may_start(NIGHT, TORONTO, utc("2026-01-15T08:00")).allowed
    assert may_start(NIGHT, TORONTO, utc("2026-01-15T11:59")).allowed
    assert not may_start(NIGHT, TORONTO, utc("2026-01-15T12:00")).allowed
    assert not may_start(NIGHT, TORONTO, utc("2026-01-15T07:59")).allowed


def test_a_closed_window_says_when_it_opens() -> None:
    verdict = may_start(NIGHT, TORONTO, utc("2026-01-15T12:00"))
    assert verdict.reason == "the window is closed; it opens 2026-01-16 at 03:00 (America/Toronto)"


def test_work_that_would_not_end_in_time_does_not_start() -> None:
    verdict = may_start(NIGHT, TORONTO, utc("2026-01-15T11:30"), timedelta(hours=1))
    assert not verdict.allowed
    assert verdict.reason == "1h are needed, and the window closes at 07:00 (America/Toronto), in 30m"
    assert may_start(NIGHT, TORONTO, utc("2026-01-15T11:00"), timedelta(hours=1)).allowed


def test_without_a_window_it_is_always_open() -> None:
    assert may_start(None, TORONTO, utc("2026-01-15T12:00"), timedelta(days=9)).allowed


def test_the_end_is_that_of_the_window_which_is_open() -> None:
    """Over midnight too; once it has closed, or where there is none, so many hours from now, and never the next one's end."""
    two = timedelta(hours=2)
    assert end(NIGHT, TORONTO, utc("2026-01-15T08:00"), two) == utc("2026-01-15T12:00")
    assert end(NIGHT, TORONTO, utc("2026-01-15T11:59"), two) == utc("2026-01-15T12:00")
    assert end(LATE, TORONTO, utc("2026-01-16T06:00"), two) == utc("2026-01-16T07:30")
    for moment in ("2026-01-15T12:00", "2026-01-15T12:01", "2026-01-15T07:59"):
        assert end(NIGHT, TORONTO, utc(moment), two) == utc(moment) + two
    assert end(None, TORONTO, utc("2026-01-15T12:00"), two) == utc("2026-01-15T14:00")


def test_a_naive_moment_is_refused() -> None:
    with pytest.raises(ValueError, match="must know its time zone"):
        around(NIGHT, TORONTO, datetime(2026, 1, 15))  # noqa: DTZ001
