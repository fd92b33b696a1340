"""The Windows Update Agent of a lab host, over updates.json: what it finds, and what it says of an update.

Written apart from the engine of the tests, which has an agent of its own over the same file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from lab.host import Host

INVALID_CRITERIA = 0x80240032
SUPPORT = "https://support.microsoft.com/help/"
Update = dict[str, Any]


class AgentError(Exception):
    """What the agent throws: an HRESULT."""

    def __init__(self, code: int) -> None:
        super().__init__(f"Exception from HRESULT: 0x{code:08X}")
        self.code = code


def signed(code: int) -> int:
    """Read an HRESULT as PowerShell shows it."""
    return code - (1 << 32) if code & 0x80000000 else code


def unsigned(value: Any) -> int:
    """Read an HRESULT as updates.json writes it: hexadecimal without 0x, or a number of either sign."""
    return int(value, 16) if isinstance(value, str) else int(value or 0) & 0xFFFFFFFF


def key(update: Update) -> tuple[str, int]:
    """Tell an update's identity: UpdateID (folded) and RevisionNumber."""
    return update["id"].casefold(), int(update.get("revision", 1))


def write(host: Host, update: Update, **changes: Any) -> None:
    """Change an update, here and in updates.json."""
    update |= changes
    with host.edit("updates.json") as state:
        for other in state["updates"]:
            if key(other) == key(update):
                other.update(changes)


_FLAGS: dict[str, Callable[[Update], bool]] = {
    "isinstalled": lambda u: bool(u.get("installed")),
    "ishidden": lambda u: bool(u.get("hidden")),
    "isassigned": lambda _: True,
    "browseonly": lambda u: bool(u.get("browse_only")),
    "rebootrequired": lambda u: bool(u.get("pending")),
    "ispresent": lambda u: bool(u.get("installed")),
    "autoselectonwebsites": lambda _: True,
}


def _term(update: Update, name: str, operator: str, value: str) -> bool:
    negated = operator == "!="
    if name in _FLAGS:
        return (("1" if _FLAGS[name](update) else "0") == value) is not negated
    if name == "type":
        return bool((update.get("type") or "Software").casefold() == value.casefold()) is not negated
    if name == "updateid":
        return bool(update["id"].casefold() == value.casefold()) is not negated
    if name == "revisionnumber":
        return bool(str(update.get("revision", 1)) == value)
    if name == "categoryids":
        return any(one.get("id", "").casefold() == value.casefold() for one in update.get("categories", []))
    if name == "deploymentaction":
        return True
    raise AgentError(INVALID_CRITERIA)


def _matches(update: Update, criteria: str) -> bool:
    found = False
    for clause in re.split(r"(?i)\s+or\s+", criteria):
        terms = []
        for text in re.split(r"(?i)\s+and\s+", clause.strip().strip("()")):
            term = re.fullmatch(r"(?i)(\w+)\s*(=|!=|contains)\s*'?([^']*)'?", text.strip().strip("()"))
            if term is None:
                raise AgentError(INVALID_CRITERIA)
            terms.append(_term(update, term[1].casefold(), term[2], term[3]))
        found = found or all(terms)
    return found


def search(state: dict[str, Any], criteria: str) -> list[Update]:
    """Find what matches; raises AgentError for criteria that the agent does not know, and as ``search_hresult`` says."""
    if code := unsigned(state.get("search_hresult")):
        raise AgentError(code)
    everything: list[Update] = state["updates"]
    installed = {update["id"].casefold() for update in everything if update.get("installed")}
    superseded = {
        each.casefold() for update in everything if not update.get("installed") for each in update.get("supersedes", [])
    }
    applicable = {u["id"].casefold() for u in everything if {n.casefold() for n in u.get("requires", [])} <= installed}
    return [
        update
        for update in everything
        if update["id"].casefold() in applicable - superseded
        and not applicable & {each.casefold() for each in update.get("superseded_by", [])}
        and _matches(update, criteria)
    ]


def fact(update: Update) -> dict[str, Any]:
    """Say of an update what its properties say; the ``lacks`` of its entry are properties that throw."""
    kb = [str(one) for one in update.get("kb", [])]
    readers: dict[str, tuple[str, Any]] = {
        "title": ("Title", update["title"]),
        "kb": ("KBArticleIDs", kb),
        "severity": ("MsrcSeverity", update.get("severity")),
        "categories": (
            "Categories",
            [{"name": one["name"], "id": one.get("id", _NO_ID)} for one in update.get("categories", [])],
        ),
        "type": ("Type", 2 if update.get("type") == "Driver" else 1),
        "size": ("MaxDownloadSize", update.get("size", 0)),
        "reboot_behavior": ("InstallationBehavior", update.get("reboot", 2)),
        "impact": ("InstallationBehavior", update.get("impact", 0)),
        "can_request_user_input": ("InstallationBehavior", bool(update.get("can_request_input"))),
        "eula_accepted": ("EulaAccepted", not update.get("eula") or bool(update.get("eula_accepted"))),
        "downloaded": ("IsDownloaded", bool(update.get("downloaded") or update.get("installed"))),
        "installed": ("IsInstalled", bool(update.get("installed"))),
        "hidden": ("IsHidden", bool(update.get("hidden"))),
        "browse_only": ("BrowseOnly", bool(update.get("browse_only"))),
        "reboot_required": ("RebootRequired", bool(update.get("pending"))),
        "supersedes": ("SupersededUpdateIDs", list(update.get("supersedes", []))),
        "support_url": ("SupportUrl", SUPPORT + (kb[0] if kb else "")),
        "released": ("LastDeploymentChangeTime", _moment(update.get("date") or "2026-01-13")),
    }
    absent = {name.casefold() for name in update.get("lacks", [])}
    answer: dict[str, Any] = {"id": update["id"], "revision": update.get("revision", 1)}
    lacks = []
    for name, (prop, value) in readers.items():
        if prop.casefold() in absent & _CAN_LACK:
            answer[name] = [] if isinstance(value, list) else None
            if name != "severity":
                lacks.append(name)
        else:
            answer[name] = value
    return {**answer, "lacks": lacks}


def history(state: dict[str, Any], most: int = 50) -> list[dict[str, Any]] | None:
    """Tell the last installations, the newest first; None where an entry makes the agent throw."""
    try:
        return [
            {
                "id": entry["id"],
                "revision": entry.get("revision", 1),
                "result_code": entry.get("result", 2),
                "hresult": f"{unsigned(entry.get('hresult')):08X}",
                "at": _moment(entry.get("date") or "2026-01-13"),
            }
            for entry in list(reversed(state.get("history", [])))[:most]
        ]
    except ValueError:
        return None


def _moment(text: str) -> str:
    date = datetime.fromisoformat(text)
    moment = (date if date.tzinfo else date.replace(tzinfo=UTC)).astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


_NO_ID = "00000000-0000-0000-0000-000000000000"
_CAN_LACK = {
    name.casefold()
    for name in (
        "KBArticleIDs",
        "MsrcSeverity",
        "Categories",
        "InstallationBehavior",
        "SupportUrl",
        "LastDeploymentChangeTime",
    )
}
