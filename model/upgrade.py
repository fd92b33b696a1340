"""Is EngageIP whole on which an upgrade was begun? Its programs and its database must speak of one version.

Both as they were before, or both as the upgrade makes them: anything else is half an upgrade, with which the portals
would write into a schema that they do not know. Told by versions, never by an exit code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from model.packages import EngageIPUpgrade, probe_of
from model.versions import reached, same_version

_SECTION = "engageip-upgrade-"


def upgrade_section(package: str) -> str:
    """The section of ``quiesce.json`` that says: this upgrade of EngageIP has begun."""
    return _SECTION + package


def is_upgrade_section(section: str) -> bool:
    """Whether a section of ``quiesce.json`` speaks of an upgrade."""
    return section.startswith(_SECTION)


@dataclass(frozen=True)
class Versions:
    """What EngageIP's programs on a host, and its database, say of themselves; None where they say nothing."""

    application: str | None
    schema: str | None

    def __str__(self) -> str:
        return f"application {self.application or 'unknown'}, schema {self.schema or 'unknown'}"


@dataclass(frozen=True)
class Upgrade:
    """An upgrade as it was written down when it began: all that is needed to judge it, whoever reads it."""

    name: str
    host: str
    source: str
    probe: Mapping[str, Any]
    sql_host: str
    database: str
    query: str
    script: str | None
    before: Versions
    wanted: Versions
    backups: Mapping[str, str]
    """Where what it changes was backed up to, by what it is."""

    @classmethod
    def beginning(cls, package: EngageIPUpgrade, before: Versions, backups: Mapping[str, str]) -> Self:
        """The note of an upgrade that is about to begin."""
        schema = package.schema_version
        return cls(
            name=package.name,
            host=package.on,
            source=package.source,
            probe=probe_of(package),
            sql_host=schema.on,
            database=schema.database,
            query=schema.sql,
            script=schema.script.source if schema.script else None,
            before=before,
            wanted=Versions(package.version, package.schema_wanted),
            backups=dict(backups),
        )

    def note(self) -> dict[str, Any]:
        """As ``quiesce.json`` keeps it."""
        versions = {
            name: {"application": each.application, "schema": each.schema}
            for name, each in (("before", self.before), ("wanted", self.wanted))
        }
        plain = ("name", "host", "source", "sql_host", "database", "query", "script")
        return {
            **{name: getattr(self, name) for name in plain},
            "probe": dict(self.probe),
            "backups": dict(self.backups),
            **versions,
        }

    @classmethod
    def of(cls, note: Mapping[str, Any]) -> Self:
        """From ``quiesce.json``."""
        versions = {name: Versions(note[name]["application"], note[name]["schema"]) for name in ("before", "wanted")}
        return cls(**{**note, **versions})


def half_upgraded(upgrade: Upgrade, now: Versions) -> str | None:
    """Why EngageIP is not whole, None where it is."""
    before, wanted = upgrade.before, upgrade.wanted
    new = reached(now.application, wanted.application or "") and reached(now.schema, wanted.schema or "")
    old = same_version(now.application, before.application) and same_version(now.schema, before.schema)
    if new or (old and now.application is not None and now.schema is not None):
        return None
    return f"it stands at {now}; before it was {before}, after {upgrade.name} it must be {wanted}"


def upgrade_way_back(called: str, upgrade: Upgrade, problem: str) -> tuple[str, ...]:
    """What a person can do about half an upgrade, the gentlest first; ``called`` names the estate."""
    steps = f"run {upgrade.source} on {upgrade.host}" + (
        f", then {upgrade.script} in {upgrade.database} on {upgrade.sql_host}" if upgrade.script else ""
    )
    backups = "; ".join(f"{what}: {path}" for what, path in upgrade.backups.items())
    return (
        (
            f"EngageIP: {upgrade.name} is half-done ({problem}). Finish it by hand ({steps}), then run: "
            f"billpatch recover {called}"
        ),
        (
            f"EngageIP: or go back to {upgrade.before}, programs and database together, never one of them: restore "
            f"{backups or 'what the report of the night names'}; then run: billpatch recover {called}"
        ),
    )
