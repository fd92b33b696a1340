"""May the portals open again? Promise 7: a half-patched system is not reopened.

Before anything was installed or restarted everything goes back to what it was. From then on a site opens on a node only
when SQL Server is ready and whole (``model.sql.patched``), EngageIP's programs and its database are of one version
(``model.upgrade``), every must check of the estate has passed, and every must check of the site on that node has: all of it proven behind the maintenance page. A SQL Server whose host does not answer
may be half-patched: nobody can read there what was begun.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from model.estate import Estate
from model.records import CheckRecord
from model.sql.builds import Build
from model.upgrade import Upgrade, is_upgrade_section

INSTALLING = "installing"
_LEFT_RUNNING = "left-running"
RESTARTING = "restarting"
PATCHING = "patching"
"""The section that says: installs may have begun on any host of the estate, so none opens by itself."""
REOPENING = "reopening"
"""The section that says: from here on customers may have been at work, so the backups of this quiesce are not the last."""
RELEASED = "released"
"""The section that says: the billing services of this host run again, although a site of it stays closed."""
RESTORED = "restored"
"""The section that says: the dead man's switch of this host has restored service."""
AGENT_JOBS = "agent_jobs"
"""The section with the Agent jobs that are held."""
SQL_BEFORE = "sql"
"""The section with what an instance was before the night: ``{"build", "agent"}``."""
_SQL_PATCH = "sql-patch-"


def sql_patch_section(build: str) -> str:
    """The section of ``quiesce.json`` that says: a SQL Server patch to this build has begun here."""
    return _SQL_PATCH + build


def left_running_section(job: str) -> str:
    """The section that says: the installer of this job had not ended at its deadline; {name, processes: [{id, name, started}]}.

    One for each job, for a section is written once: the next attempt may leave another running.
    """
    return f"{_LEFT_RUNNING}-{job}"


def left_running(quiesce: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What installers of this host were left running under this quiesce, one entry for each."""
    held = quiesce.get("held") or {}
    return [note for section, note in held.items() if section.startswith(_LEFT_RUNNING)]


@dataclass(frozen=True)
class Begun:
    """What has been begun under the open quiesce; ``builds`` is the SQL Server build that each patch was to bring."""

    installs: frozenset[str] = frozenset()
    """The hosts on which updates were being installed, or that were asked to restart."""
    builds: Mapping[str, str] = field(default_factory=dict)
    upgrades: Mapping[str, Upgrade] = field(default_factory=dict)
    """The upgrades of EngageIP, by their names: every host knows of each."""

    @property
    def anything(self) -> bool:
        """Whether any host may be half-patched."""
        return bool(self.installs or self.builds or self.upgrades)


def begun_on(quiesces: Mapping[str, Mapping[str, Any]]) -> Begun:
    """What the hosts' own records (``quiesce.json`` by host) say has been begun."""
    installs: set[str] = set()
    builds: dict[str, str] = {}
    upgrades: dict[str, Upgrade] = {}
    for host, quiesce in quiesces.items():
        for section, note in (quiesce.get("held") or {}).items():
            if section in {INSTALLING, RESTARTING}:
                installs.add(host)
            elif section.startswith(_SQL_PATCH):
                build = section.removeprefix(_SQL_PATCH)
                builds[host] = max(builds.get(host, build), build, key=Build.parse)
            elif is_upgrade_section(section):
                upgrade = Upgrade.of(note)
                upgrades[upgrade.name] = upgrade
    return Begun(frozenset(installs), builds, upgrades)


def begun_sections(quiesce: Mapping[str, Any]) -> tuple[str, ...]:
    """The sections that say that something had been begun, here or on another host of the estate."""
    plain = {INSTALLING, RESTARTING, PATCHING}
    held = quiesce.get("held") or {}
    return tuple(s for s in held if s in plain or s.startswith(_SQL_PATCH) or is_upgrade_section(s))


def patches_begun(quiesce: Mapping[str, Any]) -> tuple[str, ...]:
    """The builds that the SQL Server patches begun under this quiesce were to bring, in their order."""
    sections = [section for section in quiesce.get("held") or {} if section.startswith(_SQL_PATCH)]
    return tuple(sorted((section.removeprefix(_SQL_PATCH) for section in sections), key=Build.parse))


@dataclass(frozen=True)
class Reopening:
    """For each site on each node, and for the billing services: None to open, else why not."""

    sites: Mapping[tuple[str, str], str | None]
    services: str | None

    def closed(self) -> dict[str, str]:
        """``AdminPortal on web01`` to the reason, for what stays closed."""
        return {f"{site} on {host}": reason for (site, host), reason in self.sites.items() if reason is not None}


def reopening(
    estate: Estate,
    begun: Begun,
    problems: Mapping[str, str],
    checks: Iterable[CheckRecord],
    lost: Iterable[str] | Mapping[str, str] = (),
) -> Reopening:
    """What may open.

    ``problems`` holds an entry for each SQL Server that is not as it must be, and one for half an upgrade of EngageIP;
    ``lost`` are hosts that do not
    answer, or are not to be judged yet (then with the reason): their checks have not run, and the rest of the estate
    does not wait for them.
    """
    gone = lost if isinstance(lost, Mapping) else dict.fromkeys(lost, "the host does not answer")
    nodes = {(site.name, host) for site in estate.engageip.sites for host in estate.nodes_of(site.name)}
    if not begun.anything and not set(gone) & set(estate.sql):
        return Reopening({node: gone.get(node[1]) for node in nodes}, gone.get(estate.engageip.host))
    blocking = [record for record in checks if record.blocks_reopening and record.host not in gone]
    # A service or an event log of a mere web server says something of that node only; of any other host, of the estate.
    web_only = {host for _, host in nodes} - set(estate.sql) - {estate.engageip.host}
    estate_wide = [
        *problems.values(),
        *(_said(record) for record in blocking if record.site is None and record.host not in web_only),
    ]
    sites: dict[tuple[str, str], str | None] = {}
    for site, host in nodes:
        its_node = [record for record in blocking if record.host == host]
        own = [_said(r) for r in its_node if r.site == site or (r.site is None and host in web_only)]
        reasons = [gone[host]] if host in gone else [*estate_wide, *own]
        sites[site, host] = "; ".join(reasons) or None
    return Reopening(sites, "; ".join(estate_wide) or gone.get(estate.engageip.host))


def _said(record: CheckRecord) -> str:
    return (
        f"must check '{record.name}' on {record.host}: {record.status}{f' ({record.detail})' if record.detail else ''}"
    )
