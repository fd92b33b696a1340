"""Promise 1: may anything be installed? Only when every declared backup is complete, verified and off the servers."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from model.estate import BackupItem, Estate
from model.records import BackupRecord, QuiesceRecord
from model.stores import patched_server
from model.words import duration_text

CLOCK_TOLERANCE = timedelta(minutes=2)
"""How far a host's clock may stand before ours; preflight names a larger offset."""


@dataclass(frozen=True)
class GateVerdict:
    """Whether the gate is open; ``reasons`` says what is missing, one line each, the thing first.

    ``loss_window`` is the time whose work only older backups cover; None where none is needed.
    """

    allowed: bool
    reasons: tuple[str, ...] = ()
    loss_window: timedelta | None = None

    def __str__(self) -> str:
        return "every backup is complete, verified and off the servers" if self.allowed else "; ".join(self.reasons)


def may_patch(
    estate: Estate,
    records: Iterable[BackupRecord],
    quiesce: QuiesceRecord,
    now: datetime,
    *,
    loss_approved: bool = False,
    computers: Collection[str] = (),
) -> GateVerdict:
    """Whether installing may begin.

    A backup counts if a job of this quiesce made it; an older one only within ``backup.max_age`` of ``now`` and where
    the loss window has been stated and approved (``loss_approved``). Every item must lie in every store, and none on a
    server that is patched, also by the names that the servers have for themselves (``computers``).
    """
    by_place: dict[tuple[str, str, str, str], list[BackupRecord]] = {}
    for record in records:
        by_place.setdefault((record.kind, record.host, record.subject.casefold(), record.store), []).append(record)
    reasons: list[str] = []
    older: list[datetime] = []
    for item in estate.backup_items():
        for store in estate.backup.stores:
            found = by_place.get((item.kind, item.host, item.subject.casefold(), store.name), [])
            best = _best(found, quiesce)
            reason = _missing(item, store.name) if best is None else _fault(estate, item, best, quiesce, now, computers)
            if reason is not None:
                reasons.append(reason)
            elif best is not None and not _of_this_quiesce(best, quiesce):
                older.append(best.started)
    loss = now - min(older) if older else None
    if loss is not None and not loss_approved:
        reasons.append(
            f"backups from before the estate was quiet would lose the work of {duration_text(loss)}; "
            "approve that loss window, or back up anew"
        )
    return GateVerdict(not reasons, tuple(reasons), loss)


def _of_this_quiesce(record: BackupRecord, quiesce: QuiesceRecord) -> bool:
    return record.quiesce == quiesce.number and record.started >= quiesce.quiet_at - CLOCK_TOLERANCE


def _best(found: list[BackupRecord], quiesce: QuiesceRecord) -> BackupRecord | None:
    """Of several backups of one thing in one store the one that counts most: whole, of this quiesce, newest."""
    return max(
        found,
        key=lambda r: (r.complete and r.verified, _of_this_quiesce(r, quiesce), r.started),
        default=None,
    )


def _missing(item: BackupItem, store: str) -> str:
    return f"{item}: no backup in {store}"


def _fault(
    estate: Estate,
    item: BackupItem,
    record: BackupRecord,
    quiesce: QuiesceRecord,
    now: datetime,
    computers: Collection[str],
) -> str | None:
    rules: tuple[tuple[bool, str], ...] = (
        (not record.complete, f"is not complete{_remark(record)}"),
        (not record.verified, f"is not verified{_remark(record)}"),
        (record.sha256 is None, "has no SHA-256, so nothing proves that it stays whole"),
        (
            _on_a_server(estate, computers, record.path),
            f"lies on a server that is patched ({record.path}); it counts only off the servers",
        ),
    )
    fault = next((reason for applies, reason in rules if applies), None)
    if fault is None and not _of_this_quiesce(record, quiesce):
        fault = _too_old(estate.backup.max_age, record, now)
    return None if fault is None else f"{item}: the backup in {record.store} {fault}"


def _too_old(max_age: timedelta | None, record: BackupRecord, now: datetime) -> str | None:
    if max_age is None:
        return "was started before the estate was quiet; set backup.max_age to admit it, or back up anew"
    age = now - record.started
    if age < -CLOCK_TOLERANCE:
        return f"was started in the future ({record.started:%Y-%m-%d %H:%M} UTC); set the clock of {record.host}"
    if age > max_age:
        return f"is {duration_text(age)} old, older than backup.max_age ({duration_text(max_age)}); back up anew"
    return None


def _remark(record: BackupRecord) -> str:
    return f": {record.remark}" if record.remark else ""


def _on_a_server(estate: Estate, computers: Collection[str], path: str) -> bool:
    if path.startswith("s3://"):
        return False
    if not path.startswith("\\\\"):
        return True
    names = {*estate.hosts, *(host.address for host in estate.hosts.values()), *computers}
    return patched_server(path, names) is not None
