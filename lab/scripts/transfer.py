r"""Where a host's backups go: shares (folders with a log-in and with faults) and presigned URLs (real HTTP).

Faults, on a store (``\\nas01\billing``, the bucket's name), a target's path, or the host: ``store.unreachable``,
``store.denied`` (also ``store.access_denied``), ``backup.flip_transit`` (what arrives differs), ``backup.flip_target``
(the target keeps other bytes than it was given; ``when``: "later" is after it was read back).
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from typing import Any
from urllib.parse import unquote, urlsplit

from lab.host import Host
from lab.scripts import JobCut, ScriptFailure

Progress = Callable[[int, str], None]
IO_FAILURE = -2146232800
NOT_FOUND = "The network path was not found"
BYTES_A_SECOND = 50e6
"""Of lab time, for packing, hashing and sending."""
SECONDS_AT_LEAST = 2.0


def strike(host: Host, fault: str, *subjects: str) -> dict[str, Any] | None:
    """Look for a fault in force for any of these subjects, or for the host."""
    for subject in (*subjects, host.name):
        struck = host.faults.strike(fault, subject)
        if struck is not None:
            return struck
    return None


def work(host: Host, seconds: float, progress: Progress, stop: threading.Event, message: str) -> None:
    """Spend lab time as a job does, telling its progress; JobCut when it is ended from outside."""
    for step in range(5):
        progress(20 * step, message)
        if host.clock.sleep(seconds / 5, stop):
            raise JobCut


def pace(host: Host, size: int, *subjects: str) -> float:
    """Seconds of lab time that so many bytes take; the fault ``backup.slow`` adds its ``seconds``."""
    slow = strike(host, "backup.slow", *subjects) or {}
    return SECONDS_AT_LEAST + size / BYTES_A_SECOND + float(slow.get("seconds", 0))


def flip(host: Host, path: Path, told: str) -> None:
    """Change one byte in the middle of a file, which its host calls ``told``; the audit trail is the witness."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(data)
    host.event("backup.damaged", path=told)


def digest(data: bytes) -> str:
    """SHA-256, in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


# Shares ---------------------------------------------------------------------------------------------------------------


def write_access(share: Path, username: str, password: str) -> None:
    """Say who may use a share: ``access.json`` beside its folder, with the password's hash. Without it everybody may."""
    file = share.parent / "access.json"
    access = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    access[share.name] = {"username": username, "password": digest(password.encode())}
    file.write_text(json.dumps(access), encoding="utf-8")


def share_root(path: str) -> str | None:
    r"""``\\server\share`` of a UNC path, else None."""
    drive = PureWindowsPath(path).drive
    return drive if drive.startswith("\\\\") else None


def open_share(host: Host, path: str, secrets: dict[str, str], key: str) -> None:
    """Let the host into the share of ``path``, or raise ScriptFailure as New-PSDrive would."""
    root = share_root(path)
    if root is None:
        if f"{key}.username" in secrets:
            message = rf"{path} does not lie on a share (\\server\share\...)."
            raise ScriptFailure(message, "NotOnShare")
        return
    folder = host.disk.path(root + "\\")
    if strike(host, "store.unreachable", path, root) is not None or not folder.is_dir():
        raise _refused(NOT_FOUND)
    if any(strike(host, fault, path, root) is not None for fault in ("store.denied", "store.access_denied")):
        raise _refused("Access is denied")
    file = folder.resolve().parent / "access.json"
    access = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    allowed = access.get(folder.resolve().name)
    if allowed is None:
        return
    given = secrets.get(f"{key}.username")
    if given is None:
        raise _refused("Access is denied")
    right = digest(secrets.get(f"{key}.password", "").encode()) == allowed["password"]
    if given.casefold() != allowed["username"].casefold() or not right:
        raise _refused("The user name or password is incorrect")


def _refused(message: str) -> ScriptFailure:
    return ScriptFailure(message, "CouldNotMapNetworkDrive", "System.IO.IOException", IO_FAILURE)


def send_to_share(host: Host, data: bytes, wanted: str, path: str, answer: dict[str, Any]) -> None:
    """Put ``data`` on an open share under a temporary name, read it back, and rename it."""
    target = host.disk.path(path)
    if target.is_file() and digest(target.read_bytes()) == wanted:
        answer["sha256"] = wanted
        return
    if strike(host, "backup.flip_transit", path, share_root(path) or "") is not None:
        damaged = bytearray(data)
        damaged[len(damaged) // 2] ^= 0x40
        data = bytes(damaged)
    part = host.disk.write(f"{path}.partial", data)
    struck = strike(host, "backup.flip_target", path, share_root(path) or "")
    if struck is not None and struck.get("when") != "later":
        flip(host, part, path)
    answer["sha256"] = there = digest(part.read_bytes())
    if there != wanted:
        part.unlink()
        message = (
            f"what was read back from {path} is not what was sent (SHA-256 {there}, not {wanted}). "
            "Check the network and the disks of the store."
        )
        raise ScriptFailure(message, "Damaged")
    part.replace(target)
    if struck is not None and struck.get("when") == "later":
        flip(host, target, path)


# Presigned URLs -------------------------------------------------------------------------------------------------------


def bucket_of(url: str) -> str:
    """Name the bucket in a path-style URL."""
    return unquote(urlsplit(url).path).lstrip("/").split("/", 1)[0]


def put(host: Host, url: str, data: bytes, headers: dict[str, str], seconds: float) -> http.client.HTTPResponse:
    """PUT ``data`` for real; ScriptFailure with the words of Send-BackupFile for whatever is not a 200."""
    parts = urlsplit(url)
    where = f"{parts.scheme}://{parts.netloc}"
    secure = parts.scheme == "https"
    make = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    if strike(host, "backup.flip_transit", bucket_of(url)) is not None:
        damaged = bytearray(data)
        damaged[len(damaged) // 2] ^= 0x40
        data = bytes(damaged)
    connection = make(parts.hostname or "", parts.port, timeout=seconds)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request("PUT", target, body=data, headers=headers)
        answer = connection.getresponse()
        body = answer.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as fault:
        message = f"{where} does not answer ({connection_status(fault)}). Check the route, the firewall and the name from this host."
        raise ScriptFailure(message, "NoAnswer") from None
    finally:
        connection.close()
    if answer.status != http.client.OK:
        code, told = (re.search(f"<{tag}>([^<]*)</{tag}>", body) for tag in ("Code", "Message"))
        text = f"{where} answered HTTP {answer.status} {code[1] if code else ''}: {told[1] if told else ''}"
        raise ScriptFailure(text.rstrip(" :"), "Refused")
    return answer


def connection_status(fault: Exception) -> str:
    """Name a fault as WebExceptionStatus does."""
    if isinstance(fault, ssl.SSLCertVerificationError):
        return "TrustFailure"
    if isinstance(fault, ssl.SSLError):
        return "SecureChannelFailure"
    if isinstance(fault, socket.gaierror):
        return "NameResolutionFailure"
    if isinstance(fault, TimeoutError):
        return "Timeout"
    return "ConnectFailure" if isinstance(fault, ConnectionRefusedError) else "ConnectionClosed"
