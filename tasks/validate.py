"""Validation fans out: every declared check on every node, in parallel, behind the maintenance page."""

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
    record = run.journal.write(checks.evaluate(run, one, node, run.lost))
    tell("validate", node, f"{record.name}: {record.status}{f' ({record.detail})' if record.detail else ''}")
    return record
