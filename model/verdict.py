"""The last word of a run: what happened, what is up, what is down, what was changed, and what to type next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from model.estate import Estate
from model.interruption import CUT_OFF
from model.keys import RunKey
from model.lease import SWITCH
from model.outcome import Problem, Stopped, in_one_line, told_once
from model.reboot import waits_for_restart
from model.records import CheckRecord, RestartRecord, RunOutcome, UpdateRecord
from model.words import duration_text

_SHOWN = 3
"""Problems in the headline, for a pager has one line; preflight is read at a desk, and tells all of them."""


@dataclass(frozen=True)
class Aftermath:
    """How the estate stands after it was brought back: what is not as it was, each with its cause."""

    closed: Mapping[str, str] = field(default_factory=dict)
    """Sites on their nodes (``AdminPortal on web01``) behind the maintenance page."""
    services: Mapping[str, str] = field(default_factory=dict)
    """Services that stay stopped."""
    running: Mapping[str, str] = field(default_factory=dict)
    """Services that were to stay stopped and run all the same."""
    unreachable: Mapping[str, str] = field(default_factory=dict)
    """Hosts that do not answer."""
    way_back: tuple[str, ...] = ()
    """What a person can do about a half-patched SQL Server or EngageIP, the gentlest first."""
    left_to: str = ""
    """The run that has taken the estate over, and brings it back."""
    left: bool = False
    """Whether anything is still on the record of what was held."""
    touched: bool = True
    """Whether the run had taken hold of the estate; what it did not touch it cannot vouch for."""

    @property
    def whole(self) -> bool:
        """True where everything is up."""
        return not (self.closed or self.services or self.running or self.unreachable or self.left_to)


def outcome_of(
    estate: Estate,
    key: RunKey,
    stopped: Stopped | None,
    aftermath: Aftermath,
    updates: Sequence[UpdateRecord],
    checks: Sequence[CheckRecord],
    *,
    looked_only: bool = False,
    recovering: bool = False,
    called: str = "",
    restarts: Sequence[RestartRecord] = (),
) -> RunOutcome:
    """What a person reads first.

    ``stopped`` is what ended the run early; ``looked_only`` says that it was a dry run, ``recovering`` that all it had to
    do was to bring the estate back. ``called`` is what a person types to name the estate; ``restarts`` are those of the run.
    """
    changed = tuple(f"{u.title} on {u.host}" for u in updates if u.result in {"installed", "reboot-pending", "unknown"})
    failed = [u for u in updates if u.result == "failed"]
    # An unknown outcome is no success; where something else has stopped the run, that is what there is to be read.
    unsure = [u for u in updates if u.result == "unknown"]
    lost_checks = [c for c in checks if c.status == "failed"]
    found = [*stopped.problems] if stopped else []
    found += [
        Problem(f"{u.host}: {u.title} was not installed{f': {u.remark}' if u.remark else ''}")
        for u in failed
        if not any(u.host in problem.message and u.title in problem.message for problem in found)
    ]
    if stopped is None:
        found += [Problem(f"{u.host}: nobody knows whether {u.title} is installed: {u.remark}") for u in unsure]
    found += [Problem(f"{c.host}: check '{c.name}' failed: {c.detail}") for c in lost_checks]
    found += [Problem(f"{what}: closed, {why}", what) for what, why in aftermath.closed.items()]
    found += [Problem(f"{what}: stopped, {why}", what) for what, why in aftermath.services.items()]
    found += [
        Problem(f"{what} RUNS and may bill, although it was to stay stopped: {why}. Stop it by hand.", what)
        for what, why in aftermath.running.items()
    ]
    found += [
        Problem(why)
        for host, why in aftermath.unreachable.items()
        if not any(host in problem.message for problem in found)
    ]
    if stopped is not None:
        # Whether a host that does not answer has restarted nobody knows: that it is away is told.
        there = [u for u in updates if u.host not in aftermath.unreachable]
        found += _waiting([u for u in there if waits_for_restart(u, restarts)])
    problems = told_once(found)
    down = (*aftermath.unreachable, *aftermath.closed, *aftermath.services)
    everything = [(site.name, host) for site in estate.engageip.sites for host in estate.nodes_of(site.name)]
    served = [f"{site} on {host}" for site, host in everything if host not in aftermath.unreachable]
    # What a run did not touch it cannot vouch for.
    up = tuple(name for name in (*estate.hosts, *served) if name not in down) if aftermath.touched else ()
    if aftermath.left_to:
        if SWITCH in aftermath.left_to:
            return _restored(estate, changed, problems, called or estate.name)
        return _left(estate, aftermath.left_to, changed, problems, recovering=recovering)
    counted = len(changed), len(unsure)
    verdict, words = _verdict(stopped, aftermath, counted, problems, len(everything), looked_only=looked_only)
    if recovering and verdict == "nothing-to-do":
        verdict, words = "succeeded", "brought back, everything is up."
    shown = None if stopped is not None and stopped.stage == "preflight" else _SHOWN
    first = f" {in_one_line(told_once(found, things=1), shown)}" if found else ""
    return RunOutcome(
        verdict=verdict,
        headline=f"{estate.name}: {words}{first}",
        up=up,
        down=down,
        changed=changed,
        problems=tuple(problems),
        next_command=_next(called or estate.name, key, verdict, aftermath, stopped),
        way_back=aftermath.way_back,
    )


def _waiting(updates: Sequence[UpdateRecord]) -> list[Problem]:
    """What is told of the restarts that did not come, one problem for each host."""
    titles: dict[str, list[str]] = {}
    for update in updates:
        titles.setdefault(update.host, []).append(update.title)
    return [
        Problem(f"{host}: {', '.join(names)} {'waits' if len(names) == 1 else 'wait'} for its restart", host)
        for host, names in titles.items()
    ]


def _left(estate: Estate, owner: str, changed: tuple[str, ...], problems: list[str], *, recovering: bool) -> RunOutcome:
    """Another run has the estate: what is up there is its business, and nobody is paged for this one."""
    return RunOutcome(
        verdict="nothing-to-do" if recovering else "failed",
        headline=f"{estate.name}: {'left to' if recovering else 'taken over by'} {owner}, which brings the estate back.",
        changed=changed,
        problems=tuple(problems),
    )


def _restored(estate: Estate, changed: tuple[str, ...], problems: list[str], called: str) -> RunOutcome:
    """Nobody has the estate: one of its hosts did not hear from this run, and looked after itself."""
    return RunOutcome(
        verdict="failed",
        headline=(
            f"{estate.name}: a host that did not hear from this run for {duration_text(estate.quiet.restore_after)} has "
            "restored its service by itself, so the run ended. What else it held is still held."
        ),
        changed=changed,
        problems=tuple(problems),
        next_command=f"billpatch recover {called}",
    )


def _verdict(
    stopped: Stopped | None,
    aftermath: Aftermath,
    counted: tuple[int, int],
    problems: list[str],
    sites: int,
    *,
    looked_only: bool,
) -> tuple[str, str]:
    """``counted``: how many updates were changed, and of how many of these nobody knows whether they are installed."""
    changed, unsure = counted
    # Portals that answer, and billing that waits for a host which does not: that host is what there is to be read.
    if aftermath.closed or aftermath.running or (aftermath.services and not aftermath.unreachable):
        some = aftermath.closed and not aftermath.services and len(aftermath.closed) < sites
        return "half-open", f"{', '.join(aftermath.closed) + ' ' if some else ''}NOT reopened, a person is needed."
    if stopped is not None and not changed and aftermath.whole:
        how = "nothing was installed, everything is up" if aftermath.touched else "nothing was touched"
        return "stopped", f"stopped at {stopped.stage}, {how}."
    if stopped is not None or problems:
        state = (
            "everything is up"
            if aftermath.whole
            else f"down: {', '.join((*aftermath.unreachable, *aftermath.services))}"
        )
        where = f" at {stopped.stage}" if stopped is not None else ""
        did = {0: "nothing was installed", 1: "1 update was installed"}.get(
            changed - unsure, f"{changed - unsure} updates were installed"
        )
        if unsure:
            did = f"{unsure} updates may be installed" if changed == unsure else f"{did}, {unsure} may be"
        return "failed", f"failed{where}, {did}, {state}."
    if looked_only:
        return "nothing-to-do", "looked only, nothing was touched."
    if not changed:
        return "nothing-to-do", "nothing was left to install; everything is up."
    count = "1 update" if changed == 1 else f"{changed} updates"
    return "succeeded", f"patched: {count} installed, every check passed, everything is up."


def _next(called: str, key: RunKey, verdict: str, aftermath: Aftermath, stopped: Stopped | None) -> str | None:
    if verdict in {"succeeded", "nothing-to-do"}:
        return None
    if verdict == "half-open" or aftermath.left or not aftermath.whole:
        return f"billpatch recover {called}"
    change = "" if key.is_start else f" --change {key.occasion}"
    # What failed is tried again under the next attempt; what was cut off, or not begun, goes on under its own.
    attempt = key.attempt + (aftermath.touched and (stopped is None or stopped.stage != CUT_OFF))
    return f"billpatch patch {called}{change}{f' --attempt {attempt}' if attempt > 1 else ''}"
