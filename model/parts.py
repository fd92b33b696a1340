"""The parts of an estate file, one class per mapping; every field carries what forms and documents need of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field

from model.words import (
    Address,
    BlockName,
    Distinct,
    Duration,
    HostName,
    Label,
    LocalPath,
    Number,
    TimeOfDay,
    Url,
    split_url,
    url_port,
)

Role = Literal["mssql", "iis", "app"]
Transport = Literal["ntlm", "kerberos", "credssp", "certificate", "basic"]
SYSTEM_DATABASES = ("master", "model", "msdb")
"""Backed up with every instance: logins, jobs and backup history live there (tempdb never is)."""


class Part(BaseModel):
    """A mapping of the estate file: frozen, and a misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def by_first_field(*kinds: type[Part]) -> Discriminator:
    """Tells mappings of several kinds apart by the first field of each: ``http``, ``service``."""

    def tag(value: object) -> str | None:
        for kind in kinds:
            if isinstance(value, kind) or (isinstance(value, dict) and next(iter(kind.model_fields)) in value):
                return kind.__name__
        return None

    return Discriminator(tag)


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
    kerberos_name: Address | None = Field(
        default=None,
        title="Kerberos name",
        description="What the domain knows the host by (its SPN), where the address is an alias or an IP address.",
        examples=["web01.acme.example"],
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
    known_as: Address | None = Field(
        default=None,
        title="Known to EngageIP as",
        description="The server's name in EngageIP's own connection string, without instance and port: web servers must "
        "reach it by that name. Unsaid: the host's address.",
        examples=["sql01.acme.example"],
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
    script_upgrade: Duration = Field(
        default=timedelta(minutes=30),
        title="Script upgrade",
        description="How long the scripts of a patch may take at the instance's first start; nobody but administrators can log in meanwhile.",
        examples=["30m"],
    )

    @property
    def backup_databases(self) -> tuple[str, ...]:
        """Every database to back up: the declared ones, then the system databases, none twice."""
        declared = tuple(d for d in self.databases if d.casefold() not in SYSTEM_DATABASES)
        return declared + SYSTEM_DATABASES


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


class Window(Part):
    """The maintenance window, in the estate's time zone."""

    start: TimeOfDay = Field(title="Start", description="Time of day it opens.", examples=["03:00"])
    hours: Number = Field(title="Hours", description="How long it is open.", examples=[4], ge=1, le=24)


class Restart(Part):
    """How hosts are restarted."""

    policy: Literal["always", "when-needed", "services-only"] = Field(
        default="when-needed",
        title="Policy",
        description="when-needed: Windows restarts where something was installed, or waits for a restart; always: every "
        "host restarts once; services-only: where Windows does not ask for a restart, only SQL Server, IIS and EngageIP do.",
        examples=["services-only"],
    )
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
    ignore_services: Annotated[tuple[Label, ...], Distinct] = Field(
        default=(),
        title="Services to ignore",
        description="Windows services that need not run again after a restart, although they ran before it.",
        examples=[["edgeupdate"]],
    )


class Notify(Part):
    """Who is told when a person is needed."""

    webhook: BlockName | None = Field(
        default=None, title="Webhook", description="Name of the block with the webhook that pages.", examples=["pager"]
    )


class Canary(Part):
    """The job that proves on each host, days before, that jobs can do their work there."""

    max_age: Duration = Field(
        default=timedelta(days=14),
        title="Maximal age",
        description="How old the last successful canary of a host may be; patching refuses a host with an older one, or none.",
        examples=["14d"],
    )


class Jobs(Part):
    """What is kept of jobs on the hosts."""

    keep_days: Number = Field(
        default=90,
        ge=7,
        le=3650,
        title="Days to keep",
        description="After a successful run, jobs of earlier runs that ended longer ago are removed from the hosts.",
        examples=[90],
    )


class Review(Part):
    """Who approves a plan."""

    policy: Literal["auto", "approve"] = Field(
        default="auto",
        title="Policy",
        description="auto: what the update policy admits is installed; approve: a person approves each plan first.",
        examples=["approve"],
    )
