"""What speaks against patching an estate: refused by name, with the fix, before anything is touched."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from model.estate import Estate, ShareStore
from model.hints import did_you_mean
from model.records import HostFacts
from model.sql.facts import SqlFacts
from model.stores import patched_server

_OUT = "Patch it by hand, and take it out of the estate file."
_SYSTEM = {"master", "model", "msdb", "tempdb"}
CLOCK_OFFSET = timedelta(minutes=2)
SYSTEM_DRIVE_FREE = 3 * 1024**3
"""Bytes that an installer may need on C: a cumulative update unpacks to about that much."""


def estate_problems(estate: Estate) -> Iterator[str]:
    """What the estate asks for and this system cannot do yet."""
    if estate.review.policy == "approve":
        yield (
            f"{estate.name}: wants a person's approval of each plan (review.policy: approve), and approval is not built "
            "yet. Set review.policy: auto to let the update policy decide."
        )


def host_problems(estate: Estate, facts: HostFacts, now: datetime) -> Iterator[str]:
    """Everything about a host that must be mended first, one line each."""
    host = facts.host
    if facts.os.is_domain_controller:
        yield f"{host}: is a domain controller, and patching one is not built yet. {_OUT}"
    if facts.cluster:
        yield f"{host}: is a node of a failover cluster, and patching clusters is not built yet. {_OUT}"
    if problem := powershell_problem(facts.powershell):
        yield f"{host}: {problem}"
    offset = abs(facts.now - now)
    if offset > CLOCK_OFFSET:
        yield f"{host}: its clock is off by {offset.total_seconds():.0f} s. Check its time service (w32tm /query /status)."
    for service in facts.services:
        if not service.exists:
            yield f"{host}: has no service '{service.name}'. Correct its name in the estate file (Get-Service shows the names)."
    system = next((drive for drive in facts.drives if drive.letter.upper() == "C"), None)
    if system is not None and system.free < SYSTEM_DRIVE_FREE:
        yield f"{host}: {system.free / 1024**3:.1f} GB are free on C:, updates need {SYSTEM_DRIVE_FREE / 1024**3:.0f} GB. Free space."
    yield from _place_problems(estate, facts)


def _place_problems(estate: Estate, facts: HostFacts) -> Iterator[str]:
    """What is wrong with where backups come from and go to."""
    host = facts.host
    for store in estate.backup.stores:
        if isinstance(store, ShareStore) and patched_server(store.share, [facts.computer]):
            yield f"{host}: backup.stores names {store.share}, which lies on it ({facts.computer}). Name another machine."
    folders = [item.subject for item in estate.backup_items() if item.host == host and item.kind == "files"]
    letters = {drive.letter.upper() for drive in facts.drives}
    for folder in folders:
        if folder[0].upper() not in letters:
            yield f"{host}: backup.folders names {folder}, and there is no drive {folder[0].upper()}:."


def powershell_problem(version: str) -> str | None:
    """Why scripts cannot run in this version of Windows PowerShell; None where they can."""
    if tuple(int(part) for part in version.split(".")[:2]) >= (5, 1):
        return None
    return f"has Windows PowerShell {version}; 5.1 is needed. Install WMF 5.1 (KB3191564 on Windows Server 2012 R2)."


def sql_problems(estate: Estate, host: str, facts: SqlFacts) -> Iterator[str]:
    """Everything about an instance that must be mended first, one line each."""
    if facts.clustered:
        yield f"{host}: SQL Server runs in a failover cluster, and patching clusters is not built yet. {_OUT}"
    if facts.availability_groups:
        yield f"{host}: SQL Server has availability groups ({', '.join(facts.availability_groups)}), and patching them is not built yet. {_OUT}"
    if facts.replication:
        yield f"{host}: databases are replicated ({', '.join(facts.replication)}), and patching replication is not built yet. {_OUT}"
    if facts.mirroring:
        yield f"{host}: databases are mirrored ({', '.join(facts.mirroring)}), and patching mirrors is not built yet. {_OUT}"
    if not facts.sysadmin:
        yield f"{host}: the login is not a sysadmin, which a backup of every database and the proof of it need. Add it to the role."
    snapshots = {database.name.casefold() for database in facts.databases if database.snapshot}
    for name in estate.sql[host].databases:
        state = facts.state_of(name)
        if state is None:
            known = [database.name for database in facts.databases if database.name not in _SYSTEM]
            hint = did_you_mean(name, known)
            end = "" if hint.endswith("?") else "."
            yield f"{host}: has no database {name}{hint}{end} Correct sql.{host}.databases in the estate file."
        elif name.casefold() in snapshots:
            yield f"{host}: {name} is a database snapshot, which cannot be backed up. Take it out of sql.{host}.databases."
        elif state != "ONLINE":
            yield f"{host}: database {name} is {state}, and only what is ONLINE can be backed up. Bring it online first."
