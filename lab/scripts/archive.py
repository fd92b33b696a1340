"""New-FolderArchive.

Faults, on the folder or the host: ``backup.disk_full`` (``free`` bytes; without it the disk fills up half-way),
``backup.flip_source`` (a byte of the archive changes after it was hashed), ``backup.slow`` (``seconds`` of lab time);
on a file's path: ``file.locked``, unless it is read through a snapshot. Those of snapshots: see ``lab.scripts.snapshots``.
"""

from __future__ import annotations

import fnmatch
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

from lab.disk import DiskFull
from lab.host import Host
from lab.scripts import ScriptFailure, job
from lab.scripts.snapshots import snapshot_of
from lab.scripts.transfer import Progress, digest, flip, pace, strike, work

ZIP_YEARS = range(1980, 2108)


def size_text(size: int) -> str:
    """Write 1288490189 as '1.2 GB'; cut, not rounded."""
    unit, names = 1, ["bytes", "KB", "MB", "GB", "TB"]
    while len(names) > 1 and size >= unit * 1024:
        unit, names = unit * 1024, names[1:]
    if names[0] == "bytes":
        return f"{size} bytes"
    return f"{size // unit}.{size % unit * 10 // unit} {names[0]}"


@job("New-FolderArchive")
def new_folder_archive(
    host: Host,
    parameters: dict[str, Any],
    secrets: dict[str, str],  # noqa: ARG001 - it has none
    progress: Progress,
    stop: threading.Event,
) -> dict[str, Any]:
    source, destination = parameters["source"].rstrip("\\"), parameters["destination"]
    root = host.disk.path(source)
    if not root.is_dir():
        message = f"{host.name.upper()} has no folder {source}. Correct backup.folders in the estate file."
        raise ScriptFailure(message, "FolderMissing")
    with snapshot_of(host, source, stop, wanted=parameters.get("snapshot", True)) as taken:
        progress(0, f"reading {source}")
        patterns = ["app_offline.htm", *(parameters.get("exclude") or [])]
        own = {destination.casefold(), f"{destination}.partial".casefold()}
        found = _Tree(host, source, patterns, own, live=taken.id is None)
        found.read(root, "")
        answer = _save(host, source, destination, found, progress, stop)
    progress(100, f"packed {len(found.files)} files")
    host.event("backup.archive", source=source, **answer)
    more = {"bytes": found.size, "links": found.links, "snapshot": taken.id is not None, "remark": taken.remark}
    return {**answer, **more}


def _save(
    host: Host, source: str, destination: str, found: _Tree, progress: Progress, stop: threading.Event
) -> dict[str, Any]:
    """Write the archive of what was found."""
    full = strike(host, "backup.disk_full", source)
    free = full.get("free") if full else None
    free = host.disk.free(destination) if free is None else int(free)
    if free < found.size:
        message = (
            f"no space on {destination[:2]} for the archive of {source} (needs {size_text(found.size)}, "
            f"has {size_text(free)}). Free space, or set backup.staging."
        )
        raise ScriptFailure(message, "NoRoom")
    target = host.disk.path(destination)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = host.disk.path(f"{destination}.partial")
    try:
        found.pack(part)
        work(host, pace(host, 2 * found.size, source), progress, stop, f"packing {source}")
        if full is not None:
            raise DiskFull(112, "There is not enough space on the disk.", destination)
        data = part.read_bytes()
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    if strike(host, "backup.flip_source", source) is not None:
        flip(host, target, destination)
    return {"path": destination, "sha256": digest(data), "size": len(data), "files": len(found.files)}


class _Tree:
    """What lies below a folder: files with their names in the archive, empty folders, links that are not followed."""

    def __init__(self, host: Host, source: str, patterns: list[str], own: set[str], *, live: bool) -> None:
        self._host, self._source, self._own, self._live = host, source, own, live
        self._patterns = [pattern.casefold() for pattern in patterns]
        self.files: list[tuple[Path, str]] = []
        self.folders: list[str] = []
        self.links: list[str] = []

    @property
    def size(self) -> int:
        """Bytes of the files, unpacked."""
        return sum(path.stat().st_size for path, _ in self.files)

    def read(self, folder: Path, below: str) -> None:
        inside = 0
        for entry in sorted(folder.iterdir()):
            relative = f"{below}\\{entry.name}"
            path = f"{self._source}{relative}"
            if self._excluded(entry.name, relative[1:]) or path.casefold() in self._own:
                continue
            inside += 1
            if entry.is_dir():
                if entry.is_symlink():
                    self.links.append(path)
                else:
                    self.read(entry, relative)
                continue
            if self._live and self._host.faults.strike("file.locked", path) is not None:
                cause = f"The process cannot access the file '{path}' because it is being used by another process"
                message = f"{path} cannot be read: {cause}. Stop what holds it, then run again."
                raise ScriptFailure(message, "FileUnreadable")
            self.files.append((entry, relative[1:].replace("\\", "/")))
        if inside == 0 and below:
            self.folders.append(below[1:].replace("\\", "/") + "/")

    def _excluded(self, leaf: str, relative: str) -> bool:
        names = (leaf.casefold(), relative.casefold())
        return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in self._patterns)

    def pack(self, archive: Path) -> None:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out:
            for folder in self.folders:
                out.writestr(zipfile.ZipInfo(folder), b"")
            for path, name in self.files:
                changed = time.localtime(path.stat().st_mtime)[:6]
                entry = zipfile.ZipInfo(name, changed if changed[0] in ZIP_YEARS else time.localtime()[:6])
                entry.compress_type = zipfile.ZIP_DEFLATED
                out.writestr(entry, path.read_bytes())
