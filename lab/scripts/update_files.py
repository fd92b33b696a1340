"""Find-UpdateFile and Install-UpdateFile: a .msu or .cab is a file whose last line is JSON ({"kb", "ubr", "reboot", "not_for", "signer"}).

Faults, on a file's name, its KB or the host: ``updatefile.exit_code`` (``code``, signed: what wusa.exe or dism.exe ends
with, and nothing goes in), ``update.rolls_back``, ``update.hollow`` (as for Install-WindowsUpdate; where a boot is wanted).
"""

from __future__ import annotations

import json
import re
import shutil
import threading
from typing import Any

from lab.host import Host
from lab.scripts import JobCut, ScriptFailure, job
from lab.scripts.library import initialize_folder, machine_key
from lab.scripts.package import MICROSOFT
from lab.scripts.transfer import Progress, digest, open_share, share_root, strike
from lab.scripts.update_install import REBOOT_KEYS, want_reboot
from lab.scripts.updates import build

INSTALL_SECONDS = 30.0
CHECKPOINTS = 26100
"""The build from which on dism.exe installs a .msu."""
STAGING = r"C:\ProgramData\EngageIPPatching\staging\updates"
ALREADY, FATAL, REBOOT = 2359302, -2147023293, 3010
NOT_FOR_THIS = {"wusa": -2145124329, "dism": -2146498530}


def read_update(data: bytes) -> dict[str, Any] | None:
    """What an update file brings; None where the file is none."""
    try:
        told = json.loads(data.rstrip().rsplit(b"\n", 1)[-1])
    except ValueError:
        return None
    return told if isinstance(told, dict) and "kb" in told else None


def _hotfixes(host: Host) -> list[str]:
    known = host.read("cim.json").get("Win32_QuickFixEngineering", [])
    return sorted({each["HotFixID"] for each in known if re.fullmatch(r"KB\d+", each["HotFixID"])})


@job("Find-UpdateFile")
def find_update_file(
    host: Host, parameters: dict[str, Any], secrets: dict[str, str], progress: Progress, stop: threading.Event
) -> dict[str, Any]:
    folder = parameters["folder"]
    if share_root(folder) is not None:
        open_share(host, folder, secrets, "share")
    there = host.disk.path(folder)
    if not there.is_dir():
        message = f"{host.name.upper()} finds no folder {folder}. Correct updates.source, or make the folder."
        raise ScriptFailure(message, "FolderMissing")
    paths = sorted(
        (p for p in there.iterdir() if p.suffix.casefold() in {".msu", ".cab"}), key=lambda p: p.name.casefold()
    )
    files = []
    for done, path in enumerate(paths):
        progress(100 * done // len(paths), f"reading {path.name}")
        if host.clock.sleep(1.0, stop):
            raise JobCut
        data = path.read_bytes()
        sha256 = digest(data) if parameters.get("hash", True) else None
        files.append({"name": path.name, "size": len(data), "sha256": sha256})
    progress(100, f"{len(files)} files")
    return {"files": files, "hotfixes": _hotfixes(host), "build": build(host)}


@job("Install-UpdateFile")
def install_update_file(
    host: Host, parameters: dict[str, Any], secrets: dict[str, str], progress: Progress, stop: threading.Event
) -> dict[str, Any]:
    folder, files = parameters["folder"], parameters["files"]
    answers = [{"name": file["name"], "skipped": None, "tool": None, "exit_code": None} for file in files]
    if machine_key(host, REBOOT_KEYS[1]):
        return {"reboot_required": True, "files": [answer | {"skipped": "reboot first"} for answer in answers]}
    initialize_folder(host, STAGING)
    shutil.rmtree(host.disk.path(STAGING))
    staged = _staged(host, folder, answers, secrets, progress)
    for file, answer in zip(files, answers, strict=True):
        have = digest(staged[answer["name"]]) if answer["skipped"] is None else file["sha256"]
        if have != file["sha256"]:
            message = (
                f"{file['name']} is not the file that was approved (SHA-256 {have}, not {file['sha256']}). "
                "Nothing was installed."
            )
            raise ScriptFailure(message, "UpdateFileChanged")
        if answer["skipped"] is None:
            _must_be_microsofts(file["name"], read_update(staged[file["name"]]))
    todo = [answer for answer in answers if answer["skipped"] is None]
    by_dism = (build(host)["number"] or 0) >= CHECKPOINTS
    for done, answer in enumerate(todo):
        progress(100 * done // len(todo), f"installing {answer['name']}")
        if host.clock.sleep(INSTALL_SECONDS, stop):
            raise JobCut
        answer["tool"] = "dism" if by_dism or answer["name"].casefold().endswith(".cab") else "wusa"
        answer["exit_code"] = _install(host, answer["name"], staged[answer["name"]], answer["tool"])
    progress(100, f"{len(todo)} files installed")
    return {"reboot_required": machine_key(host, REBOOT_KEYS[1]), "files": answers}


def _must_be_microsofts(name: str, told: dict[str, Any] | None) -> None:
    signer = None if told is None else told.get("signer", MICROSOFT)
    if signer is None or not re.search("(^|, ?)O=Microsoft Corporation(,|$)", signer):
        message = (
            f"{name} is not signed by Microsoft: its signature is {'Valid' if signer else 'NotSigned'}, its signer "
            f"{signer or 'nobody'}. Nothing was installed. Take it out of the folder, or fetch it anew from the Microsoft "
            "Update Catalog."
        )
        raise ScriptFailure(message, "UpdateFileSignature")


def _staged(
    host: Host, folder: str, answers: list[dict[str, Any]], secrets: dict[str, str], progress: Progress
) -> dict[str, bytes]:
    """Copy the files from the folder; the fault ``backup.flip_transit`` damages what comes from a share."""
    if share_root(folder) is not None:
        open_share(host, folder, secrets, "share")
    staged = {}
    for answer in answers:
        file = host.disk.path(f"{folder}\\{answer['name']}")
        if not file.is_file():
            answer["skipped"] = "not offered"
            continue
        progress(0, f"copying {answer['name']}")
        staged[answer["name"]] = file.read_bytes()
    return staged


def _install(host: Host, name: str, data: bytes, tool: str) -> int:
    """Do what wusa.exe or dism.exe does with an update file; answers its exit code."""
    update = read_update(data) or {}
    subjects = (name, update["kb"])
    struck = strike(host, "updatefile.exit_code", *subjects)
    code = _code(host, update, tool) if struck is None else int(struck.get("code", FATAL))
    if code in (0, REBOOT) and struck is None:
        # As any update: by file and revision 0, so that 'nothing twice' is counted for these too.
        kb = [update["kb"].removeprefix("KB")]
        host.event("update.install", id=name, revision=0, kb=kb, reboot=code == REBOOT)
        update["sticks"] = strike(host, "update.rolls_back", *subjects) is None
        update["hollow"] = strike(host, "update.hollow", *subjects) is not None
        _began(host, name, update)
    return code


def _code(host: Host, update: dict[str, Any], tool: str) -> int:
    if update.get("not_for"):
        return NOT_FOR_THIS[tool]
    if update["kb"] in _hotfixes(host):
        return ALREADY if tool == "wusa" else 0
    return REBOOT if update.get("reboot") else 0


def _began(host: Host, name: str, update: dict[str, Any]) -> None:
    """Put it into the list of what is installed; after the next boot where it wants one."""
    if not update.get("reboot"):
        if update["kb"] not in _hotfixes(host):
            with host.edit("cim.json") as cim:
                listed = cim.setdefault("Win32_QuickFixEngineering", [])
                listed.append({"HotFixID": update["kb"], "Description": "Update"})
        return
    with host.edit("updates.json") as state:
        # Windows Update itself never offers it: it only waits for the boot.
        state.setdefault("updates", []).append(
            {
                "id": name,
                "title": name,
                "hidden": True,
                "pending": True,
                "sticks": update["sticks"],
                "hollow": update["hollow"],
                "ubr": update.get("ubr", 0),
                "hotfix": update["kb"],
            }
        )
    want_reboot(host)
