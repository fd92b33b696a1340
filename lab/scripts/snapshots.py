"""What ``powershell/lib/Snapshots.ps1`` gives jobs: snapshots of a volume, for the time that one archive is made.

A snapshot is an entry under ``Win32_ShadowCopy`` in cim.json, its record a file like the real one's. No byte is copied and
no link made: an archive of the lab is read in one moment. What a job that is cut leaves behind is there until the next
archive, or the next removal of a staged file; no boot takes it away.

Faults, on the folder that is read or the host: ``vss.unavailable`` (``code`` that Windows answers instead, 6 unless said),
``vss.lost`` (Windows drops the snapshot while it is read), ``vss.stays`` (on the host: none can be deleted).
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lab.host import Host
from lab.scripts import JobCut, ScriptFailure
from lab.scripts.library import ROOT, folder_fault
from lab.scripts.transfer import strike

FOLDER = rf"{ROOT}\snapshots"
IN_PROGRESS = 9
TRIES = 60
MEANINGS = (
    "",
    "access denied",
    "invalid argument",
    "volume not found",
    "volume not supported",
    "context not supported",
    "insufficient storage",
    "volume in use",
    "maximum number reached",
    "another snapshot is being made",
    "provider vetoed",
    "provider not registered",
    "provider failure",
    "unknown error",
)
_LIVE = "open files were read as they are"


@dataclass
class Snapshot:
    """A snapshot, or why there is none; ``held`` is the record that its job has open."""

    id: str | None = None
    remark: str | None = None
    held: str | None = None

    def add(self, *remarks: str) -> None:
        """Say more."""
        self.remark = "; ".join([*([self.remark] if self.remark else []), *remarks]) or None


@contextmanager
def snapshot_of(host: Host, source: str, stop: threading.Event, *, wanted: bool) -> Iterator[Snapshot]:
    """Hold a snapshot of the drive of ``source``; its remark is whole once the block has ended."""
    clear(host)
    taken = Snapshot()
    try:
        if wanted:
            _take(host, source, taken, stop)
        if taken.id is not None and strike(host, "vss.lost", source) is not None:
            _lose(host, source, taken)
        yield taken
    finally:
        _let_go(host, taken)
        if not stop.is_set():  # a PowerShell that is killed runs no finally
            taken.add(*clear(host))


def _take(host: Host, source: str, taken: Snapshot, stop: threading.Event) -> None:
    drive = source[:2]
    above = host.disk.path(source)
    while above.parent != host.folder:
        if above.is_symlink():
            link = drive + "\\" + "\\".join(above.relative_to(host.folder).parts[1:])
            taken.remark = f"{link} is a link, which a snapshot of {drive} does not hold: {_LIVE}"
            return
        above = above.parent
    try:
        with host.lock:
            fault = folder_fault(host, FOLDER)
            if fault is not None:
                raise fault
            host.disk.path(FOLDER).mkdir(parents=True, exist_ok=True)
            taken.held = rf"{FOLDER}\{uuid.uuid4()}.json"
            host.held.add(taken.held)
            host.disk.write(taken.held, b"")
        _wait(host, source, stop)
    except ScriptFailure as failure:
        taken.remark = f"Windows makes no snapshot of {drive} ({failure.message.rstrip('.')}): {_LIVE}"
        _let_go(host, taken)
        clear(host)
        return
    with host.lock, host.edit("cim.json") as cim:
        shadows = cim.setdefault("Win32_ShadowCopy", [])
        number = 1 + max((int(re.sub(r"\D", "", each["DeviceObject"])) for each in shadows), default=0)
        taken.id = f"{{{str(uuid.uuid4()).upper()}}}"
        device = rf"\\?\GLOBALROOT\Device\HarddiskVolumeShadowCopy{number}"
        shadows.append({"ID": taken.id, "DeviceObject": device, "VolumeName": f"{drive}\\"})
        record = json.dumps({"id": taken.id, "drive": drive}, separators=(",", ":"))
        host.disk.path(taken.held).write_text(record, encoding="utf-8")
    host.event("snapshot.create", drive=drive, id=taken.id)


def _wait(host: Host, source: str, stop: threading.Event) -> None:
    """Until Windows makes one; ScriptFailure where it does not."""
    for _ in range(TRIES):
        struck = strike(host, "vss.unavailable", source)
        if struck is None:
            return
        code = int(struck.get("code", 6))
        if code != IN_PROGRESS:
            break
        if host.clock.sleep(2, stop):
            raise JobCut
    raise ScriptFailure(MEANINGS[code] if code < len(MEANINGS) else f"error {code}", "NoSnapshot")


def _lose(host: Host, source: str, taken: Snapshot) -> None:
    with host.edit("cim.json") as cim:
        cim["Win32_ShadowCopy"] = [each for each in cim["Win32_ShadowCopy"] if each["ID"] != taken.id]
    host.event("snapshot.lost", id=taken.id)
    _let_go(host, taken)
    clear(host)
    taken.id = None
    taken.remark = f"Windows dropped the snapshot of {source[:2]} while it was read, as it does when their storage is full: {_LIVE}"


def _let_go(host: Host, taken: Snapshot) -> None:
    host.held.discard(taken.held or "")
    taken.held = None


def clear(host: Host) -> list[str]:
    """Delete every snapshot of ours that nobody holds; a sentence for each that stays."""
    left = []
    with host.lock:
        fault = folder_fault(host, FOLDER)
        if fault is not None:
            return [f"the snapshots of earlier backups cannot be looked for ({fault.message.rstrip('.')})"]
        folder = host.disk.path(FOLDER)
        for record in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            if rf"{FOLDER}\{record.name}" in host.held:
                continue
            told = re.search(r'"id":"(\{[0-9A-Fa-f-]{36}\})"', record.read_text(encoding="utf-8"))
            if told is not None and not _delete(host, told[1]):
                left.append(
                    f"the snapshot {told[1]} could not be deleted (Generic failure): the next backup tries again"
                )
                continue
            record.unlink()
    return left


def _delete(host: Host, shadow: str) -> bool:
    """Delete a snapshot by its id; whether it is gone."""
    there = host.read("cim.json").get("Win32_ShadowCopy", [])
    if not any(each["ID"] == shadow for each in there):
        return True
    if host.faults.strike("vss.stays", host.name) is not None:
        return False
    with host.edit("cim.json") as cim:
        cim["Win32_ShadowCopy"] = [each for each in there if each["ID"] != shadow]
    host.event("snapshot.delete", id=shadow)
    return True
