"""What the packages of an estate file must say about each other and about the rest of it, checked on the file's values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from model.estate_file import Path
from model.hints import did_you_mean, shown
from model.words import file_name

Found = Iterator[tuple[Path, str]]

_FILES = {
    "msi": (".msi", ".msp"),
    "exe": (".exe",),
    "msu": (".msu", ".cab"),
    "powershell": (".ps1",),
    "engageip-upgrade": (".exe", ".msi"),
}
"""The files that each kind can run."""
_SECRET = re.compile(r"pass(word|wd|phrase)?|pwd|secret|token|apikey", re.IGNORECASE)


def _packages(data: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
    updates = data.get("updates") if isinstance(data, dict) else None
    packages = updates.get("packages") if isinstance(updates, dict) else None
    for number, package in enumerate(packages if isinstance(packages, list) else ()):
        if isinstance(package, dict):
            yield ("updates", "packages", number), package


def _scripts(data: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path, package in _packages(data):
        schema = package.get("schema_version")
        script = schema.get("script") if isinstance(schema, dict) else None
        if isinstance(script, dict):
            yield (*path, "schema_version", "script"), script


def _files(data: Any) -> Iterator[tuple[Path, dict[str, Any], str]]:
    """Everything that a host pulls, with its source."""
    for path, one in (*_packages(data), *_scripts(data)):
        if isinstance(one.get("source"), str):
            yield path, one, one["source"]


def _below(data: Any, *keys: str) -> dict[str, Any]:
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}


def _stores(data: Any) -> list[dict[str, Any]]:
    stores = _below(data, "backup").get("stores")
    return [store for store in stores if isinstance(store, dict)] if isinstance(stores, list) else []


def credentials_kind(source: str) -> str | None:
    """The kind of block that lets a host at ``source``; None where it needs none."""
    if source.startswith("\\\\"):
        return "share"
    return "s3" if source.casefold().startswith("s3://") else None


def _credentials(data: Any) -> Found:
    shares = [s["share"].casefold().rstrip("\\") for s in _stores(data) if isinstance(s.get("share"), str)]
    buckets = {s["s3"] for s in _stores(data) if isinstance(s.get("s3"), str)}
    for path, one, source in _files(data):
        kind = credentials_kind(source)
        if "credentials" in one:
            if kind is None:
                what = "https" if "://" in source else "a path of the host"
                yield (
                    (*path, "credentials"),
                    f"{what} takes no credentials; remove the line, or name a share or a bucket",
                )
        elif kind == "share" and not any(source.casefold().startswith(f"{share}\\") for share in shares):
            yield (
                (*path, "source"),
                "lies on a share without credentials; add credentials: with the block of that share",
            )
        elif kind == "s3" and source[5:].partition("/")[0] not in buckets:
            yield (
                (*path, "source"),
                "lies in a bucket without credentials; add credentials: with the block of that bucket",
            )


def _file_fits(data: Any) -> Found:
    for path, package in _packages(data):
        kind, source = package.get("kind"), package.get("source")
        endings = _FILES.get(kind) if isinstance(kind, str) else None
        if endings and isinstance(source, str) and not file_name(source).casefold().endswith(endings):
            fits = [other for other, known in _FILES.items() if file_name(source).casefold().endswith(known)]
            hint = f", or say kind: {fits[0]}" if fits else ""
            yield (*path, "source"), f"is no {' or '.join(endings)}, as kind {kind} needs; name such a file{hint}"
    for path, script in _scripts(data):
        if isinstance(script.get("source"), str) and not script["source"].casefold().endswith(".sql"):
            yield (*path, "source"), "is no .sql, as a T-SQL script is; name such a file"


def _signed(data: Any) -> Found:
    for path, package in _packages(data):
        if str(package.get("kind")) not in _FILES:
            continue
        if "publisher" not in package and "unsigned" not in package:
            yield (
                path,
                "names no publisher; add publisher: with the CN of the file's signature, or unsigned: with the reason",
            )
        if "publisher" in package and "unsigned" in package:
            yield (*path, "unsigned"), "stands beside a publisher; a file is signed by one, or unsigned for a reason"


def _no_secrets(data: Any) -> Found:
    for path, package in _packages(data):
        arguments = package.get("arguments")
        for number, argument in enumerate(arguments if isinstance(arguments, list) else ()):
            if isinstance(argument, str) and "=" in argument and _SECRET.search(argument.partition("=")[0]):
                yield (
                    (*path, "arguments", number),
                    "looks like a secret, and everybody on the host can read arguments; give it to the product another way",
                )


def _after(data: Any) -> Found:
    packages = list(_packages(data))
    names = [package["name"] for _, package in packages if isinstance(package.get("name"), str)]
    above: dict[str, Any] = {}
    for path, package in packages:
        after = package.get("after")
        for number, name in enumerate(after if isinstance(after, list) else ()):
            here = (*path, "after", number)
            if not isinstance(name, str):
                continue
            if name not in names:
                yield here, f"{shown(name)} is not a package of this estate{did_you_mean(name, names)}"
            elif name not in above:
                yield here, f"{shown(name)} does not stand above this package; order them as they are to be installed"
            elif above[name] != package.get("on"):
                yield here, f"{shown(name)} is a package of {above[name]}; a package waits for others of its own host"
        if isinstance(package.get("name"), str):
            above[package["name"]] = package.get("on")


def _upgrades(data: Any) -> Found:
    """An upgrade goes where EngageIP is, and nothing that it changes is without a backup."""
    engageip, hosts = _below(data, "engageip"), _below(data, "hosts")
    for path, package in _packages(data):
        if package.get("kind") != "engageip-upgrade":
            continue
        on, folder = package.get("on"), engageip.get("folder")
        roles = _below(hosts, on).get("roles") if isinstance(on, str) else None
        web = isinstance(roles, list) and ("iis" in roles or "app" in roles)
        if isinstance(on, str) and web and on != engageip.get("host") and isinstance(folder, str):
            saved = _below(data, "backup", "folders").get(on)
            if not isinstance(saved, list) or folder not in saved:
                yield (*path, "on"), f"{on}'s EngageIP is not backed up; add under backup.folders: {on}: ['{folder}']"
        schema = _below(package, "schema_version")
        asked, database = schema.get("on"), schema.get("database")
        if not isinstance(asked, str) or asked not in hosts:
            if isinstance(asked, str) and hosts:
                yield (
                    (*path, "schema_version", "on"),
                    f"{shown(asked)} is not a host of this estate{did_you_mean(asked, hosts)}",
                )
            continue
        known = _below(data, "sql", asked).get("databases")
        declared = [name for name in known if isinstance(name, str)] if isinstance(known, list) else []
        if not _below(data, "sql", asked):
            yield (*path, "schema_version", "on"), f"{asked} has no entry under sql; name the SQL Server's host"
        elif isinstance(database, str) and declared and database.casefold() not in {d.casefold() for d in declared}:
            hint = did_you_mean(database, declared)
            yield (*path, "schema_version", "database"), f"{shown(database)} is not among sql.{asked}.databases{hint}"


PACKAGE_RULES: tuple[Callable[[Any], Found], ...] = (
    _credentials,
    _file_fits,
    _signed,
    _no_secrets,
    _after,
    _upgrades,
)
