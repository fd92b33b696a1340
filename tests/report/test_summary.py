"""What every rendering shows is decided once, from the records alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from model.estate import Estate
from model.journal import Journal
from model.keys import RunKey
from model.records import BackupRecord, CheckRecord, RunOutcome, UpdateRecord
from report.summary import Report

AT = datetime(2026, 11, 15, 8, 0, tzinfo=UTC)
FAILED = RunOutcome(verdict="failed", headline="x")


def of(estate: Estate, key: RunKey, *records: BackupRecord | CheckRecord | UpdateRecord) -> Report:
    journal = Journal()
    for record in records:
        journal.write(record)
    return Report.of(estate, key, journal, FAILED, started=AT, ended=AT + timedelta(minutes=5))


def backup(store: str, *, verified: bool = True, size: int = 10) -> BackupRecord:
    return BackupRecord(
        kind="database",
        host="sql01",
        subject="EngageIP",
        store=store,
        path="p",
        size=size,
        sha256="a" * 64,
        started=AT,
        ended=AT,
        verified=verified,
    )


def test_a_backup_is_whole_only_with_a_verified_copy_in_every_store(estate: Estate, key: RunKey) -> None:
    """What the estate declares and no record tells is shown as missing, store by store."""
    share, bucket = (store.name for store in estate.backup.stores)
    report = of(estate, key, backup(share))
    assert len(report.backups) == len(estate.backup_items())
    engageip = next(saved for saved in report.backups if saved.item.subject == "EngageIP")
    assert (engageip.whole, engageip.missing) == (False, (bucket,))
    assert of(estate, key, backup(share), backup(bucket)).whole_backups == 1
    assert of(estate, key, backup(share), backup(bucket, verified=False)).whole_backups == 0
    assert of(estate, key, backup(share), backup(bucket, size=0)).whole_backups == 0


def test_a_backup_that_was_taken_again_counts_once_and_as_it_ended(estate: Estate, key: RunKey) -> None:
    """Of several records of one thing in one store the last counts."""
    share, bucket = (store.name for store in estate.backup.stores)
    report = of(estate, key, backup(share, verified=False), backup(bucket), backup(share))
    engageip = next(saved for saved in report.backups if saved.item.subject == "EngageIP")
    assert engageip.whole
    assert len(engageip.copies) == 2


def test_a_run_that_ended_before_its_backups_shows_none_as_missing(estate: Estate, key: RunKey) -> None:
    """A preflight that refuses is not nine missing backups."""
    assert of(estate, key).backups == ()


def test_an_update_shows_its_last_word(estate: Estate, key: RunKey) -> None:
    """Reboot pending, then installed by the evidence of a rescan: one update, installed; the hosts in their order."""

    def update(host: str, result: str) -> UpdateRecord:
        return UpdateRecord.model_validate(
            {
                "host": host,
                "update": "u",
                "revision": 1,
                "title": "t",
                "kind": "windows-update",
                "result": result,
                "started": AT,
            }
        )

    report = of(
        estate, key, update("web01", "reboot-pending"), update("sql01", "unknown"), update("web01", "installed")
    )
    assert [(u.host, u.result) for u in report.all_updates] == [("sql01", "unknown"), ("web01", "installed")]
    assert (report.installed, [u.host for u in report.unsettled]) == (1, ["sql01"])


def test_checks_show_what_needs_a_look_first(estate: Estate, key: RunKey) -> None:
    """Failed, then not run, then passed; a check that ran twice counts as it ended."""

    def check(name: str, status: str, severity: str = "must") -> CheckRecord:
        return CheckRecord.model_validate({"name": name, "host": "web01", "severity": severity, "status": status})

    report = of(
        estate,
        key,
        check("a", "passed"),
        check("b", "not-run"),
        check("c", "failed", "should"),
        check("d", "failed"),
        check("e", "failed"),
        check("e", "passed"),
    )
    assert [c.name for c in report.checks] == ["d", "c", "b", "a", "e"]
