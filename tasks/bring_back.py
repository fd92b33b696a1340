"""Bring the estate back: one plain, idempotent function for the end of a run, for rescue, and for `billpatch recover`.

Not a task: after Cancel and Pause Prefect starts no task any more. It knows nothing of the run that it cleans up after:
what was held, what was begun and what must be proven is read from the hosts.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from blocks.sql_server import SqlServerError
from blocks.winrm.errors import HostError
from model.estate import ServiceCheck
from model.lease import lease_of
from model.outcome import Stopped
from model.reboot import is_going_down
from model.records import CheckRecord, HostFacts
from model.reopen import (
    AGENT_JOBS,
    RELEASED,
    REOPENING,
    RESTARTING,
    RESTORED,
    Begun,
    Reopening,
    begun_on,
    reopening,
)
from tasks import balancers, checks, engageip_upgrade, lease, readiness, services, silence, switch
from tasks.progress import tell
from tasks.run import Run
from tasks.sql_aftermath import must_be_whole, start_what_ran, ways_back
from tasks.still_installing import still_installing
from tasks.together import TakenOver, is_passing, must_be_ours, said, together, undisturbed
from tasks.web_readiness import await_iis

Held = dict[str, dict[str, Any]]
"""``quiesce.json`` of each host where it is open."""

_SERVICE_SECONDS = 300


@dataclass
class BroughtBack:
    """What bring_back found and did; what could not be brought back is named with its cause."""

    reopened: list[str] = field(default_factory=list)
    """Sites on their nodes (``AdminPortal on web01``) that answer customers again."""
    closed: dict[str, str] = field(default_factory=dict)
    """Sites on their nodes that stay behind the maintenance page, and why."""
    stopped: dict[str, str] = field(default_factory=dict)
    """Services and schedules that stay held, and why."""
    unreachable: dict[str, str] = field(default_factory=dict)
    """Hosts that do not answer, and how."""
    checks: list[CheckRecord] = field(default_factory=list)
    way_back: tuple[str, ...] = ()
    """What a person can do about a SQL Server or an EngageIP that is half-patched."""
    begun: bool = False
    """Whether anything had been begun that is not simply undone."""
    running: dict[str, str] = field(default_factory=dict)
    """Services that were to be held and could not be stopped, and why: they may bill."""
    left: set[str] = field(default_factory=set)
    """Hosts of which something is not back."""
    started: set[str] = field(default_factory=set)
    """Hosts on which EngageIP's services were started again."""
    left_to: str = ""
    """Who has taken the estate over, and brings it back; empty where that was ours to do."""

    @property
    def complete(self) -> bool:
        """True where nothing is left for a person to do."""
        return not (self.closed or self.stopped or self.running or self.unreachable or self.left_to)


def bring_back(run: Run, *, finished: bool = False, stopped: bool = False, patient: bool = False) -> BroughtBack:
    """Undo what was held, in reverse; reopen what may be reopened; give the lease back.

    ``finished`` tells the hosts that the run has ended well, ``stopped`` that it has ended by itself: in both cases,
    the second only where nothing had been begun, the next run starts anew instead of resuming this one.
    ``patient`` waits, once customers are served, for what starts minutes after a boot: a run that is told to end has no
    time for that. Never raises for what a host or a server does. Where the lease was taken over, its new owner brings back.
    """
    name = run.estate.name
    with undisturbed(
        lambda: tell("bring back", name, "bringing the estate back first; a second Ctrl-C leaves it as it is")
    ):
        if not run.end_work():
            tell("bring back", name, "a step of the run has not come to its end; going on without it")
        if not run.fence:
            return _as_found(run)
        back = undo(run, patient=patient)
        if not back.left_to:
            well = finished or (stopped and not back.begun)
            lease.give_back(run, finished=well and back.complete and not back.left)
    return back


def undo(run: Run, *, patient: bool = False) -> BroughtBack:
    """What bring_back does to the estate; the lease stays ours.

    A host that is out of reach may be restarting. It is waited for, up to the estate's ``restart.deadline``: a SQL
    Server first of all, for without it nobody knows what was begun; any other while the rest is open again.
    """
    deadline = time.monotonic() + run.estate.restart.deadline.total_seconds()
    back = BroughtBack()
    try:
        while True:
            over = time.monotonic() > deadline
            held, away = _open_quiesces(run, back)
            if over or not away & set(run.sql):
                away |= _restore(run, held, back, deadline, last=over)
            if over or not away:
                break
            tell("bring back", ", ".join(sorted(away)), "waiting for an answer")
            if run.pause():
                must_be_ours(run)
        if patient:
            _await_services(run, held, deadline)
        _close(run, held, back)
        if back.complete and not back.left:
            silence.end_all(run, held)
    except TakenOver:
        return BroughtBack(left_to=run.lease_lost)
    return back


def _as_found(run: Run) -> BroughtBack:
    """How a run that has not come to take the lease leaves the estate: as preflight found it.

    What an earlier run left closed is told, unless a live one is at work.
    """
    back = BroughtBack()
    if any((held := lease_of(facts)) and held.is_live(facts.now) for facts in run.facts.values()):
        return back
    for host, facts in run.facts.items():
        if facts.quiesce and facts.quiesce["state"] == "open" and RESTORED not in facts.quiesce["held"]:
            names = {site["name"] for site in facts.quiesce["sites"]}
            sites = [site.name for site in run.estate.sites_on(host) if site.iis_name in names]
            back.closed |= {f"{name} on {host}": "an earlier run was cut off and not brought back" for name in sites}
    return back


def _open_quiesces(run: Run, back: BroughtBack) -> tuple[Held, set[str]]:
    """Look at every host: where the quiesce is open, and which are out of reach and may come back.

    A host that was out of reach when the lease was taken over is joined to it; TakenOver where a later run has it.
    """
    known, troubles = together(run, run.hosts, lambda host: lease.look(run, host))
    if owner := next(filter(None, (lease.taken_by(run, facts) for facts in known.values())), None):
        run.lose_lease(owner)
    must_be_ours(run)
    for host, facts in sorted(known.items()):
        found = lease_of(facts)
        if host not in run.joined or found is None or found.fence < run.fence:
            try:
                lease.join(run, host)
            except HostError as trouble:
                troubles[host] = trouble
    back.unreachable = {host: said(trouble) for host, trouble in troubles.items()}
    held = {
        host: facts.quiesce
        for host, facts in known.items()
        if host not in troubles and facts.quiesce and facts.quiesce["state"] == "open"
    }
    return held, {host for host, trouble in troubles.items() if is_passing(trouble) and host not in run.lost}


def _settle_hosts(run: Run, held: Held, deadline: float) -> tuple[dict[str, str], dict[str, str]]:
    """Wait until no held host is about to restart, and none installs: a live job is never cut, but judged at its end.

    The hosts where that has not come about, and those that went out of reach meanwhile, and why.
    """

    def settled(host: str) -> None:
        while waits_for := _unsettled(run, host, held[host]):
            if time.monotonic() > deadline:
                raise Stopped.because("bring back", f"{host}: {waits_for} still goes on")
            tell("bring back", host, f"waiting for {waits_for} to end")
            if run.pause():
                must_be_ours(run)
                return

    _, troubles = together(run, held, settled)
    away = {host: said(trouble) for host, trouble in troubles.items() if is_passing(trouble)}
    return {host: said(trouble) for host, trouble in troubles.items() if host not in away}, away


def _unsettled(run: Run, host: str, quiesce: Mapping[str, Any]) -> str | None:
    """What has been begun on the host and has not come to its end; None where nothing has."""
    asked = run.hosts[host].run("Get-RebootState", intent="")["asked"]
    if asked and is_going_down(run.hosts[host].run("Get-RebootState", intent=asked["intent"])):
        return "its restart"
    return still_installing(run, host, quiesce)


def _restore(run: Run, held: Held, back: BroughtBack, deadline: float, *, last: bool) -> set[str]:
    """One pass over everything that answers and is not back yet; the hosts that went out of reach on the way.

    Without a SQL Server there is none, unless it is the ``last``: nobody would know what was begun there.
    """
    back.closed, back.stopped, back.running, back.left = {}, {}, {}, set(held)
    unsettled, away = _settle_hosts(run, held, deadline)
    back.unreachable |= away
    if away.keys() & run.sql.keys() and not last:
        return set(away)
    back.left = away.keys() | unsettled.keys()
    here = {host: quiesce for host, quiesce in held.items() if host not in away}
    begun = begun_on(held)
    back.begun |= begun.anything
    lost = dict.fromkeys(back.unreachable, "the host does not answer") | unsettled
    problems: dict[str, str] = {}
    if held and (begun.anything or set(lost) & set(run.sql)):
        back.running = _hold_services(run, here, back)
        _start_stopped(run, {host: quiesce for host, quiesce in here.items() if host not in unsettled})
        sql = _sql_problems(run, held, begun, lost)
        half = engageip_upgrade.half_done(run, begun.upgrades.values(), lost)
        back.way_back = (
            *(line for host, why in sql.items() for line in ways_back(run, host, held.get(host), why)),
            *engageip_upgrade.ways_back(run, begun.upgrades, half),
        )
        problems = sql | half
        _refresh_sites(run, here, back)
        back.checks = _must_checks(run, lost)
    verdict = reopening(run.estate, begun, problems, back.checks, lost)
    if verdict.services is None or None in verdict.sites.values():
        _mark_reopening(run, held)
    _reopen(run, held, verdict, back)
    if verdict.services is None:
        back.running = {}
        _release_schedules(run, here, back)
        _start_services(run, here, back)
    else:
        _keep_billing(run, held, verdict.services, back)
    # Last: a balancer that does not answer keeps nothing else waiting.
    back.left |= balancers.undrain_all(run, here, {host for (_, host), why in verdict.sites.items() if why is not None})
    return set(away)


def _released(quiesce: Mapping[str, Any]) -> bool:
    """Whether the billing services of the host run again, although something else of it is still held."""
    return RELEASED in (quiesce.get("held") or {})


def _keep_billing(run: Run, held: Held, why: str, back: BroughtBack) -> None:
    """Leave billing held, and every record with it: who brings it back must know what was held and what was begun."""
    app = run.estate.engageip.host
    back.left |= set(held)
    if app in held and _released(held[app]):
        return
    if app in held:
        ours = (f"{name} on {app}" for name in run.estate.engageip.services)
        back.stopped |= dict.fromkeys((name for name in ours if name not in back.running), why)
    else:
        why = f"it waits for {app} ({why})"
    back.stopped |= {_schedule(job, host): why for host, quiesce in held.items() for job in _schedules(quiesce)}


def _schedules(quiesce: Mapping[str, Any]) -> Iterable[str]:
    """The Agent jobs that are held under this quiesce."""
    jobs: list[str] = (quiesce.get("held") or {}).get(AGENT_JOBS) or []
    return jobs


def _schedule(job: str, host: str) -> str:
    return f"Agent job {job} on {host}"


def _hold_services(run: Run, held: Held, back: BroughtBack) -> dict[str, str]:
    """Stop again what a boot has started: billing waits for its proof, and starts anew after SQL Server.

    The services that do not stop (``EngageIP Job Service on web01``), and why. What this call has started stays so. Where
    one of them runs, backups are older than what it has billed.
    """
    ours = {name.casefold() for name in run.estate.engageip.services}
    names = {
        host: [s["name"] for s in quiesce.get("services") or () if s["name"].casefold() in ours]
        for host, quiesce in held.items()
        if not _released(quiesce) and host not in back.started
    }

    def hold(host: str) -> dict[str, str]:
        found = HostFacts.of(host, run.hosts[host].run("Get-HostFacts", services=names[host]))
        if any(each.status not in {"Stopped", None} for each in found.services):
            _mark_reopening(run, {host: held[host]})
        answer = run.hosts[host].run(
            "Stop-HostServices",
            names=names[host],
            number=held[host]["number"],
            fence=run.fence,
            timeout_seconds=_SERVICE_SECONDS,
            deadline=_SERVICE_SECONDS + 30,
        )
        up = [each for each in answer["services"] if each["exists"] and each["status"] != "Stopped"]
        return {f"{each['name']} on {host}": f"it is {each['status']} ({each['error']})" for each in up}

    stopped, troubles = together(run, (host for host in names if names[host]), hold)
    running = {name: why for up in stopped.values() for name, why in up.items()}
    for host, trouble in troubles.items():
        running |= {f"{name} on {host}": said(trouble) for name in names[host]}
    return running


def _start_stopped(run: Run, held: Held) -> None:
    """Start what was stopped for a restart or an installer, and is not billing's: the checks ask for it.

    What depends on these services is for the end, with billing's: starting it could start those.
    """
    wanted: dict[str, list[str]] = {}
    for host, quiesce in held.items():
        ours = {"w3svc", *(name.casefold() for name in services.stopped_for(run.estate, host))}
        ours -= {name.casefold() for name in run.estate.services_on(host)}
        ran = [s["name"] for s in quiesce.get("services") or () if s["status"] == "Running"]
        wanted[host] = [name for name in reversed(ran) if name.casefold() in ours]
    _, troubles = together(run, (host for host in wanted if wanted[host]), lambda host: _start(run, host, wanted[host]))
    for host, trouble in troubles.items():
        tell("bring back", host, said(trouble))


def _mark_reopening(run: Run, held: Held) -> None:
    """Write down that customers may be at work from now on: the backups of this quiesce do not count any more."""
    _mark(run, held, REOPENING, held)


def _mark(run: Run, held: Held, section: str, hosts: Iterable[str]) -> None:
    def mark(host: str) -> None:
        run.hosts[host].run(
            "Set-QuiesceState", number=held[host]["number"], fence=run.fence, state="open", held={section: True}
        )

    together(run, hosts, mark)


def _sql_problems(run: Run, held: Held, begun: Begun, lost: Mapping[str, str]) -> dict[str, str]:
    """Start every SQL Server that does not run, wait until it is ready, and say which is not as it must be."""
    problems = {host: f"{host}: {why}" for host, why in lost.items() if host in run.sql}
    for host in set(run.sql) - set(problems):
        deadline = time.monotonic() + run.estate.restart.deadline.total_seconds()
        before = readiness.sql_before(held.get(host))
        agent, engine = readiness.sql_services(run.estate.sql[host].instance)
        try:
            if host in begun.installs or host in begun.builds:
                # Whether it has come up, and why not, is for await_sql to say.
                _start(run, host, [engine, *([agent] if before.agent else [])])
            running = readiness.await_sql(
                run,
                host,
                deadline,
                known=readiness.Before(agent=before.agent),
                scripts=host in begun.builds,
                stop=run.over,
            )
            must_be_whole(run, host, held.get(host) or {}, running)
            _tell_of_services(run, host, start_what_ran(run, host))
        except (Stopped, HostError, SqlServerError) as trouble:
            run.heed(trouble)
            problems[host] = said(trouble)
    must_be_ours(run)
    return problems


def _tell_of_services(run: Run, host: str, down: Mapping[str, str]) -> None:
    """Services of SQL Server that ran before and do not start (Reporting Services): told, and no reason to stay closed."""
    for name, why in down.items():
        check = f"service {name} runs as before"
        run.journal.write(CheckRecord(name=check, host=host, severity="should", status="failed", detail=why))


def _refresh_sites(run: Run, held: Held, back: BroughtBack) -> None:
    """Recycle the pools: a site that met its database half-awake answers errors until then.

    Not where this call has opened a site already: customers are at work there.
    """
    deadline = time.monotonic() + run.estate.restart.deadline.total_seconds()
    serving = {what.rpartition(" on ")[2] for what in back.reopened}
    web = [host for host in run.estate.hosts_with("iis") if host in held and host not in serving]
    _, troubles = together(run, web, lambda host: await_iis(run, host, deadline, stop=run.over))
    for host, trouble in troubles.items():
        tell("bring back", host, said(trouble))  # the checks will say what it means


def _must_checks(run: Run, lost: Mapping[str, str]) -> list[CheckRecord]:
    """The must checks, but for the services that are started last and cannot run yet."""
    last = {name.casefold() for name in run.estate.engageip.services}
    must = [
        (check, node)
        for check, node in checks.declared(run)
        if check.severity == "must" and not (isinstance(check, ServiceCheck) and check.service.casefold() in last)
    ]
    with ThreadPoolExecutor(max(1, len(must))) as pool:
        asked = [
            pool.submit(contextvars.copy_context().run, checks.evaluate, run, check, node, lost) for check, node in must
        ]
        return [one.result() for one in asked]


def _reopen(run: Run, held: Held, verdict: Reopening, back: BroughtBack) -> None:
    opening: dict[str, dict[str, str]] = {}
    for host, quiesce in held.items():
        recorded = {site["name"] for site in quiesce.get("sites") or ()}
        for site in run.estate.sites_on(host):
            what = f"{site.name} on {host}"
            if site.iis_name in recorded and what not in back.reopened:
                why = verdict.sites[site.name, host]
                if why is None:
                    opening.setdefault(host, {})[site.iis_name] = what
                else:
                    back.closed[what] = why
                    back.left.add(host)

    def reopen(host: str) -> None:
        run.hosts[host].run("Exit-Maintenance", sites=list(opening[host]), fence=run.fence)
        tell("bring back", host, f"open again: {', '.join(opening[host])}")

    opened, troubles = together(run, opening, reopen)
    back.reopened += [what for host in opened for what in opening[host].values()]
    back.closed |= {what: said(trouble) for host, trouble in troubles.items() for what in opening[host].values()}
    back.left |= set(troubles)


def _release_schedules(run: Run, held: Held, back: BroughtBack) -> None:
    for host, quiesce in held.items():
        for job in _schedules(quiesce):
            try:
                run.sql[host].set_job_enabled(job, enabled=True)
                tell("bring back", host, f"Agent job {job} released")
            except SqlServerError as error:
                back.stopped[_schedule(job, host)] = str(error)
                back.left.add(host)


def _start_services(run: Run, held: Held, back: BroughtBack) -> None:
    """EngageIP's services, last of all: they bill, and everything that they need has been proven by now."""
    ran = {
        host: [s["name"] for s in reversed(quiesce.get("services") or ()) if s["status"] == "Running"]
        for host, quiesce in held.items()
    }

    def start(host: str) -> dict[str, str]:
        down = _start(run, host, ran[host])
        if running := [name for name in ran[host] if name not in down]:
            tell("bring back", host, f"running again: {', '.join(running)}")
        return down

    started, troubles = together(run, (host for host in ran if ran[host]), start)
    back.started |= set(started)
    for host, down in started.items():
        back.stopped |= {f"{name} on {host}": why for name, why in down.items()}
    back.stopped |= {f"{', '.join(ran[host])} on {host}": said(trouble) for host, trouble in troubles.items()}
    back.left |= {*troubles, *(host for host, down in started.items() if down)}
    _mark(run, held, RELEASED, (host for host, down in started.items() if not down))


def _start(run: Run, host: str, names: list[str]) -> dict[str, str]:
    """Start services, and say which of them do not run, and why."""
    answer = run.hosts[host].run(
        "Start-HostServices",
        names=names,
        fence=run.fence,
        timeout_seconds=_SERVICE_SECONDS,
        deadline=_SERVICE_SECONDS + 30,
    )
    return {s["name"]: f"it is {s['status']} ({s['error']})" for s in answer["services"] if s["status"] != "Running"}


def _await_services(run: Run, held: Held, deadline: float) -> None:
    """On hosts that were restarted, see to it that what ran before runs again; what does not is a check that failed."""
    restarted = [host for host, quiesce in held.items() if RESTARTING in (quiesce.get("held") or {})]
    _, troubles = together(
        run, restarted, lambda host: services.await_back(run, host, held[host], deadline, stop=run.over)
    )
    for host, trouble in troubles.items():
        tell("bring back", host, said(trouble))


def _close(run: Run, held: Held, back: BroughtBack) -> None:
    """End the quiesce of every host that has all back; where something is not, the record of it stays."""

    def close(host: str) -> None:
        switch.disarm(run, host)
        run.hosts[host].run("Set-QuiesceState", number=held[host]["number"], fence=run.fence, state="closed")

    _, troubles = together(run, set(held) - back.left, close)
    back.unreachable |= {host: said(trouble) for host, trouble in troubles.items()}
