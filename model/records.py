"""What tasks return and the report shows: frozen records of facts, with every time aware and in UTC, sizes in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator


class Record(BaseModel):
    """A fact of our own making: frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Answer(BaseModel):
    """A fact that a host told: frozen; fields that we do not know are kept, an unknown value is an error."""

    model_config = ConfigDict(frozen=True, extra="allow")


# What a host is ------------------------------------------------------------------------------------------------------


class OperatingSystem(Answer):
    """Windows, as Win32_OperatingSystem tells."""

    caption: str
    version: str
    build: str
    ubr: int | None = None
    domain_role: int

    @property
    def full_build(self) -> str:
        """``10.0.17763.5576``: version and update build revision; without the revision where it is unknown."""
        return self.version if self.ubr is None else f"{self.version}.{self.ubr}"

    @property
    def is_domain_controller(self) -> bool:
        """True for roles 4 and 5 of Win32_ComputerSystem.DomainRole."""
        return self.domain_role in {4, 5}


class Drive(Answer):
    """A fixed drive."""

    letter: str
    size: int
    free: int


class PendingReboot(Answer):
    """The signals that a restart is due, each independent of the others."""

    cbs_reboot_pending: bool = False
    windows_update: bool = False
    packages_pending: bool = False
    file_renames: tuple[str, ...] = ()

    @field_validator("file_renames", mode="before")
    @classmethod
    def _none_is_empty(cls, value: Any) -> Any:
        return () if value is None else value


class Service(Answer):
    """A Windows service; status and start mode are None where it does not exist."""

    name: str
    exists: bool = True
    status: str | None = None
    start_mode: str | None = None


class HostFacts(Answer):
    """A host as Get-HostFacts found it."""

    host: str
    computer: str
    os: OperatingSystem
    powershell: str
    now: AwareDatetime
    last_boot: AwareDatetime
    boot_id: str | None = None
    drives: tuple[Drive, ...] = ()
    pending_reboot: PendingReboot = PendingReboot()
    services: tuple[Service, ...] = ()
    cluster: bool = False
    lease: dict[str, Any] | None = None
    quiesce: dict[str, Any] | None = None

    @classmethod
    def of(cls, host: str, answer: Mapping[str, Any]) -> Self:
        """The facts in the answer of Get-HostFacts; ``host`` is the name that the estate knows it by."""
        return cls.model_validate({**answer, "host": host})

    @field_validator("drives", "services", mode="before")
    @classmethod
    def _none_is_empty(cls, value: Any) -> Any:
        return () if value is None else value

    def service(self, name: str) -> Service | None:
        """The service of that name, case folded as Windows does; None where it was not asked for."""
        return next((s for s in self.services if s.name.casefold() == name.casefold()), None)


# What was done -------------------------------------------------------------------------------------------------------


class QuiesceRecord(Record):
    """The estate was made quiet."""

    number: int = Field(ge=1)
    started: AwareDatetime
    quiet_at: AwareDatetime
    """When nothing ran any more and nothing could start: what is backed up after this misses nothing."""
    waited_for: tuple[str, ...] = ()
    held_services: dict[str, tuple[str, ...]] = {}
    """By host."""
    held_jobs: dict[str, tuple[str, ...]] = {}
    """SQL Server Agent jobs, by host."""

    @property
    def seconds_waited(self) -> float:
        """How long it took, in seconds."""
        return (self.quiet_at - self.started).total_seconds()


class BackupRecord(Record):
    """One backup in one store; the same item in two stores makes two records."""

    kind: Literal["files", "installation", "iis", "database"]
    host: str
    subject: str
    store: str
    """As ``Store.name`` of the estate: the share, or ``s3://bucket/prefix``."""
    path: str
    size: int = Field(ge=0)
    sha256: str | None
    started: AwareDatetime
    ended: AwareDatetime | None
    verified: bool
    """Read again where it lies, and found whole: hash, and for databases RESTORE VERIFYONLY WITH CHECKSUM."""
    quiesce: int | None = None
    """Number of the quiesce whose job made it."""
    job: str | None = None
    remark: str | None = None
    """What is wrong with it; of a verified one, what people should know (its files were read while they were open)."""

    @property
    def complete(self) -> bool:
        """Ended, and something is there."""
        return self.ended is not None and self.size > 0


class UpdateRecord(Record):
    """One update on one host, and what became of it."""

    host: str
    update: str
    """UpdateID of Windows Update, or the package's name."""
    revision: int | None = None
    kb: str | None = None
    title: str
    kind: Literal["windows-update", "mssql-patch", "msi", "exe", "msu", "powershell", "engageip-upgrade"]
    result: Literal["installed", "reboot-pending", "not-needed", "not-tried", "failed", "unknown"]
    """not-tried: something else comes first (a restart, another update), and the next round tries it."""
    hresult: str | None = None
    tries: tuple[str, ...] = ()
    """The HRESULTs of the tries that failed, or that nothing came of, oldest first: what bounds them."""
    remark: str | None = None
    started: AwareDatetime
    ended: AwareDatetime | None = None
    verified_by: str | None = None
    """The evidence (``rescan``, ``build 15.0.4430.1``), never an exit code; None until there is some."""
    restart: bool | None = None
    """Whether its host must restart for it; None: as its result says."""
    restarting: bool = False
    """Whether its installer has set the host to restart: it goes down by itself, at any moment."""

    @property
    def known_as(self) -> str:
        """What a table shows before the title: its KB, else what kind of package it is."""
        names = {"msi": "MSI", "exe": "EXE", "msu": "MSU", "powershell": "PowerShell", "engageip-upgrade": "EngageIP"}
        return self.kb or names.get(self.kind, "-")


class Caution(Record):
    """What preflight saw on a host that does not stop the night, and that people should know."""

    host: str
    text: str

    def __str__(self) -> str:
        return f"{self.host}: {self.text}"


class LaterUpdate(Record):
    """An update that policy would admit, and that appeared only after the list was frozen: it waits for the next review."""

    host: str
    update: str
    revision: int | None = None
    kb: str | None = None
    title: str
    round: int
    """Of the rescan that found it."""


class RestartRecord(Record):
    """One restart of one host."""

    host: str
    asked: AwareDatetime
    down: AwareDatetime | None = None
    ready: AwareDatetime | None = None
    waited_for: tuple[str, ...] = ()
    """The hosts whose readiness it waited for before it was asked."""
    remark: str | None = None

    @property
    def seconds_down(self) -> float | None:
        """From the request (or from when it was seen going down) to readiness, in seconds; None if never ready."""
        if self.ready is None:
            return None
        return (self.ready - (self.down or self.asked)).total_seconds()


class CheckRecord(Record):
    """One check and its outcome."""

    name: str
    host: str
    severity: Literal["must", "should"]
    status: Literal["passed", "failed", "not-run"]
    detail: str = ""
    seconds: float = 0.0
    site: str | None = None

    @property
    def blocks_reopening(self) -> bool:
        """True for a must check that has not passed: a check that did not run proves nothing."""
        return self.severity == "must" and self.status != "passed"


HookAct = Literal["taken", "begun", "ended", "drained", "undrained"]


class HookRecord(Record):
    """What a system around the estate was asked to do, and whether it has proven it."""

    kind: Literal["snapshot", "silence", "balancer"]
    hook: str
    """What people call the system."""
    host: str | None = None
    act: HookAct
    status: Literal["done", "adopted", "failed"]
    id: str | None = None
    detail: str = ""
    severity: Literal["must", "should"] = "should"
    started: AwareDatetime
    ended: AwareDatetime
    until: AwareDatetime | None = None
    """When a silence ends by itself, or a snapshot must have been deleted."""

    @property
    def what(self) -> str:
        """The act in people's words."""
        return {
            "taken": "snapshot",
            "begun": "silence",
            "ended": "end of silence",
            "drained": "drain",
            "undrained": "undrain",
        }[self.act]

    def __str__(self) -> str:
        return f"{self.what}{f' of {self.host}' if self.host else ''} by {self.hook}"


class StepRecord(Record):
    """One step of the runbook, as the report's timeline shows it."""

    step: str
    subject: str
    status: Literal["done", "adopted", "skipped", "failed"]
    started: AwareDatetime
    ended: AwareDatetime | None = None
    detail: str = ""

    @property
    def seconds(self) -> float | None:
        """How long it took, in seconds; None while it has not ended."""
        return None if self.ended is None else (self.ended - self.started).total_seconds()


class RunOutcome(Record):
    """The last word of a run."""

    verdict: Literal["succeeded", "nothing-to-do", "stopped", "failed", "half-open"]
    """stopped: nothing was changed, everything is up. failed: something was changed or is down. half-open: portals
    stay behind the maintenance page, and a person is needed."""
    headline: str
    up: tuple[str, ...] = ()
    down: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    next_command: str | None = None
    """The exact next command for a person; None where there is nothing to do."""
    way_back: tuple[str, ...] = ()
    """What a person can do about a half-patched SQL Server or EngageIP, the gentlest first."""

    @property
    def succeeded(self) -> bool:
        """True where nobody needs to look."""
        return self.verdict in {"succeeded", "nothing-to-do"}
