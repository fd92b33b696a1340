"""The token stream of TDS: messages, environment changes, result sets, DONE ([MS-TDS] 2.2.7)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from lab.sql.encoding import COLLATION, encode, type_info
from lab.sql.errors import Message
from lab.sql.values import Column

DONE, DONE_PROC, DONE_IN_PROC = 0xFD, 0xFE, 0xFF
MORE, FAILED, COUNT, ATTENTION = 0x01, 0x02, 0x10, 0x20
_SELECT = 0xC1


def short_text(text: str) -> bytes:
    """B_VARCHAR."""
    data = text.encode("utf-16-le")
    return bytes([len(data) // 2]) + data


def long_text(text: str) -> bytes:
    """US_VARCHAR."""
    data = text.encode("utf-16-le")
    return struct.pack("<H", len(data) // 2) + data


def message(what: Message, server: str, line: int = 1) -> bytes:
    """INFO for severities up to 10, ERROR above."""
    token = 0xAB if what.severity <= 10 else 0xAA
    body = struct.pack("<iBB", what.number, what.state, what.severity)
    body += long_text(what.text) + short_text(server) + short_text("") + struct.pack("<I", line)
    return bytes([token]) + struct.pack("<H", len(body)) + body


def done(status: int = 0, count: int = 0, token: int = DONE, command: int = 0) -> bytes:
    """DONE, DONEPROC or DONEINPROC."""
    return struct.pack("<BHHQ", token, status, command, count)


def environment(kind: int, new: bytes, old: bytes = b"\0") -> bytes:
    """ENVCHANGE."""
    body = bytes([kind]) + new + old
    return b"\xe3" + struct.pack("<H", len(body)) + body


def database_changed(new: str, old: str, server: str) -> bytes:
    """What USE and LOGIN7 answer."""
    text = f"Changed database context to '{new}'."
    return environment(1, short_text(new), short_text(old)) + message(Message(5701, 0, 2, text), server)


def login_accepted(version: int, build: tuple[int, int, int], packet: int) -> bytes:
    """LOGINACK with the settings around it; the answer to a LOGIN7 that was let in."""
    language = environment(2, short_text("us_english"))
    collation = environment(7, bytes([len(COLLATION)]) + COLLATION)
    program = bytes([1]) + struct.pack(">I", version) + short_text("Microsoft SQL Server")
    program += bytes(build[:2]) + struct.pack(">H", build[2])
    ack = b"\xad" + struct.pack("<H", len(program)) + program
    return collation + language + ack + environment(4, short_text(str(packet)), short_text("4096"))


def rows(columns: Sequence[Column], data: Sequence[Sequence[Any]], token: int = DONE) -> bytes:
    """COLMETADATA, the rows, and a DONE that says more may follow."""
    out = [b"\x81", struct.pack("<H", len(columns))]
    for column in columns:
        out += [struct.pack("<IH", 0, 9), type_info(column.type), short_text(column.name)]
    for row in data:
        out.append(b"\xd1")
        out += [encode(value, column.type) for value, column in zip(row, columns, strict=True)]
    out.append(done(COUNT | MORE, len(data), token, _SELECT))
    return b"".join(out)


def return_handle(handle: int) -> bytes:
    """RETURNVALUE with the handle of a prepared statement."""
    return (
        b"\xac"
        + struct.pack("<H", 0)
        + short_text("")
        + b"\x01"
        + b"\0" * 6
        + b"\x26\x04\x04"
        + struct.pack("<I", handle)
    )
