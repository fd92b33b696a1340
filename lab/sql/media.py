"""Backup files: a header, pages with a checksum each, an end mark. One file can hold several backup sets.

Every byte counts: a flipped one is found in the header (3241), in a page (3189 when verified, 3183 when restored), or at the
end (3203), and only in the pages of a backup that was made WITHOUT checksums does it pass.
"""

from __future__ import annotations

import errno
import hashlib
import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from lab.host import Host
from lab.sql.errors import Message

MAGIC, END = b"TAPE", b"EOBK"
PAGE = 8192


class Damaged(Exception):  # noqa: N818 - the state of a file
    """The file is not what was written; ``number`` and ``text`` are SQL Server's words for it."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.message = Message(number, 16, 1, text)


class Unreachable(Exception):  # noqa: N818 - the state of a device
    """The device cannot be opened: an operating system error, as SQL Server tells it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"Operating system error {code}({text})")
        self.code = code


@dataclass
class BackupSet:
    """One backup in a file, with its pages as they lie there (compressed, and not yet checked)."""

    header: dict[str, Any]
    pages: list[tuple[bytes, int]]

    def content(self, *, checked: bool) -> bytes:
        """The database's bytes; Damaged (3189) at the first page whose checksum is wrong."""
        data = b""
        for page, checksum in self.pages:
            if checked and self.header["checksums"] and zlib.crc32(page) != checksum:
                raise Damaged(3189, "Damage to the backup set was detected.")
            try:
                data += zlib.decompress(page) if self.header["compressed"] else page
            except zlib.error:
                raise Damaged(3189, "Damage to the backup set was detected.") from None
        return data


def encode(header: dict[str, Any], content: bytes) -> tuple[bytes, list[bytes]]:
    """The head of a backup set, and its pages ready to write; the end mark is the caller's."""
    head = json.dumps(header, ensure_ascii=False).encode()
    head = MAGIC + struct.pack("<I", len(head)) + head + hashlib.sha256(head).digest()
    pages = []
    for at in range(0, len(content), PAGE):
        page = content[at : at + PAGE]
        if header["compressed"]:
            page = zlib.compress(page)
        pages.append(struct.pack("<II", len(page), zlib.crc32(page) if header["checksums"] else 0) + page)
    return head, pages


def decode(data: bytes, device: str) -> list[BackupSet]:
    """The backup sets of a file; Damaged where it is not one, or is cut short."""
    sets, at = [], 0
    if data[:4] != MAGIC:
        raise Damaged(
            3241,
            f"The media family on device '{device}' is incorrectly formed. SQL Server cannot process this media family.",
        )
    while at < len(data):
        if data[at : at + 4] != MAGIC:
            raise Damaged(3242, f"The file on device '{device}' is not a valid Microsoft Tape Format backup set.")
        header, at = _header(data, at + 4, device)
        pages = []
        for _ in range(header["pages"]):
            size, checksum = struct.unpack("<II", data[at : at + 8].ljust(8, b"\0"))
            pages.append((data[at + 8 : at + 8 + size], checksum))
            at += 8 + size
            if at > len(data):
                raise Damaged(3203, f'Read on "{device}" failed: 38(Reached the end of the file.)')
        if data[at : at + 4] != END:
            raise Damaged(3203, f'Read on "{device}" failed: 38(Reached the end of the file.)')
        at += 4
        sets.append(BackupSet(header, pages))
    return sets


def _header(data: bytes, at: int, device: str) -> tuple[dict[str, Any], int]:
    (size,) = struct.unpack("<I", data[at : at + 4].ljust(4, b"\0"))
    raw, digest = data[at + 4 : at + 4 + size], data[at + 4 + size : at + 36 + size]
    if hashlib.sha256(raw).digest() != digest:
        raise Damaged(
            3241,
            f"The media family on device '{device}' is incorrectly formed. SQL Server cannot process this media family.",
        )
    header: dict[str, Any] = json.loads(raw)
    return header, at + 36 + size


_OS_TEXTS = {
    2: "The system cannot find the file specified.", 3: "The system cannot find the path specified.", 5: "Access is denied.",
    53: "The network path was not found.", 67: "The network name cannot be found.", 123: "The filename, directory name, or volume label syntax is incorrect.",
}  # fmt: skip


def refused(code: int) -> Unreachable:
    """An operating system error with its text."""
    return Unreachable(code, _OS_TEXTS[code])


def locate(host: Host, device: str) -> Path:
    """The real path of a backup device; Unreachable (3, 5, 53, 67, 123) where the service account cannot get there.

    The faults ``store.unreachable`` (53) and ``store.denied`` (5) strike a share or a drive.
    """
    pure = PureWindowsPath(device)
    if not pure.drive:
        raise refused(123)
    if host.faults.strike("store.unreachable", pure.drive) is not None:
        raise refused(53 if pure.drive.startswith("\\\\") else 3)
    if host.faults.strike("store.denied", pure.drive) is not None:
        raise refused(5)
    if pure.drive.startswith("\\\\"):
        share = host.disk.path(pure.drive + "\\")
        if not share.exists():
            raise refused(67 if share.parent.exists() else 53)
    path = host.disk.path(device)
    if not path.parent.is_dir():
        raise refused(3)
    if path.is_dir():
        raise refused(5)
    return path


def read(host: Host, device: str) -> bytes:
    """A backup file's bytes; Unreachable where there is none, or where it cannot be read."""
    path = locate(host, device)
    try:
        return path.read_bytes()
    except OSError as failure:
        raise refused(2 if failure.errno == errno.ENOENT else 5) from None
