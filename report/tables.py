"""Single tables of a run as Markdown, for those who want to see one before the night is over."""

from __future__ import annotations

from collections.abc import Iterable

from model.estate import Estate
from model.outlook import Outlook
from model.plan import Plan
from model.records import BackupRecord, CheckRecord, UpdateRecord
from report.render import table
from report.summary import checks_in_order, saved_of, updates_by_host


def plan(what: Plan, outlook: Outlook | None = None) -> str:
    """What will be done, in order; with an ``outlook`` also how old the scans are that it comes from."""
    return table("plan", what, outlook.ages() if outlook else ())


def backups(estate: Estate, records: Iterable[BackupRecord]) -> str:
    """Everything declared, with each copy and each that is missing; empty where no backup was begun."""
    saved = saved_of(estate, records)
    return table("copies", saved) if saved else ""


def updates(estate: Estate, records: Iterable[UpdateRecord]) -> str:
    """What became of each update, by host; empty where nothing was to be installed."""
    found = [update for of_host in updates_by_host(estate, records) for update in of_host.updates]
    return table("updates", found) if found else ""


def checks(records: Iterable[CheckRecord]) -> str:
    """What each check found, the failed ones first; empty where none was carried out."""
    found = checks_in_order(records)
    return table("checks", found) if found else ""
