"""After each restart a rescan tells what went in; what it offers again is tried again only where that can help."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from model.records import UpdateRecord
from model.rounds import judged, once_more

NOW = datetime(2026, 1, 2, 3, tzinfo=UTC)


def record(result: Any, hresult: str | None = None, **more: Any) -> UpdateRecord:
    given = {"kind": "windows-update", "host": "web01", "update": "u", "title": "KB1", "started": NOW, **more}
    return UpdateRecord(result=result, hresult=hresult, **given)


@pytest.mark.parametrize("result", ["installed", "reboot-pending", "unknown"])
def test_what_is_offered_no_more_is_in(result: str) -> None:
    """Whatever the agent said: the rescan is the proof."""
    after = judged(record(result), offered=False)
    assert (after.result, after.verified_by) == ("installed", "rescan")


def test_what_was_there_already_stays_that() -> None:
    """It was not installed tonight."""
    assert judged(record("not-needed"), offered=False).result == "not-needed"


@pytest.mark.parametrize("result", ["installed", "reboot-pending", "not-needed"])
def test_what_went_in_and_is_offered_again_was_rolled_back(result: str) -> None:
    """Named as failed, and never installed a second time."""
    after = judged(record(result), offered=True)
    assert after.result == "failed"
    assert "rolled back" in (after.remark or "")
    assert not once_more(after)


@pytest.mark.parametrize(
    ("result", "hresult", "again"),
    [
        ("unknown", None, True),  # the job was cut off, or the agent wanted a restart first
        ("failed", "0x80240016", True),  # another install was running
        ("failed", "0x80240034", True),  # its download failed
        ("failed", "0x80242017", True),  # it wants the servicing stack that has gone in meanwhile
        ("failed", "0x80070643", False),  # the package's own installer fails: it will again
        ("failed", "0x80240022", False),
    ],
)
def test_only_what_can_succeed_is_tried_again(result: str, hresult: str | None, again: bool) -> None:
    """Each round restarts the estate: not for an update that cannot go in."""
    assert once_more(judged(record(result, hresult), offered=True)) is again


def test_what_was_never_tried_is_tried() -> None:
    """A round may leave one out: those that install alone."""
    assert once_more(None)


def test_a_patch_of_sql_server_is_judged_by_its_build_not_by_a_rescan() -> None:
    """Windows Update knows nothing of it."""
    patch = record("installed", kind="mssql-patch")
    assert judged(patch, offered=False) == patch
