"""The tables of a night in Prefect: each as soon as it is whole, and at the end whatever there is by then."""

from __future__ import annotations

from model.outlook import Outlook
from model.plan import Plan
from model.records import BackupRecord, CheckRecord, UpdateRecord
from report import tables
from tasks.progress import publish
from tasks.run import Run


def plan(run: Run, what: Plan, outlook: Outlook | None = None) -> None:
    """What will be done, or with an ``outlook`` what would be."""
    _show(run, "plan", tables.plan(what, outlook), f"What {'would' if outlook else 'will'} be done, in order")


def backups(run: Run) -> None:
    """Every copy of everything that was to be backed up."""
    _show(
        run,
        "backups",
        tables.backups(run.estate, run.journal.of(BackupRecord)),
        "What was backed up, and where it lies",
    )


def updates(run: Run) -> None:
    """What became of each update."""
    _show(
        run,
        "updates",
        tables.updates(run.estate, run.journal.of(UpdateRecord)),
        "What was installed, and what proves it",
    )


def checks(run: Run) -> None:
    """What each check found."""
    _show(run, "checks", tables.checks(run.journal.of(CheckRecord)), "What was checked, and what was found")


def the_rest(run: Run) -> None:
    """The tables that a run which stopped early has not shown yet, as far as they came."""
    for show in (backups, updates, checks):
        show(run)


def _show(run: Run, name: str, markdown: str, description: str) -> None:
    """Publish it once, under a key of the estate's own: Prefect lists artifacts of all estates together."""
    if markdown and name not in run.shown:
        run.shown.add(name)
        publish(f"{run.estate.name.lower()}-{name}", markdown, description)
