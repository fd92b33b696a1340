"""The run key makes a re-run the same run, and job ids are its children."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model.keys import LONGEST_JOB_ID, RunKey, is_of, job_id, parse_job_id, safe

KEY = RunKey.for_change("acme-billing", "CHG0031001")
ON_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # what the host's scripts admit


def test_a_change_and_an_attempt_make_the_key() -> None:
    assert str(KEY) == "acme-billing.CHG0031001.1"
    assert str(RunKey.for_change("acme-billing", " chg0031001 ", 2)) == "acme-billing.CHG0031001.2"


def test_without_a_change_the_start_in_utc_is_the_key() -> None:
    """The same moment told in another time zone is the same key."""
    utc = datetime(2026, 3, 8, 7, 30, tzinfo=UTC)
    toronto = utc.astimezone(timezone(timedelta(hours=-5)))
    assert str(RunKey.for_start("acme-billing", utc)) == "acme-billing.20260308T073000Z.1"
    assert RunKey.for_start("acme-billing", toronto) == RunKey.for_start("acme-billing", utc)


def test_a_naive_start_is_refused() -> None:
    with pytest.raises(ValueError, match="must know its time zone"):
        RunKey.for_start("acme-billing", datetime(2026, 3, 8, 7, 30))  # noqa: DTZ001


@pytest.mark.parametrize("change", ["CHG/31 a", "JIRA-12 / \u20ac", "../../x", "a" * 200, "CON.txt", "--"])
def test_a_strange_change_number_makes_a_key_that_reads_back(change: str) -> None:
    key = RunKey.for_change("acme-billing", change)
    assert RunKey.parse(str(key)) == key
    assert ON_HOST.fullmatch(str(key))
    assert key != RunKey.for_change("acme-billing", change + "x")


@pytest.mark.parametrize("text", ["", "a", "a.b", "a.b.0", "a.b.1.2", "a.b.x", "a.b c.1", "a..1", "a.b.01"])
def test_what_is_no_key_does_not_parse(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a run key|validation error"):
        RunKey.parse(text)


@pytest.mark.parametrize("attempt", [0, 1000, -1])
def test_attempts_are_counted_from_one(attempt: int) -> None:
    with pytest.raises(ValidationError):
        RunKey.for_change("acme-billing", "CHG1", attempt)


def test_a_job_id_reads_like_what_it_does() -> None:
    identity = job_id(KEY, 2, "backup-database", "EngageIP")
    assert identity == "acme-billing.CHG0031001.1.2.backup-database.EngageIP"
    assert parse_job_id(identity) == (KEY, 2, "backup-database", "EngageIP")
    assert KEY.owns(identity)
    assert not RunKey.for_change("acme-billing", "CHG0031001", 11).owns(identity)


def test_changed_text_carries_its_hash() -> None:
    identity = job_id(KEY, 1, "backup-files", r"D:\Work")
    assert re.fullmatch(r"acme-billing\.CHG0031001\.1\.1\.backup-files\.D-Work--[0-9a-f]{8}", identity)


SUBJECTS = st.text(max_size=120) | st.text(alphabet="aA.-_ \\:", max_size=12)


@given(SUBJECTS, SUBJECTS, st.integers(0, 9999))
def test_ids_fit_are_safe_and_tell_subjects_apart(one: str, other: str, number: int) -> None:
    """At most 100 characters that a folder, a task and an S3 object may have; different subjects, different ids."""
    ids = [job_id(KEY, number, "install-windows-updates", subject) for subject in (one, other)]
    for identity in ids:
        assert len(identity) <= LONGEST_JOB_ID
        assert ON_HOST.fullmatch(identity)
        assert identity[-1] not in ". "
        assert parse_job_id(identity)[:2] == (KEY, number)
    assert (ids[0] == ids[1]) == (one == other)


@given(SUBJECTS, SUBJECTS)
def test_steps_are_told_apart(one: str, other: str) -> None:
    assert (job_id(KEY, 1, one, "x") == job_id(KEY, 1, other, "x")) == (one == other)


def test_the_longest_parts_still_leave_room_for_the_subject() -> None:
    key = RunKey(estate="e" * 32, occasion="o" * 24, attempt=999)
    identity = job_id(key, 9999, "s" * 60, "subject" * 30)
    assert len(identity) <= LONGEST_JOB_ID
    assert identity != job_id(key, 9999, "s" * 60, "subject" * 31)


def test_text_that_fits_is_not_touched() -> None:
    assert safe("EngageIP_2", 20) == "EngageIP_2"
    assert safe("a.b", 20, dots=True) == "a.b"


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="0 to 9999"):
        job_id(KEY, 10000, "x", "y")


@given(SUBJECTS)
def test_a_job_is_known_by_its_subject_whichever_run_it_was_of(subject: str) -> None:
    """The room for it depends on the key: what one run had to cut, another has not."""
    for key in (KEY, RunKey(estate="e" * 32, occasion="o" * 24, attempt=999)):
        identity = job_id(key, 3, "package", subject)
        assert is_of(identity, ("package", "sql-patch"), subject)
        assert not is_of(identity, ("sql-patch",), subject)
        assert not is_of(identity, ("package",), f"{subject}x")
    assert not is_of("somebody's own", ("package",), subject)
