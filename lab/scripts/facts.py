"""Get-HostFacts."""

from __future__ import annotations

import re
from typing import Any

from lab.host import Host
from lab.scripts import script
from lab.scripts.library import ROOT, boot_id, iso, last_boot, lease, machine_key, machine_value, now, read_json

POWERSHELL = "5.1.17763.6414"
SERVICING = r"SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing"


@script("Get-HostFacts")
def get_host_facts(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    cim = host.read("cim.json")
    system, machine = cim["Win32_OperatingSystem"][0], cim["Win32_ComputerSystem"][0]
    known = {name.casefold(): state for name, state in host.read("services.json").items()}
    cluster = known.get("clussvc")
    return {
        "computer": host.name.upper(),
        "os": {
            "caption": system["Caption"],
            "version": system["Version"],
            "build": str(system["BuildNumber"]),
            "ubr": machine_value(host, r"SOFTWARE\Microsoft\Windows NT\CurrentVersion", "UBR"),
            "domain_role": machine["DomainRole"],
        },
        "powershell": POWERSHELL,
        "now": now(),
        "last_boot": iso(last_boot(host)),
        "boot_id": boot_id(host),
        "drives": _drives(host),
        "pending_reboot": _pending(host),
        "services": [_service(name, known.get(name.casefold())) for name in parameters.get("services") or []],
        "cluster": cluster is not None and cluster.get("start") != "Disabled",
        "lease": lease(host),
        "quiesce": read_json(host, rf"{ROOT}\quiesce.json"),
    }


def _drives(host: Host) -> list[dict[str, Any]]:
    declared = host.read("drives.json")
    letters = sorted(d.name for d in host.folder.iterdir() if d.is_dir() and re.fullmatch("[A-Z]", d.name))
    sizes = ((letter, declared.get(letter, {})) for letter in letters)
    return [{"letter": n, "size": d.get("size", 100 << 30), "free": d.get("free", 50 << 30)} for n, d in sizes]


def _pending(host: Host) -> dict[str, Any]:
    manager = r"SYSTEM\CurrentControlSet\Control\Session Manager"
    renames = machine_value(host, manager, "PendingFileRenameOperations") or []
    auto_update = r"SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update"
    return {
        "cbs_reboot_pending": machine_key(host, rf"{SERVICING}\RebootPending"),
        "windows_update": machine_key(host, rf"{auto_update}\RebootRequired"),
        "packages_pending": machine_key(host, rf"{SERVICING}\PackagesPending"),
        "file_renames": [name.removeprefix("\\??\\") for name in renames[::2] if name][:20],
    }


def reboot_wanted(host: Host) -> bool:
    """Whether any of the signals says that a restart is pending."""
    return any(_pending(host).values())


def _service(name: str, state: dict[str, Any] | None) -> dict[str, Any]:
    if state is None:
        return {"name": name, "status": None, "start_mode": None, "exists": False}
    start = state.get("start", "Automatic")
    return {
        "name": name,
        "status": state.get("status", "Stopped").replace(" ", ""),
        "start_mode": "Auto" if start == "Automatic" else start,
        "exists": True,
    }
