"""What the facts of a check mean: an answer, a service, a row, the events of a log. Pure: facts in, verdict out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, NamedTuple

from pydantic import AwareDatetime

from model.maintenance import is_maintenance_page
from model.records import Answer, Service
from model.web import WebAnswer

_CLIP = 120
_KINDS_SHOWN = 3


class Verdict(NamedTuple):
    """How a check came out, and why in one line; ``not-run`` proves nothing, so a must check stays closed by it."""

    status: Literal["passed", "failed", "not-run"]
    detail: str


# A page --------------------------------------------------------------------------------------------------------------

_HEADLINE = re.compile(r"<title>(.*?)</title>", re.IGNORECASE | re.DOTALL)


def judge_http(answer: WebAnswer, expect: str | None = None) -> Verdict:
    """A page passes with status 200, the expected text, and if it is not the maintenance page, whatever that says."""
    if is_maintenance_page(answer.text):
        return Verdict("failed", f"the maintenance page answers ({answer.status}), not the site")
    if answer.elsewhere is not None:
        return Verdict("failed", f"redirects to another host ({answer.elsewhere}), which was not followed")
    if answer.status != 200:
        return Verdict("failed", f"answers {answer.status}{_why(answer)}")
    if expect is not None and expect not in answer.text:
        read = f"its first {len(answer.text)} characters" if answer.cut else "its page"
        return Verdict("failed", f"answers 200, without '{_clip(expect)}' in {read}")
    return Verdict("passed", f"200 in {answer.seconds:.1f} s")


def _why(answer: WebAnswer) -> str:
    by_httpsys = answer.headers.get("server", "").startswith("Microsoft-HTTPAPI")
    if answer.status == 503 and by_httpsys:
        return " by http.sys itself: the application pool is stopped, or its worker does not answer"
    if answer.status == 400 and by_httpsys:
        return " by http.sys itself: no site has this host name on that port"
    if answer.status == 500 and "TypeInitializationException" in answer.text:
        return ": the application started without its database and stays broken; recycle its application pool"
    headline = _HEADLINE.search(answer.text)
    return f": {_clip(headline.group(1))}" if headline and headline.group(1).strip() else ""


# A service -----------------------------------------------------------------------------------------------------------


def judge_service(name: str, service: Service | None) -> Verdict:
    """A service passes when it is Running."""
    if service is None or not service.exists:
        return Verdict("failed", f"there is no service '{name}'")
    if service.status == "Running":
        return Verdict("passed", "Running")
    start = f" (starts: {service.start_mode})" if service.start_mode else ""
    return Verdict("failed", f"service '{name}' is {service.status or 'in an unknown state'}{start}")


# A query -------------------------------------------------------------------------------------------------------------


def judge_sql(rows: Sequence[Sequence[Any]], expect: str | int | None = None) -> Verdict:
    """The first column of the first row equals ``expect``; without one, any row passes. NULL equals nothing."""
    if not rows or not rows[0]:
        return Verdict("failed", "the query answers no row")
    value = rows[0][0]
    if expect is None:
        return Verdict("passed", f"answers {_clip(str(value))}")
    if _same(value, expect):
        return Verdict("passed", f"answers {_clip(str(value))}, as expected")
    shown = "NULL" if value is None else f"'{_clip(str(value))}'"
    return Verdict("failed", f"answers {shown}, expected '{expect}'")


def _same(value: Any, expect: str | int) -> bool:
    if value is None:
        return False
    if isinstance(expect, str):
        return str(value).rstrip() == expect  # char(n) comes padded
    try:
        return Decimal(str(int(value) if isinstance(value, bool) else value)) == expect
    except InvalidOperation:
        return False


# An event log --------------------------------------------------------------------------------------------------------

SERIOUS_WARNINGS = {
    ("asp.net", 1309): "an unhandled exception in a web application",
    ("microsoft-windows-was", 5002): "an application pool was disabled after failures",
    ("microsoft-windows-was", 5009): "a worker process ended unexpectedly",
    ("microsoft-windows-was", 5010): "a worker process did not answer",
    ("microsoft-windows-was", 5011): "a worker process lost its service",
    ("microsoft-windows-was", 5139): "a listener channel failed",
}
"""Windows calls these warnings; on a web server they are failures. ASP.NET's provider carries its version."""


EVENT_LEVELS = (1, 2, 3)
"""The levels to read: warnings too, for the serious ones among them."""


class EventRecord(Answer):
    """One event, as Get-EventRecords answers; ``level`` 1 is critical, 2 error, 3 warning, 0 and 4 information."""

    provider: str
    id: int
    level: int | None = None
    time: AwareDatetime
    record: int
    message: str | None = None

    @property
    def signature(self) -> tuple[str, int]:
        """What makes two events of one log the same kind."""
        return self.provider.casefold(), self.id

    @property
    def is_error(self) -> bool:
        """Critical, error, or a warning that is none on a web server."""
        stem = re.sub(r"[ _][\d.]+$", "", self.provider.casefold())  # 'ASP.NET 4.0.30319.0'
        return self.level in (1, 2) or (self.level == 3 and (stem, self.id) in SERIOUS_WARNINGS)


def events_of(answer: Mapping[str, Any]) -> list[EventRecord]:
    """The events in an answer of Get-EventRecords."""
    return [EventRecord.model_validate(event) for event in answer.get("events") or ()]


def judge_events(
    before: Iterable[EventRecord],
    since: Sequence[EventRecord],
    *,
    complete: bool = True,
    providers: Collection[str] = (),
    ignore: Collection[int] = (),
) -> Verdict:
    """No kind of error (provider and id) that the log did not hold before the patch.

    ``before`` is the baseline, ``since`` what was logged afterwards; ``complete`` is false where more was logged than
    was read. Only ``providers`` count where any are given; ids in ``ignore`` never do.
    """
    known = {event.signature for event in before if event.is_error}
    only = {name.casefold() for name in providers}
    errors = [
        event
        for event in since
        if event.is_error and event.id not in ignore and (not only or event.provider.casefold() in only)
    ]
    new = [event for event in errors if event.signature not in known]
    if new:
        return Verdict("failed", _tell(new))
    if not complete:
        return Verdict("not-run", "more was logged than was read; narrow the check by providers")
    repeated = len({event.signature for event in errors})
    return Verdict("passed", f"no new kind of error{f'; {repeated} known from before came again' if repeated else ''}")


def _tell(new: Sequence[EventRecord]) -> str:
    counts = Counter(event.signature for event in new)
    first = {event.signature: event for event in reversed(new)}
    shown = []
    for signature, count in counts.most_common(_KINDS_SHOWN):
        event = first[signature]
        said = " ".join((event.message or "").split())
        shown.append(f"{event.provider} {event.id} ({count}x){f': {_clip(said)}' if said else ''}")
    more = len(counts) - len(shown)
    kinds = "kind" if len(counts) == 1 else "kinds"
    return f"{len(counts)} new {kinds} of error: {'; '.join(shown)}{f'; and {more} more' if more > 0 else ''}"


def _clip(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _CLIP else f"{line[: _CLIP - 3]}..."
