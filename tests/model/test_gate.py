"""Promise 1: nothing is installed before every declared backup is complete, verified, and off the servers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from model.estate import Estate, load_estate
from model.gate import GateVerdict, may_patch
from model.records import BackupRecord, QuiesceRecord

SAMPLE = Path(__file__).parents[2] / "deployments" / "estates" / "acme-billing.yaml"
ESTATE = load_estate(SAMPLE.read_bytes(), SAMPLE.name)
QUIET = datetime(2026, 3, 8, 8, 0, tzinfo=UTC)
NOW = QUIET + timedelta(minutes=30)
QUIESCE = QuiesceRecord(number=2, started=QUIET - timedelta(minutes=5), quiet_at=QUIET)
SHARE, S3 = (store.name for store in ESTATE.backup.stores)


def all_backups(**changes: Any) -> list[BackupRecord]:
    """A good backup of everything in every store, taken under this quiesce."""
    good = {"size": 4096, "sha256": "ab" * 32, "started": QUIET + timedelta(minutes=1), "verified": True, "quiesce": 2}
    good |= {"ended": QUIET + timedelta(minutes=9), **changes}
    return [
        BackupRecord(
            kind=item.kind,
            host=item.host,
            subject=item.subject,
            store=store.name,
            path=f"{store.name.rstrip('/')}/x" if store.name.startswith("s3") else rf"{store.name}\x",
            **good,
        )
        for item in ESTATE.backup_items()
        for store in ESTATE.backup.stores
    ]


def judged(records: list[BackupRecord], estate: Estate = ESTATE, **told: Any) -> GateVerdict:
    return may_patch(estate, records, QUIESCE, NOW, **told)


def one_changed(**changes: Any) -> list[BackupRecord]:
    """Everything good but the EngageIP database on the share."""
    return [r.model_copy(update=changes) if (r.subject, r.store) == ("EngageIP", SHARE) else r for r in all_backups()]


def test_all_good_opens_the_gate() -> None:
    verdict = judged(all_backups())
    assert verdict.allowed
    assert verdict.reasons == ()
    assert verdict.loss_window is None


def test_nothing_backed_up_names_everything() -> None:
    """One reason for each item and store, and no gate that opens on an empty list."""
    verdict = judged([])
    assert not verdict.allowed
    assert len(verdict.reasons) == len(ESTATE.backup_items()) * 2
    assert rf"database EngageIP of sql01: no backup in {SHARE}" in verdict.reasons


@pytest.mark.parametrize("missing", range(len(all_backups())))
def test_any_single_missing_backup_closes_the_gate(missing: int) -> None:
    records = all_backups()
    lost = records.pop(missing)
    verdict = judged(records)
    assert not verdict.allowed
    assert len(verdict.reasons) == 1
    assert lost.subject in verdict.reasons[0]
    assert lost.store in verdict.reasons[0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"verified": False, "remark": "SHA-256 differs"}, "is not verified: SHA-256 differs"),
        ({"ended": None}, "is not complete"),
        ({"size": 0}, "is not complete"),
        ({"sha256": None}, "has no SHA-256"),
        ({"path": r"D:\Staging\x.bak"}, r"lies on a server that is patched (D:\Staging\x.bak)"),
        ({"path": r"\\SQL01\d$\x.bak"}, "lies on a server that is patched"),
        ({"path": r"\\web01.acme.example\backup\x.bak"}, "lies on a server that is patched"),
        ({"path": r"\\SQL01.other.example\backup\x.bak"}, "lies on a server that is patched"),
        ({"path": r"\\sql01.\backup\x.bak"}, "lies on a server that is patched"),
        ({"path": r"\\localhost\backup\x.bak"}, "lies on a server that is patched"),
        ({"path": r"\\127.0.0.1\backup\x.bak"}, "lies on a server that is patched"),
        ({"path": r"\\WIN-BILLING\backup\x.bak"}, "lies on a server that is patched"),
    ],
)
def test_a_backup_that_is_not_whole_or_not_away_closes_the_gate(changes: dict[str, Any], reason: str) -> None:
    verdict = judged(one_changed(**changes), computers={"WIN-BILLING"})
    assert not verdict.allowed
    assert len(verdict.reasons) == 1
    assert verdict.reasons[0].startswith(rf"database EngageIP of sql01: the backup in {SHARE} {reason}")
    assert str(verdict) == verdict.reasons[0]


def test_a_remark_on_a_whole_backup_does_not_close_the_gate() -> None:
    """That open files were read as they are is for people to know; every hash is right."""
    assert judged(one_changed(remark="open files were read as they are")).allowed


def test_a_good_backup_beside_a_bad_one_counts() -> None:
    """A second attempt that worked stands for the first that did not."""
    bad = [r.model_copy(update={"verified": False, "started": NOW}) for r in all_backups()]
    assert judged(all_backups() + bad).allowed
    assert judged(bad + all_backups()).allowed


# A backup from before the quiesce loses what was billed since: only if the estate admits it and somebody agreed.
OLD = {"quiesce": 1, "started": QUIET - timedelta(minutes=60), "ended": QUIET - timedelta(minutes=50)}


def test_an_older_backup_needs_its_loss_to_be_approved() -> None:
    verdict = judged(one_changed(**OLD))
    assert not verdict.allowed
    assert verdict.loss_window == timedelta(minutes=90)
    assert verdict.reasons == (
        "backups from before the estate was quiet would lose the work of 1h30m; approve that loss window, or back up anew",
    )


def test_an_older_backup_counts_when_approved_and_the_loss_is_stated() -> None:
    verdict = judged(one_changed(**OLD), loss_approved=True)
    assert verdict.allowed
    assert verdict.loss_window == timedelta(minutes=90)


def test_beyond_max_age_no_backup_counts() -> None:
    verdict = judged(one_changed(quiesce=None, started=NOW - timedelta(hours=3)), loss_approved=True)
    assert verdict.reasons == (
        rf"database EngageIP of sql01: the backup in {SHARE} is 3h old, older than backup.max_age (2h); back up anew",
    )


def test_without_max_age_no_older_backup_counts() -> None:
    strict = ESTATE.model_copy(update={"backup": ESTATE.backup.model_copy(update={"max_age": None})})
    verdict = judged(one_changed(**OLD), strict, loss_approved=True)
    assert not verdict.allowed
    assert "set backup.max_age" in verdict.reasons[0]


def test_after_a_reopening_the_earlier_backups_are_old() -> None:
    """Quiesce 1 was ended by bring_back: its backups miss what was billed in between."""
    assert not judged(all_backups(quiesce=1)).allowed


def test_the_right_number_with_too_early_a_start_is_old() -> None:
    """A job of this quiesce that began before the estate was quiet: the number alone proves nothing."""
    assert not judged(one_changed(started=QUIET - timedelta(minutes=10))).allowed


def test_clocks_may_differ_by_a_little() -> None:
    assert judged(one_changed(started=QUIET - timedelta(minutes=1))).allowed


def test_a_start_in_the_future_names_the_clock() -> None:
    verdict = judged(one_changed(quiesce=1, started=NOW + timedelta(hours=1)), loss_approved=True)
    assert "set the clock of sql01" in verdict.reasons[0]
