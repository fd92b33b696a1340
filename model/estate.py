"""The estate: the servers, databases, folders, sites and checks of one EngageIP installation, from its YAML file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, ValidationError

from model.backups import Backup, S3Store, ShareStore, Store
from model.checks import (
    BusyQuery,
    Check,
    EventLogCheck,
    HttpCheck,
    Quiet,
    ServiceCheck,
    Severity,
    SqlCheck,
)
from model.estate_faults import faults_of
from model.estate_file import EstateFaults, Fault, Place, read_document
from model.estate_rules import rule_faults
from model.hooks import BalancerHook, CommandCall, Hook, HttpCall, SilenceHook, SnapshotHook, calls_of
from model.order import default_dependencies, waves
from model.packages import EngageIPUpgrade
from model.parts import (
    SYSTEM_DATABASES,
    AgentJobs,
    Canary,
    EngageIP,
    Host,
    Jobs,
    Notify,
    Part,
    Restart,
    Review,
    Role,
    Site,
    SqlInstance,
    Window,
)
from model.wanted import CLASSIFICATIONS, MssqlPatch, Package, Updates
from model.words import EstateName, HostName, TimeZoneName

__all__ = [
    "CLASSIFICATIONS",
    "SYSTEM_DATABASES",
    "AgentJobs",
    "Backup",
    "BackupItem",
    "BusyQuery",
    "Canary",
    "Check",
    "EngageIP",
    "EngageIPUpgrade",
    "Estate",
    "EstateFaults",
    "EventLogCheck",
    "Fault",
    "Host",
    "HttpCheck",
    "Jobs",
    "MssqlPatch",
    "Notify",
    "Package",
    "Place",
    "Quiet",
    "Restart",
    "Review",
    "Role",
    "S3Store",
    "ServiceCheck",
    "Severity",
    "ShareStore",
    "Site",
    "SqlCheck",
    "SqlInstance",
    "Store",
    "Updates",
    "Window",
    "load_estate",
]

CredentialKind = Literal["winrm", "sql", "share", "s3", "webhook", "api"]
BackupKind = Literal["files", "installation", "iis", "database"]


@dataclass(frozen=True)
class BackupItem:
    """One thing to back up: a folder (``files``, ``installation``), a host's IIS configuration, or a database."""

    kind: BackupKind
    host: str
    subject: str

    def __str__(self) -> str:
        what = {"files": "folder", "installation": "installation folder", "iis": "", "database": "database"}[self.kind]
        return f"{what} {self.subject} of {self.host}".strip()


class Estate(Part):
    """One EngageIP installation and everything that patching it needs to know; credentials only by block name."""

    estate: EstateName = Field(title="Estate", description="Name of the estate.", examples=["acme-billing"])
    timezone: TimeZoneName = Field(
        title="Time zone", description="IANA time zone of the window.", examples=["America/Toronto"]
    )
    hosts: dict[HostName, Host] = Field(
        title="Hosts",
        description="The Windows machines, by the name that the rest of the file uses.",
        examples=[{"web01": {"address": "web01.acme.example", "roles": ["iis", "app"], "credentials": "winrm-acme"}}],
        min_length=1,
    )
    sql: dict[HostName, SqlInstance] = Field(
        title="SQL Server",
        description="The instance of each mssql host.",
        examples=[{"sql01": {"credentials": "sql-acme", "databases": ["EngageIP", "Reporting"]}}],
        min_length=1,
    )
    engageip: EngageIP = Field(
        title="EngageIP",
        description="The billing application.",
        examples=[{"host": "web01", "folder": r"C:\Program Files\LogiSense\EngageIP", "services": [], "sites": []}],
    )
    backup: Backup = Field(
        title="Backup",
        description="Folders to back up, and the stores that backups go to.",
        examples=[{"stores": [{"share": r"\\nas01\billing", "credentials": "nas-acme"}]}],
    )
    updates: Updates = Field(
        default=Updates(),
        title="Updates",
        description="Which updates are wanted.",
        examples=[{"classifications": ["security", "critical"]}],
    )
    quiet: Quiet = Field(
        default=Quiet(),
        title="Quiet",
        description="How to wait for billing runs and payment batches.",
        examples=[{"deadline": "30m"}],
    )
    canary: Canary = Field(
        default=Canary(),
        title="Canary",
        description="The job that proves days before that a host lets jobs do their work.",
        examples=[{"max_age": "14d"}],
    )
    jobs: Jobs = Field(
        default=Jobs(), title="Jobs", description="What is kept of jobs on the hosts.", examples=[{"keep_days": 90}]
    )
    review: Review = Field(
        default=Review(), title="Review", description="Who approves a plan.", examples=[{"policy": "auto"}]
    )
    checks: tuple[Check, ...] = Field(
        title="Checks",
        description="What must work afterwards; at least one with severity must.",
        examples=[[{"http": "AdminPortal"}, {"service": "W3SVC", "on": "web01"}]],
        min_length=1,
    )
    window: Window | None = Field(
        default=None,
        title="Window",
        description="When patching is allowed. Unsaid: always.",
        examples=[{"start": "03:00", "hours": 4}],
    )
    restart: Restart = Field(
        default=Restart(), title="Restart", description="How hosts are restarted.", examples=[{"max_unavailable": 1}]
    )
    hooks: tuple[Hook, ...] = Field(
        default=(),
        title="Hooks",
        description="What is asked of the systems around the estate: snapshots, silence, load balancers.",
        examples=[[{"silence": "zabbix", "begin": {"command": ["/opt/ops/silence", "{until}"]}}]],
    )
    notify: Notify = Field(
        default=Notify(), title="Notify", description="Who is paged.", examples=[{"webhook": "pager"}]
    )

    @property
    def name(self) -> str:
        """The estate's name."""
        return self.estate

    def hosts_with(self, role: Role) -> tuple[str, ...]:
        """The names of the hosts that have ``role``, in the file's order."""
        return tuple(name for name, host in self.hosts.items() if role in host.roles)

    def dependencies_of(self, host: str) -> tuple[str, ...]:
        """The hosts that must be ready before ``host`` restarts: as declared, else the mssql hosts."""
        declared = self.hosts[host].depends_on
        if declared is not None:
            return declared
        return default_dependencies(host, {name: one.roles for name, one in self.hosts.items()})

    def restart_order(self) -> tuple[tuple[str, ...], ...]:
        """The hosts in waves: each depends only on hosts of earlier waves; SQL Servers first, then IIS."""
        return waves({host: self.dependencies_of(host) for host in self.hosts})

    def nodes_of(self, site: str) -> tuple[str, ...]:
        """The hosts that serve ``site``; KeyError for a site that the estate does not have."""
        return self.site(site).hosts or (self.engageip.host,)

    def site(self, name: str) -> Site:
        """The site of that name; KeyError for one that the estate does not have."""
        for site in self.engageip.sites:
            if site.name == name:
                return site
        raise KeyError(name)

    def sites_on(self, host: str) -> tuple[Site, ...]:
        """The sites that ``host`` serves."""
        return tuple(site for site in self.engageip.sites if host in self.nodes_of(site.name))

    def check_url(self, site: str, host: str) -> str:
        """The private check URL of ``site`` on ``host``, with the node's address in it."""
        return self.site(site).check_url_on(host, self.hosts[host].address)

    def services_on(self, host: str) -> tuple[str, ...]:
        """EngageIP's services on ``host``: those declared, on the EngageIP host; none elsewhere."""
        return self.engageip.services if host == self.engageip.host else ()

    def waits_for_billing(self, check: Check) -> bool:
        """Whether it asks for a service of EngageIP, which is started last of all: only then it can pass."""
        ours = {name.casefold() for name in self.services_on(self.engageip.host)}
        return isinstance(check, ServiceCheck) and check.on == self.engageip.host and check.service.casefold() in ours

    def upgrades(self) -> tuple[EngageIPUpgrade, ...]:
        """The upgrades of EngageIP, in the order of the file."""
        return tuple(package for package in self.updates.packages if isinstance(package, EngageIPUpgrade))

    @property
    def silences(self) -> tuple[SilenceHook, ...]:
        """The hooks that silence monitoring."""
        return tuple(hook for hook in self.hooks if isinstance(hook, SilenceHook))

    def snapshots(self) -> tuple[tuple[SnapshotHook, str], ...]:
        """Every snapshot to take: its hook, and the host."""
        return tuple((h, host) for h in self.hooks if isinstance(h, SnapshotHook) for host in h.hosts or self.hosts)

    def balancers_of(self, host: str) -> tuple[BalancerHook, ...]:
        """The load balancers that send customers to ``host``."""
        hooks = (hook for hook in self.hooks if isinstance(hook, BalancerHook))
        return tuple(hook for hook in hooks if host in (hook.hosts or self.hosts_with("iis")))

    def backup_items(self) -> tuple[BackupItem, ...]:
        """Everything that must be backed up before anything is installed."""
        items = [
            BackupItem("files", host, folder) for host, folders in self.backup.folders.items() for folder in folders
        ]
        items.append(BackupItem("installation", self.engageip.host, self.engageip.folder))
        items += [BackupItem("iis", host, "IIS configuration") for host in self.hosts_with("iis")]
        items += [
            BackupItem("database", host, database)
            for host, instance in self.sql.items()
            for database in instance.backup_databases
        ]
        return tuple(items)

    def credentials_names(self) -> dict[str, CredentialKind]:
        """Every block that this estate names, and the kind it must have."""
        names: dict[str, CredentialKind] = {host.credentials: "winrm" for host in self.hosts.values()}
        names |= {instance.credentials: "sql" for instance in self.sql.values()}
        for store in self.backup.stores:
            names[store.credentials] = "share" if isinstance(store, ShareStore) else "s3"
        scripts = [p.schema_version.script for p in self.updates.packages if isinstance(p, EngageIPUpgrade)]
        for file in (*self.updates.packages, *scripts):
            if file is not None and file.credentials:
                names[file.credentials] = "s3" if file.source.casefold().startswith("s3://") else "share"
        if self.updates.credentials:
            names[self.updates.credentials] = "share"
        for call in (call for hook in self.hooks for call in calls_of(hook)):
            if isinstance(call, HttpCall | CommandCall) and call.credentials:
                names[call.credentials] = "api"
        if self.notify.webhook:
            names[self.notify.webhook] = "webhook"
        return names


def load_estate(text: str | bytes, source: str) -> Estate:
    """The estate that ``text`` declares; ``source`` is the file's name as messages show it.

    Raises EstateFaults with every fault of the file at once, and nothing else.
    """
    document = read_document(text, source)
    faults = list(document.faults)
    told = {fault.path for fault in faults}
    estate = None
    try:
        estate = Estate.model_validate(document.data)
    except ValidationError as error:
        faults += [fault for fault in faults_of(error, document, Estate) if fault.path not in told]
    told |= {fault.path for fault in faults}
    faults += [fault for fault in rule_faults(document) if fault.path not in told]
    if faults or estate is None:
        raise EstateFaults(faults)
    return estate
