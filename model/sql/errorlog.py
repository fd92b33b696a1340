"""SQL Server's ERRORLOG: how far the script upgrade of a patch is, and why it failed. Pure text in, values out.

The upgrade runs at the engine's first start with new binaries. The port listens long before it is over, administrators
are let in, user databases come ONLINE in the middle of it: only the log tells its end. Half of a log may be localized,
so that errors and steps are known by numbers and quoted names, never by words; its end has no number, and in a language
that we do not read the log says nothing about it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

_ENTRY = re.compile(r"(?P<at>(?:\d{4})?-?\d\d-\d\d \d\d:\d\d:\d\d\.\d\d) (?P<source>\S+)\s+(?P<text>.*)")
_ERROR = re.compile(r"[^\s:]+\s?: (?P<number>\d+), [^\s:]+\s?: (?P<severity>\d+), [^\s:]+\s?: \d+\.")
"""``Error: 912, Severity: 21, State: 2.``, ``Error: 18456, gravedad: 14, estado: 38.``, ``Erreur : 912, Gravité : 21, État : 2.``"""
_STEP = re.compile(r".*'[^']+'[^']*'(?P<script>[^']+)'\D*\d{1,10}\D+\d{1,10}\D*")
"""``Database 'master' is upgrading script 'u_tables.sql' from level 234884480 to level 234884484.``; some begin at level 0."""
_OVER = re.compile(r"Recovery is complete\b|SQL Server is now ready for client connections\b")
_BEGIN = re.compile(r"is upgrading script\b")
_SKIPS = re.compile(r"^\s+-T ?902\s*$", re.MULTILINE)
"""Among the startup parameters, which are lines without a time."""
_SCRIPT_UPGRADE, _STEP_FAILED, _MASTER = 18401, 912, 3417

TELLING = (
    r"'[^']+'[^']*'[^']+'\D*\d{1,10}\D+\d{1,10}\D*$|: \d{1,5}, [^:]+: (1[6-9]|2[0-5]), |: 18401, |"
    r"Recovery is complete|ready for client connections|^\s+-T ?902\s*$"
)
"""What to look for in the log of a start: its lines, each with the next one that is not blank, are all that ``script_upgrade`` needs."""


@dataclass(frozen=True)
class Entry:
    """An entry: ``at`` in the server's local time, as it stands; ``number`` is that of the error that it is the text of."""

    at: str
    source: str
    text: str
    number: int | None = None


def entries(text: str) -> list[Entry]:
    """The entries of a log; lines without a time belong to the one before, what precedes the first is left out."""
    found: list[Entry] = []
    for at, source, said in _joined(text):
        first, _, rest = said.partition("\n")
        error = _ERROR.fullmatch(first)
        if error:
            found.append(Entry(at, source, rest, int(error["number"])))
        elif found and found[-1].number is not None and not found[-1].text and found[-1].source == source:
            found[-1] = Entry(found[-1].at, source, said, found[-1].number)
        else:
            found.append(Entry(at, source, said))
    return found


def _joined(text: str) -> Iterator[tuple[str, str, str]]:
    at, source, lines = "", "", list[str]()
    for line in text.lstrip("\ufeff").splitlines():
        match = _ENTRY.fullmatch(line)
        if match is None:
            if line.strip():
                lines.append(line.strip())
            continue
        if at:
            yield at, source, "\n".join(lines).strip()
        at, source, lines = match["at"], match["source"], [match["text"].rstrip()]
    if at:
        yield at, source, "\n".join(lines).strip()


@dataclass(frozen=True)
class ScriptUpgrade:
    """How far it is: ``step`` is the script that runs (or ran last), ``why`` the errors of one that failed.

    ``none``: the log tells of none, or not in a language that we read: then SQL Server itself must tell. ``unread``: nobody
    could read the log, for ``why``.
    """

    state: Literal["none", "running", "done", "failed", "unread"]
    step: str = ""
    why: str = ""


def script_upgrade(text: str) -> ScriptUpgrade:
    """Judge the log of one start, whole or cut down to the lines that are ``TELLING``."""
    if _SKIPS.search(text):
        why = (
            "it was started with trace flag 902, under which none of them runs. Take -T902 from its startup parameters "
            "(SQL Server Configuration Manager), and restart it"
        )
        return ScriptUpgrade("failed", why=why)
    state: Literal["none", "running", "done", "failed"] = "none"
    step, readable = "", False
    causes: list[str] = []
    before: Entry | None = None
    for entry in entries(text):
        told = _STEP.fullmatch(entry.text)
        if entry.number in {_STEP_FAILED, _MASTER}:
            state = "failed"
            causes += [_said(before)] if entry.number == _STEP_FAILED and before and before.number else []
            causes.append(_said(entry))
        elif told and (state in {"none", "running"} or _BEGIN.search(entry.text)):
            # Once all is over, lines that only look like a step come all day.
            state, step = "running", told["script"]
            readable = readable or _BEGIN.search(entry.text) is not None
        elif entry.number == _SCRIPT_UPGRADE:
            state = "running"
            readable = readable or "script upgrade mode" in entry.text
        elif _OVER.search(entry.text):
            state = "done" if state == "running" else state
        before = entry
    if state == "running" and not readable:
        return ScriptUpgrade("none", step)
    return ScriptUpgrade(state, step, "; ".join(dict.fromkeys(causes)))


def _said(entry: Entry) -> str:
    """The first sentence of an error with its number."""
    first = re.split(r"(?<=[^.\s])\.(?:\s|$)", " ".join(entry.text.split()), maxsplit=1)[0]
    return f"{first or 'no text'} ({entry.number})"
