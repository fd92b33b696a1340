"""Restart a host, and wait until it is ready: not until a port answers, but until what runs on it can be used."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from blocks.winrm.errors import HostError, ScriptFailed, ScriptRefused
from model.outcome import Stopped
from model.reboot import RebootVerdict, reboot_verdict, tells_of, windows_asks
from model.records import HostFacts, RestartRecord, UpdateRecord
from model.reopen import RESTARTING, patches_begun
from tasks import balancers, lease, readiness, services, web_readiness
from tasks.progress import tell
from tasks.run import Run
from tasks.sql_aftermath import await_beside, build_by_setup, engines, setup_facts
from tasks.step import step
from tasks.still_installing import still_installing

T = TypeVar("T")


def batches(run: Run, hosts: Sequence[str]) -> Iterator[list[str]]:
    """The hosts of a wave, so many at a time that never more than ``restart.max_unavailable`` are down.

    Raises Stopped where those that did not come back leave no room, whichever wave or round has lost them: an update that
    one host has not survived shall not take the next one too. Hosts that depend on each other do not count together.
    """
    waiting = list(hosts)
    while waiting:
        lost = [host for host in run.lost if any(not _depend(run, host, other) for other in waiting)]
        room = run.estate.restart.max_unavailable - len(lost)
        if room <= 0:
            raise Stopped.because(
                "restart",
                *(run.lost[host] for host in lost),
                f"{', '.join(waiting)}: not restarted, for restart.max_unavailable allows {len(lost)} host down. What was "
                f"installed there waits for its restart.",
            )
        yield waiting[:room]
        waiting = waiting[room:]


def _depend(run: Run, host: str, other: str) -> bool:
    """Whether one of the two depends on the other: while that is down, it is of no use anyway."""
    return other in run.estate.dependencies_of(host) or host in run.estate.dependencies_of(other)


def stop_if_blocked(run: Run, wave: Sequence[str]) -> None:
    """Raise Stopped where a host of the wave depends on one that did not come back: it must not restart."""
    blocked = {host: lost for host in wave for lost in run.estate.dependencies_of(host) if lost in run.lost}
    if blocked:
        raise Stopped.because("restart", *(run.lost[lost] for lost in dict.fromkeys(blocked.values())))


def due(run: Run, round_number: int, asked: set[str]) -> set[str]:
    """The hosts to restart after a round: those that have a reason, in the first round every host where policy says so.

    None that did not come back from an earlier one: it has no updates of this round, and would only be waited for again.
    """
    every = run.estate.restart.policy == "always" and round_number == 1
    return ({*asked, *run.hosts} if every else asked) - run.lost.keys()


def left_up(run: Run, wave: Sequence[str], restarting: set[str]) -> list[str]:
    """The web servers of a wave that stay up while a SQL Server that they ask restarts; those that are lost are not up."""
    return [
        host
        for host in run.estate.hosts_with("iis")
        if host in wave
        and host not in run.lost
        and host not in restarting
        and restarting.intersection(run.estate.dependencies_of(host))
    ]


@step("recycle the pools of {host}")
def recycle(run: Run, host: str) -> None:
    """Give the applications of ``host`` a fresh start, now that the SQL Server that they ask has had one.

    What bills there stays held: it may have restarted by itself since the estate was made quiet.
    """
    deadline = time.monotonic() + run.estate.restart.deadline.total_seconds()
    _once_it_answers(run, host, deadline, lambda: _hold_services(run, host))
    web_readiness.await_iis(run, host, deadline, stop=run.stop)
    tell("restart", host, "pools recycled")


@dataclass
class _Going:
    """How far a restart is: until when it must be over; asked for here, and heard; when first seen down; what SQL Server was; boots since."""

    deadline: float
    asked: bool = False
    heard: bool = False
    down: datetime | None = None
    before: readiness.Before | None = None
    boots: set[str] = field(default_factory=set)


@step("restart {host}")
def restart_host(run: Run, host: str, round_number: int) -> RestartRecord:
    """Restart ``host`` once for this run and round, and return when it is ready again.

    A restart that an earlier run of the same key asked for is not asked for twice. A host that goes down by itself, as
    installers and policy have it, is waited for, and asked once it answers. With ``restart.policy``
    services-only Windows itself restarts only where it asks for that. Raises Stopped when the host refuses, or is not
    ready within the estate's ``restart.deadline``; the record is written then too, without an end.
    """
    _hold_elsewhere(run, host, time.monotonic() + run.estate.restart.deadline.total_seconds())
    asked = datetime.now(UTC)
    going = _Going(time.monotonic() + run.estate.restart.deadline.total_seconds())
    intent = f"{run.key}.{round_number}"
    # Before anything is installed a restart is due only where Windows itself must.
    services_only = round_number > 0 and _once_it_answers(
        run, host, going.deadline, lambda: _services_suffice(run, host, intent)
    )
    ready = None
    _once_it_answers(run, host, going.deadline, lambda: balancers.drain(run, host))
    try:
        if services_only:
            _restart_services(run, host, intent, going)
        else:
            _until_ready(run, host, intent, going)
        ready = datetime.now(UTC)
    finally:
        run.restarting.discard(host)
        remark = "" if len(going.boots) < 2 else f"it restarted {len(going.boots)} times, the last unasked"
        remark = "services only: nothing asks for a restart of Windows" if services_only else remark
        record = run.journal.write(
            RestartRecord(
                host=host,
                asked=asked,
                down=going.down,
                ready=ready,
                waited_for=run.estate.dependencies_of(host),
                remark=remark or None,
            )
        )
    tell("restart", host, f"ready{f'; {remark}' if remark else ''}")
    balancers.undrain(run, host)
    return record


def _once_it_answers(run: Run, host: str, deadline: float, ask: Callable[[], T]) -> T:
    """What ``ask`` answers, asked anew while the host may only be restarting by itself: nobody has asked it to yet."""
    said = ""
    while True:
        try:
            return ask()
        except HostError as error:
            if not _may_come_back(error):
                raise
            waiting_for = f"WinRM to answer ({error.cause})"
        said = _wait(run, host, waiting_for, said, deadline)


def _may_come_back(error: HostError) -> bool:
    """Whether a host that says this may only be on its way down, or up."""
    return not isinstance(error, readiness.FINAL) and (error.retryable or error.outcome_unknown)


def _wait(run: Run, host: str, waiting_for: str, said: str, deadline: float) -> str:
    """Wait a moment for this, telling it unless it was ``said`` last; what is said now. Raises Stopped at ``deadline``."""
    if waiting_for != said:
        tell("restart", host, f"waiting: {waiting_for}")
    if time.monotonic() > deadline:
        raise _not_back(run, host, waiting_for)
    if run.pause(run.stop):
        raise Stopped.because("restart", f"{host}: asked to stop while waiting: {waiting_for}")
    return waiting_for


def _services_suffice(run: Run, host: str, intent: str) -> bool:
    """Whether ``restart.policy`` lets Windows run on, nothing asks for its restart, and none has been asked for here."""
    if run.estate.restart.policy != "services-only":
        return False
    asked = run.hosts[host].run("Get-RebootState", intent=intent)["asked"]
    facts = HostFacts.of(host, run.hosts[host].run("Get-HostFacts"))
    # What a restart of this run has granted asks for none any more.
    granted = max(
        (each.asked for each in run.journal.of(RestartRecord) if each.host == host and each.ready), default=None
    )
    records = [
        each
        for each in run.journal.of(UpdateRecord)
        if each.host == host and (granted is None or (each.ended or each.started) > granted)
    ]
    begun = asked is not None and tells_of(asked["intent"], intent)
    return not begun and not windows_asks(records, facts.pending_reboot)


def _restart_services(run: Run, host: str, intent: str, going: _Going) -> None:
    """Restart SQL Server and the web server of a host whose Windows runs on; EngageIP's services stay stopped."""
    _must_cut_nothing(run, host)
    _await_scripts(run, host, going, services_only=True)
    _note_restart(run, host, intent)
    _await_needed(run, host)
    _hold_billing(run, host)
    before = readiness.before(run, host, readiness.sql_before(_quiesce(run, host)))
    names: tuple[str, ...] = ("W3SVC",) if host in run.estate.hosts_with("iis") else ()
    if host in run.sql:
        web_readiness.quiet(run, host)
        agent, engine = readiness.sql_services(run.estate.sql[host].instance)
        names += (agent, engine) if before.agent else (engine,)
    still = services.stop(run, host, names)
    faults = {} if still else services.start(run, host, names[::-1])
    trouble = [still, *(f"{name}: {error}" for name, error in faults.items() if error)]
    if any(trouble):
        raise Stopped.because(
            "restart", f"{host}: {'; '.join(filter(None, trouble))}. Look at its services, then run again."
        )
    tell("restart", host, f"services restarted: {', '.join(names)}")
    _await_ready(run, host, before, going.deadline)


def _until_ready(run: Run, host: str, intent: str, going: _Going) -> None:
    """Have the host restart, and wait until it is ready in one and the same boot.

    After updates, and by policy, a host may go down again right after it came up: what it had proven until then, and
    what was stopped again on it, counts for that boot only.
    """
    while True:
        _down_and_up(run, host, intent, going)
        try:
            boot = _boot(run, host)
            going.boots.add(boot)
            _hold_billing(run, host)
            _await_ready(run, host, going.before, going.deadline)
            if _boot(run, host) == boot:
                return
            why = "another boot answers than before"
        except HostError as error:
            if not _may_come_back(error):
                raise
            why = error.cause
        tell("restart", host, f"went away again before it was ready, and must be ready anew ({why})")
        if time.monotonic() > going.deadline:
            raise _not_back(run, host, f"it went away again before it was ready: {why}")
        if run.pause(run.stop):
            raise Stopped.because("restart", f"{host}: asked to stop while it restarted again")


def _boot(run: Run, host: str) -> str:
    boot: str = run.hosts[host].run("Confirm-Boot")["boot_id"]
    return boot


def _not_back(run: Run, host: str, said: str) -> Stopped:
    return Stopped.because(
        "restart",
        f"{host}: not back after its restart within {run.estate.restart.deadline} ({said}). "
        f"Look at its console, then run: billpatch recover {run.called}",
    )


def _down_and_up(run: Run, host: str, intent: str, going: _Going) -> None:
    """Ask for the restart unless it was asked for, and wait for the proof that it has happened."""
    said = ""
    while True:
        verdict, waiting_for = _look(run, host, intent, going)
        if verdict is not None and verdict.state == "up":
            return
        if verdict is not None and verdict.state in {"unknown", "going"} and not going.heard:
            waiting_for = _try_to_ask(run, host, intent, going)
        said = _wait(run, host, waiting_for, said, going.deadline)


def _look(run: Run, host: str, intent: str, going: _Going) -> tuple[RebootVerdict | None, str]:
    """How far the host is, None where it does not say; and what is waited for."""
    try:
        verdict = reboot_verdict(run.hosts[host].run("Get-RebootState", intent=intent, deadline=30), intent)
    except readiness.FINAL:
        raise
    except HostError as error:
        # Half up, a host may say anything: WMI that has not started yet, a script that PowerShell refuses.
        if not (going.asked or error.retryable):
            raise
        return None, _silent(going, error)
    return verdict, verdict.why


def _silent(going: _Going, error: HostError) -> str:
    """What is waited for where the host does not answer; once it was asked to restart, it is down."""
    if going.asked:
        going.down = going.down or datetime.now(UTC)
    return f"WinRM to answer ({error.cause})"


def _try_to_ask(run: Run, host: str, intent: str, going: _Going) -> str:
    """Ask for the restart; what is waited for then. A host that goes down under it by itself is asked when it is back."""
    try:
        _ask(run, host, intent, going)
    except HostError as error:
        if not _may_come_back(error):
            raise
        return _silent(going, error)
    return "it to go down"


def _ask(run: Run, host: str, intent: str, going: _Going) -> None:
    """Hold what bills, stop SQL Server cleanly, ask Windows to restart; a request that was cut off counts as asked."""
    _must_cut_nothing(run, host)
    _await_scripts(run, host, going)
    _note_restart(run, host, intent)
    _await_needed(run, host)
    _hold_billing(run, host)
    going.before = going.before or readiness.before(run, host, readiness.sql_before(_quiesce(run, host)))
    _stop_sql_server(run, host)
    lease.lend(run, host)
    going.asked = True
    try:
        answer = run.hosts[host].run(
            "Restart-PatchedHost", intent=intent, reason=f"EngageIP patching {run.key}", fence=run.fence
        )
    except (ScriptFailed, ScriptRefused, *readiness.FINAL):
        raise
    except HostError as error:
        tell("restart", host, f"asked to restart; whether it has heard that will show ({error.cause})")
        return
    going.heard = True
    if answer["outcome"] == "refused":
        said = answer["attempts"][-1]
        raise Stopped.because(
            "restart", f"{host}: shutdown.exe refuses ({said['code']}: {said['text']}). Restart it by hand."
        )
    tell("restart", host, "restarting")


def _must_cut_nothing(run: Run, host: str) -> None:
    """Raise Stopped where something still installs on the host."""
    going = still_installing(run, host, _quiesce(run, host))
    if going:
        raise Stopped.because(
            "restart",
            f"{host}: not restarted, for {going} still goes on there. Look at it; once it has ended, run: billpatch recover "
            f"{run.called}",
        )


def _await_scripts(run: Run, host: str, going: _Going, *, services_only: bool = False) -> None:
    """Wait until no engine that goes down with the restart is at its upgrade scripts, whoever has begun them.

    Raises Stopped where they take longer than their budget, which is none of the restart's own.
    """
    if host not in run.sql:
        return
    began = time.monotonic()
    own = run.estate.sql[host]
    until = began + own.script_upgrade.total_seconds()
    names = (own.instance,) if services_only else engines(run, host)
    readiness.await_none_at_work(run, host, names, until, stop=run.stop)
    going.deadline += time.monotonic() - began


def _note_restart(run: Run, host: str, intent: str) -> None:
    """From here on bring_back must prove that everything works, whoever calls it."""
    run.hosts[host].run(
        "Set-QuiesceState", number=run.number, fence=run.fence, state="open", held={RESTARTING: {"intent": intent}}
    )


def _await_needed(run: Run, host: str) -> None:
    """Wait until the SQL Servers that ``host`` depends on are ready: policy may have restarted one since it was proven."""
    for needed in run.estate.dependencies_of(host):
        if needed in run.sql:
            deadline = time.monotonic() + run.estate.restart.deadline.total_seconds()
            known = readiness.Before(agent=readiness.sql_before(_quiesce(run, needed)).agent)
            readiness.await_sql(run, needed, deadline, known=known, stop=run.stop)


def _stop_sql_server(run: Run, host: str) -> None:
    """Stop what asks it, then Agent and the engine, cleanly: recovery after the boot is then a matter of seconds."""
    if host in run.sql:
        web_readiness.quiet(run, host)
        services.stop(run, host, readiness.sql_services(run.estate.sql[host].instance))


def _hold_billing(run: Run, host: str) -> None:
    """Stop EngageIP's services again where a restart of ``host`` would cut them: on it, and, of a SQL Server, elsewhere."""
    _hold_services(run, host)
    _hold_elsewhere(run, host)


def _hold_elsewhere(run: Run, host: str, until: float = 0.0) -> None:
    """Stop EngageIP's services on another host where SQL Server of ``host`` is to restart.

    A boot that nobody asked for has started them, and before WinRM answers: who does not is waited for until then, a
    moment of ``time.monotonic``. After it that is told: the host has its own restart, in which it is missed.
    """
    billing = [other for other in run.hosts if other != host and run.estate.services_on(other)]
    for other in billing if host in run.sql else ():
        said = ""
        while other not in run.lost:
            try:
                _hold_services(run, other)
                break
            except HostError as error:
                if not _may_come_back(error):
                    raise
                cause = error.cause
            if time.monotonic() > until:
                tell("restart", other, f"billing could not be held while {host} restarts ({cause})")
                break
            if cause != said:
                said = cause
                tell("restart", host, f"waiting for {other} to answer, whose boot may have started billing ({cause})")
            if run.pause(run.stop):
                raise Stopped.because("restart", f"{host}: asked to stop while waiting for {other} to answer ({cause})")


def _hold_services(run: Run, host: str) -> None:
    """Stop EngageIP's services again: a boot has started them, and they bill."""
    still = services.stop(run, host, run.estate.services_on(host))
    if still:
        raise Stopped.because(
            "restart", f"{host}: {still}, and bills while the estate is patched. Stop it by hand, then run again."
        )


def _await_ready(run: Run, host: str, before: readiness.Before | None, deadline: float) -> None:
    quiesce = _quiesce(run, host)
    if host in run.sql:
        known = before or readiness.Before(agent=readiness.sql_before(quiesce).agent)
        # What setup has left is what must run; a setup that has refused to begin has left what was there.
        begun = bool(patches_begun(quiesce))
        build = build_by_setup(run, host) if begun else None
        _start_manual(run, host, known, deadline, scripts=begun)
        readiness.await_sql(run, host, deadline, build=build, known=known, scripts=begun, stop=run.stop)
        web_readiness.await_routes(run, host, deadline, stop=run.stop)
    if host in run.estate.hosts_with("iis"):
        _await_needed(run, host)
        web_readiness.await_iis(run, host, deadline, stop=run.stop)
    services.await_back(run, host, quiesce, deadline, stop=run.stop)
    if host in run.sql and patches_begun(quiesce):
        # Not before their services are back: until then each log is that of the start before.
        await_beside(run, host, quiesce, setup_facts(run, host), deadline, stop=run.stop)


def _start_manual(run: Run, host: str, known: readiness.Before, deadline: float, *, scripts: bool) -> None:
    """Start what ran before and does not start with the machine: the engine, then Agent, which needs one that can be used."""
    agent, engine = readiness.sql_services(run.estate.sql[host].instance)
    facts = HostFacts.of(host, run.hosts[host].run("Get-HostFacts", services=[engine, agent]))
    down = {one.name for one in facts.services if one.start_mode == "Manual" and one.status == "Stopped"}
    if engine in down:
        services.start(run, host, [engine])
    if agent in down and known.agent:
        readiness.await_sql(run, host, deadline, known=readiness.Before(known.start), scripts=scripts, stop=run.stop)
        services.start(run, host, [agent])


def _quiesce(run: Run, host: str) -> dict[str, Any]:
    return run.hosts[host].run("Get-QuiesceState")["quiesce"] or {}
