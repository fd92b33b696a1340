"""Is an instance whole on which a patch was begun? Told by builds, never by an exit code; and the way back if it is not.

Setup replaces binaries and writes its build into the registry; the engine tells the build that it runs, and the scripts
of that build run at its first start. A setup that failed before it replaced anything leaves the instance whole: with
the build of before in both places it is as good as it was. Half-patched is where the two differ, where the build is a
third one, or where the engine does not become ready.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model.sql.builds import Build, at_least


@dataclass(frozen=True)
class SqlBefore:
    """What an instance was before the night: ``build``, None where nobody wrote it down, and whether Agent ran."""

    build: str | None = None
    agent: bool = False

    @classmethod
    def of(cls, section: Mapping[str, Any] | None) -> SqlBefore:
        """From the section of ``quiesce.json`` (``model.reopen.SQL_BEFORE``)."""
        known = section or {}
        return cls(known.get("build"), known.get("agent") == "running")


def half_patched(before: str | None, wanted: Sequence[str], setup: str | None, engine: str) -> str | None:
    """Why the instance is not whole, None where it is.

    ``before`` is its build of before the night, ``wanted`` those of the patches that were begun, in their order, ``setup``
    the one that setup has left in the registry, ``engine`` the one that the engine runs.
    """
    if setup is None:
        return f"setup has left no build in the registry; the engine runs {engine}"
    if Build.parse(setup) != Build.parse(engine):
        return f"setup has left build {setup}, the engine runs {engine}"
    # A patch that failed before it replaced anything leaves what the one before it brought.
    known = {Build.parse(build) for build in (before, *wanted) if build is not None}
    if at_least(engine, wanted[-1]) or Build.parse(engine) in known:
        return None
    return f"build {engine} is neither {' nor '.join(reversed(wanted))} nor {before}, the one before"


def way_back(
    estate: str, host: str, instance: str, patch: Mapping[str, Any], before: str | None, problem: str
) -> tuple[str, ...]:
    """What a person can do about a half-patched instance, the gentlest first.

    ``patch`` is what was written down when it began: ``{"name", "source", "backups": {database: path}}``.
    """
    backups = ", ".join(f"{name}: {path}" for name, path in (patch.get("backups") or {}).items())
    return (
        (
            f"{host}: {patch['name']} is half-done ({problem}). Mend what ERRORLOG and Summary.txt of setup name, start "
            f"{instance}, then run: billpatch recover {estate}"
        ),
        (
            f"{host}: or take it off: {patch.get('source') or 'the package'} /quiet /IAcceptSQLServerLicenseTerms "
            f"/Action=RemovePatch /InstanceName={instance}"
        ),
        (
            f"{host}: master, model and msdb restore onto build {before or 'of before'} only (error 3168): take the patch off "
            f"first. Backups: {backups or 'see the report of the night'}"
        ),
    )
