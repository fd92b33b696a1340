"""Packages that come as a file: installers (MSI, EXE, MSU/CAB), PowerShell steps, and EngageIP's own upgrade.

Each says how its version is read on the host, and which it must be afterwards: that is the proof, before (it is there
already) and after (it went in); an exit code is only what an installer says.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, Tag

from model.parts import Part, by_first_field
from model.words import (
    BlockName,
    Distinct,
    Duration,
    ExitCode,
    HostName,
    Kb,
    Label,
    LocalPath,
    Number,
    PackageSource,
    Query,
    RegistryKey,
    Sha256,
    Url,
    Version,
    VersionPattern,
)

Outcome = Literal["succeeded", "reboot", "wait", "not-needed", "failed"]
OUTCOMES: tuple[str, ...] = get_args(Outcome)
PackageRestart = Literal["auto", "always", "never"]


class ProductProbe(Part):
    """The version under 'Apps and features': DisplayVersion of the uninstall registry."""

    product: Label = Field(
        title="Product",
        description="Its name under 'Apps and features' (DisplayName), or its product code in braces.",
        examples=["Acme Provisioning Agent"],
    )


class FileProbe(Part):
    """The version of a program's file, or one that stands in a text file."""

    file: LocalPath = Field(
        title="File",
        description="A file of the product on the host.",
        examples=[r"C:\Program Files\LogiSense\EngageIP\AdminPortal\bin\LogiSense.EngageIP.dll"],
    )
    pattern: VersionPattern | None = Field(
        default=None,
        title="Pattern",
        description="For a text file: a regular expression whose one group is the version. Unsaid: the file's own version.",
        examples=["EngageIP ([0-9.]+)"],
    )


class RegistryProbe(Part):
    """A version that a product keeps in the registry."""

    registry: RegistryKey = Field(
        title="Registry key", description="The key below HKLM.", examples=[r"HKLM\SOFTWARE\Acme\Agent"]
    )
    value: Label = Field(title="Value", description="Name of the value.", examples=["Version"])


PROBES: tuple[type[ProductProbe | FileProbe | RegistryProbe], ...] = (ProductProbe, FileProbe, RegistryProbe)


Probe = Annotated[
    Annotated[ProductProbe, Tag("ProductProbe")]
    | Annotated[FileProbe, Tag("FileProbe")]
    | Annotated[RegistryProbe, Tag("RegistryProbe")],
    by_first_field(*PROBES),
]


class FilePackage(Part):
    """What every package has that a host pulls as a file and runs."""

    name: Label = Field(title="Name", description="What people call it.", examples=["Acme Provisioning Agent 4.2.0"])
    on: HostName = Field(title="Host", description="The host that it is installed on.", examples=["web01"])
    source: PackageSource = Field(
        title="Source",
        description="Where the host pulls the file from: a path, a share, https:// or s3://bucket/key.",
        examples=[r"\\nas01\billing\packages\agent-4.2.0.msi"],
    )
    sha256: Sha256 = Field(
        title="SHA-256", description="The file's hash, checked on the host before it runs.", examples=["9f86d081" * 8]
    )
    publisher: Label | None = Field(
        default=None,
        title="Publisher",
        description="Common name (CN) of the certificate that must have signed the file, exactly.",
        examples=["Acme Software, Inc."],
    )
    unsigned: Label | None = Field(
        default=None,
        title="Unsigned",
        description="Instead of a publisher: why a file without a signature is run. It is told in the report.",
        examples=["the vendor signs none of its tools; hash from its portal, 2026-10-02"],
    )
    arguments: tuple[Label, ...] = Field(
        default=(),
        title="Arguments",
        description="Further arguments, each as the command line needs it; no secrets.",
        examples=[["ADDLOCAL=Agent"]],
    )
    exit_codes: dict[ExitCode, Outcome] = Field(
        default={},
        title="Exit codes",
        description="What codes of this installer mean, where it is not what its kind's mean.",
        examples=[{"17": "reboot"}],
    )
    deadline: Duration = Field(
        default=timedelta(hours=1),
        title="Deadline",
        description="How long it may take. Past it nothing is killed: the version tells what became of it.",
        examples=["1h"],
    )
    services_to_stop: Annotated[tuple[Label, ...], Distinct] = Field(
        default=(),
        title="Services to stop",
        description="Windows services that are stopped first, in this order; those that ran are started again afterwards.",
        examples=[["Acme Agent"]],
    )
    after: Annotated[tuple[Label, ...], Distinct] = Field(
        default=(),
        title="After",
        description="Packages of the same host, above this one in the file, without which it is not begun.",
        examples=[["Acme Runtime 3.1"]],
    )
    restart: PackageRestart = Field(
        default="auto",
        title="Restart",
        description="Whether the host restarts for it: auto (when the installer asks for it), always, never.",
        examples=["auto"],
    )
    credentials: BlockName | None = Field(
        default=None,
        title="Credentials",
        description="Name of the block for the source's share or bucket, where it is not one of the backup stores.",
        examples=["nas-acme"],
    )
    proxy: Url | None = Field(
        default=None,
        title="Proxy",
        description="For https and s3: the proxy that the host downloads through. Unsaid: none.",
        examples=["http://proxy.acme.example:3128"],
    )
    largest_mb: Number = Field(
        default=4096,
        ge=1,
        le=102400,
        title="Largest size",
        description="Megabytes at which a download is broken off.",
        examples=[4096],
    )


class _Versioned(FilePackage):
    """A package whose version can be read."""

    probe: Probe = Field(
        title="Probe",
        description="How the installed version is read on the host, before and after.",
        examples=[{"product": "Acme Provisioning Agent"}],
    )
    version: Version = Field(
        title="Version",
        description="The version that the probe must find afterwards: the proof.",
        examples=["4.2.0"],
    )


class MsiPackage(_Versioned):
    """A Windows Installer package (.msi) or patch (.msp)."""

    kind: Literal["msi"] = Field(title="Kind", description="What sort of package it is: msi.", examples=["msi"])


class ExePackage(_Versioned):
    """An installer that is a program."""

    kind: Literal["exe"] = Field(title="Kind", description="What sort of package it is: exe.", examples=["exe"])


class PowerShellStep(_Versioned):
    """A PowerShell script (.ps1), run as SYSTEM by Windows PowerShell 5.1; exit code 0 is success."""

    kind: Literal["powershell"] = Field(
        title="Kind", description="What sort of package it is: powershell.", examples=["powershell"]
    )


class MsuPackage(FilePackage):
    """A Windows update as a file (.msu or .cab); that its KB is among the installed ones is the proof."""

    kind: Literal["msu"] = Field(title="Kind", description="What sort of package it is: msu.", examples=["msu"])
    kb: Kb = Field(title="KB", description="Its KB number.", examples=["KB5034439"])


class SchemaScript(Part):
    """A T-SQL script that brings the database to its new schema."""

    source: PackageSource = Field(
        title="Source",
        description="Where the SQL Server's host pulls the script from.",
        examples=[r"\\nas01\billing\packages\schema-8.6.0.sql"],
    )
    sha256: Sha256 = Field(
        title="SHA-256", description="The script's hash, checked before it runs.", examples=["9f86d081" * 8]
    )
    credentials: BlockName | None = Field(
        default=None,
        title="Credentials",
        description="Name of the block for its share or bucket, where it is not one of the backup stores.",
        examples=["nas-acme"],
    )


class SchemaVersion(Part):
    """What the billing database says of its own version."""

    on: HostName = Field(title="Host", description="The mssql host to ask.", examples=["sql01"])
    database: Label = Field(title="Database", description="The database to ask.", examples=["EngageIP"])
    sql: Query = Field(
        title="Query",
        description="A SELECT whose first column of the first row is the schema's version.",
        examples=["SELECT Value FROM dbo.EngageIPOption WHERE Name = 'Version'"],
    )
    expect: Version | None = Field(
        default=None,
        title="Expected",
        description="What it must answer after the upgrade. Unsaid: the version of the package.",
        examples=["8.6.0"],
    )
    script: SchemaScript | None = Field(
        default=None,
        title="Script",
        description="A T-SQL script to run after the installer, where the installer does not upgrade the database itself.",
        examples=[{"source": r"\\nas01\billing\packages\schema-8.6.0.sql", "sha256": "9f86d081" * 8}],
    )


class EngageIPUpgrade(_Versioned):
    """An upgrade of EngageIP on one of its hosts: installer (.exe or .msi), and the schema that must agree with it."""

    kind: Literal["engageip-upgrade"] = Field(
        title="Kind", description="What sort of package it is: engageip-upgrade.", examples=["engageip-upgrade"]
    )
    schema_version: SchemaVersion = Field(
        title="Schema version",
        description="How the database tells its version: portals reopen only when it agrees with the application's.",
        examples=[
            {
                "on": "sql01",
                "database": "EngageIP",
                "sql": "SELECT Value FROM dbo.EngageIPOption WHERE Name = 'Version'",
            }
        ],
    )

    @property
    def schema_wanted(self) -> str:
        """The version that the database must tell afterwards."""
        return self.schema_version.expect or self.version


Versioned = MsiPackage | ExePackage | PowerShellStep | EngageIPUpgrade
FileBorne = Versioned | MsuPackage
"""Every package that a host pulls as a file and runs; SQL Server's patches have a way of their own."""


def probe_of(package: FileBorne) -> dict[str, Any]:
    """The probe as the scripts of the host take it."""
    if isinstance(package, MsuPackage):
        return {"kind": "hotfix", "name": package.kb}
    match package.probe:
        case ProductProbe(product=name):
            return {"kind": "product", "name": name}
        case FileProbe(file=path, pattern=pattern):
            return {"kind": "file", "name": path, "pattern": pattern}
        case RegistryProbe(registry=key, value=value):
            return {"kind": "registry", "name": key.partition("\\")[2], "value": value}


def wanted_of(package: FileBorne) -> str:
    """What the probe must find afterwards."""
    return package.kb if isinstance(package, MsuPackage) else package.version
