"""The end of a run: how it ended is decided in model, told to people, and paged where a person is needed."""

from __future__ import annotations

from blocks.webhook import Webhook, WebhookFailed
from model.lease import SWITCH
from model.outcome import Problem, Stopped
from model.records import CheckRecord, RestartRecord, RunOutcome, UpdateRecord
from model.verdict import Aftermath, outcome_of
from tasks.bring_back import BroughtBack
from tasks.progress import tell
from tasks.run import Run


def conclude(
    run: Run, stopped: Stopped | None, back: BroughtBack, *, looked_only: bool = False, recovering: bool = False
) -> RunOutcome:
    """The outcome of ``run``; pages a person through the estate's webhook where portals or hosts stay down.

    Nobody is paged by a run whose estate another has taken over: that one does, if need be. A dead man's switch pages
    nobody, so that this run does.
    """
    if stopped is None and run.lost:
        stopped = Stopped("restart", [Problem(text) for text in run.lost.values()])
    outcome = outcome_of(
        run.estate,
        run.key,
        stopped,
        Aftermath(
            closed=back.closed,
            services=back.stopped,
            running=back.running,
            unreachable=back.unreachable,
            way_back=back.way_back,
            left_to=back.left_to,
            left=bool(back.left),
            touched=bool(run.fence),
        ),
        run.journal.of(UpdateRecord),
        run.journal.of(CheckRecord),
        looked_only=looked_only,
        recovering=recovering,
        called=run.called,
        restarts=run.journal.of(RestartRecord),
    )
    if back.left_to and SWITCH not in back.left_to:
        return outcome
    if outcome.verdict in {"half-open", "failed"} and run.estate.notify.webhook:
        page(run, outcome)
    return outcome


def page(run: Run, outcome: RunOutcome) -> None:
    """Tell the person on call, in the words of the outcome; a page that does not go out is told in the log."""
    name = run.estate.notify.webhook
    if name is None:
        return
    lines = [outcome.headline, *outcome.problems, *outcome.way_back, f"Next: {outcome.next_command}"]
    text = "\n".join(lines)
    try:
        Webhook(run.credentials[name]).post({"text": text, "outcome": outcome.model_dump(mode="json")})
    except WebhookFailed as failed:
        tell("outcome", run.estate.name, str(failed))
