"""Quiet: what the host looked like before (quiesce.json), and its services held and let go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lab.host import Host
from lab.scripts import ScriptFailure, script
from lab.scripts.library import (
    ROOT,
    assert_fence,
    initialize_root,
    machine_key,
    machine_value,
    now,
    read_json,
    write_json,
)

QUIESCE = rf"{ROOT}\quiesce.json"
STOP_SECONDS = 2.0
"""Lab seconds that a service takes to stop or to start."""


# quiesce.json ---------------------------------------------------------------------------------------------------------


def quiesce(host: Host) -> dict[str, Any] | None:
    """Read the record of how the host was; None where there is none."""
    record: dict[str, Any] | None = read_json(host, QUIESCE)
    return record


def update_quiesce(host: Host, number: int, fence: int, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Change the record of quiesce ``number``, or begin it; refused while an earlier one is open."""
    with host.lock:
        assert_fence(host, fence)
        record = _open(quiesce(host), number)
        change(record)
        record["fence"] = fence
        write_json(host, QUIESCE, record)
        return record


def is_begun(section: str) -> bool:
    """Whether a section of the record says that something may be half installed."""
    return section in ("patching", "installing", "restarting") or section.startswith("sql-patch-")


def _open(record: dict[str, Any] | None, number: int) -> dict[str, Any]:
    if record is None or (record["state"] == "closed" and record["number"] < number):
        return {
            "number": number,
            "state": "open",
            "fence": 0,
            "opened": now(),
            "closed": None,
            "services": [],
            "sites": [],
            "held": {},
        }
    if record["state"] == "closed":
        message = (
            f"Refused: quiesce {record['number']} has been brought back on this host, and {number} is not after it. "
            "Take the next number."
        )
        raise ScriptFailure(message, "QuiesceClosed")
    if record["number"] != number:
        message = (
            f"Refused: quiesce {record['number']} is still open on this host, so {number} cannot be worked on. "
            "Bring the host back first."
        )
        raise ScriptFailure(message, "QuiesceOpen")
    return record


@script("Get-QuiesceState")
def get_quiesce_state(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001 - it has none
    return {"quiesce": quiesce(host)}


@script("Set-QuiesceState")
def set_quiesce_state(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    initialize_root(host)
    assert_fence(host, parameters["fence"])
    number, closing = parameters["number"], parameters.get("state") == "closed"
    with host.lock:
        before = quiesce(host)
        done = before is None or (before["number"] == number and before["state"] == "closed")
        if closing and done:
            return {"quiesce": before}

        def note(record: dict[str, Any]) -> None:
            for section in parameters.get("forget") or ():
                record["held"].pop(section, None)
            for section, value in (parameters.get("held") or {}).items():
                record["held"].setdefault(section, value)

        def change(record: dict[str, Any]) -> None:
            note(record)
            if closing:
                record |= {"state": "closed", "closed": now()}

        _carry(host, parameters.get("from") or 0, number, note)
        record = update_quiesce(host, number, parameters["fence"], change)
    host.event("quiesce.close" if closing else "quiesce.open", number=number)
    return {"quiesce": record}


def _carry(host: Host, old: int, number: int, note: Callable[[dict[str, Any]], None]) -> None:
    """Go on with the open record of quiesce ``old`` under another number."""
    record = quiesce(host)
    if old > 0 and record is not None and record["state"] == "open" and record["number"] == old:
        record["number"] = number
        note(record)
        if not any(is_begun(section) for section in record["held"]):
            record["opened"] = now()
        write_json(host, QUIESCE, record)


# Services -------------------------------------------------------------------------------------------------------------


def _record(host: Host, name: str) -> dict[str, Any]:
    for known, state in host.read("services.json").items():
        if known.casefold() == name.casefold():
            start = state.get("start", "Automatic")
            return {
                "name": known,
                "exists": True,
                "status": state.get("status", "Stopped").replace(" ", ""),
                "start_mode": "Auto" if start == "Automatic" else start,
            }
    return {"name": name, "exists": False, "status": None, "start_mode": None}


def _stop_order(host: Host, name: str) -> list[str]:
    """List the service and the running ones that depend on it, the latter first."""
    order = []
    for other, state in host.read("services.json").items():
        needs = [needed.casefold() for needed in state.get("depends", [])]
        if name.casefold() in needs and state.get("status", "Stopped") != "Stopped":
            order += _stop_order(host, other)
    return [*order, name]


USER_SERVICE = 0x40
"""SERVICE_USER_SERVICE in a service's Type."""


@script("Get-AutoServices")
def get_auto_services(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001 - it has none
    answers = []
    for name, state in host.read("services.json").items():
        key = rf"SYSTEM\CurrentControlSet\Services\{name}"
        of_a_user = (machine_value(host, key, "Type") or 0) & USER_SERVICE
        if state.get("start", "Automatic") != "Automatic" or of_a_user:
            continue
        answers.append(
            {
                "name": name,
                "status": state.get("status", "Stopped").replace(" ", ""),
                "exit_code": state.get("exit", 0),
                "delayed": machine_value(host, key, "DelayedAutostart") == 1,
                "triggered": machine_key(host, rf"{key}\TriggerInfo"),
            }
        )
    return {"services": answers}


@script("Stop-HostServices")
def stop_host_services(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    initialize_root(host)
    assert_fence(host, parameters["fence"])
    order: list[str] = []
    for wanted in parameters["names"]:
        known = _record(host, wanted)
        for name in _stop_order(host, known["name"]) if known["exists"] else [wanted]:
            if name.casefold() not in [each.casefold() for each in order]:
                order.append(name)

    def note(record: dict[str, Any]) -> None:
        for name in order:
            seen = _record(host, name)
            recorded = [each["name"].casefold() for each in record["services"]]
            if seen["exists"] and name.casefold() not in recorded:
                record["services"].append({key: seen[key] for key in ("name", "status", "start_mode")})

    update_quiesce(host, parameters["number"], parameters["fence"], note)
    answers, complete = [], True
    patience = float(parameters.get("timeout_seconds", 300))
    for name in order:
        seen, fault = _record(host, name), None
        if complete and seen["exists"] and seen["status"] != "Stopped":
            assert_fence(host, parameters["fence"])
            fault = _stop(host, seen, patience)
            seen = _record(host, name)
            complete = seen["status"] == "Stopped"
        answers.append({**seen, "error": fault})
    return {"services": answers, "complete": complete}


def _stop(host: Host, seen: dict[str, Any], patience: float) -> str | None:
    name = seen["name"]
    hangs = seen["status"] == "StopPending" or host.faults.strike("service.stuck", name) is not None
    refuses = seen["status"] != "StopPending" and host.read("services.json")[name].get("stuck", False)
    if hangs or refuses:
        with host.edit("services.json") as services:
            services[name]["status"] = "StopPending"
        if refuses:
            return (
                f"Service '{name}' cannot be stopped due to the following error: "
                f"Cannot stop {name} service on computer '.'."
            )
        host.clock.sleep(patience)
        return f"still 'StopPending' after {patience:g} s"
    host.clock.sleep(STOP_SECONDS)
    host.service(name, started=False)
    return None


@script("Start-HostServices")
def start_host_services(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    initialize_root(host)
    assert_fence(host, parameters["fence"])
    order = list(parameters.get("names") or [])
    if not order:
        record = quiesce(host) or {"services": []}
        order = [each["name"] for each in reversed(record["services"]) if each["status"] == "Running"]
    answers = start_in_order(host, order, float(parameters.get("timeout_seconds", 300)))
    return {"services": answers, "complete": all(each["status"] == "Running" for each in answers)}


def start_in_order(host: Host, names: list[str], patience: float) -> list[dict[str, Any]]:
    """Start services one after the other; each as it is afterwards."""
    answers = []
    for name in names:
        fault = _start(host, _record(host, name), patience)
        answers.append({**_record(host, name), "error": fault})
    return answers


def _start(host: Host, seen: dict[str, Any], patience: float) -> str | None:
    name = seen["name"]
    if not seen["exists"]:
        return "there is no such service"
    if seen["status"] == "Running":
        return None
    if seen["status"] == "StartPending":
        host.clock.sleep(patience)
        return f"still 'StartPending' after {patience:g} s"
    state = host.read("services.json")[name]
    broken = state.get("broken") or host.faults.strike("service.broken", name) is not None
    if broken or state.get("start") == "Disabled":
        return (
            f"Service '{name}' cannot be started due to the following error: "
            f"Cannot start service {name} on computer '.'."
        )
    for needed in state.get("depends", []):
        host.service(needed, started=True)
    host.clock.sleep(STOP_SECONDS)
    host.service(name, started=True)
    return None
