"""The parts of an estate file about updates: which of Windows' are wanted, and the packages that come as files."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, get_args

from pydantic import Field

from model.packages import EngageIPUpgrade, ExePackage, MsiPackage, MsuPackage, PowerShellStep
from model.parts import Part
from model.update_words import WINDOWS_UPDATE, Size, TitlePattern, UpdateSource, is_folder
from model.words import AnyPath, BlockName, Build, Distinct, Duration, HostName, Kb, Label, Sha256, Switch

Classification = Literal[
    "security", "critical", "rollups", "service-packs", "servicing-stacks", "updates", "feature-packs", "tools"
]
CLASSIFICATIONS: tuple[str, ...] = get_args(Classification)
Severity = Literal["critical", "important", "moderate", "low"]
SEVERITIES: tuple[str, ...] = get_args(Severity)
"""Of Microsoft's security ratings (MsrcSeverity), the worst first."""
SqlBranch = Literal["gdr", "cu", "leave-gdr"]


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
        description="Further arguments of setup.exe, besides /quiet, /IAcceptSQLServerLicenseTerms, /Action=Patch and /InstanceName or /AllInstances.",
        examples=[["/SkipRules=RebootRequiredCheck"]],
    )
    min_build: Build | None = Field(
        default=None,
        title="Smallest build before",
        description="What the instance must have first (a service pack), where this version of the program does not know it by itself.",
        examples=["13.0.6300.2"],
    )
    branch: SqlBranch | None = Field(
        default=None,
        title="Branch",
        description="leave-gdr: it is a CU, and an instance that has had security fixes alone (GDR) may leave that line; only uninstalling leads back. gdr, cu: what it is, where its build does not tell.",
        examples=["leave-gdr"],
    )
    all_instances: Switch = Field(
        default=False,
        title="All instances",
        description="Patch every instance of this version on the host, also those that this file does not name: they restart too, and their databases are not backed up.",
        examples=[True],
    )
    publisher: Label = Field(
        default="Microsoft Corporation",
        title="Publisher",
        description="Common name (CN) of the certificate that must have signed it, exactly.",
        examples=["Microsoft Corporation"],
    )
    deadline: Duration = Field(
        default=timedelta(hours=2),
        title="Deadline",
        description="How long setup may take. One that takes longer is never killed: it is left to a person, behind the maintenance page.",
        examples=["2h"],
    )
    credentials: BlockName | None = Field(
        default=None,
        title="Credentials",
        description="Name of the block with the login of the source's share, where it is not one of the backup stores.",
        examples=["nas-acme"],
    )


Package = Annotated[
    MssqlPatch | MsiPackage | ExePackage | MsuPackage | PowerShellStep | EngageIPUpgrade, Field(discriminator="kind")
]
"""What ``updates.packages`` holds, told apart by ``kind``."""


class Updates(Part):
    """Which updates are wanted, and where they come from."""

    source: UpdateSource | None = Field(
        default=None,
        title="Source",
        description="Whom the hosts ask, to scan, download and install: wsus (the server that their policy names), windows-update, microsoft-update (Windows and other products of Microsoft), or a folder of .msu and .cab files on a share or on each host, all of which are admitted. Unsaid: windows-update, and a host that is set to a WSUS server is refused, for that server's approvals would be passed by.",
        examples=["wsus"],
    )
    credentials: BlockName | None = Field(
        default=None,
        title="Credentials",
        description="Name of the block with the login of the source's share, where it is not one of the backup stores.",
        examples=["nas-acme"],
    )
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
    unlocked: Annotated[tuple[Kb, ...], Distinct] = Field(
        default=(),
        title="KBs unlocked",
        description="KBs, reviewed by name, that may go in although the first scan does not offer them yet: what a servicing stack of the same night unlocks.",
        examples=[["KB5034119"]],
    )
    title_accept: Annotated[tuple[TitlePattern, ...], Distinct] = Field(
        default=(),
        title="Titles to accept",
        description="Regular expressions, case folded; an update whose title holds one is installed whatever its class. Optional ones go in by their KB only.",
        examples=[["Malicious Software Removal Tool"]],
    )
    title_reject: Annotated[tuple[TitlePattern, ...], Distinct] = Field(
        default=(),
        title="Titles to reject",
        description="Regular expressions, case folded; an update whose title holds one is never installed.",
        examples=[[r"\.NET (Framework )?[34]\."]],
    )
    minimum_severity: Severity | None = Field(
        default=None,
        title="Minimum severity",
        description="Updates that Microsoft rates lower stay out; those that it does not rate are not concerned.",
        examples=["important"],
    )
    maximum_size: Size | None = Field(
        default=None,
        title="Maximum size",
        description="Updates whose download is larger stay out, unless their KB is accepted by name.",
        examples=["2GB"],
    )
    accept_eulas: bool = Field(
        default=False,
        strict=True,
        title="Accept license terms",
        description="Whether license terms that an update asks to be accepted are accepted in your name; unless so, such updates stay out.",
        examples=[True],
    )
    download_deadline: Duration = Field(
        default=timedelta(hours=4),
        title="Deadline of downloads",
        description="How long a host may take to download ahead of the window.",
        examples=["4h"],
    )
    packages: tuple[Package, ...] = Field(
        default=(),
        title="Packages",
        description="What comes as a file: SQL Server patches, MSI, EXE, MSU, PowerShell steps, EngageIP upgrades.",
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

    @property
    def folder(self) -> str | None:
        """The folder of update files that is the source; None where the source is a service."""
        return self.source if self.source is not None and is_folder(self.source) else None

    @property
    def asked(self) -> str:
        """Whom the hosts ask: the source, or what stands for one that is not said."""
        return self.source or WINDOWS_UPDATE
