"""Validation fans out: every declared check on every node, in parallel, behind the maintenance page.

But for those of the services that are started last, after reopening.
"""

from __future__ import annotations

from model.estate import Check
from model.records import CheckRecord
from tasks import checks
from tasks.progress import tell
from tasks.run import Run
from tasks.step import step


@step("check {one.title} on {node}")
def check(run: Run, one: Check, node: str) -> CheckRecord:
    """Carry out one check on one node; a check that fails is a record, not an error: reopening decides."""
    return _ask(run, one, node)


def billing(run: Run) -> None:
    """The checks of EngageIP's services, once the estate is back: behind the maintenance page they are stopped.

    No task: after Cancel and Pause Prefect starts none any more.
    """
    for one, node in checks.declared(run):
        if run.estate.waits_for_billing(one):
            _ask(run, one, node)


def _ask(run: Run, one: Check, node: str) -> CheckRecord:
    record = run.journal.write(checks.evaluate(run, one, node, run.lost))
    tell("validate", node, f"{record.name}: {record.status}{f' ({record.detail})' if record.detail else ''}")
    return record
