"""Quiesce: let running work end, put the maintenance page up, hold what could start anew. `bring_back` undoes it.

The order matters. Schedules are held first, so that nothing new begins; then running work is waited for; then the page
goes up and customers can start nothing; then running work is looked for again; only then are services stopped, which
would cut a billing run in two. Earlier states are recorded on the hosts before anything is changed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from model.outcome import Problem, Stopped
from model.quiesce import QUIET, NextQuiesce, at_work, is_reopened, next_quiesce, proven_whole
from model.records import HostFacts, QuiesceRecord
from model.reopen import AGENT_JOBS, SQL_BEFORE
from model.words import duration_text
from tasks import services, switch
from tasks.progress import tell
from tasks.run import Run
from tasks.step import step


@dataclass(frozen=True)
class Found:
    """A host before it is made quiet: its ``quiesce.json``, and whether what that holds works all the same."""

    host: str
    quiesce: dict[str, Any] | None
    working: bool = False
    reopened: bool = False
    """Whether every site that it closes is open again."""


@step("look what is held on {host}")
def look(run: Run, host: str) -> Found:
    """What an earlier run has left held, and whether it has come back by itself: what preflight saw may be hours old."""
    quiesce = run.hosts[host].run("Get-QuiesceState")["quiesce"]
    if not quiesce or quiesce["state"] != "open":
        return Found(host, quiesce)
    names = [service["name"] for service in quiesce["services"] or ()]
    facts = HostFacts.of(host, run.hosts[host].run("Get-HostFacts", services=names))
    recorded = [site["name"] for site in quiesce["sites"] or ()]
    sites = run.hosts[host].run("Get-IisState", sites=recorded)["sites"] if recorded else []
    working = at_work(quiesce, run.estate.engageip.services, facts, sites)
    if working:
        tell("quiesce", host, "an earlier run was cut off, and billing or customers have been at work since")
    return Found(host, quiesce, working, is_reopened(quiesce, sites))


def number(run: Run, found: list[Found]) -> NextQuiesce:
    """Number this quiesce, from what the hosts hold."""
    known = {one.host: one.quiesce for one in found}
    proven = proven_whole(run.estate, known, {one.host for one in found if one.reopened})
    following = next_quiesce(known, {one.host for one in found if one.working}, proven)
    run.number = following.number
    return following


@step("open quiesce {following.number} on {host}")
def open_quiesce(run: Run, host: str, following: NextQuiesce) -> None:
    """Number this quiesce on the host: what is recorded there from now on belongs to it; first of all, what runs.

    Before anything of the host is held, its dead man's switch is armed.
    """
    changes = following.changes(host)
    held = services.that_run(run, host) | changes.pop("held", {})
    run.hosts[host].run(
        "Set-QuiesceState", number=following.number, fence=run.fence, state="open", held=held, **changes
    )
    switch.arm(run, host)


@step("hold the Agent schedules of {host}")
def hold_schedules(run: Run, host: str) -> tuple[str, ...]:
    """Disable the declared Agent jobs that are enabled, and return their names.

    Which they were, and what the instance itself was, is recorded first: nobody else gives them back.
    """
    declared = set(run.estate.sql[host].agent_jobs.hold)
    facts = run.sql[host].facts()
    enabled = [job for job in run.sql[host].enabled_jobs() if job in declared] if declared else []
    before = {AGENT_JOBS: enabled, SQL_BEFORE: {"build": facts.build, "agent": facts.agent}}
    # On a resumed run the record is older than this look: it knows what was enabled before the first, and lacks what
    # has been declared or enabled since.
    recorded = _record(run, host, before)
    if late := [job for job in enabled if job not in recorded]:
        recorded = _record(run, host, {AGENT_JOBS: [*recorded, *late]}, forget=[AGENT_JOBS])
    for job in enabled:
        run.sql[host].set_job_enabled(job, enabled=False)
        tell("quiesce", host, f"Agent job {job} held")
    return recorded


def _record(run: Run, host: str, held: dict[str, Any], *, forget: Sequence[str] = ()) -> tuple[str, ...]:
    """Write it down, and return the Agent jobs that are on record then."""
    answer = run.hosts[host].run(
        "Set-QuiesceState", number=run.number, fence=run.fence, state="open", held=held, forget=list(forget)
    )
    return tuple(answer["quiesce"]["held"][AGENT_JOBS] or ())


@step("wait until {host} is quiet")
def wait_until_quiet(run: Run, host: str) -> tuple[str, ...]:
    """Wait until no billing run, payment batch, Agent job, backup or long transaction runs; return what was waited for.

    Raises Stopped when something still runs at the deadline of the estate (``quiet.deadline``).
    """
    quiet = run.estate.quiet
    deadline = time.monotonic() + quiet.deadline.total_seconds()
    waited: dict[str, None] = {}
    said: list[str] = []
    while running := run.sql[host].running_work(tuple(query for query in quiet.busy if query.on == host)):
        names = [one.rpartition(" (")[0] for one in running]
        waited |= dict.fromkeys(names)
        if names != said:
            said = names
            tell("quiesce", host, f"waiting for {', '.join(running)}")
        if time.monotonic() > deadline:
            raise Stopped.because(
                "quiesce",
                f"{host}: still running after {duration_text(quiet.deadline)}, and not cut: {', '.join(running)}. "
                "Let it end or raise quiet.deadline, then run again.",
            )
        if run.stop.wait(min(quiet.poll.total_seconds(), run.poll)):
            raise Stopped.because("quiesce", f"{host}: asked to stop while it waited for {', '.join(names)}")
    return tuple(waited)


@step("maintenance page on {host}")
def put_page_up(run: Run, host: str) -> None:
    """Give the public bindings of the host's sites to the maintenance site; the private check bindings stay.

    A web server that serves no site of the estate (IIS is there for something else) has nothing to close.
    """
    sites = [{"name": site.iis_name, "check_binding": site.check_binding} for site in run.estate.sites_on(host)]
    if not sites:
        return
    page = resources.files("report").joinpath("templates/maintenance.html").read_text(encoding="utf-8")
    run.hosts[host].run("Enter-Maintenance", sites=sites, html=page, number=run.number, fence=run.fence)
    tell("quiesce", host, "maintenance page up")


@step("stop EngageIP services on {host}")
def stop_services(run: Run, host: str) -> datetime:
    """Stop the declared EngageIP services in their order, and return since when nothing works any more.

    On a resumed run that is when the first had stopped them: what was backed up since then counts. Raises Stopped naming
    the one that does not stop.
    """
    names = run.estate.services_on(host)
    answer = run.hosts[host].run(
        "Stop-HostServices", names=list(names), number=run.number, fence=run.fence, timeout_seconds=300, deadline=330
    )
    if not answer["complete"]:
        stuck = [f"{s['name']} is {s['status']} ({s['error']})" for s in answer["services"] if s["status"] != "Stopped"]
        raise Stopped("quiesce", [Problem(f"{host}: {'; '.join(stuck)}. Stop it by hand, then run again.")])
    for name in names:
        tell("quiesce", host, f"service {name} stopped")
    now = {QUIET: {"at": datetime.now(UTC).isoformat()}}
    answer = run.hosts[host].run("Set-QuiesceState", number=run.number, fence=run.fence, state="open", held=now)
    return datetime.fromisoformat(answer["quiesce"]["held"][QUIET]["at"])


def record(
    run: Run,
    started: datetime,
    quiet_at: datetime,
    waited: list[tuple[str, ...]],
    jobs: dict[str, tuple[str, ...]],
) -> QuiesceRecord:
    """Write down since when the estate is quiet."""
    return run.journal.write(
        QuiesceRecord(
            number=run.number,
            started=min(started, quiet_at),
            quiet_at=quiet_at,
            waited_for=tuple(dict.fromkeys(name for names in waited for name in names)),
            held_services={host: run.estate.services_on(host) for host in run.hosts if run.estate.services_on(host)},
            held_jobs=jobs,
        )
    )
