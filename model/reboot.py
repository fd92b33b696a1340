"""Restarts: is one due, and has it happened? Judged by several signals, never by 'the port is open'.

Sources: the pending-reboot keys of Component Based Servicing and Windows Update; the volatile registry key as proof.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import AwareDatetime

from model.hresults import sql_setup_meaning
from model.records import Answer, PendingReboot, RestartRecord, UpdateRecord
from model.rounds import must_wait

_SURELY_LATER = timedelta(seconds=60)
"""LastBootUpTime drifts without a restart; only a larger step is one."""
_CONFIGURING = 2
_REFUSED_AFTER = timedelta(minutes=10)


@dataclass(frozen=True)
class PendingVerdict:
    """Whether a restart is due, and which signals say so; ``advisory`` ones count only before SQL Server setup."""

    due: bool
    signals: tuple[str, ...]
    advisory: tuple[str, ...] = ()


def pending_verdict(pending: PendingReboot, *, before_sql_setup: bool = False) -> PendingVerdict:
    """Whether the host must restart before more is installed.

    Pending file renames are often antivirus noise: they count before SQL Server setup only, whose RebootRequiredCheck
    fails on them.
    """
    signals: list[str] = []
    if pending.cbs_reboot_pending:
        signals.append("Component Based Servicing: RebootPending")
    if pending.windows_update:
        signals.append("Windows Update: RebootRequired")
    if pending.packages_pending:
        signals.append("Component Based Servicing: PackagesPending")
    renames = tuple(f"PendingFileRenameOperations: {path}" for path in pending.file_renames)
    if before_sql_setup:
        return PendingVerdict(bool(signals or renames), (*signals, *renames))
    return PendingVerdict(bool(signals), tuple(signals), renames)


def restart_due(records: Iterable[UpdateRecord], pending: PendingReboot) -> bool:
    """Whether a host must restart after a round: something went in, may have gone in, or waits for it.

    Updates that were there already, were not tried, or failed without leaving a trace, are no reason; nor is one that a
    restart has not helped before. One whose job was cut off is, also by a restart that nobody asked for: after that one
    nothing was waited for, and nobody who depends on the host was told.
    """
    return pending_verdict(pending).due or any(_wants_restart(record) for record in records)


def _wants_restart(record: UpdateRecord) -> bool:
    if record.restart is not None:
        return record.restart
    return record.result in {"installed", "reboot-pending", "unknown"} or must_wait(record)


def windows_asks(records: Iterable[UpdateRecord], pending: PendingReboot) -> bool:
    """Whether Windows itself must restart: a signal says so, an update or a setup wants it, or nobody knows how one ended.

    Where this is false, what was installed is in effect once its services have restarted.
    """
    return pending_verdict(pending).due or any(
        r.result in {"reboot-pending", "unknown"} or _needs_windows(r) for r in records
    )


def _needs_windows(record: UpdateRecord) -> bool:
    if record.restart is not None:
        return record.restart
    if record.kind == "mssql-patch":
        wants = {"done-reboot", "done-rebooting", "reboot"}
        return record.hresult is not None and sql_setup_meaning(record.hresult).do in wants
    return must_wait(record)


def waits_for_restart(record: UpdateRecord, restarts: Iterable[RestartRecord]) -> bool:
    """Whether an update went in, and the restart of its host that completes it is not among these."""
    if record.restart is False or not (record.result == "reboot-pending" or _answered_restart(record)):
        return False
    since = record.ended or record.started
    return not any(each.host == record.host and each.ready and each.asked >= since for each in restarts)


def _answered_restart(record: UpdateRecord) -> bool:
    return record.kind == "mssql-patch" and record.result == "installed" and _needs_windows(record)


class RestartAsked(Answer):
    """``restart.json``: the last restart asked for on this host."""

    intent: str
    boot_id: str | None = None
    last_boot: AwareDatetime | None = None
    asked: AwareDatetime | None = None


class RebootFacts(Answer):
    """The answer of Get-RebootState."""

    marker_present: bool
    last_boot: AwareDatetime
    now: AwareDatetime | None = None
    boot_id: str | None = None
    asked: RestartAsked | None = None
    uptime_seconds: int | None = None
    servicing_in_progress: int | None = None
    logon_ready: bool = False


@dataclass(frozen=True)
class RebootVerdict:
    """How far a restart is: ``going`` (not down yet), ``configuring`` (up, still at work), ``up`` or ``unknown``."""

    state: Literal["going", "configuring", "up", "unknown"]
    why: str


@dataclass(frozen=True)
class RebootBefore:
    """What was written down before a restart was asked for."""

    boot_id: str | None
    last_boot: datetime


def reboot_verdict(
    facts: RebootFacts | dict[str, Any], intent: str, before: RebootBefore | None = None
) -> RebootVerdict:
    """Whether the restart asked for under ``intent`` has happened, and whether Windows has finished booting.

    The proof is the volatile mark: it is gone, and another boot answers. ``before`` is what was known when it was
    asked for; without it ``restart.json`` stands in, of the same intent or of a later one of the same run.
    """
    facts = facts if isinstance(facts, RebootFacts) else RebootFacts.model_validate(facts)
    if facts.marker_present:
        return RebootVerdict("going", "the mark of this restart is still there: it has not gone down yet")
    known = before or _from_file(facts, intent)
    if known is None:
        return RebootVerdict("unknown", "nothing on the host tells that this restart was asked for")
    moved = facts.last_boot - known.last_boot > _SURELY_LATER
    same_boot = known.boot_id is not None and facts.boot_id == known.boot_id
    no_proof = "no boot id was written down before, and LastBootUpTime has not moved by a minute"
    rules: tuple[tuple[bool, RebootVerdict], ...] = (
        (same_boot, RebootVerdict("going", "the boot that answers is the one from before")),
        (known.boot_id is None and not moved, RebootVerdict("unknown", no_proof)),
        (
            facts.servicing_in_progress == _CONFIGURING,
            RebootVerdict("configuring", "updates are being configured (ServicingInProgress is 2)"),
        ),
        (not facts.logon_ready, RebootVerdict("configuring", "the logon screen is not up yet")),
    )
    up = f"the mark is gone and another boot answers (LastBootUpTime {facts.last_boot:%Y-%m-%d %H:%M:%S} UTC)"
    return next((verdict for applies, verdict in rules if applies), RebootVerdict("up", up))


def _from_file(facts: RebootFacts, intent: str) -> RebootBefore | None:
    asked = facts.asked
    if asked is None or not tells_of(asked.intent, intent) or asked.last_boot is None:
        return None
    return RebootBefore(asked.boot_id, asked.last_boot)


def tells_of(asked: str, intent: str) -> bool:
    """Whether the restart that was asked for as ``asked`` is the one of ``intent`` (``KEY.NUMBER``), or came after it.

    A run asks for its restarts in the order of their numbers, each once the one before has been proven.
    """
    (key, _, number), (wanted, _, since) = asked.rpartition("."), intent.rpartition(".")
    later = key == wanted and number.isdecimal() and since.isdecimal() and int(number) > int(since)
    return asked == intent or later


def is_going_down(facts: RebootFacts | dict[str, Any]) -> bool:
    """Whether a restart that was asked for has not come to its end; ``facts`` are those of its intent.

    One that has not begun within ten minutes was refused.
    """
    facts = facts if isinstance(facts, RebootFacts) else RebootFacts.model_validate(facts)
    if facts.asked is None or facts.asked.asked is None or facts.now is None:
        return False
    state = reboot_verdict(facts, facts.asked.intent).state
    return state == "configuring" or (state == "going" and facts.now - facts.asked.asked < _REFUSED_AFTER)
