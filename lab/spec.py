"""What an estate of the lab contains, as data: hosts and their roles, databases, sites, updates, folders."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from lab.files import AGENT, ENGAGEIP, VIEWER, FileSpec

INSTALLATION = r"C:\Program Files\LogiSense\EngageIP"

_CLASSIFICATIONS = {
    "Security Updates": "0fa1201d-4330-4fa8-8ae9-b877473b6441",
    "Critical Updates": "e6cf1350-c01b-414d-a61f-263d14d133b4",
    "Definition Updates": "e0789628-ce08-4437-be74-2495b842f43b",
    "Upgrades": "3689bdc8-b205-4af4-8d4a-a63924c5e9d5",
    "Update Rollups": "28bc880e-0592-4cbf-8f95-c79b17911d5f",
    "Updates": "cd5ffd1e-e932-4e3a-bf74-18bf0b1bbd83",
}


@dataclass(frozen=True)
class UpdateSpec:
    """An update that Windows Update offers a host; ``ubr`` is the OS revision that it brings (cumulative updates)."""

    kb: str
    title: str
    classification: str = "Security Updates"
    product: str = "Windows Server 2019"
    reboot: int = 1
    ubr: int | None = None
    more: dict[str, Any] = field(default_factory=dict)
    """Further keys of ``updates.json``."""

    @property
    def id(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"lab:update:{self.kb}:{self.title}"))

    def state(self) -> dict[str, Any]:
        """The update as ``updates.json`` holds it."""
        product = {"name": self.product, "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"lab:product:{self.product}"))}
        classification = {"name": self.classification, "id": _CLASSIFICATIONS[self.classification]}
        revision = {"ubr": self.ubr} if self.ubr is not None else {}
        return {
            "id": self.id,
            "revision": 200,
            "title": f"{self.title} ({self.kb})",
            "kb": [self.kb.removeprefix("KB")],
            "severity": "Critical" if self.classification == "Security Updates" else "",
            "categories": [classification, product],
            "type": "Software",
            "size": 40_000_000,
            "reboot": self.reboot,
            "impact": 0,
            "installed": False,
            **revision,
            **self.more,
        }


CUMULATIVE = UpdateSpec(
    "KB5034127", "2024-01 Cumulative Update for Windows Server 2019 for x64-based Systems", ubr=5329
)
DOTNET = UpdateSpec("KB5033904", "2024-01 Security Update for .NET Framework 4.7.2 for Windows Server 2019", reboot=2)
# Three that are offered and must not be taken: daily definitions, an upgrade of Windows, a patch of another product.
DEFENDER = UpdateSpec(
    "KB2267602", "Security Intelligence Update for Microsoft Defender Antivirus", "Definition Updates",
    "Microsoft Defender Antivirus", reboot=0,
)  # fmt: skip
UPGRADE = UpdateSpec("KB5044284", "Windows Server 2025", "Upgrades", "Windows Server 2025", reboot=1)
SQL_GDR = UpdateSpec(
    "KB5029377", "Security Update for SQL Server 2019 RTM GDR", product="Microsoft SQL Server 2019", reboot=2
)


# A night of three rounds, on Windows Server 2016: the servicing stack first, then what it unlocks, then what that unlocks.
SERVICING_STACK = UpdateSpec(
    "KB5034862", "2024-02 Servicing Stack Update for Windows Server 2016 for x64-based Systems", reboot=0
)
UNLOCKED = UpdateSpec(
    "KB5034767", "2024-02 Cumulative Update for Windows Server 2016 for x64-based Systems", ubr=5400,
    more={"requires": [SERVICING_STACK.id]},
)  # fmt: skip
UNLOCKED_BY_CUMULATIVE = UpdateSpec(
    "KB5034619", "2024-02 Cumulative Update for .NET Framework 4.8 for Windows Server 2016", reboot=2,
    more={"requires": [UNLOCKED.id]},
)  # fmt: skip
# Offered beside the servicing stack, and refused unless that one went in before it.
NEEDS_STACK = UpdateSpec(
    "KB5034795", "2024-02 Security Update for Windows Server 2016", reboot=2, more={"needs_stack": [SERVICING_STACK.id]}
)
EXCLUSIVE = UpdateSpec(
    "KB890830", "Windows Malicious Software Removal Tool x64 - v5.121", "Update Rollups", more={"impact": 2}
)
# Offered at first, kept out of round 1 by the restart that another wants, and superseded by round 2.
SUPERSEDED = UpdateSpec(
    "KB5034119", "2024-01 Cumulative Update for Windows Server 2016 for x64-based Systems", ubr=5329,
    more={"superseded_by": [UNLOCKED.id]},
)  # fmt: skip
# What appears only after the list was frozen, and waits for the next review.
APPEARS_LATER = UpdateSpec(
    "KB5036899", "2024-04 Security Update for Windows Server 2016", reboot=2, more={"requires": [UNLOCKED.id]}
)
HIDDEN = UpdateSpec("KB5001716", "Update for Windows Update Service components", more={"hidden": True})
BROWSE_ONLY = UpdateSpec("KB5034441", "2024-01 Security Update for optional features", more={"browse_only": True})
WITH_TERMS = UpdateSpec("KB5011048", "Microsoft .NET Framework 4.8.1 for Windows Server 2016", more={"eula": True})
LACKING = UpdateSpec(
    "KB4589210", "2021-01 Security Update for Windows Server 2016 (microcode)", reboot=2,
    more={"lacks": ["MsrcSeverity", "InstallationBehavior", "SupportUrl", "LastDeploymentChangeTime"]},
)  # fmt: skip


@dataclass(frozen=True)
class PackageSpec:
    """A SQL Server patch as a file on the share."""

    name: str = "SQL Server 2019 CU32"
    kb: str = "KB5054833"
    build: str = "15.0.4430.1"

    @property
    def file(self) -> str:
        return f"SQLServer2019-{self.kb}-x64.exe"


@dataclass(frozen=True)
class SiteSpec:
    """A portal: its public port, and the private one by which it is checked."""

    name: str
    port: int
    check_port: int


ADMIN_PORTAL = SiteSpec("AdminPortal", 8080, 8081)
CUSTOMER_PORTAL = SiteSpec("Portal", 8090, 8091)


@dataclass(frozen=True)
class HostSpec:
    """A machine; ``ubr`` is the revision of Windows that it starts with."""

    name: str
    roles: tuple[str, ...]
    updates: tuple[UpdateSpec, ...] = (CUMULATIVE, DEFENDER, UPGRADE)
    ubr: int = 5206


@dataclass(frozen=True)
class LabSpec:
    """An estate: one SQL Server host, one or more IIS hosts (the first of them runs EngageIP's services)."""

    estate: str
    hosts: tuple[HostSpec, ...]
    databases: tuple[str, ...] = ("EngageIP", "Reporting")
    sites: tuple[SiteSpec, ...] = (ADMIN_PORTAL, CUSTOMER_PORTAL)
    services: tuple[str, ...] = ("EngageIP Event Manager", "EngageIP Job Service")
    agent_jobs: tuple[str, ...] = ("EngageIP Billing Run",)
    package: PackageSpec | None = PackageSpec()
    files: tuple[FileSpec, ...] = ()
    """Packages for the host that runs EngageIP, in their order."""
    sql_version: str = "15.0.4355.3"
    other_instances: dict[str, str] = field(default_factory=dict)
    """Further engines that the SQL Server host's registry knows, and their builds; nothing answers there."""
    bucket: str = "acme-backups"
    working_folder: str = r"D:\Work"
    https: bool = False
    """Whether the credentials say HTTPS; WinRM answers on both ports either way."""
    updates: dict[str, Any] = field(default_factory=dict)
    """Further fields of the estate's ``updates``."""
    hooks: bool = False
    """Whether the estate asks the systems around it; they answer either way."""
    envelope: int = 500 * 1024
    """WinRM's MaxEnvelopeSize in bytes; 150 KiB on older hosts."""

    @property
    def sql_host(self) -> HostSpec:
        return next(host for host in self.hosts if "mssql" in host.roles)

    @property
    def app_host(self) -> HostSpec:
        return next(host for host in self.hosts if "app" in host.roles)

    @property
    def web_hosts(self) -> tuple[HostSpec, ...]:
        return tuple(host for host in self.hosts if "iis" in host.roles)


_SQL01 = HostSpec("sql01", ("mssql",), (CUMULATIVE, SQL_GDR, DEFENDER, UPGRADE))
_ROUNDS_SQL01 = HostSpec(
    "sql01", ("mssql",), (NEEDS_STACK, SERVICING_STACK, UNLOCKED, APPEARS_LATER, SQL_GDR, DEFENDER), ubr=5206
)
_ROUNDS_WEB01 = HostSpec(
    "web01",
    ("iis", "app"),
    (
        SERVICING_STACK, UNLOCKED, UNLOCKED_BY_CUMULATIVE, EXCLUSIVE, SUPERSEDED, APPEARS_LATER, HIDDEN,
        BROWSE_ONLY, WITH_TERMS, LACKING, DEFENDER, UPGRADE,
    ),
    ubr=5206,
)  # fmt: skip
_ROUNDS_POLICY: dict[str, Any] = {
    "classifications": ["security", "critical", "rollups", "servicing-stacks"],
    "unlocked": [UNLOCKED.kb, UNLOCKED_BY_CUMULATIVE.kb],
}
_WEB01 = HostSpec("web01", ("iis", "app"), (CUMULATIVE, DOTNET, DEFENDER, UPGRADE))
_WEB02 = HostSpec("web02", ("iis",), (CUMULATIVE, DEFENDER))

PRESETS: dict[str, LabSpec] = {
    "acme": LabSpec("acme-billing", (_SQL01, _WEB01)),
    "farm": LabSpec("acme-farm", (_SQL01, _WEB01, _WEB02)),
    # The same, with a hypervisor, monitoring and a load balancer that play along.
    "hooks": LabSpec("acme-hooks", (_SQL01, _WEB01, _WEB02), hooks=True),
    "rounds": LabSpec("acme-rounds", (_ROUNDS_SQL01, _ROUNDS_WEB01), updates=_ROUNDS_POLICY),
    # All kinds of things that a night installs, in three rounds; the second web server wants one of them only.
    "everything": LabSpec(
        "acme-everything",
        (_ROUNDS_SQL01, _ROUNDS_WEB01, HostSpec("web02", ("iis",), (SERVICING_STACK, DEFENDER))),
        files=(AGENT, VIEWER, ENGAGEIP),
        updates=_ROUNDS_POLICY,
    ),
    "packages": LabSpec("acme-packages", (_SQL01, _WEB01), files=(AGENT, VIEWER, ENGAGEIP)),
    "single": LabSpec(
        "acme-single", (HostSpec("all01", ("mssql", "iis", "app"), (CUMULATIVE, DOTNET, SQL_GDR, DEFENDER)),)
    ),
    # An instance that has had security fixes alone until now, and another one beside it.
    "gdr": LabSpec("acme-gdr", (_SQL01, _WEB01), sql_version="15.0.2101.7", other_instances={"REPORTS": "15.0.4123.1"}),
}
