"""The dead man's switch: Enable-DeadMansSwitch, Disable-DeadMansSwitch, and what its task runs, Restore-Service."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from lab.host import Host
from lab.scripts import ScriptFailure, job, script
from lab.scripts.iis import open_sites
from lab.scripts.jobs import TASKS
from lab.scripts.lease import FILE as LEASE
from lab.scripts.library import (
    ROOT,
    assert_fence,
    initialize_folder,
    initialize_root,
    iso,
    lease,
    now,
    read_json,
    write_file,
    write_json,
)
from lab.scripts.services import is_begun, quiesce, start_in_order, update_quiesce
from lab.web.events import ERROR, WARNING, log_event

NAME = "dead-mans-switch"
FOLDER = rf"{ROOT}\switch"
SAID = rf"{FOLDER}\said.json"
LIMIT = 1800
PATIENCE = 600.0


@script("Enable-DeadMansSwitch")
def enable(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    initialize_root(host)
    assert_fence(host, parameters["fence"])
    texts = {
        "script.ps1": (parameters["script_text"], parameters["sha256"]),
        "library.ps1": (parameters["library_text"], parameters["library_sha256"]),
        "launcher.ps1": (parameters["launcher_text"], parameters["launcher_sha256"]),
    }
    for file, (text, wanted) in texts.items():
        if hashlib.sha256(text.encode()).hexdigest() != wanted:
            message = (
                f"{file} of the dead man's switch did not arrive as it was sent (SHA-256 differs). It is not armed."
            )
            raise ScriptFailure(message, "JobHash")
    with host.lock:
        initialize_folder(host, FOLDER)
        for file, (text, _) in texts.items():
            write_file(host, rf"{FOLDER}\{file}", text.encode())
        write_json(host, rf"{FOLDER}\parameters.json", parameters["parameters"])
        head = {"id": NAME, "script": "Restore-Service"} | {n: parameters[n] for n in ("sha256", "library_sha256")}
        empty = dict.fromkeys(("started", "ended", "boot"))
        rest = {"fence": parameters["fence"], "result": None, "error": None}
        write_json(host, rf"{FOLDER}\job.json", head | {"state": "created", "created": now()} | empty | rest)
        host.disk.path(SAID).unlink(missing_ok=True)
    host.parts["tasks"].register(
        TASKS + NAME,
        argument=(
            "-NoProfile -NonInteractive -ExecutionPolicy Bypass "
            rf'-File "{FOLDER}\launcher.ps1" -Folder "{FOLDER}" -Repeats'
        ),
        limit=LIMIT,
        description="EngageIP patching: restores service when no run looks after this host",
        every=parameters["every_seconds"],
    )
    host.event("switch.armed")
    return {"armed": True, "task": TASKS + NAME}


@script("Disable-DeadMansSwitch")
def disable(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    initialize_root(host)
    assert_fence(host, parameters["fence"])
    tasks = host.parts["tasks"]
    tasks.stop(TASKS + NAME)
    armed = tasks.unregister(TASKS + NAME)
    said = read_json(host, SAID)
    shutil.rmtree(host.disk.path(FOLDER), ignore_errors=True)
    if armed:
        host.event("switch.disarmed")
    return {"was_armed": armed, "said": said["text"] if said else None}


@job("Restore-Service")
def restore_service(
    host: Host,
    parameters: dict[str, Any],
    secrets: dict[str, str],  # noqa: ARG001 - it has none
    progress: Callable[[int, str], None],  # noqa: ARG001 - it is quick
    stop: threading.Event,  # noqa: ARG001 - it is not ended while it acts
) -> dict[str, Any]:
    record, held = quiesce(host), lease(host)
    why = _idle(record, held)
    if record is None or held is None or why:
        return _answer("idle", why)
    since = datetime.now(UTC) - datetime.fromisoformat(held["renewed"])
    again = _is_ours_to_end(host, held)
    if since.total_seconds() < parameters["after_seconds"] and not again:
        return _answer("attended", "a run looks after this host")
    silent = f"{'The run before' if again else held['holder']} has not been heard of for {parameters['after']}, and "
    if begun := _begun(record):
        return _closed(host, silent, parameters["recover"], begun)
    fence = _enter(host, held)
    if fence == 0:
        return _answer("attended", "a run looks after this host again")
    done = False
    try:
        answer = _restore(host, record, fence, silent, parameters["recover"])
        done = answer["outcome"] != "incomplete"
    finally:
        _exit(host, fence, done=done)
    return answer


def _idle(record: dict[str, Any] | None, held: dict[str, Any] | None) -> str:
    if record is None or record["state"] != "open":
        return "this host is not quiet"
    if "restored" in record["held"]:
        return "service has been restored"
    return "no run holds this host" if held is None or held["released"] else ""


def _answer(outcome: str, why: str) -> dict[str, Any]:
    return {"outcome": outcome, "why": why, "sites": [], "services": []}


def _enter(host: Host, silent: dict[str, Any]) -> int:
    with host.lock:
        held = lease(host)
        if held is None or held["released"] or any(held[name] != silent[name] for name in ("fence", "renewed")):
            return 0
        moment = datetime.now(UTC)
        mine = {
            "fence": held["fence"] + 1,
            "holder": _name(host),
            "key": held["key"],
            "taken": held["taken"],
            "renewed": iso(moment),
            "expires": iso(moment + timedelta(minutes=15)),
            "released": False,
            "finished": False,
        }
        write_json(host, LEASE, mine)
        return int(held["fence"]) + 1


def _name(host: Host) -> str:
    return f"dead man's switch of {host.name.upper()}"


def _is_ours_to_end(host: Host, held: dict[str, Any]) -> bool:
    return held["holder"] == _name(host) and datetime.fromisoformat(held["expires"]) <= datetime.now(UTC)


def _exit(host: Host, fence: int, *, done: bool) -> None:
    with host.lock:
        held = lease(host)
        if held is not None and held["fence"] == fence:
            write_json(host, LEASE, held | {"released": done, "expires": now()})


def _begun(record: dict[str, Any]) -> list[str]:
    return [section for section in record["held"] if is_begun(section)]


def _closed(host: Host, silent: str, recover: str, begun: list[str]) -> dict[str, Any]:
    text = "what it installs may be half done: the sites of this host stay closed, its services stopped."
    _say(host, ERROR, f"{silent}{text} Run: {recover}")
    return _answer("closed", f"begun: {', '.join(begun)}")


def _restore(host: Host, record: dict[str, Any], fence: int, silent: str, recover: str) -> dict[str, Any]:
    def mark(fresh: dict[str, Any]) -> None:
        if not _begun(fresh):
            fresh["held"]["reopening"] = True

    if begun := _begun(update_quiesce(host, record["number"], fence, mark)):
        return _closed(host, silent, recover, begun)
    names = [site["name"] for site in record["sites"]]
    faults = open_sites(host, names, record["sites"])
    assert_fence(host, fence)
    order = [each["name"] for each in reversed(record["services"]) if each["status"] == "Running"]
    services = start_in_order(host, order, PATIENCE)
    faults += [f"{each['name']}: {each['error']}" for each in services if each["status"] != "Running"]
    assert_fence(host, fence)

    def note(fresh: dict[str, Any]) -> None:
        if not faults:
            fresh["held"].update(released=True, restored=True)

    update_quiesce(host, record["number"], fence, note)
    told = {
        "Open again": ", ".join(names),
        "Started again": ", ".join(order),
        "But": "; ".join(faults),
        "SQL Server Agent jobs that stay held": ", ".join(record["held"].get("agent_jobs") or ()),
    }
    text = " ".join(f"{what}: {which}." for what, which in told.items() if which)
    _say(host, WARNING, f"{silent}it had installed nothing. {text}{' ' if text else ''}Run: {recover}")
    host.event("switch.restored", sites=names, services=order, faults=faults)
    outcome = "incomplete" if faults else "restored"
    return {"outcome": outcome, "why": "; ".join(faults), "sites": names, "services": services}


def _say(host: Host, level: int, text: str) -> None:
    last = read_json(host, SAID)
    if last is not None and last["text"] == text:
        return
    message = text.replace('"', "'").replace("\\", "'")
    log_event(host, "Application", ("EngageIPPatching", 911), level, message)
    write_json(host, SAID, {"text": text, "at": now()})
