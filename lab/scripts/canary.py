"""What proves days before a night that jobs can do their work: Test-PatchHost, Get-PolicyFacts."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

from lab.disk import DiskFull
from lab.host import Host
from lab.scripts import ScriptFailure, job, script
from lab.scripts.facts import POWERSHELL as VERSION
from lab.scripts.library import ROOT, machine_value
from lab.scripts.policies import FULL, POWERSHELL, execution_policy
from lab.scripts.transfer import Progress, digest, open_share, put, send_to_share
from lab.update_agent import AgentError, search, signed

NOTHING = "IsInstalled=0 and UpdateID='00000000-0000-0000-0000-000000000000'"
_PROBES_SECONDS = 10.0
_POWER = r"SYSTEM\CurrentControlSet\Control\Power"
_SLEEP = "238c9fa8-0aad-41ed-83f4-97be242c8f20"
_IDLE = "29f6c1db-86da-48c5-9fdb-f2b67b1f44da"


@job("Test-PatchHost")
def test_patch_host(
    host: Host,
    parameters: dict[str, Any],
    secrets: dict[str, str],
    progress: Progress,
    stop: threading.Event,  # noqa: ARG001 - it is quick
) -> dict[str, Any]:
    progress(0, "trying what jobs need")
    data = parameters["probe"].encode()
    path = parameters["staging"]
    staging: dict[str, Any] = {"path": path, "free": None, "error": None}
    made = _missing(host.disk.path(path))
    try:
        staging["free"] = host.disk.free(path)
        host.disk.write(rf"{path}\canary.probe", data).unlink()
    except DiskFull as full:
        staging["error"] = str(full.strerror)
    _remove_made(made)
    targets = [
        _try(host, target, data, secrets, parameters.get("answer_seconds", 60)) for target in parameters["targets"]
    ]
    return {
        "language_mode": FULL,
        "powershell": VERSION,
        "system": True,
        "elevated": True,
        "system_free": host.disk.free(ROOT),
        "sleep_seconds": _sleep_seconds(host),
        "update_agent": _update_agent(host),
        "staging": staging,
        "sha256": digest(data),
        "targets": targets,
    }


def _try(host: Host, target: dict[str, Any], data: bytes, secrets: dict[str, str], seconds: float) -> dict[str, Any]:
    name, path = target["name"], target["path"]
    answer = {"name": name, "kind": target["kind"], "path": path, "error": None}
    try:
        if target["kind"] == "share":
            open_share(host, path, secrets, name)
            _send_probe(host, path, data)
        elif target["kind"] == "s3":
            put(host, secrets[f"{name}.url"], data, target["headers"], seconds)
        else:
            answer["error"] = f"no such kind of store: '{target['kind']}'"
    except ScriptFailure as failure:
        answer["error"] = failure.message
    except DiskFull as full:
        answer["error"] = str(full.strerror)
    if answer["error"] is None:
        host.event("store.probe", effect=False, path=path)
    return answer


def _missing(folder: Path) -> list[Path]:
    """The folders that are made where this one is, deepest first."""
    return list(takewhile(lambda path: not path.is_dir(), (folder, *folder.parents)))


def _remove_made(made: list[Path]) -> None:
    """Remove folders that were made for a probe, unless somebody has written there; wait for other hosts' probes."""
    deadline = time.monotonic() + _PROBES_SECONDS
    for folder in made:
        while folder.exists():
            try:
                folder.rmdir()
            except OSError:
                others = [name for name in _names(folder) if not name.startswith("canary-")]
                if others or time.monotonic() > deadline:
                    return
                time.sleep(0.02)


def _names(folder: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return [path.name for path in folder.iterdir()]
    return []


def _send_probe(host: Host, path: str, data: bytes) -> None:
    """Send the probe to an open share, and remove all that was made for it."""
    target = host.disk.path(path)
    for left in reversed(range(5)):
        made = _missing(target.parent)
        try:
            return send_to_share(host, data, digest(data), path, {})
        except FileNotFoundError:  # the canary of another host has just removed the folder that it had made
            if not left:
                raise
        finally:
            target.unlink(missing_ok=True)
            _remove_made(made)
    return None


def _sleep_seconds(host: Host) -> int | None:
    scheme = machine_value(host, rf"{_POWER}\User\PowerSchemes", "ActivePowerScheme")
    for key in (
        rf"SOFTWARE\Policies\Microsoft\Power\PowerSettings\{_IDLE}",
        rf"{_POWER}\User\PowerSchemes\{scheme}\{_SLEEP}\{_IDLE}",
        rf"{_POWER}\PowerSettings\{_SLEEP}\{_IDLE}\DefaultPowerSchemeValues\{scheme}",
    ):
        seconds = machine_value(host, key, "ACSettingIndex")
        if seconds is not None:
            return int(seconds)
    return None


def _update_agent(host: Host) -> dict[str, Any]:
    state = host.read("updates.json")
    try:
        search({"updates": [], **state}, NOTHING)
    except AgentError as error:
        return {"error": str(error), "hresult": f"{signed(error.code) & 0xFFFFFFFF:08X}"}
    return {"error": None, "hresult": None}


@script("Get-PolicyFacts")
def get_policy_facts(host: Host, _parameters: dict[str, Any]) -> dict[str, Any]:
    guards = host.read("cim.json").get("Win32_DeviceGuard") or [{}]
    return {
        "language_mode": FULL,
        "execution_policy": execution_policy(host),
        "scripts_enabled": machine_value(host, POWERSHELL, "EnableScripts"),
        "app_locker": machine_value(host, r"SOFTWARE\Policies\Microsoft\Windows\SrpV2\Script", "EnforcementMode"),
        "code_integrity": guards[0].get("UsermodeCodeIntegrityPolicyEnforcementStatus"),
    }
