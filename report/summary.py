"""The report of a run, out of its records: what every rendering shows, decided once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

from model.estate import BackupItem, Estate
from model.journal import Journal
from model.keys import RunKey
from model.plan import Plan
from model.records import (
    BackupRecord,
    Caution,
    CheckRecord,
    HookRecord,
    LaterUpdate,
    QuiesceRecord,
    RestartRecord,
    RunOutcome,
    StepRecord,
    UpdateRecord,
)

NOT_IN_BACKUP = (
    "Private keys of certificates (IIS bindings, SQL Server's TLS). A rebuilt server needs them imported again.",
    (
        "Machine keys: what a server has encrypted with DPAPI or an RSA key container (sections of web.config, saved "
        "passwords, SQL Server's service master key) cannot be read on another machine."
    ),
    (
        "Logins, SQL Server Agent jobs and linked servers as scripts: they are in master and msdb, which restore only onto "
        "the build that they came from."
    ),
    "Permissions, owners and junctions of the archived folders: an archive holds their files and names.",
    "Windows itself, installed programs, and databases and folders that the estate file does not declare.",
)
"""What nobody should look for in the backups on the day of a restore."""

_VERDICTS = {
    "succeeded": "Succeeded",
    "nothing-to-do": "Nothing to do",
    "stopped": "Stopped, nothing was changed",
    "failed": "Failed",
    "half-open": "Half-open: portals stay closed, a person is needed",
}
_CHECK_ORDER = {"failed": 0, "not-run": 1, "passed": 2}


@dataclass(frozen=True)
class Saved:
    """One thing to back up: its copies, one for each store that holds it, and the stores without one."""

    item: BackupItem
    copies: tuple[BackupRecord, ...]
    missing: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """The host it was taken from."""
        return self.item.host

    @property
    def what(self) -> str:
        """Without its host: ``database EngageIP``, ``IIS configuration``."""
        return str(self.item).removesuffix(f" of {self.host}")

    @property
    def size(self) -> int:
        """Bytes of one copy."""
        return max((copy.size for copy in self.copies), default=0)

    @property
    def whole(self) -> bool:
        """Every store holds a complete, verified copy."""
        return bool(self.copies) and not self.missing and all(c.complete and c.verified for c in self.copies)


@dataclass(frozen=True)
class HostUpdates:
    """What was done on one host."""

    host: str
    updates: tuple[UpdateRecord, ...]

    @property
    def installed(self) -> tuple[UpdateRecord, ...]:
        """Those that are in, with evidence or still wanting a restart."""
        return tuple(u for u in self.updates if u.result in {"installed", "reboot-pending"})


@dataclass(frozen=True)
class Report:
    """A run as people and programs read it afterwards; every time is aware."""

    estate: str
    zone: ZoneInfo
    key: RunKey
    outcome: RunOutcome
    started: datetime
    ended: datetime
    flow_run_url: str | None
    plan: Plan | None
    quiesces: tuple[QuiesceRecord, ...]
    backups: tuple[Saved, ...]
    updates: tuple[HostUpdates, ...]
    restarts: tuple[RestartRecord, ...]
    checks: tuple[CheckRecord, ...]
    """The failed ones first, then those that did not run."""
    steps: tuple[StepRecord, ...]
    stores: tuple[str, ...]
    later: tuple[LaterUpdate, ...] = ()
    """Updates that appeared after the list was frozen: they wait for the next review."""
    cautions: tuple[Caution, ...] = ()
    """What preflight saw on the hosts that did not stop the night."""
    hooks: tuple[HookRecord, ...] = ()
    """What the systems around the estate were asked for, in that order."""

    @classmethod
    def of(
        cls,
        estate: Estate,
        key: RunKey,
        records: Journal,
        outcome: RunOutcome,
        *,
        started: datetime,
        ended: datetime,
        flow_run_url: str | None = None,
    ) -> Report:
        """The report of a run of ``estate`` that wrote ``records``; of several records of one thing the last counts."""
        plans = records.of(Plan)
        return cls(
            estate=estate.name,
            zone=ZoneInfo(estate.timezone),
            key=key,
            outcome=outcome,
            started=started,
            ended=max(started, ended),
            flow_run_url=flow_run_url,
            plan=plans[-1] if plans else None,
            quiesces=tuple(records.of(QuiesceRecord)),
            backups=saved_of(estate, records.of(BackupRecord)),
            updates=updates_by_host(estate, records.of(UpdateRecord)),
            restarts=tuple(sorted(records.of(RestartRecord), key=lambda r: r.asked)),
            checks=checks_in_order(records.of(CheckRecord)),
            steps=tuple(sorted(records.of(StepRecord), key=lambda s: s.started)),
            stores=tuple(store.name for store in estate.backup.stores),
            later=tuple(records.of(LaterUpdate)),
            cautions=tuple(records.of(Caution)),
            hooks=tuple(sorted(records.of(HookRecord), key=lambda hook: hook.started)),
        )

    @property
    def touched(self) -> bool:
        """Whether the run had hold of the estate, so that it knows what is up and what is down."""
        return bool(self.outcome.up or self.outcome.down)

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        looked = self.outcome.verdict == "nothing-to-do" and not self.touched
        return "Looked only" if looked else _VERDICTS[self.outcome.verdict]

    @property
    def tone(self) -> Literal["good", "warn", "bad"]:
        """Whether nobody, somebody or somebody at once needs to look."""
        if self.outcome.succeeded:
            return "good"
        return "warn" if self.outcome.verdict == "stopped" else "bad"

    @property
    def seconds(self) -> float:
        """How long the run took."""
        return (self.ended - self.started).total_seconds()

    @property
    def whole_backups(self) -> int:
        """How many things are backed up whole, in every store."""
        return sum(saved.whole for saved in self.backups)

    @property
    def backup_size(self) -> int:
        """Bytes of one copy of everything."""
        return sum(saved.size for saved in self.backups)

    @property
    def all_updates(self) -> tuple[UpdateRecord, ...]:
        """The updates of every host, in the order of the hosts."""
        return tuple(update for of_host in self.updates for update in of_host.updates)

    @property
    def installed(self) -> int:
        """How many updates are in."""
        return sum(len(of_host.installed) for of_host in self.updates)

    @property
    def unsettled(self) -> tuple[UpdateRecord, ...]:
        """The updates that failed, were not come to, or of which nobody knows how they ended."""
        return tuple(u for u in self.all_updates if u.result in {"failed", "unknown", "not-tried"})

    def day(self, moment: datetime | None) -> str:
        """The day of a moment as the estate counts it: ``Saturday 28 November``; empty without one."""
        return f"{moment.astimezone(self.zone):%A %-d %B}" if moment else ""

    @property
    def snapshots(self) -> tuple[HookRecord, ...]:
        """The snapshots that somebody has to delete."""
        return tuple(hook for hook in self.hooks if hook.act == "taken" and hook.status != "failed")

    def checks_with(self, status: Literal["passed", "failed", "not-run"]) -> tuple[CheckRecord, ...]:
        """The checks that ended so."""
        return tuple(check for check in self.checks if check.status == status)


def saved_of(estate: Estate, records: Iterable[BackupRecord]) -> tuple[Saved, ...]:
    """Everything declared, then whatever else was backed up; nothing where no backup was begun at all."""
    found: dict[tuple[str, str, str], dict[str, BackupRecord]] = {}
    for record in records:
        found.setdefault((record.kind, record.host, record.subject.casefold()), {})[record.store] = record
    if not found:
        return ()
    names = [store.name for store in estate.backup.stores]
    saved: list[Saved] = []
    for item in estate.backup_items():
        copies = found.pop((item.kind, item.host, item.subject.casefold()), {})
        missing = tuple(name for name in names if name not in copies)
        saved.append(Saved(item, tuple(copies.values()), missing))
    for copies in found.values():
        first = next(iter(copies.values()))
        saved.append(Saved(BackupItem(first.kind, first.host, first.subject), tuple(copies.values())))
    return tuple(saved)


def updates_by_host(estate: Estate, records: Iterable[UpdateRecord]) -> tuple[HostUpdates, ...]:
    """The last record of each update, by host, in the order in which hosts restart."""
    order = [host for wave in estate.restart_order() for host in wave]
    last: dict[str, dict[tuple[str, int | None], UpdateRecord]] = {}
    for record in records:
        last.setdefault(record.host, {})[record.update.casefold(), record.revision] = record
    known = [host for host in order if host in last]
    return tuple(HostUpdates(h, tuple(last[h].values())) for h in [*known, *(h for h in last if h not in order)])


def checks_in_order(records: Iterable[CheckRecord]) -> tuple[CheckRecord, ...]:
    """The last record of each check on each host: the failed first, then those that did not run."""
    last = {(record.host, record.site, record.name): record for record in records}
    return tuple(sorted(last.values(), key=lambda c: (_CHECK_ORDER[c.status], c.severity != "must")))
