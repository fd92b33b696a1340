"""The plan: what would happen, in order, frozen under a hash; what is not in it is not installed."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import Field

from model.estate import Estate, HttpCheck, MssqlPatch, Package
from model.installers import proof_name
from model.packages import EngageIPUpgrade, MsuPackage
from model.policy import Admission, FoundUpdate, admit, batches
from model.records import Record
from model.update_words import WINDOWS_UPDATE
from model.words import duration_text, file_name

Stage = Literal["quiesce", "backup", "snapshot", "install", "restart", "upgrade", "check", "reopen"]

_HEADINGS: dict[Stage, str] = {
    "quiesce": "Make the estate quiet",
    "backup": "Back up",
    "snapshot": "Have snapshots taken, once every backup is complete, verified and off the servers",
    "install": "Install, once every backup is complete, verified and off the servers",
    "restart": "Restart, each host once those it depends on are ready",
    "upgrade": "Upgrade EngageIP, once all else is installed and every host is ready",
    "check": "Check, behind the maintenance page",
    "reopen": "Bring back",
}


class PlanStep(Record):
    """One step: what is done to what, on which host."""

    stage: Stage
    subject: str
    host: str | None = None
    group: int = 0
    """Steps of one stage and group may run together; groups run one after the other."""
    detail: str = ""
    update: str | None = None
    """UpdateID of a Windows update, or the package's name."""
    revision: int | None = None
    kb: tuple[str, ...] = ()
    sha256: str | None = None
    build: str | None = None
    alone: bool = False
    """Installed apart from all others: servicing stacks, exclusive updates."""
    note: str = ""
    """What the hosts said of it just now: for people, and no part of what is approved."""

    @property
    def is_windows_update(self) -> bool:
        """Whether Windows Update brings it; packages have no revision."""
        return self.revision is not None

    def __str__(self) -> str:
        on = f"{self.host}: " if self.host else ""
        told = "; ".join(filter(None, (self.detail, self.note)))
        return f"{on}{self.subject}" + (f" ({told})" if told else "")


class Refusal(Record):
    """An update that a scan found and that will not be installed."""

    host: str
    title: str
    reason: str


class Section(NamedTuple):
    """The steps of one stage with their numbers; ``common`` is the detail that all of them share."""

    heading: str
    common: str
    steps: tuple[tuple[int, PlanStep], ...]


class Plan(Record):
    """The frozen list of what will happen; two plans with one hash do the same."""

    estate: str
    approval: Literal["auto", "approve"]
    scanned: bool = Field(description="False where no scan has told yet which Windows updates are wanted.")
    steps: tuple[PlanStep, ...]
    source: str = Field(default=WINDOWS_UPDATE, description="Whom the hosts ask for Windows updates.")
    unlocked: tuple[str, ...] = Field(
        default=(), description="KBs, reviewed by name, that may go in once a servicing stack has unlocked them."
    )
    refused: tuple[Refusal, ...] = ()

    @property
    def hash(self) -> str:
        """SHA-256 of the steps as canonical JSON: what a person approves, and what is then done."""
        content = self.model_dump(
            mode="json", exclude={"refused": True, "approval": True, "steps": {"__all__": {"note": True}}}
        )
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def of(self, stage: Stage, host: str | None = None) -> tuple[PlanStep, ...]:
        """The steps of a stage, of one host where named, in order."""
        return tuple(s for s in self.steps if s.stage == stage and (host is None or s.host == host))

    def admits(self, host: str, update: str, revision: int | None = None) -> bool:
        """Whether this plan installs that update, in that revision, on that host."""
        return any(
            step.update is not None and step.update.casefold() == update.casefold() and step.revision == revision
            for step in (*self.of("install", host), *self.of("upgrade", host))
        )

    @property
    def installs(self) -> bool:
        """Whether there is anything to install; also true while no scan has told."""
        steps = (*self.of("install"), *self.of("upgrade"))
        return not self.scanned or any(step.update is not None for step in steps)

    def notes(self) -> tuple[str, ...]:
        """What is true of all its Windows updates."""
        notes = [f"Windows updates come from {self.source}"]
        if self.unlocked:
            notes.append(f"Also, once a servicing stack of this night unlocks them: {', '.join(self.unlocked)}")
        return tuple(notes)

    def sections(self) -> Iterator[Section]:
        """The plan by stage, its steps numbered through."""
        numbers = itertools.count(1)
        for stage, heading in _HEADINGS.items():
            steps = self.of(stage)
            details = {step.detail for step in steps}
            # What is true of every step is said once.
            common = details.pop() if len(steps) > 1 and len(details) == 1 else ""
            shown = tuple(step.model_copy(update={"detail": ""}) if common else step for step in steps)
            if steps:
                yield Section(heading, common, tuple((next(numbers), step) for step in shown))

    def lines(self) -> tuple[str, ...]:
        """The plan for people, one line each, without colour."""
        return tuple(_lines(self))


def _lines(plan: Plan) -> Iterator[str]:
    yield f"Plan for {plan.estate} ({plan.hash[:12]})"
    yield from plan.notes()
    for section in plan.sections():
        yield f"{section.heading} {section.common}".rstrip()
        yield from (f"{number:4}. {step}" for number, step in section.steps)
    if plan.refused:
        yield "Not installed"
        for refusal in plan.refused:
            yield f"    - {refusal.host}: {refusal.title} ({refusal.reason})"


def plan_of(
    estate: Estate,
    pending: Mapping[str, Sequence[FoundUpdate] | None] | None,
    notes: Mapping[str, str] | None = None,
) -> Plan:
    """What patching this estate would do; ``pending`` is what the last scan found on each host, None without a scan.

    ``notes`` tells what is to be known of a package, by its name: that it is not needed, or what else it touches.

    The same estate and the same findings, in whatever order a scan told them, make the same plan.
    """
    steps: list[PlanStep] = [*_quiesce(estate), *_backups(estate), *_snapshots(estate)]
    refused: list[Refusal] = []
    for wave, hosts in enumerate(estate.restart_order(), 1):
        for host in hosts:
            told = None if pending is None else pending.get(host, ())
            found = None if told is None else sorted(told, key=lambda u: (u.title, u.id, u.revision))
            steps += _installs(estate, host, wave, found, notes or {})
            judged = admit(found or (), estate.updates)
            refused += [Refusal(host=host, title=str(a.update), reason=a.reason) for a in judged if not a.admitted]
    steps += [*_restarts(estate), *_upgrades(estate), *_checks(estate), *_reopening(estate)]
    return Plan(
        estate=estate.name,
        approval=estate.review.policy,
        scanned=pending is not None and None not in pending.values(),
        steps=tuple(steps),
        source=estate.updates.asked,
        unlocked=tuple(sorted(estate.updates.unlocked)),
        refused=tuple(refused),
    )


def update_step(host: str, admission: Admission, group: int = 0) -> PlanStep:
    """The step that installs an admitted Windows update on ``host``."""
    update = admission.update
    return PlanStep(
        stage="install",
        host=host,
        group=group,
        subject=str(update),
        detail=admission.reason,
        update=update.id,
        revision=update.revision,
        kb=update.kb,
        sha256=update.sha256,
        alone=update.alone,
    )


def _quiesce(estate: Estate) -> Iterator[PlanStep]:
    unless = f"restores service after {duration_text(estate.quiet.restore_after)} without a run, until installs begin"
    for host in estate.hosts:
        yield PlanStep(stage="quiesce", host=host, subject="arm the dead man's switch", detail=unless)
    for host, instance in estate.sql.items():
        for job in instance.agent_jobs.hold:
            yield PlanStep(stage="quiesce", host=host, subject=f"hold Agent job {job}")
    for hook in estate.silences:
        until = "until the window ends" if estate.window else f"for {hook.hours}h"
        yield PlanStep(stage="quiesce", subject=f"silence {hook.silence}", detail=f"{until}, or everything is up again")
    limit = f"at most {duration_text(estate.quiet.deadline)}"
    for host in estate.sql:
        named = [query.name for query in estate.quiet.busy if query.on == host]
        what = ", ".join([*named, "Agent jobs", "backups", "long transactions"])
        yield PlanStep(stage="quiesce", group=1, host=host, subject=f"wait for running work: {what}", detail=limit)
    for site in estate.engageip.sites:
        for host in estate.nodes_of(site.name):
            subject = f"maintenance page instead of {site.name}"
            yield PlanStep(
                stage="quiesce", group=2, host=host, subject=subject, detail=f"checks keep {site.check_binding}"
            )
    for service in estate.engageip.services:
        yield PlanStep(stage="quiesce", group=3, host=estate.engageip.host, subject=f"stop service {service}")


def _backups(estate: Estate) -> Iterator[PlanStep]:
    stores = " and ".join(store.name for store in estate.backup.stores)
    for item in estate.backup_items():
        yield PlanStep(
            stage="backup", host=item.host, subject=str(item).removesuffix(f" of {item.host}"), detail=f"to {stores}"
        )


def _snapshots(estate: Estate) -> Iterator[PlanStep]:
    for hook, host in estate.snapshots():
        detail = f"{hook.severity}, to be deleted within {duration_text(hook.delete_within)}"
        yield PlanStep(stage="snapshot", host=host, subject=f"snapshot by {hook.snapshot}", detail=detail)


def _installs(
    estate: Estate, host: str, wave: int, found: Sequence[FoundUpdate] | None, notes: Mapping[str, str]
) -> Iterator[PlanStep]:
    for package in estate.updates.packages:
        if package.on == host and not isinstance(package, EngageIPUpgrade):
            yield _package(package, "install", wave).model_copy(update={"note": notes.get(package.name, "")})
    if found is None:
        wanted = ", ".join(estate.updates.classifications)
        yield PlanStep(
            stage="install", host=host, group=wave, subject="Windows updates", detail=f"not scanned yet: {wanted}"
        )
        return
    admitted = {a.update.identity: a for a in admit(found, estate.updates) if a.admitted}
    for update in (update for batch in batches(a.update for a in admitted.values()) for update in batch):
        yield update_step(host, admitted[update.identity], wave)


def _package(package: Package, stage: Stage, group: int) -> PlanStep:
    """What a person approves of a package: its bytes, whose they are, and what they must bring."""
    kb = package.kb if isinstance(package, MssqlPatch | MsuPackage) else None
    if isinstance(package, MssqlPatch):
        brings = f"build {package.build}"
    else:
        whose = f"signed by {package.publisher}" if package.publisher else f"unsigned: {package.unsigned}"
        with_ = f", arguments {' '.join(package.arguments)}" if package.arguments else ""
        brings = f"{package.kind}, brings {proof_name(package)}, {whose}{with_}"
    return PlanStep(
        stage=stage,
        host=package.on,
        group=group,
        subject=package.name,
        detail=brings,
        update=package.name,
        kb=(kb,) if kb else (),
        sha256=package.sha256,
        build=package.build if isinstance(package, MssqlPatch) else None,
    )


def _upgrades(estate: Estate) -> Iterator[PlanStep]:
    """One after the other, with EngageIP's pools stopped on every node."""
    for number, package in enumerate(estate.upgrades()):
        yield _package(package, "upgrade", 2 * number)
        schema = package.schema_version
        if schema.script is not None:
            yield PlanStep(
                stage="upgrade",
                host=schema.on,
                group=2 * number + 1,
                subject=f"T-SQL script {file_name(schema.script.source)} in {schema.database}",
                detail=f"brings schema {package.schema_wanted}",
                sha256=schema.script.sha256,
            )


_RESTARTS = {
    "always": "restart, whatever was installed",
    "when-needed": "restart",
    "services-only": "restart services, and Windows only where it asks for that",
}


def _restarts(estate: Estate) -> Iterator[PlanStep]:
    for wave, hosts in enumerate(estate.restart_order(), 1):
        for host in hosts:
            needs = estate.dependencies_of(host)
            after = f"after {', '.join(needs)} {'is' if len(needs) == 1 else 'are'} ready" if needs else ""
            drained = " and ".join(hook.balancer for hook in estate.balancers_of(host))
            detail = ", ".join(filter(None, (after, f"drained by {drained} meanwhile" if drained else "")))
            subject = _RESTARTS[estate.restart.policy]
            yield PlanStep(stage="restart", host=host, group=wave, subject=subject, detail=detail)


def _checks(estate: Estate) -> Iterator[PlanStep]:
    for check in estate.checks:
        if estate.waits_for_billing(check):
            continue
        nodes = estate.nodes_of(check.http) if isinstance(check, HttpCheck) else (check.on,)
        for host in nodes:
            yield PlanStep(stage="check", host=host, subject=check.title, detail=check.severity)


def _reopening(estate: Estate) -> Iterator[PlanStep]:
    for site in estate.engageip.sites:
        for host in estate.nodes_of(site.name):
            yield PlanStep(stage="reopen", host=host, subject=f"open {site.name}")
    for host, instance in estate.sql.items():
        for job in instance.agent_jobs.hold:
            yield PlanStep(stage="reopen", group=1, host=host, subject=f"release Agent job {job}")
    for service in reversed(estate.engageip.services):
        yield PlanStep(stage="reopen", group=2, host=estate.engageip.host, subject=f"start service {service}")
    for check in filter(estate.waits_for_billing, estate.checks):
        yield PlanStep(stage="reopen", group=3, host=estate.engageip.host, subject=check.title, detail=check.severity)
