"""Bring the estate back: one plain, idempotent function for the end of a run, for rescue, and for `billpatch recover`.

Not a task: after Cancel and Pause Prefect starts no task any more. It knows nothing of the run that it cleans up after:
what was held, what was begun and what must be proven is read from the hosts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from blocks.sql_server import SqlServerError
from blocks.winrm.errors import HostError
from model.estate import ServiceCheck
from model.jobs import JobFacts, Queued, Running, job_state
from model.outcome import Stopped
from model.records import CheckRecord, HostFacts
from model.reopen import Begun, Reopening, begun_on, reopening
from tasks import checks, lease, readiness
from tasks.progress import tell
from tasks.run import Run

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

    @property
    def complete(self) -> bool:
        """True where nothing is left for a person to do."""
        return not (self.closed or self.stopped or self.unreachable)


def bring_back(run: Run, *, finished: bool = False) -> BroughtBack:
    """Undo what was held, in reverse; reopen what may be reopened; give the lease back.

    ``finished`` tells the hosts that the run has ended well, so that the next run starts anew instead of resuming it.
    Never raises for what a host or a server does. Where the lease was taken over, its new owner brings back.
    """
    run.end_work()
    back = BroughtBack()
    if not run.fence or run.lease_lost:
        return back
    held = _open_quiesces(run, back)
    if held:
        begun = begun_on(held)
        _await_installs(run, held, back)
        sql = _sql_problems(run, held, begun)
        _refresh_sites(run, held)
        back.checks = _must_checks(run, back)
        verdict = reopening(run.estate, begun, sql, back.checks, tuple(back.unreachable))
        _reopen(run, held, verdict, back)
        if verdict.services is None:
            _release_schedules(run, held, back)
            _start_services(run, held, back)
        else:
            back.stopped |= dict.fromkeys(run.estate.engageip.services, verdict.services)
        _close(run, held, back)
    lease.give_back(run, finished=finished and back.complete)
    return back


def _open_quiesces(run: Run, back: BroughtBack) -> Held:
    held: Held = {}
    for host in run.hosts:
        try:
            known = HostFacts.of(host, run.hosts[host].run("Get-HostFacts", deadline=60)).quiesce
        except HostError as error:
            back.unreachable[host] = str(error)
        else:
            if known and known["state"] == "open":
                held[host] = known
    return held


def _await_installs(run: Run, held: Held, back: BroughtBack) -> None:
    """A live job is never cut: wait for it, then judge. One that outlasts the deadline is named."""
    for host in held:
        deadline = time.monotonic() + run.estate.restart.deadline.total_seconds()
        try:
            while alive := _alive(run, host):
                if time.monotonic() > deadline:
                    back.stopped[f"job {alive[0]} on {host}"] = "it still runs"
                    break
                tell("bring back", host, f"waiting for {alive[0]} to end")
                run.pause()
        except HostError as error:
            back.unreachable[host] = str(error)


def _alive(run: Run, host: str) -> list[str]:
    known = run.hosts[host].run("Get-PatchJob")["jobs"]
    return [job["id"] for job in known if isinstance(job_state(JobFacts.model_validate(job)), Running | Queued)]


def _sql_problems(run: Run, held: Held, begun: Begun) -> dict[str, str]:
    """Start every SQL Server that was stopped, wait until it is ready, and say which is not as it must be."""
    problems: dict[str, str] = {}
    for host in run.sql:
        deadline = time.monotonic() + run.estate.restart.deadline.total_seconds()
        ours = readiness.sql_services(run.estate.sql[host].instance)
        ran = [s["name"] for s in (held.get(host) or {}).get("services") or () if s["status"] == "Running"]
        try:
            names = [name for name in reversed(ours) if name in ran]
            if names:
                _start(run, host, names)
            readiness.await_sql(run, host, deadline, build=begun.builds.get(host))
        except Stopped as stopped:
            problems[host] = stopped.problems[0].message
        except (HostError, SqlServerError) as error:
            problems[host] = str(error)
    return problems


def _refresh_sites(run: Run, held: Held) -> None:
    """Recycle the pools: a site that met its database half-awake answers errors until then."""
    for host in run.estate.hosts_with("iis"):
        if host not in held:
            continue
        try:
            readiness.await_iis(run, host, time.monotonic() + run.estate.restart.deadline.total_seconds())
        except (Stopped, HostError) as error:
            tell("bring back", host, str(error))  # the checks will say what it means


def _must_checks(run: Run, back: BroughtBack) -> list[CheckRecord]:
    """The must checks, but for the services that are started last and cannot run yet."""
    last = {name.casefold() for name in run.estate.engageip.services}
    return [
        checks.evaluate(run, check, node, back.unreachable)
        for check, node in checks.declared(run)
        if check.severity == "must" and not (isinstance(check, ServiceCheck) and check.service.casefold() in last)
    ]


def _reopen(run: Run, held: Held, verdict: Reopening, back: BroughtBack) -> None:
    for host in run.estate.hosts_with("iis"):
        if host not in held:
            continue
        names = {site.name: site.iis_name for site in run.estate.sites_on(host)}
        opening = [name for name in names if verdict.sites[name, host] is None]
        back.closed |= {f"{n} on {host}": str(verdict.sites[n, host]) for n in names if n not in opening}
        if not opening:
            continue
        try:
            run.hosts[host].run("Exit-Maintenance", sites=[names[name] for name in opening], fence=run.fence)
        except HostError as error:
            back.closed |= {f"{name} on {host}": str(error) for name in opening}
        else:
            back.reopened += [f"{name} on {host}" for name in opening]
            tell("bring back", host, f"open again: {', '.join(opening)}")


def _release_schedules(run: Run, held: Held, back: BroughtBack) -> None:
    for host, quiesce in held.items():
        for job in (quiesce.get("held") or {}).get("agent_jobs") or ():
            try:
                run.sql[host].set_job_enabled(job, enabled=True)
                tell("bring back", host, f"Agent job {job} released")
            except SqlServerError as error:
                back.stopped[f"Agent job {job} on {host}"] = str(error)


def _start_services(run: Run, held: Held, back: BroughtBack) -> None:
    """EngageIP's services, last of all: they bill, and everything that they need has been proven by now."""
    for host, quiesce in held.items():
        names = [s["name"] for s in reversed(quiesce.get("services") or ()) if s["status"] == "Running"]
        if names:
            try:
                _start(run, host, names)
                tell("bring back", host, f"running again: {', '.join(names)}")
            except (HostError, Stopped) as error:
                back.stopped[f"services of {host}"] = str(error)


def _start(run: Run, host: str, names: list[str]) -> None:
    answer = run.hosts[host].run(
        "Start-HostServices",
        names=names,
        fence=run.fence,
        timeout_seconds=_SERVICE_SECONDS,
        deadline=_SERVICE_SECONDS + 30,
    )
    if not answer["complete"]:
        down = [f"{s['name']} is {s['status']} ({s['error']})" for s in answer["services"] if s["status"] != "Running"]
        raise Stopped.because("bring back", f"{host}: {'; '.join(down)}")


def _close(run: Run, held: Mapping[str, Any], back: BroughtBack) -> None:
    """End the quiesce where everything of it is undone; where something stays closed, the record of it stays too."""
    if back.closed or back.stopped:
        return
    for host, quiesce in held.items():
        try:
            run.hosts[host].run("Set-QuiesceState", number=quiesce["number"], fence=run.fence, state="closed")
        except HostError as error:
            back.unreachable[host] = str(error)
