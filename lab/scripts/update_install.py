"""Install-WindowsUpdate.

Faults, on an update's id, its KB ("KB5034127") or the host: ``update.fail`` (``hresult``, hexadecimal),
``update.throws`` (``hresult``: Install() throws, for all that go in together), ``update.wants_alone`` (0x80240019 beside
others, though its properties do not say so), ``update.rolls_back`` (installs, and is gone after the boot),
``update.hollow`` (installs and is offered no more, and the build of Windows stays what it was), ``update.restarts`` (its
installer restarts the host), ``update.busy`` (another installation runs: each look uses it up once). ``needs_stack`` of an update's entry are ids that
must be in before it, though it is offered without them (0x80242017).
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

from lab.host import Host
from lab.scripts import JobCut, job
from lab.scripts.transfer import Progress, strike
from lab.scripts.updates import EXCLUSIVE, FAILED, SUCCEEDED, Planned, code_of, download, plan, subjects
from lab.update_agent import Update, signed, unsigned, write

INSTALL_SECONDS = 30.0
LOOK_SECONDS = 5
PATIENCE = 600
IN_PROGRESS, WANTS_TO_BE_ALONE, WANTS_STACK = 0x80240016, 0x80240019, 0x80242017
REBOOT_KEYS = (
    r"SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired",
    r"SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending",
)


@job("Install-WindowsUpdate")
def install_windows_update(
    host: Host,
    parameters: dict[str, Any],
    secrets: dict[str, str],  # noqa: ARG001 - it has none
    progress: Progress,
    stop: threading.Event,
) -> dict[str, Any]:
    progress(0, "searching for the updates of the plan")
    planned = plan(host, parameters, stop)
    first = bool(host.read("updates.json").get("reboot_pending"))
    for one in planned:
        if first and one.answer["skipped"] is None:
            one.answer["skipped"] = "reboot first"
    todo = [one for one in planned if one.answer["skipped"] is None]
    download(host, todo, progress, stop, 40)
    ready = [one for one in todo if one.answer["download"]["result_code"] == SUCCEEDED]
    together = [one for one in ready if not one.alone]
    step, patience = 0, int(parameters.get("patience_seconds") or PATIENCE)
    for group in [*([one] for one in ready if one.alone), *([together] if together else [])]:
        titles = ", ".join(one.answer["title"] for one in group)
        progress(40 + 60 * step // len(ready), f"installing {titles}")
        step += len(group)
        patience = _wait(host, patience, progress, stop)
        _install(host, group, stop)
    progress(100, f"{len(todo)} updates tried")
    pending = bool(host.read("updates.json").get("reboot_pending"))
    return {
        "reboot_required": pending,
        "reboot_required_before": first,
        "updates": [one.answer for one in planned],
    }


def _busy(host: Host) -> bool:
    return bool(host.read("updates.json").get("busy")) or strike(host, "update.busy") is not None


def _wait(host: Host, patience: int, progress: Progress, stop: threading.Event) -> int:
    """Wait while another installation runs; answers the patience that is left, in seconds."""
    while patience > 0 and _busy(host):
        progress(40, "waiting for another installation to end")
        if host.clock.sleep(LOOK_SECONDS, stop):
            raise JobCut
        patience -= LOOK_SECONDS
    return patience


def _install(host: Host, group: list[Planned], stop: threading.Event) -> None:
    state = host.read("updates.json")
    if state.get("reboot_pending"):
        for one in group:
            one.answer["skipped"] = "reboot first"
        return
    struck = strike(host, "update.throws", *(name for one in group for name in subjects(one.update)))
    code = unsigned(struck.get("hresult", "80240016")) if struck else IN_PROGRESS if _busy(host) else 0
    if code:
        for one in group:
            one.answer["install"] = {"result_code": None, "hresult": f"{code:08X}", "reboot_required": None}
        return
    reboots = False
    for one in group:
        if host.clock.sleep(INSTALL_SECONDS, stop):
            raise JobCut
        if strike(host, "update.restarts", *subjects(one.update)) is not None:
            host.event("update.restarts", id=one.update["id"])
            host.restart()
            # The boot ends this job.
            stop.wait()
            raise JobCut
        reboots |= _install_one(host, one, alone=len(group) == 1)
    if reboots:
        want_reboot(host)


def want_reboot(host: Host) -> None:
    """Have the host wait for a reboot, in the agent's state and in the registry."""
    with host.edit("updates.json") as state:
        state["reboot_pending"] = True
    with host.edit("registry.json") as registry:
        for path in REBOOT_KEYS:
            here = registry.setdefault("HKLM", {})
            for name in path.split("\\"):
                here = here.setdefault(name, {})
            here["@volatile"] = True


def _code(host: Host, update: Update, *, alone: bool) -> int:
    exclusive = update.get("impact") == EXCLUSIVE or strike(host, "update.wants_alone", *subjects(update)) is not None
    if exclusive and not alone:
        return WANTS_TO_BE_ALONE
    needs = {each.casefold() for each in update.get("needs_stack", [])}
    there = {u["id"].casefold() for u in host.read("updates.json")["updates"] if u.get("installed")}
    return code_of(host, update, "install", "update.fail") if needs <= there else WANTS_STACK


def _install_one(host: Host, one: Planned, *, alone: bool) -> bool:
    """Install one update, write what became of it everywhere, and say whether it wants a reboot."""
    update = one.update
    code = _code(host, update, alone=alone)
    declared = (update.get("install") or {}).get("reboot")
    reboot = code == 0 and bool(declared if declared is not None else update.get("reboot", 2) == 1)
    if code == 0:
        if strike(host, "update.rolls_back", *subjects(update)) is not None:
            write(host, update, sticks=False)
        if strike(host, "update.hollow", *subjects(update)) is not None:
            write(host, update, hollow=True)
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
    one.answer["install"] = {"result_code": result, "hresult": f"{code:08X}", "reboot_required": reboot}
    return reboot
