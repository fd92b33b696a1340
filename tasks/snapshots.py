"""Snapshots of machines: taken by the hypervisor between backup and install, and somebody is reminded to delete them."""

from __future__ import annotations

from datetime import UTC, datetime

from blocks.hooks import HookFailed
from model.hooks import SnapshotHook, answers, unanswered
from model.outcome import Stopped
from tasks.hooks import Asking, answer_in, held_on, unproven, words_of
from tasks.progress import tell
from tasks.run import Run
from tasks.step import step


@step("snapshot {host} by {hook.snapshot}")
def take(run: Run, hook: SnapshotHook, host: str) -> None:
    """Have the hypervisor take a snapshot of ``host``, once for this quiesce, and keep its id for whoever deletes it.

    Asked for twice it would take two: an answer that is lost is a failure. Raises Stopped where it must be there.
    """
    asking = Asking(run, hook, "taken", "snapshot", host)
    held = held_on(run, host)
    known = answer_in(hook, [held])
    asking.until = asking.started + hook.delete_within
    if known:
        asking.adopted, asking.id, asking.until = True, known["id"], datetime.fromisoformat(known["until"])
    elif asked := [each["asked"] for each in unanswered(hook, held)]:
        asking.detail = f"an earlier run was cut off while it asked: there may be one more, of {', '.join(asked)}"
    try:
        if not known:
            asking.once(hook.take, [host])
        asking.prove(hook.proof)
    except HookFailed as failed:
        asking.give_up(asking.failed(failed, "Look whether there is one all the same, and delete it."))
    else:
        asking.done(f"{hook.snapshot} has taken snapshot {asking.id}".rstrip())


@step("look for snapshots of earlier nights")
def remind(run: Run, *, strict: bool) -> tuple[str, ...]:
    """Snapshots that were to be deleted by now and are still there, by what the hosts remember of the last night.

    They fill datastores, and are no backup. ``strict`` raises Stopped; else they are told, and the night goes on.
    """
    found, now = [], datetime.now(UTC)
    for hook, host in run.estate.snapshots():
        for known in answers(hook, (run.facts[host].quiesce or {}).get("held") or {}):
            until = datetime.fromisoformat(known["until"])
            if until < now and _is_there(run, hook, host, known["id"]):
                found.append(
                    f"{host}: snapshot {known['id']} by {hook.snapshot} was to be deleted by {until:%Y-%m-%d}. Delete it."
                )
    if found and strict:
        raise Stopped.because("preflight", *found)
    for each in found:
        tell("preflight", each.partition(":")[0], each.partition(": ")[2])
    return tuple(found)


def _is_there(run: Run, hook: SnapshotHook, host: str, number: str) -> bool:
    words = {**words_of(run, host), "id": number}
    try:
        return unproven(run, hook.proof, words) is None
    except HookFailed:
        return False  # that there is none is told by a 404, or an exit code
