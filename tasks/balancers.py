"""Load balancers: a node has no customers from before its restart until it is ready; checks ask the node itself.

To drain and to undrain is the same twice as once: both are asked for again where nobody knows whether they were heard.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Any

from blocks.hooks import HookFailed
from blocks.winrm.errors import HostError
from model.hooks import AnyCall, BalancerHook, asked_section, id_in
from model.outcome import Problem, Stopped
from model.records import CheckRecord, HookRecord
from tasks.hooks import Asking, held_on, note, unproven, words_of
from tasks.progress import tell
from tasks.run import Run
from tasks.step import step
from tasks.together import together


def drain(run: Run, host: str) -> None:
    """Have the balancers of ``host`` send it nobody, before it restarts; raises Stopped where one must and does not."""
    for hook in run.estate.balancers_of(host):
        note(run, [host], asked_section(hook), {"drained": datetime.now(UTC).isoformat()})
        run.in_use.discard((host, hook.balancer))
        asking = Asking(run, hook, "drained", "restart", host)
        failed = _switch(asking, hook.drain, hook.drained)
        if failed:
            asking.give_up(failed)
        else:
            asking.done(f"{hook.balancer} sends it nobody any more")


def undrain(run: Run, host: str) -> None:
    """Give ``host`` back to its balancers, now that it is ready.

    Raises Stopped where one must take it and does not: the next node would be drained with nobody left to serve.
    """
    for hook in run.estate.balancers_of(host):
        asking = Asking(run, hook, "undrained", "restart", host)
        failed = _give_back(asking, hook)
        if failed:
            asking.give_up(failed)  # bring_back tries again


def _give_back(asking: Asking, hook: BalancerHook) -> HookRecord | None:
    failed = _switch(asking, hook.undrain, hook.undrained)
    if failed is None:
        asking.done(f"{hook.balancer} sends it customers again")
        asking.run.in_use.add((asking.subject, hook.balancer))
    return failed


def _switch(asking: Asking, call: AnyCall, proof: AnyCall) -> HookRecord | None:
    """Ask until it is heard and proven; the record of the failure where it is not."""
    try:
        asking.id = id_in(call, asking.insist(call)) or ""
        asking.prove(proof)
    except HookFailed as failed:
        return asking.failed(failed)
    return None


def undrain_all(run: Run, quiesces: Mapping[str, Mapping[str, Any]], closed: AbstractSet[str]) -> set[str]:
    """Give back every node that was drained, but for hosts with a site that stays closed: others serve better.

    Answers the hosts that a balancer has not taken back, which is a check that failed. Raises TakenOver, and nothing else.
    """
    left: set[str] = set()

    def again(host: str) -> None:
        for hook in run.estate.balancers_of(host):
            if asked_section(hook) not in (quiesces[host].get("held") or {}):
                continue
            if (host, hook.balancer) in run.in_use:
                continue
            if host in closed:
                tell("bring back", host, f"it stays out of {hook.balancer}: a site of it stays closed")
                continue
            failed = _give_back(Asking(run, hook, "undrained", "bring back", host), hook)
            if failed:
                left.add(host)
                run.journal.write(failed)
                name = f"{hook.balancer} sends it customers"
                record = CheckRecord(
                    name=name, host=host, severity=hook.severity, status="failed", detail=failed.detail
                )
                run.journal.write(record)

    together(run, quiesces, again)
    return left


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
            why = unproven(run, hook.undrained, words)
        except (HookFailed, HostError) as failed:
            why, ours = str(failed), False
        if why and not ours and hook.severity == "must":
            problems.append(Problem(f"{host}: balancer {hook.balancer} does not say that it is in use: {why}"))
        elif why:
            tell("preflight", host, f"balancer {hook.balancer} does not say that it is in use: {why}")
    if problems:
        raise Stopped("preflight", problems)
