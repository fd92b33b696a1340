"""Whatever is deleted, mistyped or misspelt in an estate file, there is always a line and a field, never a traceback."""

from __future__ import annotations

import copy
import functools
import json
import os
import re
import typing
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from model.estate import Estate, EstateFaults, load_estate

# Every field of the schema, each optional one given, each kind of a union there once.
EVERYTHING = r"""
estate: acme-billing
timezone: America/Toronto
hosts:
  sql01: {address: sql01.acme.example, roles: [mssql], credentials: winrm-acme, depends_on: [], port: 5986, transport: kerberos, kerberos_name: sql01.acme.example}
  web01: {address: web01.acme.example, roles: [iis, app], credentials: winrm-acme, depends_on: [sql01]}
sql:
  sql01:
    instance: MSSQLSERVER
    port: 1433
    known_as: sql01.acme.example
    credentials: sql-acme
    databases: [EngageIP, Reporting]
    script_upgrade: 30m
    agent_jobs: {hold: [nightly rating]}
engageip:
  host: web01
  folder: 'C:\Program Files\LogiSense\EngageIP'
  services: [EngageIP Job Service]
  sites:
    - name: AdminPortal
      url: https://billing.acme.example/AdminPortal
      check_url: http://{host}:8081/AdminPortal
      hosts: [web01]
      iis_site: Default Web Site
backup:
  folders: {web01: ['D:\Work']}
  stores:
    - {share: \\nas01\billing, credentials: nas-acme}
    - {s3: acme-backups, prefix: billing/, credentials: s3-acme}
  max_age: 2h
  staging: {sql01: 'E:\Staging'}
  snapshots: false
canary: {max_age: 14d}
jobs: {keep_days: 90}
updates:
  classifications: [security, critical]
  kb_accept: [KB5034439]
  kb_reject: [KB5044284]
  source: \\tools01\packages\windows
  credentials: tools-acme
  unlocked: [KB5034119]
  title_accept: [Malicious Software Removal Tool]
  title_reject: ['\.NET Framework 4\.']
  minimum_severity: important
  maximum_size: 2GB
  accept_eulas: false
  download_deadline: 4h
  packages:
    - kind: mssql-patch
      name: SQL Server 2019 CU32
      on: sql01
      source: \\tools01\packages\SQLServer2019-KB5054833-x64.exe
      sha256: 9f86d0819f86d0819f86d0819f86d0819f86d0819f86d0819f86d0819f86d081
      build: 15.0.4430.1
      kb: KB5054833
      arguments: [/SkipRules=RebootRequiredCheck]
      min_build: 15.0.2000.5
      branch: leave-gdr
      all_instances: true
      publisher: Microsoft Corporation
      deadline: 2h
      credentials: tools-acme
    - kind: msi
      name: Acme Runtime 3.1
      on: web01
      source: s3://vendor-files/runtime-3.1.msi
      sha256: 9f86d0819f86d0819f86d0819f86d0819f86d0819f86d0819f86d0819f86d081
      publisher: Acme Software
      credentials: vendor-s3
      proxy: http://proxy.acme.example:3128
      largest_mb: 500
      probe: {registry: 'HKLM\SOFTWARE\Acme\Runtime', value: Version}
      version: '3.1'
    - kind: exe
      name: Acme Agent 4.2.0
      on: web01
      source: https://downloads.acme.example/agent-4.2.0.exe
      sha256: 9f86d0819f86d0819f86d0819f86d0819f86d0819f86d0819f86d0819f86d081
      unsigned: the vendor signs none of its tools
      arguments: [/S]
      exit_codes: {'17': reboot, '0x80070652': wait}
      deadline: 30m
      services_to_stop: [Acme Agent]
      after: [Acme Runtime 3.1]
      restart: never
      probe: {product: Acme Agent}
      version: 4.2.0
    - kind: msu
      name: WinRE fix
      on: web01
      source: D:\Packages\KB5034439.msu
      sha256: 9f86d0819f86d0819f86d0819f86d0819f86d0819f86d0819f86d0819f86d081
      publisher: Microsoft Corporation
      kb: KB5034439
    - kind: powershell
      name: rating rules 7
      on: web01
      source: D:\Packages\rules-7.ps1
      sha256: 9f86d0819f86d0819f86d0819f86d0819f86d0819f86d0819f86d0819f86d081
      publisher: Acme Telecom
      probe: {file: 'D:\Work\Rules\version.txt', pattern: 'rules ([0-9]+)'}
      version: '7'
    - kind: engageip-upgrade
      name: EngageIP 8.6.0
      on: web01
      source: \\nas01\billing\packages\EngageIP-8.6.0.exe
      sha256: 9f86d0819f86d0819f86d0819f86d0819f86d0819f86d0819f86d0819f86d081
      publisher: LogiSense Corporation
      probe: {product: EngageIP}
      version: 8.6.0
      schema_version:
        on: sql01
        database: EngageIP
        sql: SELECT Value FROM dbo.EngageIPOption WHERE Name = 'Version'
        expect: 8.6.0
        script: {source: s3://vendor-files/schema-8.6.0.sql, sha256: 9f86d0819f86d0819f86d0819f86d0819f86d0819f86d0819f86d0819f86d081, credentials: vendor-s3}
quiet:
  deadline: 30m
  poll: 15s
  restore_after: 2h
  busy:
    - {name: billing run, on: sql01, database: EngageIP, sql: SELECT COUNT(*) FROM dbo.BillingRun}
review: {policy: approve}
checks:
  - {http: AdminPortal, path: /login.aspx, expect: Sign in, severity: must, name: login page}
  - {service: W3SVC, on: web01, severity: must, name: IIS runs}
  - {sql: SELECT 1, on: sql01, database: EngageIP, expect: 1, severity: should, name: one}
  - {event_log: Application, on: web01, providers: [EngageIP], ignore: [10016], severity: should, name: no new errors}
window: {start: '03:00', hours: 4}
restart: {policy: always, max_unavailable: 1, deadline: 1h, ignore_services: [edgeupdate]}
notify: {webhook: pager}
hooks:
  - snapshot: vcenter
    hosts: [sql01]
    take: {http: 'https://vcenter.acme.example/vms/{host}', method: POST, body: {name: '{run}'}, credentials: ops-acme, id_at: id}
    proof: {http: 'https://vcenter.acme.example/vms/{host}/{id}', credentials: ops-acme, at: state, expect: ready}
    delete_within: 3d
    severity: must
    deadline: 10m
  - silence: zabbix
    begin: {command: [/opt/ops/silence, '{until}'], credentials: ops-acme, id_at: '.'}
    proof: {command: [/opt/ops/silences], expect: '{id}'}
    end: {command: [/opt/ops/unsilence, '{id}']}
    hours: 4
    severity: should
    deadline: 2m
  - balancer: f5
    hosts: [web01]
    drain: {powershell: 'C:\Ops\Set-Node.ps1', on: web01, sha256: 9f86d0819f86d0819f86d0819f86d0819f86d0819f86d0819f86d0819f86d081, arguments: {node: '{host}'}, at: state, expect: drained, id_at: id}
    drained: {http: 'http://127.0.0.1:8080/nodes/{host}'}
    undrain: {http: 'https://f5.acme.example/nodes/{host}', method: PUT}
    undrained: {http: 'https://f5.acme.example/nodes/{host}', expect: active}
    severity: should
    deadline: 5m
"""

Path = tuple[str | int, ...]

DATA: dict[str, Any] = YAML(typ="safe", pure=True).load(EVERYTHING)

# Deleting these leaves a valid estate: the schema has a default. Everything else is required.
OPTIONAL = {
    "port", "transport", "kerberos_name", "depends_on", "instance", "agent_jobs", "hold", "iis_site", "folders", "prefix", "max_age",
    "known_as", "staging", "snapshots", "updates", "classifications", "kb_accept", "kb_reject", "packages", "kb", "arguments", "quiet",
    "min_build", "branch", "all_instances", "script_upgrade",
    "deadline", "poll", "busy", "review", "policy", "path", "expect", "severity", "providers", "ignore", "window",
    "restart", "max_unavailable", "notify", "webhook", "unlocked", "title_accept", "title_reject", "minimum_severity",
    "maximum_size", "accept_eulas", "download_deadline", "exit_codes", "services_to_stop", "after", "proxy", "largest_mb",
    "script", "pattern",
    "canary", "jobs", "keep_days", "restore_after", "ignore_services",
    "hooks", "method", "body", "at", "end", "delete_within",
}  # fmt: skip
MAY_GO = {"backup.folders.web01", "backup.staging.sql01"}
REQUIRED_HERE = {("updates", "packages", 3, "kb")}
# Deleted, these have a default too, or their absence is a fault, depending on where they stand.
DEPENDS = {
    ("engageip", "sites", 0, "hosts"),
    ("updates", "packages", 0, "publisher"),
    ("updates", "source"),
    ("updates", "credentials"),
    *((("checks", n, "name")) for n in range(4)),
    *(("hooks", n, "hosts") for n in (0, 2)),
    *(
        ("hooks", n, call, field)
        for n, call in ((0, "take"), (1, "begin"), (2, "drain"))
        for field in ("credentials", "id_at")
    ),
    ("hooks", 0, "proof", "credentials"),
    ("hooks", 1, "hours"),
    ("hooks", 0, "take", "body", "name"),
    ("hooks", 2, "drain", "arguments", "node"),
}


def places(data: Any, path: Path = ()) -> Iterator[Path]:
    """Every key and every entry of the document."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


ALL = list(places(DATA))
FIELDS = [path for path in ALL if isinstance(path[-1], str)]
NAMED = [
    path for path in FIELDS if not {"exit_codes", "body", "arguments"} & {*path[:-1]}
]  # another code is a code too


def names_of_fields(annotation: Any, seen: set[type]) -> Iterator[tuple[type[BaseModel], str]]:
    """Every field of every mapping below."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in seen:
        seen.add(annotation)
        for name, field in annotation.model_fields.items():
            yield annotation, name
            yield from names_of_fields(field.annotation, seen)
    for argument in typing.get_args(annotation):
        yield from names_of_fields(argument, seen)


SCHEMA = list(names_of_fields(Estate, set()))


def changed(path: Path, change: Any) -> str:
    """The document as YAML with ``change(container, key)`` done at ``path``.

    Other sections that may be absent are, unless they may refer to the place: what nobody asks about need not be read three
    thousand times.
    """
    left = set() if path[0] in {"hosts", "sql"} else OPTIONAL - {path[0]}
    data = {name: copy.deepcopy(section) for name, section in DATA.items() if name not in left}
    container: Any = data
    for part in path[:-1]:
        container = container[part]
    change(container, path[-1])
    # JSON is YAML too, and written much faster.
    return json.dumps(data, indent=1, ensure_ascii=False)


@functools.lru_cache(maxsize=8)
def faults(text: str) -> list[Any]:
    """The faults of ``text``; empty where it is a valid estate. Any other exception fails the test."""
    try:
        load_estate(text, "x.yaml")
    except EstateFaults as caught:
        return caught.faults
    return []


def written(path: Path) -> str:
    """A path as messages write it."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def assert_told(text: str, path: Path, *, at: bool = True) -> None:
    """At least one fault, and each stands on a line that is there; one of them is at ``path``, or above or below it."""
    found = faults(text)
    assert found, f"{written(path)}: nothing was told"
    lines = text.splitlines()
    for fault in found:
        assert 1 <= fault.place.line <= len(lines), str(fault)
        assert 1 <= fault.place.column <= len(lines[fault.place.line - 1]) + 1, str(fault)
        assert str(fault).startswith(f"x.yaml:{fault.place.line}:{fault.place.column}: "), str(fault)
        assert fault.path, str(fault)
        assert len(fault.message) > 5, str(fault)
        key = re.fullmatch(r".*?(\w+)", fault.path)
        if key and fault.path == written(path) and isinstance(path[-1], str) and "is missing" not in fault.message:
            assert f'"{key[1]}"' in lines[fault.place.line - 1], str(fault)
        assert "\n" not in str(fault)
    if at:
        here = written(path)
        assert any(f.path.startswith(here) or here.startswith(f.path) for f in found), [str(f) for f in found]


def test_the_document_has_every_field_of_the_schema() -> None:
    """A field that is added to the schema joins this test by being added to the document."""
    named = {path[-1] for path in FIELDS}
    assert [f"{model.__name__}.{name}" for model, name in SCHEMA if name not in named] == []
    assert faults(EVERYTHING) == []


@pytest.mark.parametrize(("model", "name"), SCHEMA, ids=lambda value: getattr(value, "__name__", value))
def test_every_field_is_described(model: type[BaseModel], name: str) -> None:
    """Forms and documents have a title, a description and an example for each field."""
    field = model.model_fields[name]
    assert field.title
    assert field.description
    assert field.examples


TOLD_WHERE_MEANT = {
    "hosts.sql01",
    "hosts.web01",
    "hosts.web01.roles[0]",
    "sql.sql01.databases[0]",
    "backup.stores[0]",
    "updates.packages[1].credentials",
    "updates.packages[5].schema_version.script.credentials",
    "updates.credentials",
    "updates.packages[0].credentials",
    "hooks[0].take.id_at",
    "hooks[1].begin.id_at",
}
"""Without these the file is wrong where it refers to them."""


@pytest.mark.parametrize("path", ALL, ids=written)
def test_deleted(path: Path) -> None:
    """Without a required field the file is refused by the field's name; without an optional one it is valid."""
    text = changed(path, lambda container, key: container.pop(key))
    name = path[-1]
    found = faults(text)
    if isinstance(name, str) and name not in OPTIONAL and path not in DEPENDS and len(found) == 0:
        # Deleting a host's own optional entries, such as a staging folder, is no fault either.
        assert written(path) in MAY_GO or "exit_codes" in path, f"{written(path)} may be missing"
    if found:
        assert_told(text, path, at=written(path) not in TOLD_WHERE_MEANT)
    if isinstance(name, str) and name in OPTIONAL and len(path) > 2 and path not in REQUIRED_HERE:
        assert [str(fault) for fault in found] == []


WRONG = [17, "", "\u20ac \u2039&\u203a", [[]], {"x": {}}, True, None, 1.5, -1]
if os.environ.get("BILLPATCH_NIGHTS", "1") != "1":
    WRONG = WRONG[zlib.crc32(os.environ["BILLPATCH_SEED"].encode()) % 3 :: 3]
"""In `make test` a third of them, other ones each day: each reads the whole document, and there are thousands."""


@pytest.mark.parametrize("path", ALL, ids=written)
def test_mistyped(path: Path) -> None:
    """A value of another type or form is refused at its place, unless it happens to be a right one."""
    for wrong in WRONG:
        text = changed(path, lambda container, key, wrong=wrong: container.__setitem__(key, wrong))
        if faults(text):
            # A word instead of another may be right where it stands, and wrong only where it is referred to.
            assert_told(text, path, at=not isinstance(wrong, str))
        else:
            assert happens_to_be_right(path, wrong), f"{written(path)} = {wrong!r} was taken"


def happens_to_be_right(path: Path, wrong: Any) -> bool:
    """The few values of the list above that a field may have."""
    text_fields = {"instance", "iis_site", "path", "expect", "name", "service", "event_log"}
    text_fields |= {
        "publisher",
        "unsigned",
        "product",
        "value",
        "snapshot",
        "silence",
        "balancer",
        "at",
        "id_at",
        "node",
    }
    name = next(part for part in reversed(path) if isinstance(part, str))
    if "hooks" in path and (path[-2:] in {("take", "body"), ("drain", "arguments")} or "body" in path):
        return path[-1] != "body" or wrong is None or isinstance(wrong, dict)  # what a system takes is its own affair
    return (
        (
            wrong == 17
            and not isinstance(wrong, bool)
            and name in {"port", "hours", "expect", "max_unavailable", "ignore", "largest_mb", "keep_days"}
        )
        or (wrong == -1 and name in {"expect", "ignore"})
        or (wrong is True and name == "all_instances")
        or (isinstance(wrong, str) and name == "prefix")
        or (wrong is True and name in {"accept_eulas", "snapshots"})
        or (isinstance(wrong, str) and wrong and (name in text_fields | LISTS_OF_TEXT))
    )


LISTS_OF_TEXT = {
    "command", "services", "services_to_stop", "hold", "arguments", "providers", "databases", "title_accept", "title_reject",
    "ignore_services",
}  # fmt: skip


@pytest.mark.parametrize("path", NAMED, ids=written)
def test_misspelt(path: Path) -> None:
    """A misspelt name is refused where it stands, once, and with the name that was meant."""
    name = str(path[-1])
    slip = name[:-2] + name[-1] if len(name) > 3 else name + "z"
    text = changed(path, lambda container, key: container.__setitem__(slip, container.pop(key)))
    assert_told(text, (*path[:-1], slip), at=False)
    found = [f for f in faults(text) if f.path == written((*path[:-1], slip))]
    if path[:-1] not in {("hosts",), ("sql",), ("backup", "folders"), ("backup", "staging")}:
        assert len(found) == 1, [str(f) for f in faults(text)]
        assert f"did you mean '{name}'?" in found[0].message
        assert not [f for f in faults(text) if f.path == written(path) and "missing" in f.message]
