"""Silence of monitoring: from before the estate is made quiet until it is up again, or until the window ends."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from blocks.hooks import HookFailed
from model.estate import Estate
from model.hooks import SilenceHook, answers, silence_words
from model.window import end as window_end
from tasks.hooks import Asking, answer_in, held_on
from tasks.progress import tell
from tasks.run import Run
from tasks.step import step


@step("silence {hook.silence}")
def begin(run: Run, hook: SilenceHook) -> None:
    """Have monitoring be silent until the window ends, once for this quiesce; raises Stopped where it must be.

    One that an earlier run has begun counts while it lasts: a run that is repeated the next night needs another.
    """
    now = datetime.now(UTC)
    remembered = [answer for host in run.hosts for answer in answers(hook, held_on(run, host))]
    known = next((answer for answer in remembered if datetime.fromisoformat(answer["until"]) > now), {})
    ends = datetime.fromisoformat(known["until"]) if known else end_of(run.estate, hook, now)
    asking = Asking(run, hook, "begun", "quiesce", until=ends, words=silence_words(ends, now))
    asking.adopted, asking.id = bool(known), known.get("id", "")
    try:
        if not known:
            asking.once(hook.begin, run.hosts, anew=True)
        asking.prove(hook.proof)
    except HookFailed as failed:
        asking.give_up(asking.failed(failed, "Where it is silent all the same, that ends by itself."))
    else:
        asking.done(f"{hook.silence} is silent until {ends:%Y-%m-%d %H:%M} UTC")


def end_of(estate: Estate, hook: SilenceHook, now: datetime) -> datetime:
    """When a silence that begins now ends by itself: with the window, or after the hook's hours.

    Nobody may be there to end it sooner, so that it never waits for another night's window: where tonight's has closed
    meanwhile, the hours bound it too. In whole seconds, as most systems take it.
    """
    ends = window_end(estate.window, estate.timezone, now, timedelta(hours=hook.hours))
    return ends.replace(microsecond=0)


def end_all(run: Run, quiesces: Mapping[str, Mapping[str, Any]]) -> None:
    """End the silences that the hosts remember, now that everything is up; never raises, for they end by themselves."""
    for hook in run.estate.silences:
        known = answer_in(hook, [quiesce.get("held") or {} for quiesce in quiesces.values()])
        if not known or hook.end is None:
            continue
        ends = datetime.fromisoformat(known["until"])
        asking = Asking(run, hook, "ended", "bring back", until=ends, words=silence_words(ends, datetime.now(UTC)))
        asking.id = known["id"]
        try:
            asking.make(hook.end)
        except HookFailed as failed:
            record = run.journal.write(asking.failed(failed, f"It ends by itself at {ends:%Y-%m-%d %H:%M} UTC."))
            tell("bring back", asking.subject, f"{record}: {record.detail}")
        else:
            asking.done(f"{hook.silence} is not silent any more")
