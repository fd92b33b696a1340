"""Restart a host, and wait until it is ready: not until a port answers, but until what runs on it can be used."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from blocks.winrm.errors import HostError
from model.outcome import Stopped
from model.reboot import reboot_verdict
from model.records import RestartRecord
from model.reopen import Begun, begun_on
from tasks import readiness
from tasks.progress import tell
from tasks.run import Run
from tasks.step import step

_SERVICE_SECONDS = 300


def batches(run: Run, hosts: Sequence[str]) -> Iterator[list[str]]:
    """The hosts of a wave, at most ``restart.max_unavailable`` at a time."""
    size = run.estate.restart.max_unavailable
    for first in range(0, len(hosts), size):
        yield list(hosts[first : first + size])


def stop_if_blocked(run: Run, wave: Sequence[str]) -> None:
    """Raise Stopped where a host of the wave depends on one that did not come back: it must not restart."""
    blocked = {host: lost for host in wave for lost in run.estate.dependencies_of(host) if lost in run.lost}
    if blocked:
        raise Stopped.because("restart", *(run.lost[lost] for lost in dict.fromkeys(blocked.values())))


@step("restart {host}")
def restart_host(run: Run, host: str, round_number: int) -> RestartRecord:
    """Restart ``host`` once for this run and round, and return when it is ready again.

    A restart that an earlier run of the same key asked for is not asked for twice. Raises Stopped when the host
    refuses, or is not ready within the estate's ``restart.deadline``.
    """
    before = readiness.before(run, host)
    deadline = time.monotonic() + run.estate.restart.deadline.total_seconds()
    asked = datetime.now(UTC)
    intent = f"{run.key}.{round_number}"
    down = asked
    if not _has_restarted(run, host, intent):
        _stop_sql_server(run, host)
        answer = run.hosts[host].run(
            "Restart-PatchedHost", intent=intent, reason=f"EngageIP patching {run.key}", fence=run.fence
        )
        if answer["outcome"] == "refused":
            said = answer["attempts"][-1]
            raise Stopped.because(
                "restart", f"{host}: shutdown.exe refuses ({said['code']}: {said['text']}). Restart it by hand."
            )
        tell("restart", host, "restarting")
        down = _await_boot(run, host, intent, deadline) or asked
    else:
        before = readiness.Before(agent=before.agent)
        tell("restart", host, "was restarted for this round by an earlier run")
    _await_ready(run, host, before, deadline)
    tell("restart", host, "ready")
    return run.journal.write(
        RestartRecord(
            host=host, asked=asked, down=down, ready=datetime.now(UTC), waited_for=run.estate.dependencies_of(host)
        )
    )


def _has_restarted(run: Run, host: str, intent: str) -> bool:
    return reboot_verdict(run.hosts[host].run("Get-RebootState", intent=intent), intent).state == "up"


def _stop_sql_server(run: Run, host: str) -> None:
    """Stop Agent, then the engine, cleanly: recovery after the boot is then a matter of seconds."""
    if host in run.sql:
        run.hosts[host].run(
            "Stop-HostServices",
            names=list(readiness.sql_services(run.estate.sql[host].instance)),
            number=run.number,
            fence=run.fence,
            timeout_seconds=_SERVICE_SECONDS,
            deadline=_SERVICE_SECONDS + 30,
        )


def _await_boot(run: Run, host: str, intent: str, deadline: float) -> datetime | None:
    """Wait for the proof that the host has restarted; return when it was first seen down, None if it never was."""
    down: datetime | None = None
    said = ""
    while time.monotonic() < deadline:
        try:
            verdict = reboot_verdict(run.hosts[host].run("Get-RebootState", intent=intent, deadline=30), intent)
        except HostError as error:
            if not error.retryable:
                raise
            down = down or datetime.now(UTC)
            waiting_for = "WinRM to answer"
        else:
            if verdict.state == "up":
                return down
            waiting_for = verdict.why
        if waiting_for != said:
            said = waiting_for
            tell("restart", host, f"waiting: {said}")
        if run.stop.wait(run.poll):
            raise Stopped.because("restart", f"{host}: asked to stop while waiting: {said}")
    raise Stopped.because(
        "restart",
        f"{host}: not back after its restart within {run.estate.restart.deadline} ({said}). "
        f"Look at its console, then run: billpatch recover {run.estate.name}",
    )


def _await_ready(run: Run, host: str, before: readiness.Before, deadline: float) -> None:
    if host in run.sql:
        readiness.await_sql(run, host, deadline, build=_begun(run, host).builds.get(host), known=before)
    if host in run.estate.hosts_with("iis"):
        readiness.await_iis(run, host, deadline)


def _begun(run: Run, host: str) -> Begun:
    quiesce = run.hosts[host].run("Get-QuiesceState")["quiesce"]
    return begun_on({host: quiesce} if quiesce else {})
