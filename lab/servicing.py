"""What Windows does with updates while it boots: commits what an installation began, or rolls it back.

Faults, on an update's id, its KB ("KB5034127") or the host: ``update.still_at_work`` (after the boot it goes on working,
for as many ``scans`` as are said: offered, and asking for a restart).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.host import Host

Update = dict[str, Any]


def commit(host: Host) -> None:
    """Finish during the boot what an update began: it sticks, or is rolled back; nothing waits for a reboot then."""
    with host.edit("updates.json") as state:
        pending = [update for update in state.get("updates", []) if update.get("pending")]
        for update in pending:
            scans = _still_at_work(host, update)
            update.update({"settling": scans} if scans else _end(update))
        if state:
            state["reboot_pending"] = False
    with host.edit("registry.json") as registry:
        current = _key(registry, "SOFTWARE", "Microsoft", "Windows", "CurrentVersion")
        _key(current, "WindowsUpdate", "Auto Update").pop("RebootRequired", None)
        _key(current, "Component Based Servicing").pop("RebootPending", None)
        manager = _key(registry, "SYSTEM", "CurrentControlSet", "Control", "Session Manager").get("@", {})
        manager.pop("PendingFileRenameOperations", None)
    _tell(host, [update for update in pending if not update["pending"]])


def settle(host: Host) -> None:
    """One more look has been taken: what was still at work has less to do, and is in once it has nothing."""
    with host.edit("updates.json") as state:
        working = [update for update in state.get("updates", []) if update.get("settling")]
        for update in working:
            update["settling"] -= 1
            if not update["settling"]:
                del update["settling"]
                update.update(_end(update))
    _tell(host, [update for update in working if not update["pending"]])


def _still_at_work(host: Host, update: Update) -> int:
    names = (update["id"], *(f"KB{kb}" for kb in update.get("kb", [])), host.name)
    struck = next((s for name in names if (s := host.faults.strike("update.still_at_work", name)) is not None), None)
    return 0 if struck is None else int(struck.get("scans", 1))


def _end(update: Update) -> Update:
    return {"pending": False, "installed": bool(update.get("sticks", True))}


def _is_in(update: Update) -> bool:
    """Whether its files are: a hollow one only says so."""
    return bool(update["installed"]) and not update.get("hollow")


def _tell(host: Host, ended: list[Update]) -> None:
    """Raise the build of Windows by what is in, and write what became of each into the audit trail."""
    with host.edit("registry.json") as registry:
        version = _key(registry, "SOFTWARE", "Microsoft", "Windows NT", "CurrentVersion").get("@", {})
        for update in ended:
            if _is_in(update) and update.get("ubr", 0) > version.get("UBR", 0):
                version["UBR"] = update["ubr"]
    with host.edit("cim.json") as cim:
        for update in ended:
            if update["installed"] and "hotfix" in update:
                listed = cim.setdefault("Win32_QuickFixEngineering", [])
                listed.append({"HotFixID": update["hotfix"], "Description": "Update"})
    for update in ended:
        outcome = "committed" if _is_in(update) else "rolled_back"
        host.event(f"update.{outcome}", update=update["id"], revision=update.get("revision"))


def _key(keys: dict[str, Any], *path: str) -> dict[str, Any]:
    """The key at that path below ``keys`` (HKLM where it is the whole registry), or one that is nowhere."""
    here = keys.get("HKLM", keys)
    for part in path:
        here = here.get(part, {})
    found: dict[str, Any] = here
    return found
