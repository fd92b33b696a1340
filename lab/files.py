"""Packages of vendors as files with real bytes: in the share, in the bucket, or on a download server."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

LOGISENSE = "CN=LogiSense Corporation, O=LogiSense Corporation, L=Cambridge, S=Ontario, C=CA"
ACME = 'CN="Acme Software, Inc.", O="Acme Software, Inc.", L=Toronto, S=Ontario, C=CA'
VERSION_FILE = r"C:\Program Files\LogiSense\EngageIP\Version.txt"
SCHEMA_QUERY = "SELECT Value FROM dbo.EngageIPOption WHERE Name = 'Version'"


@dataclass(frozen=True)
class FileSpec:
    """A file that a host pulls; ``brings`` is what its installer does (see ``lab.scripts.package``)."""

    name: str
    kind: str
    file: str
    at: Literal["share", "bucket", "web"]
    version: str
    publisher: str
    probe: dict[str, Any]
    brings: dict[str, Any]
    more: dict[str, Any] = field(default_factory=dict)
    """Further fields of the estate file."""
    script: str = ""
    """The T-SQL of an upgrade of EngageIP."""

    @property
    def data(self) -> bytes:
        """The shape of a program, with what it brings written inside."""
        padding = hashlib.sha512(self.file.encode()).digest() * 256
        return b"MZ" + padding + b"\n" + json.dumps(self.brings).encode() + b"\n"

    @property
    def script_file(self) -> str:
        """The name of its script."""
        return f"schema-{self.version}.sql"

    def estate(self, host: str, sql_host: str, where: dict[str, str]) -> dict[str, Any]:
        """What ``updates.packages`` holds; ``where`` is the beginning of each place's sources."""
        told: dict[str, Any] = {
            "kind": self.kind,
            "name": self.name,
            "on": host,
            "source": where[self.at] + self.file,
            "sha256": hashlib.sha256(self.data).hexdigest(),
            "publisher": self.publisher,
            "probe": self.probe,
            "version": self.version,
            **self.more,
        }
        if self.script:
            script = {"source": where[self.at] + self.script_file, "sha256": _sha256(self.script.encode())}
            told["schema_version"] = {"on": sql_host, "database": "EngageIP", "sql": SCHEMA_QUERY, "script": script}
        return told

    def write(self, folder: Path) -> None:
        """Put the file, and the script where there is one, into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.file).write_bytes(self.data)
        if self.script:
            (folder / self.script_file).write_bytes(self.script.encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _product(product: str, version: str, key: str, **more: Any) -> dict[str, Any]:
    return {"product": product, "version": version, "key": key, **more}


AGENT = FileSpec(
    name="Acme Provisioning Agent 4.2.0",
    kind="msi",
    file="agent-4.2.0.msi",
    at="bucket",
    version="4.2.0",
    publisher="Acme Software, Inc.",
    probe={"product": "Acme Provisioning Agent"},
    brings={
        "installs": _product("Acme Provisioning Agent", "4.2.0", "{2B6C0A0E-5E0C-4B55-9C7B-0D6E1B1C2A11}"),
        "signer": ACME,
    },
    more={"services_to_stop": ["Acme Agent"]},
)
VIEWER = FileSpec(
    name="Acme Invoice Viewer 2.1",
    kind="exe",
    file="viewer-2.1.exe",
    at="web",
    version="2.1",
    publisher="Acme Software, Inc.",
    probe={"registry": r"HKLM\SOFTWARE\Acme\Viewer", "value": "Version"},
    brings={
        "installs": {"product": "Acme Invoice Viewer", "version": "2.1", "registry": {r"SOFTWARE\Acme\Viewer": {"Version": "2.1.0"}}},
        "signer": ACME,
    },
    more={"arguments": ["/S"], "after": ["Acme Provisioning Agent 4.2.0"]},
)  # fmt: skip
ENGAGEIP = FileSpec(
    name="EngageIP 8.6.0",
    kind="engageip-upgrade",
    file="EngageIP-8.6.0.exe",
    at="share",
    version="8.6.0",
    publisher="LogiSense Corporation",
    probe={"file": VERSION_FILE, "pattern": "EngageIP ([0-9.]+)"},
    brings={
        "installs": _product("EngageIP", "8.6.0", "EngageIP", files={VERSION_FILE: "EngageIP 8.6.0\r\n"}),
        "signer": LOGISENSE,
        "in_use": ["AdminPortal", "Portal"],
    },
    more={"after": ["Acme Provisioning Agent 4.2.0"], "services_to_stop": ["Acme Agent"]},
    script=(
        "-- EngageIP 8.5 to 8.6\nPRINT N'schema 8.6.0'\nGO\n"
        "UPDATE dbo.EngageIPOption SET Value = N'8.6.0' WHERE Name = N'Version'\nGO\n"
    ),
)
