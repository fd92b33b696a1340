"""The papers that the lab hands to its visitors: the estate file, the credentials, and where everything is."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import string
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from ruamel.yaml import YAML

from lab.spec import INSTALLATION, LabSpec

AWKWARD = '"‹&€'
"""In every password: they show wherever a text is quoted, escaped, coded or cut in the wrong place."""


def awkward_secret() -> str:
    """A password that no two labs share."""
    letters = [secrets.choice(string.ascii_letters + string.digits) for _ in range(20)]
    return "".join(letters[:8]) + AWKWARD + "".join(letters[8:])


def awkward_token() -> str:
    """A password for an HTTP header, where nothing but ASCII may stand."""
    return awkward_secret().replace(AWKWARD, "\"'<&%\\=")


@dataclass(frozen=True)
class Secrets:
    """The passwords of one lab; never shown."""

    winrm: str = field(default_factory=awkward_secret, repr=False)
    sql: str = field(default_factory=awkward_secret, repr=False)
    application: str = field(default_factory=awkward_secret, repr=False)
    share: str = field(default_factory=awkward_secret, repr=False)
    s3: str = field(default_factory=awkward_secret, repr=False)
    pager: str = field(default_factory=awkward_secret, repr=False)
    operations: str = field(default_factory=awkward_token, repr=False)


WINRM_USER = "svc-patching"
WINRM_UPN = f"{WINRM_USER}@lab"
SQL_USER = "svc_patching"
APPLICATION_USER = "engageip"
SHARE_USER = r"nas01\backup"
S3_KEY = "AKIALABLABLABLABLAB1"
SHARE = r"\\nas01\billing"
ZONE = "America/Toronto"


def credentials(
    spec: LabSpec, secret: Secrets, ca: Path, s3_endpoint: str, pager_url: str
) -> dict[str, dict[str, Any]]:
    """What ``credentials.json`` holds, by block name."""
    scheme = "https" if spec.https else "http"
    return {
        "winrm-acme": {
            "kind": "winrm",
            "username": WINRM_USER,
            "password": secret.winrm,
            "transport": "ntlm",
            "scheme": scheme,
            **({"ca": str(ca)} if spec.https else {}),
        },
        "sql-acme": {"kind": "sql", "username": SQL_USER, "password": secret.sql, "trust_server_certificate": True},
        "nas-acme": {"kind": "share", "username": SHARE_USER, "password": secret.share},
        "s3-acme": {
            "kind": "s3",
            "access_key_id": S3_KEY,
            "secret_access_key": secret.s3,
            "endpoint_url": s3_endpoint,
            "region": "ca-central-1",
        },
        "pager-acme": {"kind": "webhook", "url": pager_url},
        "operations": {"kind": "api", "authorization": f"Bearer {secret.operations}"},
    }


def estate(
    spec: LabSpec, addresses: dict[str, str], share: Path, *, downloads: str = "", operations: str = ""
) -> dict[str, Any]:
    """What ``estate.yaml`` holds; ``share`` is the real folder behind the share, for the hashes of packages.

    ``downloads`` is the address of the vendor's server, ``operations`` that of the systems around the estate.
    """
    where = {
        "share": rf"{SHARE}\packages" + "\\",
        "bucket": f"s3://{spec.bucket}/packages/",
        "web": f"{downloads}/",
    }
    app, sql = spec.app_host.name, spec.sql_host.name
    web = [host.name for host in spec.web_hosts]
    sites = [
        {
            "name": site.name,
            "url": f"http://{addresses[app]}:{site.port}/{site.name}",
            "check_url": f"http://{{host}}:{site.check_port}/{site.name}",
            **({"hosts": list(web)} if len(web) > 1 else {}),
        }
        for site in spec.sites
    ]
    busy = {
        "billing run": "SELECT COUNT(*) FROM dbo.BillingRun WHERE Status = 'Running'",
        "payment batch": "SELECT COUNT(*) FROM dbo.PaymentBatch WHERE Status = 'Submitting'",
    }
    options = "SELECT COUNT(*) FROM dbo.EngageIPOption"
    return {
        "estate": spec.estate,
        "timezone": ZONE,
        "hosts": {
            host.name: {"address": addresses[host.name], "roles": list(host.roles), "credentials": "winrm-acme"}
            for host in spec.hosts
        },
        "sql": {
            sql: {
                "instance": "MSSQLSERVER",
                "port": 1433,
                "credentials": "sql-acme",
                "databases": list(spec.databases),
                "agent_jobs": {"hold": list(spec.agent_jobs)},
                "script_upgrade": "3m",
            }
        },
        "engageip": {"host": app, "folder": INSTALLATION, "services": list(spec.services), "sites": sites},
        "backup": {
            "folders": {app: [spec.working_folder]},
            "stores": [
                {"share": SHARE, "credentials": "nas-acme"},
                {"s3": spec.bucket, "prefix": "billing/", "credentials": "s3-acme"},
            ],
            "max_age": "2h",
            "staging": {host.name: r"E:\Staging" if "mssql" in host.roles else r"D:\Staging" for host in spec.hosts},
        },
        "updates": {
            "classifications": ["security", "critical"],
            "kb_reject": ["KB5044284"],
            "packages": [
                *([_package(spec, sql, share)] if spec.package else []),
                *(file.estate(spec.app_host.name, sql, where) for file in spec.files),
            ],
            **spec.updates,
        },
        "quiet": {
            "deadline": "30s",
            "poll": "1s",
            "busy": [{"name": name, "on": sql, "database": "EngageIP", "sql": text} for name, text in busy.items()],
        },
        "review": {"policy": "auto"},
        "checks": [
            *({"http": site.name, "severity": "must"} for site in spec.sites),
            *({"service": "W3SVC", "on": name} for name in web),
            {"sql": options, "on": sql, "database": "EngageIP", "name": "options are readable"},
            {"event_log": "Application", "on": app, "severity": "should"},
        ],
        "window": all_day(datetime.now(UTC)),
        "restart": {"max_unavailable": 1, "deadline": "5m"},
        "notify": {"webhook": "pager-acme"},
        **({"hooks": _hooks([host.name for host in spec.hosts], web, operations)} if spec.hooks else {}),
    }


def all_day(now: datetime) -> dict[str, Any]:
    """A window that is open at ``now`` and for most of a day, whatever day it is.

    From midnight on it would end within a night, whose silence ends with it; and a day of 25 hours has one without.
    """
    begun = (now - timedelta(hours=1)).astimezone(ZoneInfo(ZONE))
    return {"start": f"{begun:%H}:00", "hours": 24}


def _hooks(hosts: list[str], web: list[str], operations: str) -> list[dict[str, Any]]:
    """What is asked of ``lab.operations``: snapshots of all hosts, one silence, and web servers drained each in its turn."""

    def call(path: str, **more: Any) -> dict[str, Any]:
        return {"http": operations + path, **more, "credentials": "operations"}

    snapshots, silences, node = "/hypervisor/vms/{host}/snapshots", "/monitoring/silences", "/balancer/nodes/{host}"
    return [
        {
            "snapshot": "vcenter",
            "hosts": hosts,
            "take": call(snapshots, method="POST", body={"name": "{run}"}) | {"id_at": "id"},
            "proof": call(f"{snapshots}/{{id}}", at="state", expect="ready"),
            "delete_within": "3d",
        },
        {
            "silence": "monitoring",
            "begin": call(silences, method="POST", body={"scope": "{estate}", "until": "{until}"}) | {"id_at": "id"},
            "proof": call(f"{silences}/{{id}}", at="state", expect="active"),
            "end": call(f"{silences}/{{id}}", method="DELETE"),
        },
        {
            "balancer": "balancer",
            "hosts": list(web),
            "drain": call(node, method="PUT", body={"state": "drained"}),
            "drained": call(node, at="state", expect="drained"),
            "undrain": call(node, method="PUT", body={"state": "active"}),
            "undrained": call(node, at="state", expect="active"),
        },
    ]


def _package(spec: LabSpec, sql: str, share: Path) -> dict[str, Any]:
    assert spec.package is not None
    return {
        "kind": "mssql-patch",
        "name": spec.package.name,
        "on": sql,
        "source": rf"{SHARE}\packages\{spec.package.file}",
        "sha256": hashlib.sha256((share / "packages" / spec.package.file).read_bytes()).hexdigest(),
        "build": spec.package.build,
        "kb": spec.package.kb,
        "deadline": "10m",
    }


def write_packages(spec: LabSpec, share: Path) -> None:
    """Put what lies on the share there: the SQL Server patch has the shape of a program, and what it brings inside."""
    for file in spec.files:
        if file.at == "share":
            file.write(share / "packages")
    if spec.package is not None:
        folder = share / "packages"
        folder.mkdir(parents=True, exist_ok=True)
        told = {"product": spec.package.name, "kb": spec.package.kb, "build": spec.package.build}
        padding = hashlib.sha512(spec.package.kb.encode()).digest() * 256
        (folder / spec.package.file).write_bytes(b"MZ" + padding + b"\n" + json.dumps(told).encode() + b"\n")


def write_yaml(path: Path, document: dict[str, Any]) -> None:
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 120
    with path.open("w", encoding="utf-8") as out:
        yaml.dump(document, out)


def write_private(path: Path, document: dict[str, Any]) -> None:
    """JSON that only its owner can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        json.dump(document, out, indent=1, ensure_ascii=False)
