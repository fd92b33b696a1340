"""The number of a quiesce: backups carry it, and a reopening ends it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from model import hooks
from model.estate import Estate
from model.records import HostFacts
from model.reopen import RELEASED, REOPENING, RESTORED, SQL_BEFORE, begun_sections, left_running

QUIET = "quiet"
"""The section that says since when the estate is quiet: ``{"at"}``, by the clock of the run that had made it so."""


@dataclass(frozen=True)
class NextQuiesce:
    """The number to go on with; ``carried`` are the hosts whose open record goes on under it, with that record.

    Such a record still tells how the host was before it was first made quiet, while backups have to be taken anew. What
    had been begun on ``proven`` hosts has been seen whole since.
    """

    number: int
    carried: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    proven: frozenset[str] = frozenset()

    def changes(self, host: str) -> dict[str, Any]:
        """What becomes of a carried record, as Set-QuiesceState is told it; empty where there is none.

        The sections that told of the old number alone are forgotten, or go on under other names.
        """
        if host not in self.carried:
            return {}
        old, held = int(self.carried[host]["number"]), self.carried[host].get("held") or {}
        kept = hooks.carried(held, old)
        gone = [section for section in held if f"earlier-{old}-{section}" in kept]
        if host in self.proven:
            gone += [*begun_sections(self.carried[host]), SQL_BEFORE]
        return {"from": old, "forget": [QUIET, REOPENING, RELEASED, RESTORED, *gone], "held": kept}


def proven_whole(
    estate: Estate, known: Mapping[str, Mapping[str, Any] | None], reopened: Collection[str]
) -> frozenset[str]:
    """Hosts whose open record is all that is left of a night that has been proven: what was begun there is whole.

    Billing is released only where every SQL Server, EngageIP and every must check of the estate were; what a check of one
    web server says is told by its sites, which are open again on the ``reopened``. Such a record stays open for an Agent
    job that could not be enabled, or a balancer that did not answer.
    """
    app = known.get(estate.engageip.host)
    if app is None or not (app["state"] == "closed" or RELEASED in (app.get("held") or {})):
        return frozenset()
    return frozenset(
        host
        for host, record in known.items()
        if record
        and record["state"] == "open"
        and record["number"] == app["number"]
        and host in reopened
        and (host in estate.sql or record["sites"])
        and not left_running(record)
    )


def at_work(
    quiesce: Mapping[str, Any], billing: Iterable[str], facts: HostFacts, sites: Iterable[Mapping[str, Any]]
) -> bool:
    """Whether what is held by an open quiesce works all the same: a boot has started it, or a person has opened it.

    ``billing`` are the services of EngageIP, ``sites`` what Get-IisState tells of the recorded ones. What else is on
    record (W3SVC, for an installer) writes nothing of its own.
    """
    ours = {name.casefold() for name in billing}
    services = quiesce["services"] or ()
    ran = [s["name"] for s in services if s["status"] == "Running" and s["name"].casefold() in ours]
    if any((found := facts.service(name)) and found.status not in {None, "Stopped"} for name in ran):
        return True
    return bool(_addresses(quiesce["sites"]) & _addresses(sites))


def is_reopened(quiesce: Mapping[str, Any], sites: Iterable[Mapping[str, Any]]) -> bool:
    """Whether every site that was closed has all its public addresses back."""
    return _addresses(quiesce["sites"]) <= _addresses(sites)


def _addresses(sites: Iterable[Mapping[str, Any]] | None) -> set[tuple[str, str, str]]:
    return {(site["name"], b["protocol"], b["information"]) for site in sites or () for b in site["bindings"] or ()}


def next_quiesce(
    known: Mapping[str, Mapping[str, Any] | None], working: Collection[str] = (), proven: frozenset[str] = frozenset()
) -> NextQuiesce:
    """What to call the next quiesce; ``known`` is ``quiesce.json`` of each host, None where there is none.

    One that an unfinished run left open everywhere is gone on with, and its backups count. Where customers may have
    been at work since (a host has been brought back, was about to be, or is ``working`` although it is held) it has
    ended, and the next number begins.
    """
    records = {host: record for host, record in known.items() if record}
    still_open = {host: record for host, record in records.items() if record["state"] == "open"}
    last = max((int(record["number"]) for record in records.values()), default=0)
    brought_back = any(
        REOPENING in (record.get("held") or {}) or host in working
        if host in still_open
        else int(record["number"]) == last
        for host, record in records.items()
    )
    if still_open and not brought_back and {int(record["number"]) for record in still_open.values()} == {last}:
        return NextQuiesce(last)
    return NextQuiesce(last + 1, still_open, proven)
