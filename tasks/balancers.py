"""Load balancers: a node has no customers from before its restart until it is ready; checks ask the node itself.

To drain and to undrain is the same twice as once: both are asked for again where nobody knows whether they were heard.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from blocks.hooks import HookFailed
from blocks.winrm.errors import HostError
from model.hooks import BalancerHook, asked_section, id_in, misses
from model.outcome import Problem, Stopped
from model.records import CheckRecord, HookRecord
from tasks.hooks import Asking, held_on, note, words_of
from tasks.progress import tell
from tasks.run import Run
from tasks.step import step
from tasks.together import together

_ONE_CALL = 30.0


def drain(run: Run, host: str) -> None:
    """Have the balancers of ``host`` send it nobody, before it restarts; raises Stopped where one must and does not."""
    for hook in run.estate.balancers_of(host):
        note(run, [host], asked_section(hook), {"drained": datetime.now(UTC).isoformat()})
        run.in_use.discard(host)
        asking, failed = _drain(run, hook, host)
        if failed:
            asking.give_up(failed)


def _drain(run: Run, hook: BalancerHook, host: str) -> tuple[Asking, HookRecord | None]:
    asking = Asking(run, hook, "drained", "restart", host)
    try:
        asking.id = id_in(hook.drain, asking.insist(hook.drain)) or ""
        asking.prove(hook.drained)
    except HookFailed as failed:
        return asking, asking.failed(failed)
    asking.done(f"{hook.balancer} sends it nobody any more")
    return asking, None


def undrain(run: Run, host: str) -> None:
    """Give ``host`` back to its balancers, now that it is ready.

    Raises Stopped where one must take it and does not: the next node would be drained with nobody left to serve.
    """
    for hook in run.estate.balancers_of(host):
        asking, failed = _undrain(run, hook, host, "restart")
        if failed:
            asking.give_up(failed)  # bring_back tries again


def _undrain(run: Run, hook: BalancerHook, host: str, stage: str) -> tuple[Asking, HookRecord | None]:
    asking = Asking(run, hook, "undrained", stage, host)
    try:
        asking.id = id_in(hook.undrain, asking.insist(hook.undrain)) or ""
        asking.prove(hook.undrained)
    except HookFailed as failed:
        return asking, asking.failed(failed)
    asking.done(f"{hook.balancer} sends it customers again")
    run.in_use.add(host)
    return asking, None


def undrain_all(run: Run, quiesces: Mapping[str, Mapping[str, Any]], closed: Iterable[str]) -> None:
    """Give back every node that was drained, but for hosts with a site that stays closed: others serve better.

    A balancer that does not take a node back is a check that failed. Raises TakenOver, and nothing else.
    """
    left = set(closed)

    def again(host: str) -> None:
        for hook in run.estate.balancers_of(host):
            if asked_section(hook) not in (quiesces[host].get("held") or {}) or host in run.in_use:
                continue
            if host in left:
                tell("bring back", host, f"it stays out of {hook.balancer}: a site of it stays closed")
                continue
            _, failed = _undrain(run, hook, host, "bring back")
            if failed:
                run.journal.write(failed)
                name = f"{hook.balancer} sends it customers"
                record = CheckRecord(
                    name=name, host=host, severity=hook.severity, status="failed", detail=failed.detail
                )
                run.journal.write(record)

    together(run, quiesces, again)


@step("look at the balancers of {host}")
def look(run: Run, host: str) -> None:
    """That each balancer has ``host`` in use: else the night would begin with a node less than it believes.

    Raises Stopped where one must, and does not say so; a node that an unfinished run has drained is no fault.
    """
    problems = []
    for hook in run.estate.balancers_of(host):
        words = words_of(run, host)
        try:
            ours = asked_section(hook) in held_on(run, host)
            why = misses(hook.undrained, run.hooks.make(hook.undrained, words, _ONE_CALL), words)
        except (HookFailed, HostError) as failed:
            why, ours = str(failed), False
        if why and not ours and hook.severity == "must":
            problems.append(Problem(f"{host}: balancer {hook.balancer} does not say that it is in use: {why}"))
        elif why:
            tell("preflight", host, f"balancer {hook.balancer} does not say that it is in use: {why}")
    if problems:
        raise Stopped("preflight", problems)
