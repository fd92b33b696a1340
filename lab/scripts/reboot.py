"""Get-RebootState, Confirm-Boot and Restart-PatchedHost; shutdown.exe itself is the host's power (see ``lab.power``)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from lab.host import Host
from lab.power import power
from lab.scripts import script
from lab.scripts.facts import SERVICING
from lab.scripts.library import (
    ROOT,
    assert_fence,
    boot_id,
    initialize_boot_id,
    initialize_root,
    iso,
    last_boot,
    machine_key,
    machine_value,
    now,
    read_json,
    set_value,
    write_json,
)

FILE = rf"{ROOT}\restart.json"
MARKER = r"SOFTWARE\EngageIPPatching\Restart"


@script("Get-RebootState")
def get_reboot_state(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    booted = last_boot(host)
    return {
        "asked": read_json(host, FILE),
        "marker_present": machine_value(host, MARKER, "Intent") == parameters["intent"],
        "boot_id": boot_id(host),
        "last_boot": iso(booted),
        "now": now(),
        "uptime_seconds": round((datetime.now(UTC) - booted).total_seconds()),
        "servicing_in_progress": machine_value(host, rf"{SERVICING}\Interface", "ServicingInProgress"),
        "logon_ready": machine_key(host, r"SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon\AutoLogonChecked"),
    }


@script("Confirm-Boot")
def confirm_boot(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001 - it has none
    initialize_root(host)
    return {"boot_id": initialize_boot_id(host)}


@script("Restart-PatchedHost")
def restart_patched_host(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    intent, reason = parameters["intent"], parameters["reason"]
    initialize_root(host)
    assert_fence(host, parameters["fence"])
    with host.lock:
        earlier = read_json(host, FILE)
        told = earlier is not None and _tells_of(earlier["intent"], intent)
        marked = told and machine_value(host, MARKER, "Intent") in {intent, earlier["intent"]}
        if told and not marked and earlier["boot_id"] != boot_id(host):
            before = {name: earlier[name] for name in ("boot_id", "last_boot")}
            return {"outcome": "restarted", "intent": intent, **before, "attempts": []}
        boot, booted = initialize_boot_id(host), iso(last_boot(host))
        set_value(host, MARKER, "Intent", intent, volatile=True)
        asked = {"intent": intent, "boot_id": boot, "last_boot": booted, "reason": reason}
        write_json(host, FILE, asked | {"fence": parameters["fence"], "asked": now()})
    outcome, attempts = _ask(host, reason)
    host.event("host.restart_requested", effect=outcome == "asked", intent=intent, outcome=outcome)
    return {"outcome": outcome, "intent": intent, "boot_id": boot, "last_boot": booted, "attempts": attempts}


def _tells_of(asked: str, intent: str) -> bool:
    """Whether a restart asked for as one intent is another's, or a later one of its run."""
    told, wanted = (re.fullmatch(r"(.*)\.([0-9]{1,9})", each) for each in (asked, intent))
    later = told and wanted and told[1] == wanted[1] and int(told[2]) > int(wanted[2])
    return asked == intent or bool(later)


def _ask(host: Host, reason: str) -> tuple[str, list[dict[str, Any]]]:
    request = ["/r", "/t", "2", "/d", "p:2:17", "/c", re.sub(r'["\\]', "'", reason)]
    attempts: list[dict[str, Any]] = []
    for last in (False, True):
        code, text = power(host).shutdown_exe(request)
        attempts.append({"arguments": request, "code": code, "text": text})
        if code != 1190 or last:
            break
        code, text = power(host).shutdown_exe(["/a"])
        attempts.append({"arguments": ["/a"], "code": code, "text": text})
    outcome = {0: "asked", 1115: "in_progress"}.get(code, "refused")
    return outcome, attempts
