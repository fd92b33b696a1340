"""What is running that a backup or a reboot must not cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, Any]]


def running(
    *, jobs: Rows = (), maintenance: Rows = (), transactions: Rows = (), busy: Mapping[str, int] | None = None
) -> tuple[str, ...]:
    """What runs, in words; empty is quiet.

    ``jobs``, ``maintenance`` and ``transactions`` are the rows of RUNNING_JOBS, RUNNING_MAINTENANCE and LONG_TRANSACTIONS
    of ``model.sql.statements``; ``busy`` is each declared query's name and what it counted.
    """
    return (
        *(f"{name} ({count})" for name, count in (busy or {}).items() if count > 0),
        *(f"Agent job {row['name']} (since {row['seconds']} s)" for row in jobs),
        *(f"{row['command']} of {row['database_name']} ({row['percent_complete']:.0f} %)" for row in maintenance),
        *(
            f"transaction of {row['login_name']} in session {row['session_id']} (open for {row['seconds']} s)"
            for row in transactions
        ),
    )


def counted(rows: Rows) -> int:
    """What a declared busy query counts: the first column of its first row; no row, NULL and 0 are quiet.

    ValueError where that is no number: then nobody knows, and quiet must not be guessed.
    """
    if not rows:
        return 0
    first = next(iter(rows[0].values()), 0)
    if first is None:
        return 0
    try:
        return int(first)
    except (TypeError, ValueError):
        raise ValueError(f"its first column is {first!r}, which is no number") from None
