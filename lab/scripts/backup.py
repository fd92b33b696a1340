"""The jobs that move backups: Measure-BackupFile, Send-BackupFile, Remove-BackupStaging.

Faults: see ``lab.scripts.transfer``.
"""

from __future__ import annotations

import re
import threading
from typing import Any

from lab.disk import DiskFull
from lab.host import Host
from lab.scripts import ScriptFailure, job
from lab.scripts.snapshots import clear
from lab.scripts.transfer import Progress, bucket_of, digest, open_share, pace, put, send_to_share, share_root, work


@job("Measure-BackupFile")
def measure_backup_file(
    host: Host, parameters: dict[str, Any], secrets: dict[str, str], progress: Progress, stop: threading.Event
) -> dict[str, Any]:
    path = parameters["path"]
    open_share(host, path, secrets, "share")
    file = host.disk.path(path)
    if not file.is_file():
        raise ScriptFailure(f"{host.name.upper()} finds no file {path}.", "FileMissing")
    data = file.read_bytes()
    work(host, pace(host, len(data), path), progress, stop, f"hashing {path}")
    return {"path": path, "sha256": digest(data), "size": len(data)}


@job("Send-BackupFile")
def send_backup_file(
    host: Host, parameters: dict[str, Any], secrets: dict[str, str], progress: Progress, stop: threading.Event
) -> dict[str, Any]:
    source, wanted = parameters["source"], parameters["sha256"]
    file = host.disk.path(source)
    if not file.is_file():
        message = f"Could not find file '{source}'."
        raise ScriptFailure(message, "FileNotFoundException", "System.IO.FileNotFoundException", -2147024894)
    data = file.read_bytes()
    have = digest(data)
    if have != wanted:
        message = (
            f"{source} has changed since it was made (another SHA-256). It was sent nowhere. "
            f"Check the disk of {host.name.upper()}, then run again."
        )
        raise ScriptFailure(message, "SourceChanged")
    answers = []
    for target in parameters["targets"]:
        work(host, pace(host, len(data), target["path"]), progress, stop, f"sending {source} to {target['path']}")
        answer = {
            "name": target["name"],
            "kind": target["kind"],
            "path": target["path"],
            "status": "failed",
            "sha256": None,
            "size": len(data),
            "http_status": None,
            "etag": None,
            "checksum": None,
            "error": None,
        }
        try:
            _send(host, target, data, wanted, answer, secrets=secrets, seconds=parameters.get("answer_seconds", 600))
            answer["status"] = "stored"
        except ScriptFailure as failure:
            answer["error"] = failure.message
        except DiskFull as full:
            answer["error"] = str(full.strerror)
        answers.append(answer)
    progress(100, f"sent {source}")
    return {"source": source, "sha256": have, "size": len(data), "targets": answers}


def _send(
    host: Host,
    target: dict[str, Any],
    data: bytes,
    wanted: str,
    answer: dict[str, Any],
    *,
    secrets: dict[str, str],
    seconds: float,
) -> None:
    name, path = target["name"], target["path"]
    if target["kind"] == "share":
        open_share(host, path, secrets, name)
        send_to_share(host, data, wanted, path, answer)
        store = share_root(path)
    elif target["kind"] == "s3":
        url = secrets[f"{name}.url"]
        try:
            said = put(host, url, data, target["headers"], seconds)
        except ScriptFailure as failure:
            status = re.search(r"answered HTTP (\d+)", failure.message)
            answer["http_status"] = int(status[1]) if status else None
            raise
        answer |= {"http_status": said.status, "etag": said.headers["ETag"]}
        answer["checksum"] = said.headers["x-amz-checksum-sha256"]
        store = bucket_of(url)
    else:
        raise ScriptFailure(f"no such kind of store: '{target['kind']}'", "TargetKind")
    host.event("store.write", store=store, path=path, sha256=wanted, size=len(data))


@job("Remove-BackupStaging")
def remove_backup_staging(
    host: Host,
    parameters: dict[str, Any],
    secrets: dict[str, str],  # noqa: ARG001 - it has none
    progress: Progress,  # noqa: ARG001 - it is quick
    stop: threading.Event,  # noqa: ARG001 - it is quick
) -> dict[str, Any]:
    removed, absent, failed = [], [], []
    for path in parameters["paths"]:
        looks = re.search(r"(?i)^[a-z]:\\.+\.(zip|bak|partial)$", path)
        if not looks or re.search(r"[*?]|\\\.\.\\", path):
            error = r"not a backup file of this host (drive:\...\name.zip, .bak or .partial): left alone"
            failed.append({"path": path, "error": error})
            continue
        file = host.disk.path(path)
        if not file.is_file():
            absent.append(path)
            continue
        removed.append({"path": path, "size": file.stat().st_size})
        file.unlink()
        host.event("backup.remove", path=path)
    clear(host)
    return {"removed": removed, "absent": absent, "failed": failed}
