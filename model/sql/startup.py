"""Why an engine ended by itself during its start, from the events that it left in its host's Application log."""

from __future__ import annotations

import re
from collections.abc import Iterable

from model.verdicts import EventRecord

_FATAL = {912, 3417, 945, 1814, 5120, 9003, 9004, 17058, 17113, 17204, 17207, 17300, 19019, 26023}
"""Script upgrade failed, master cannot be recovered, tempdb cannot be made, files or ports are not there."""
_SHOWN = 2


def why_it_died(service: str, events: Iterable[EventRecord]) -> str | None:
    """The fatal errors of the engine whose service is ``service``, oldest first, a sentence each; None where it left none.

    The engine logs under the name of its service (``MSSQLSERVER``, ``MSSQL$BILLING``).
    """
    fatal = [e for e in events if e.provider.casefold() == service.casefold() and e.id in _FATAL and e.is_error]
    told = {event.id: event for event in sorted(fatal, key=lambda e: e.record, reverse=True)}
    last = sorted(told.values(), key=lambda e: e.record)[:_SHOWN]
    return "; ".join(f"{_sentence(event.message or 'no text')} ({event.id})" for event in last) or None


def _sentence(message: str) -> str:
    """The first sentence, without its full stop."""
    return re.split(r"(?<=[^.\s])\.(?:\s|$)", " ".join(message.split()), maxsplit=1)[0]
