"""The parts of an estate file about updates: which of Windows' are wanted, and the packages that come as files."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from model.parts import Part
from model.words import AnyPath, BlockName, Build, Distinct, HostName, Kb, Label, Sha256

Classification = Literal[
    "security", "critical", "rollups", "service-packs", "servicing-stacks", "updates", "feature-packs", "tools"
]
CLASSIFICATIONS: tuple[str, ...] = get_args(Classification)


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
