"""Single tables, as Prefect shows them while the night goes on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from model.estate import Estate
from model.outlook import Outlook, age_text
from model.plan import plan_of
from model.records import BackupRecord
from report import tables

NOW = datetime(2026, 11, 15, 8, tzinfo=UTC)


def record(estate: Estate, number: int, store: int) -> BackupRecord:
    item = estate.backup_items()[number]
    name = estate.backup.stores[store].name
    return BackupRecord(
        kind=item.kind,
        host=item.host,
        subject=item.subject,
        store=name,
        path=f"{name}/{number}|*.bak",
        size=2048,
        sha256="ab" * 32,
        started=NOW,
        ended=NOW,
        verified=True,
    )


def test_every_declared_backup_has_its_row(estate: Estate) -> None:
    """A copy that is missing is named in the row of its item, and so is an item of which there is none at all."""
    text = tables.backups(estate, [record(estate, 0, 0), record(estate, 0, 1), record(estate, 1, 0)])
    rows = text.splitlines()[2:]
    assert len(rows) == len(estate.backup_items())
    assert "no copy" not in rows[0]
    assert rows[0].count("<br>") == 1
    assert rows[1].count("no copy") == 1
    assert rows[2].count("no copy") == len(estate.backup.stores)


def test_a_table_that_would_be_empty_is_not_shown(estate: Estate) -> None:
    assert tables.backups(estate, []) == tables.updates(estate, []) == tables.checks([]) == ""


def test_a_plan_says_how_old_it_is(estate: Estate) -> None:
    """The age of each host's last scan stands below the plan, for people and for programs."""
    plan = plan_of(estate, {"sql01": [], "web01": None})
    outlook = Outlook(plan, {"sql01": NOW - timedelta(days=3), "web01": None}, NOW)
    for text in ("\n".join(outlook.lines()), tables.plan(plan, outlook)):
        assert "- sql01: 3 days ago" in text
        assert "- web01: not scanned yet" in text
    assert not plan.scanned
    assert outlook.as_json()["last_scans"] == {"sql01": "2026-11-12T08:00:00+00:00", "web01": None}


def test_a_plan_that_will_be_carried_out_says_nothing_of_scans(estate: Estate) -> None:
    """It is made of a scan of the same minute."""
    assert "ago" not in tables.plan(plan_of(estate, {}))


@pytest.mark.parametrize(
    ("age", "text"),
    [
        (timedelta(seconds=-2), "0 seconds"),
        (timedelta(seconds=1), "1 second"),
        (timedelta(seconds=119), "119 seconds"),
        (timedelta(minutes=3), "3 minutes"),
        (timedelta(hours=47), "47 hours"),
        (timedelta(days=31), "31 days"),
    ],
)
def test_an_age_has_one_unit(age: timedelta, text: str) -> None:
    assert age_text(age) == text
