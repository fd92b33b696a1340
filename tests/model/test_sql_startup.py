"""An engine that ends by itself leaves its reason in the event log: that is read, and nothing else is taken for it."""

from __future__ import annotations

from datetime import UTC, datetime

from model.sql.startup import why_it_died
from model.verdicts import EventRecord

NOW = datetime(2026, 1, 2, 3, tzinfo=UTC)
SCRIPT = (
    "Script level upgrade for database 'master' failed because upgrade step 'msdb110_upgrade.sql' encountered error 2714, "
    "state 6, severity 25. This is a serious error condition which might interfere with regular operation."
)
MASTER = "Cannot recover the master database. SQL Server is unable to run. Restore master from a full backup."


def event(number: int, record: int, message: str | None, provider: str = "MSSQLSERVER", level: int = 2) -> EventRecord:
    return EventRecord(provider=provider, id=number, level=level, time=NOW, record=record, message=message)


def test_a_failed_script_upgrade_is_told_in_order_a_sentence_each() -> None:
    """912 is the reason, 3417 what follows from it."""
    said = why_it_died("MSSQLSERVER", [event(3417, 12, MASTER), event(912, 11, SCRIPT)])
    assert said == (
        "Script level upgrade for database 'master' failed because upgrade step 'msdb110_upgrade.sql' encountered error "
        "2714, state 6, severity 25 (912); Cannot recover the master database (3417)"
    )


def test_other_events_are_no_reason() -> None:
    """Of another instance, another program, of no weight, or of another kind."""
    others = [
        event(912, 1, SCRIPT, "MSSQL$BILLING"),
        event(912, 2, SCRIPT, "SQLVSSWRITER"),
        event(18456, 3, "Login failed for user 'x'."),
        event(17113, 4, "Error 3 occurred while opening file.", level=4),
    ]
    assert why_it_died("MSSQLSERVER", others) is None
    assert why_it_died("mssql$billing", others) is not None


def test_a_reason_that_comes_again_is_told_once_and_one_without_text_by_its_number() -> None:
    """A service that is started three times fails three times."""
    assert why_it_died("MSSQLSERVER", [event(17113, n, None) for n in range(3)]) == "no text (17113)"
