"""Find-WindowsUpdate and Install-WindowsUpdate.

Faults, on an update's id, its KB ("KB5034127") or the host: ``update.fail`` (``hresult``, hexadecimal),
``update.fail_download`` (the same), ``update.rolls_back`` (installs, and is gone after the boot). updates.json may hold
``search_hresult``, ``busy``, ``reboot_pending``, and for each update what the engine of the tests knows.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

from lab.host import Host
from lab.scripts import JobCut, ScriptFailure, job
from lab.scripts.transfer import Progress, strike
from lab.update_agent import AgentError, Update, fact, key, search, signed, unsigned, write

SEARCH_SECONDS, DOWNLOAD_SECONDS, INSTALL_SECONDS = 5.0, 4.0, 30.0
DEFAULT = "IsInstalled=0 and IsHidden=0 and Type='Software'"
EXCLUSIVE = 2
SUCCEEDED, FAILED = 2, 4
IN_PROGRESS = 0x80240016
REBOOT_KEYS = (
    r"SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired",
    r"SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending",
)


def _thrown(error: AgentError) -> ScriptFailure:
    return ScriptFailure(str(error), "COMException", "System.Runtime.InteropServices.COMException", signed(error.code))


@job("Find-WindowsUpdate")
def find_windows_update(
    host: Host,
    parameters: dict[str, Any],
    secrets: dict[str, str],  # noqa: ARG001 - it has none
    progress: Progress,
    stop: threading.Event,
) -> dict[str, Any]:
    progress(0, "searching for updates")
    if host.clock.sleep(SEARCH_SECONDS, stop):
        raise JobCut
    state = host.read("updates.json")
    try:
        found = search(state, parameters.get("criteria") or DEFAULT)
    except AgentError as error:
        raise _thrown(error) from None
    progress(100, f"{len(found)} updates")
    return {
        "result_code": SUCCEEDED,
        "reboot_required": bool(state.get("reboot_pending")),
        "warnings": [],
        "updates": [fact(update) for update in found],
    }


# Installing -----------------------------------------------------------------------------------------------------------


@job("Install-WindowsUpdate")
def install_windows_update(
    host: Host,
    parameters: dict[str, Any],
    secrets: dict[str, str],  # noqa: ARG001 - it has none
    progress: Progress,
    stop: threading.Event,
) -> dict[str, Any]:
    progress(0, "searching for the updates of the plan")
    if host.clock.sleep(SEARCH_SECONDS, stop):
        raise JobCut
    state = host.read("updates.json")
    try:
        offers = {key(update): update for update in search(state, parameters.get("criteria") or DEFAULT)}
        first = bool(state.get("reboot_pending"))
        plan = [_planned(state, wanted, offers.get(key(wanted)), first=first) for wanted in parameters["updates"]]
    except AgentError as error:
        raise _thrown(error) from None
    todo = [(answer, offers[key(answer)]) for answer in plan if answer["skipped"] is None]
    for step, (answer, update) in enumerate(todo):
        progress(40 * step // len(todo), f"downloading {answer['title']}")
        if not update.get("downloaded") and host.clock.sleep(DOWNLOAD_SECONDS, stop):
            raise JobCut
        answer["download"] = _download(host, update)
    ready = [(answer, update) for answer, update in todo if answer["download"]["result_code"] == SUCCEEDED]
    alone = [
        [one] for one in ready if one[1].get("impact") == EXCLUSIVE and "InstallationBehavior" not in _lacks(one[1])
    ]
    together = [one for one in ready if [one] not in alone]
    step = 0
    for group in [*alone, *([together] if together else [])]:
        titles = ", ".join(answer["title"] for answer, _ in group)
        progress(40 + 60 * step // len(ready), f"installing {titles}")
        step += len(group)
        _install(host, group, stop)
    progress(100, f"{len(todo)} updates tried")
    pending = bool(host.read("updates.json").get("reboot_pending"))
    return {"reboot_required": pending, "reboot_required_before": first, "updates": plan}


def _lacks(update: Update) -> list[str]:
    lacks: list[str] = update.get("lacks", [])
    return lacks


def _planned(state: dict[str, Any], wanted: Update, offer: Update | None, *, first: bool) -> dict[str, Any]:
    skipped = None
    if offer is None:
        criteria = f"UpdateID='{wanted['id']}' and IsInstalled=1"
        skipped = "installed already" if search(state, criteria) else "not offered"
    elif offer.get("pending"):
        skipped = "waits for a reboot"
    elif first:
        skipped = "reboot first"
    return {
        "id": wanted["id"],
        "revision": wanted["revision"],
        "title": offer["title"] if offer else None,
        "offered": offer is not None,
        "skipped": skipped,
        "download": None,
        "install": None,
    }


def _subjects(update: Update) -> list[str]:
    return [update["id"], *(f"KB{kb}" for kb in update.get("kb", []))]


def _fault(host: Host, update: Update, step: str) -> int:
    """Read the HRESULT that the update's own entry, or a fault, gives this step; 0 is success."""
    declared = unsigned((update.get(step) or {}).get("hresult"))
    if declared:
        return declared
    struck = strike(host, "update.fail" if step == "install" else "update.fail_download", *_subjects(update))
    return 0 if struck is None else unsigned(struck.get("hresult", "80070643"))


def _download(host: Host, update: Update) -> dict[str, Any]:
    if update.get("eula") and not update.get("eula_accepted"):
        write(host, update, eula_accepted=True)
    code = 0 if update.get("downloaded") else _fault(host, update, "download")
    if code == 0 and not update.get("downloaded"):
        write(host, update, downloaded=True)
    return {"result_code": FAILED if code else SUCCEEDED, "hresult": f"{code:08X}"}


def _install(host: Host, group: list[tuple[dict[str, Any], Update]], stop: threading.Event) -> None:
    state = host.read("updates.json")
    if state.get("reboot_pending"):
        for answer, _ in group:
            answer["skipped"] = "reboot first"
        return
    if state.get("busy"):
        for answer, _ in group:
            answer["install"] = {"result_code": None, "hresult": f"{IN_PROGRESS:08X}", "reboot_required": None}
        return
    reboots = False
    for answer, update in group:
        if host.clock.sleep(INSTALL_SECONDS, stop):
            raise JobCut
        reboots |= _install_one(host, answer, update)
    if reboots:
        _want_reboot(host)


def _want_reboot(host: Host) -> None:
    with host.edit("updates.json") as state:
        state["reboot_pending"] = True
    with host.edit("registry.json") as registry:
        for path in REBOOT_KEYS:
            here = registry.setdefault("HKLM", {})
            for name in path.split("\\"):
                here = here.setdefault(name, {})
            here["@volatile"] = True


def _install_one(host: Host, answer: dict[str, Any], update: Update) -> bool:
    """Install one update, write what became of it everywhere, and say whether it wants a reboot."""
    code = _fault(host, update, "install")
    declared = (update.get("install") or {}).get("reboot")
    reboot = code == 0 and bool(declared if declared is not None else update.get("reboot", 2) == 1)
    if code == 0:
        if strike(host, "update.rolls_back", *_subjects(update)) is not None:
            write(host, update, sticks=False)
        write(host, update, **{"pending" if reboot else "installed": True})
    result = FAILED if code else SUCCEEDED
    with host.edit("updates.json") as state:
        state.setdefault("history", []).append(
            {
                "title": update["title"],
                "id": update["id"],
                "revision": update.get("revision", 1),
                "result": result,
                "hresult": signed(code),
                "date": datetime.now(UTC).isoformat(),
            }
        )
    # Counted as often as it happens, so that 'nothing twice' is counted and not arranged.
    event = "update.install_failed" if code else "update.install"
    told = {"id": update["id"], "revision": update.get("revision", 1), "kb": update.get("kb", [])}
    host.event(event, **told, **({"hresult": f"{code:08X}"} if code else {"reboot": reboot}))
    answer["install"] = {"result_code": result, "hresult": f"{code:08X}", "reboot_required": reboot}
    return reboot
