"""The parts of an estate file, one class per mapping; every field carries what forms and documents need of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from model.words import (
    Address,
    AnyPath,
    BlockName,
    Bucket,
    Build,
    Distinct,
    Duration,
    HostName,
    Kb,
    Label,
    LocalPath,
    Number,
    Prefix,
    Sha256,
    SharePath,
    TimeOfDay,
    Url,
    split_url,
    url_port,
)

Role = Literal["mssql", "iis", "app"]
Transport = Literal["ntlm", "kerberos", "credssp", "certificate", "basic"]
Classification = Literal[
    "security", "critical", "rollups", "service-packs", "servicing-stacks", "updates", "feature-packs", "tools"
]
CLASSIFICATIONS: tuple[str, ...] = get_args(Classification)
SYSTEM_DATABASES = ("master", "model", "msdb")
"""Backed up with every instance: logins, jobs and backup history live there (tempdb never is)."""


class Part(BaseModel):
    """A mapping of the estate file: frozen, and a misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Host(Part):
    """One Windows machine."""

    address: Address = Field(
        title="Address", description="DNS name or IP address that WinRM answers on.", examples=["web01.acme.example"]
    )
    roles: Annotated[tuple[Role, ...], Distinct] = Field(
        title="Roles",
        description="What runs on it: mssql (SQL Server), iis (portals), app (EngageIP services).",
        examples=[["iis", "app"]],
        min_length=1,
    )
    credentials: BlockName = Field(
        title="Credentials", description="Name of the block with the WinRM login.", examples=["winrm-acme"]
    )
    depends_on: Annotated[tuple[HostName, ...], Distinct] | None = Field(
        default=None,
        title="Depends on",
        description="Hosts that must be ready before this one restarts. Unsaid: every mssql host, for a host that is not only mssql.",
        examples=[["sql01"]],
    )
    port: Number | None = Field(
        default=None,
        ge=1,
        le=65535,
        title="WinRM port",
        description="Port of WinRM where it is neither 5985 (HTTP) nor 5986 (HTTPS).",
        examples=[5986],
    )
    transport: Transport | None = Field(
        default=None,
        title="WinRM transport",
        description="How to authenticate, where it is not what the credentials say.",
        examples=["kerberos"],
    )


class AgentJobs(Part):
    """SQL Server Agent jobs of one instance."""

    hold: Annotated[tuple[Label, ...], Distinct] = Field(
        default=(),
        title="Jobs to hold",
        description="Agent jobs whose schedule is disabled while the estate is quiet, and enabled again afterwards.",
        examples=[["EngageIP nightly rating"]],
    )


class SqlInstance(Part):
    """The SQL Server instance of a host."""

    instance: Label = Field(
        default="MSSQLSERVER", title="Instance", description="Instance name.", examples=["MSSQLSERVER"]
    )
    port: Number = Field(
        default=1433, ge=1, le=65535, title="Port", description="TCP port of the instance.", examples=[1433]
    )
    credentials: BlockName = Field(
        title="Credentials", description="Name of the block with the SQL Server login.", examples=["sql-acme"]
    )
    databases: Annotated[tuple[Label, ...], Distinct] = Field(
        title="Databases",
        description="The EngageIP databases and any other critical ones; master, model and msdb are always added.",
        examples=[["EngageIP", "Reporting"]],
        min_length=1,
    )
    agent_jobs: AgentJobs = Field(
        default=AgentJobs(),
        title="Agent jobs",
        description="What happens to SQL Server Agent's jobs while the estate is quiet.",
        examples=[{"hold": ["EngageIP nightly rating"]}],
    )

    @property
    def backup_databases(self) -> tuple[str, ...]:
        """Every database to back up: the system databases first, then the declared ones, none twice."""
        declared = tuple(d for d in self.databases if d.casefold() not in SYSTEM_DATABASES)
        return SYSTEM_DATABASES + declared


class Site(Part):
    """A portal that customers or staff use."""

    name: Label = Field(title="Name", description="Name that checks use.", examples=["AdminPortal"])
    url: Url = Field(
        title="Public URL",
        description="Where people open it; the maintenance page answers there while the estate is patched.",
        examples=["https://billing.acme.example/AdminPortal"],
    )
    check_url: Url = Field(
        title="Private check URL",
        description="A binding of the same site that customers do not use, on a port of its own; {host} stands for the node's address.",
        examples=["http://{host}:8081/AdminPortal"],
    )
    hosts: Annotated[tuple[HostName, ...], Distinct] | None = Field(
        default=None,
        min_length=1,
        title="Nodes",
        description="The hosts that serve it. Unsaid: the EngageIP host.",
        examples=[["web01", "web02"]],
    )
    iis_site: Label | None = Field(
        default=None,
        title="Site in IIS",
        description="Name of the site in IIS, where it is not the name above.",
        examples=["Default Web Site"],
    )

    @property
    def check_binding(self) -> str:
        """The binding that stays with the site behind the maintenance page, as IIS writes it: ``*:8081:``."""
        return f"*:{url_port(self.check_url)}:"

    @property
    def iis_name(self) -> str:
        """The site's name in IIS."""
        return self.iis_site or self.name

    def check_url_on(self, host: str, address: str) -> str:
        """The check URL for one node: ``{host}``, or the node's own name, replaced by its address."""
        url = split_url(self.check_url)
        if url.hostname not in {"{host}", host.casefold()}:
            return self.check_url
        node = f"[{address}]" if ":" in address else address
        return url._replace(netloc=node if url.port is None else f"{node}:{url.port}").geturl()


class EngageIP(Part):
    """The billing application."""

    host: HostName = Field(title="Host", description="Host it is installed on.", examples=["web01"])
    folder: LocalPath = Field(
        title="Installation folder",
        description="Its program files, backed up before patching.",
        examples=[r"C:\Program Files\LogiSense\EngageIP"],
    )
    services: Annotated[tuple[Label, ...], Distinct] = Field(
        title="Services",
        description="Windows services of EngageIP, as services.msc names them; stopped in this order, started in reverse.",
        examples=[["EngageIP Job Service"]],
    )
    sites: tuple[Site, ...] = Field(
        title="Sites",
        description="Its portals.",
        examples=[
            [
                {
                    "name": "AdminPortal",
                    "url": "https://billing.acme.example/AdminPortal",
                    "check_url": "http://{host}:8081/AdminPortal",
                }
            ]
        ],
        min_length=1,
    )


class ShareStore(Part):
    """A Windows share that backups go to."""

    share: SharePath = Field(
        title="Share", description="The share, on a machine that is not patched here.", examples=[r"\\nas01\billing"]
    )
    credentials: BlockName = Field(
        title="Credentials", description="Name of the block with the share's login.", examples=["nas-acme"]
    )

    @property
    def name(self) -> str:
        """The store as records and messages name it."""
        return self.share


class S3Store(Part):
    """An S3 bucket that backups go to."""

    s3: Bucket = Field(title="S3 bucket", description="The bucket.", examples=["acme-backups"])
    prefix: Prefix = Field(default="", title="Prefix", description="Folder in the bucket.", examples=["billing/"])
    credentials: BlockName = Field(
        title="Credentials", description="Name of the block with the bucket's keys.", examples=["s3-acme"]
    )

    @property
    def name(self) -> str:
        """The store as records and messages name it."""
        return f"s3://{self.s3}/{self.prefix}"


def _store_tag(value: object) -> str | None:
    if isinstance(value, ShareStore) or (isinstance(value, dict) and "share" in value):
        return "ShareStore"
    return "S3Store" if isinstance(value, S3Store) or (isinstance(value, dict) and "s3" in value) else None


Store = Annotated[
    Annotated[ShareStore, Tag("ShareStore")] | Annotated[S3Store, Tag("S3Store")], Discriminator(_store_tag)
]


class Backup(Part):
    """What is backed up besides databases and the installation folder, and where to."""

    folders: dict[HostName, Annotated[tuple[LocalPath, ...], Distinct]] = Field(
        default={},
        title="Working folders",
        description="Folders to back up, by host.",
        examples=[{"web01": [r"D:\Work"]}],
    )
    stores: tuple[Store, ...] = Field(
        title="Stores",
        description="Where every backup goes, off the servers: shares and S3 buckets. A backup counts when all of them hold it.",
        examples=[[{"share": r"\\nas01\billing", "credentials": "nas-acme"}]],
        min_length=1,
    )
    max_age: Duration | None = Field(
        default=None,
        title="Maximal age",
        description="How old a backup may be that was started before the estate was quiet; what was written since would be lost. Unsaid: none counts.",
        examples=["2h"],
    )
    staging: dict[HostName, LocalPath] = Field(
        default={},
        title="Staging folders",
        description="Where a host writes its archives before they are sent, where that is not its data drive for this system.",
        examples=[{"sql01": r"E:\Staging"}],
    )


class MssqlPatch(Part):
    """A SQL Server security patch (GDR), cumulative update or service pack, from its own package."""

    kind: Literal["mssql-patch"] = Field(
        title="Kind", description="What sort of package it is: mssql-patch.", examples=["mssql-patch"]
    )
    name: Label = Field(title="Name", description="What people call it.", examples=["SQL Server 2019 CU32"])
    on: HostName = Field(title="Host", description="The mssql host that it is installed on.", examples=["sql01"])
    source: AnyPath = Field(
        title="Source",
        description="The package's file, on the host or on a share that the host pulls it from.",
        examples=[r"\\nas01\billing\packages\SQLServer2019-KB5054833-x64.exe"],
    )
    sha256: Sha256 = Field(
        title="SHA-256", description="The file's hash, checked on the host before it runs.", examples=["9f86d081" * 8]
    )
    build: Build = Field(
        title="Build",
        description="ProductVersion of the instance once it is installed: the proof that it is.",
        examples=["15.0.4430.1"],
    )
    kb: Kb | None = Field(default=None, title="KB", description="Its KB number.", examples=["KB5054833"])
    arguments: tuple[Label, ...] = Field(
        default=(),
        title="Arguments",
        description="Further setup arguments, besides /quiet, /IAcceptSQLServerLicenseTerms, /Action=Patch and /InstanceName.",
        examples=[["/SkipRules=RebootRequiredCheck"]],
    )
    credentials: BlockName | None = Field(
        default=None,
        title="Credentials",
        description="Name of the block with the login of the source's share, where it is not one of the backup stores.",
        examples=["nas-acme"],
    )


Package = MssqlPatch
"""What ``updates.packages`` holds; msi, exe, msu and engageip-upgrade join as a union discriminated by ``kind``."""


class Updates(Part):
    """Which updates are wanted."""

    classifications: Annotated[tuple[Classification, ...], Distinct] = Field(
        default=("security", "critical"),
        title="Classifications",
        description="Classes of Windows updates to install.",
        examples=[["security", "critical"]],
    )
    kb_accept: Annotated[tuple[Kb, ...], Distinct] = Field(
        default=(),
        title="KBs to accept",
        description="KBs to install whatever their class.",
        examples=[["KB5034439"]],
    )
    kb_reject: Annotated[tuple[Kb, ...], Distinct] = Field(
        default=(), title="KBs to reject", description="KBs never to install.", examples=[["KB5044284"]]
    )
    packages: tuple[Package, ...] = Field(
        default=(),
        title="Packages",
        description="Patches that come as a file: SQL Server patches.",
        examples=[
            [
                {
                    "kind": "mssql-patch",
                    "name": "SQL Server 2019 CU32",
                    "on": "sql01",
                    "source": r"\\nas01\billing\packages\SQLServer2019-KB5054833-x64.exe",
                    "sha256": "9f86d081" * 8,
                    "build": "15.0.4430.1",
                }
            ]
        ],
    )


class Window(Part):
    """The maintenance window, in the estate's time zone."""

    start: TimeOfDay = Field(title="Start", description="Time of day it opens.", examples=["03:00"])
    hours: Number = Field(title="Hours", description="How long it is open.", examples=[4], ge=1, le=24)


class Restart(Part):
    """How hosts are restarted."""

    max_unavailable: Number = Field(
        default=1,
        ge=1,
        le=50,
        title="At once",
        description="How many hosts that do not depend on each other may be down at the same time.",
        examples=[1],
    )
    deadline: Duration = Field(
        default=timedelta(hours=1),
        title="Deadline",
        description="How long a host may take to be ready again; after patches ten minutes are too short.",
        examples=["1h"],
    )


class Notify(Part):
    """Who is told when a person is needed."""

    webhook: BlockName | None = Field(
        default=None, title="Webhook", description="Name of the block with the webhook that pages.", examples=["pager"]
    )


class Review(Part):
    """Who approves a plan."""

    policy: Literal["auto", "approve"] = Field(
        default="auto",
        title="Policy",
        description="auto: what the update policy admits is installed; approve: a person approves each plan first.",
        examples=["approve"],
    )
