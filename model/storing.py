"""Why a backup is not in its store, or is not what was made: the hosts' answers in words, with cause and fix."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PureWindowsPath
from typing import Any

from model.estate import S3Store, ShareStore

_DISK_FULL = 0x80070070
_BAD_DIGEST = "BadDigest"


def not_packed(path: str, message: str, hresult: int | None) -> str:
    """Why there is no archive at ``path``: the script's own words, or what Windows says where the disk filled up.

    Windows' words are in the host's language: told by the HRESULT (Win32 error 112, ERROR_DISK_FULL).
    """
    if hresult is not None and hresult & 0xFFFFFFFF == _DISK_FULL:
        return f"no space left on {PureWindowsPath(path).drive} while it was packed. Free space, or set backup.staging."
    return message


def not_stored(store: ShareStore | S3Store, target: Mapping[str, Any], sha256: str) -> str:
    """Why Send-BackupFile did not store a file: its answer for one target; ``sha256`` is what was to arrive."""
    said = str(target["error"]).rstrip()
    if isinstance(store, ShareStore):
        return f"did not reach {store.name}{_share_fault(store, target, said, sha256)}"
    return f"did not reach {store.name}{_s3_fault(store, target['http_status'], said)}"


def _share_fault(store: ShareStore, target: Mapping[str, Any], said: str, sha256: str) -> str:
    if target["sha256"] not in {None, sha256}:
        return (
            " whole: what was read back is not what was sent. "
            f"Check the network to {_server(store)} and its disks, then run again."
        )
    return f": {said.rstrip('.')}. Is the share up, has it room, and may the login of {store.credentials} write there?"


def _s3_fault(store: S3Store, status: int | None, said: str) -> str:
    if status is None:
        return f": {said}"  # the script's own sentence, fix included
    if status == 400 and _BAD_DIGEST in said:
        return f" whole: what arrived is not what was sent ({_BAD_DIGEST}). Check the network to the store, then run again."
    if status == 403:
        fix = f"Grant s3:PutObject on {store.s3} to the key of {store.credentials}"
    elif status >= 500:
        fix = "The store is in trouble: run again when it is well"
    else:
        fix = f"Check the bucket, and the credentials {store.credentials}"
    return f": {said.rstrip('.')}. {fix}."


def not_what_was_sent(store: ShareStore, found: Mapping[str, Any], made: Mapping[str, Any]) -> str | None:
    """None where Measure-BackupFile finds in the share what was made; else what it finds."""
    if found["size"] != made["size"]:
        what = f"it has {found['size']} bytes there, and {made['size']} were sent"
    elif found["sha256"] != made["sha256"]:
        what = "read again where it lies, it is not what was sent"
    else:
        return None
    return f"{what}. Check the disks of {_server(store)}, then run again."


def _server(store: ShareStore) -> str:
    return store.share.lstrip("\\").partition("\\")[0]
