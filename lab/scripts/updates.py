"""Find-WindowsUpdate and Save-WindowsUpdate, and what they share with Install-WindowsUpdate.

Faults, on an update's id, its KB ("KB5034127") or the host: ``update.search`` (``hresult``, hexadecimal: the source does
not answer; also on a source), ``update.fail_download`` (the same), ``update.partial`` (the search ends
with errors, ``result_code`` 3, and a warning of that ``hresult``), ``update.forgets`` (the agent throws when it is asked
for its history and for what is in). updates.json may hold ``search_hresult``, ``busy``, ``reboot_pending``, and for each
update what the engine of the tests knows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from lab.host import Host
from lab.scripts import JobCut, ScriptFailure, job
from lab.scripts.library import machine_value
from lab.scripts.transfer import Progress, strike
from lab.servicing import settle
from lab.update_agent import AgentError, Update, fact, history, key, search, signed, unsigned, write

SEARCH_SECONDS, DOWNLOAD_SECONDS = 5.0, 4.0
DEFAULT = "IsInstalled=0 and IsHidden=0 and Type='Software'"
EXCLUSIVE = 2
SUCCEEDED, WITH_ERRORS, FAILED = 2, 3, 4
NO_NAME = "8024402C"
POLICY = r"SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate"
WINDOWS = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion"


def thrown(error: AgentError) -> ScriptFailure:
    """What the agent throws, as a script's failure."""
    return ScriptFailure(str(error), "COMException", "System.Runtime.InteropServices.COMException", signed(error.code))


def wsus(host: Host) -> str | None:
    """Tell the WSUS server that policy sets the host to."""
    if machine_value(host, rf"{POLICY}\AU", "UseWUServer") != 1:
        return None
    server: str | None = machine_value(host, POLICY, "WUServer")
    return server


def build(host: Host) -> dict[str, Any]:
    """Tell the build of Windows, and its revision."""
    number = machine_value(host, WINDOWS, "CurrentBuildNumber")
    return {"number": None if number is None else int(number), "ubr": machine_value(host, WINDOWS, "UBR")}


def ask(host: Host, parameters: dict[str, Any], stop: threading.Event) -> list[Update]:
    """Search the source of ``parameters``; raises ScriptFailure as it or the agent refuses."""
    source = parameters["source"]
    if source == "wsus" and not wsus(host):
        message = (
            f"{host.name.upper()} is set to no WSUS server (policies UseWUServer and WUServer). Say updates.source: "
            "windows-update or microsoft-update, or give the host its policy."
        )
        raise ScriptFailure(message, "NoWsus")
    if host.clock.sleep(SEARCH_SECONDS, stop):
        raise JobCut
    struck = strike(host, "update.search", source)
    if struck is not None:
        raise thrown(AgentError(unsigned(struck.get("hresult", NO_NAME))))
    try:
        found = search(host.read("updates.json"), parameters.get("criteria") or DEFAULT)
    except AgentError as error:
        raise thrown(error) from None
    settle(host)
    return found


@job("Find-WindowsUpdate")
def find_windows_update(
    host: Host,
    parameters: dict[str, Any],
    secrets: dict[str, str],  # noqa: ARG001 - it has none
    progress: Progress,
    stop: threading.Event,
) -> dict[str, Any]:
    progress(0, f"searching for updates ({parameters['source']})")
    found = ask(host, parameters, stop)
    state = host.read("updates.json")
    forgets = strike(host, "update.forgets") is not None
    partial = strike(host, "update.partial", parameters["source"])
    warnings = [] if partial is None else [{"hresult": partial.get("hresult", "80240438"), "message": ""}]
    there = search(state, "IsInstalled=1")
    installed = [{"id": u["id"], "revision": u.get("revision", 1)} for u in there]
    superseded = sorted({each.lower() for u in there for each in u.get("supersedes", [])})
    progress(100, f"{len(found)} updates")
    return {
        "result_code": SUCCEEDED if partial is None else int(partial.get("result_code", WITH_ERRORS)),
        "reboot_required": bool(state.get("reboot_pending")),
        "warnings": warnings,
        "updates": [fact(update) for update in found],
        "installed": None if forgets else installed,
        "superseded": None if forgets else superseded,
        "history": None if forgets else history(state),
        "build": build(host),
        "wsus": wsus(host),
    }


# What the plan wants of what is offered -------------------------------------------------------------------------------


class Planned:
    """An update of the plan: what is answered of it, what is offered, and whether it goes in apart from all others."""

    def __init__(self, answer: dict[str, Any], offer: Update | None, *, alone: bool) -> None:
        self.answer, self.alone = answer, alone
        self._offer = offer

    @property
    def update(self) -> Update:
        """What is offered."""
        assert self._offer is not None
        return self._offer


def plan(host: Host, parameters: dict[str, Any], stop: threading.Event) -> list[Planned]:
    """Find each update of the plan among the offers, by its identity."""
    offers = {key(update): update for update in ask(host, parameters, stop)}
    state = host.read("updates.json")
    return [
        _planned(state, wanted, offers.get(key(wanted)), eulas=bool(parameters.get("accept_eulas")))
        for wanted in parameters["updates"]
    ]


def _planned(state: dict[str, Any], wanted: Update, offer: Update | None, *, eulas: bool) -> Planned:
    skipped, alone = None, bool(wanted.get("alone"))
    if offer is None:
        criteria = f"UpdateID='{wanted['id']}' and IsInstalled=1"
        skipped = "installed already" if search(state, criteria) else "not offered"
    else:
        alone |= offer.get("impact") == EXCLUSIVE and "InstallationBehavior" not in offer.get("lacks", [])
        if offer.get("pending"):
            skipped = "waits for a reboot"
        elif offer.get("eula") and not offer.get("eula_accepted") and not eulas:
            skipped = "license terms"
    answer = {
        "id": wanted["id"],
        "revision": wanted["revision"],
        "title": offer["title"] if offer else None,
        "offered": offer is not None,
        "skipped": skipped,
        "download": None,
        "install": None,
    }
    return Planned(answer, offer, alone=alone)


def subjects(update: Update) -> Iterator[str]:
    """Tell by which names faults strike an update."""
    yield update["id"]
    for kb in update.get("kb", []):
        yield f"KB{kb}"


def code_of(host: Host, update: Update, step: str, fault: str) -> int:
    """Read the HRESULT that the update's own entry, or a fault, gives this step; 0 is success."""
    declared = unsigned((update.get(step) or {}).get("hresult"))
    if declared:
        return declared
    struck = strike(host, fault, *subjects(update))
    usual = "80240034" if step == "download" else "80070643"
    return 0 if struck is None else unsigned(struck.get("hresult", usual))


def download(host: Host, todo: list[Planned], progress: Progress, stop: threading.Event, percent: int) -> None:
    """Download these one by one, and write into each answer what the agent says."""
    for step, one in enumerate(todo):
        progress(percent * step // len(todo), f"downloading {one.answer['title']}")
        update = one.update
        if update.get("eula") and not update.get("eula_accepted"):
            write(host, update, eula_accepted=True)
        code = 0
        if not update.get("downloaded"):
            if host.clock.sleep(DOWNLOAD_SECONDS, stop):
                raise JobCut
            code = code_of(host, update, "download", "update.fail_download")
            if code == 0:
                write(host, update, downloaded=True)
                host.event("update.download", id=update["id"], revision=update.get("revision", 1))
        one.answer["download"] = {"result_code": FAILED if code else SUCCEEDED, "hresult": f"{code:08X}"}


@job("Save-WindowsUpdate")
def save_windows_update(
    host: Host,
    parameters: dict[str, Any],
    secrets: dict[str, str],  # noqa: ARG001 - it has none
    progress: Progress,
    stop: threading.Event,
) -> dict[str, Any]:
    progress(0, "searching for the updates of the plan")
    planned = plan(host, parameters, stop)
    todo = [one for one in planned if one.answer["skipped"] is None]
    download(host, todo, progress, stop, 100)
    progress(100, f"{len(todo)} updates downloaded")
    return {"updates": [{k: v for k, v in one.answer.items() if k != "install"} for one in planned]}
