"""The parts of an estate file about backups: folders, and the stores that every backup goes to."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Tag

from model.parts import Part, by_first_field
from model.words import BlockName, Bucket, Distinct, Duration, HostName, LocalPath, Prefix, SharePath


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


Store = Annotated[
    Annotated[ShareStore, Tag("ShareStore")] | Annotated[S3Store, Tag("S3Store")], by_first_field(ShareStore, S3Store)
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
    snapshots: bool = Field(
        default=True,
        strict=True,
        title="Snapshots",
        description="Whether folders are read through a snapshot of their drive, so that files count that others have open. Off, one that is locked fails the backup; security software may take a snapshot for an attack.",
        examples=[False],
    )
