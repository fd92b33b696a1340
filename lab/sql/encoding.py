"""T-SQL values in TDS: TYPE_INFO, column values, and the parameters of an RPC ([MS-TDS] 2.2.5.4 to 2.2.5.6)."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

from lab.sql.errors import error
from lab.sql.values import INTEGERS, Type

COLLATION = b"\x09\x04\xd0\x00\x34"  # SQL_Latin1_General_CP1_CI_AS
_EPOCH = datetime(1900, 1, 1)  # noqa: DTZ001 - T-SQL's datetime has no zone


def type_info(kind: Type) -> bytes:
    """TYPE_INFO of [MS-TDS] 2.2.5.6 for a nullable column."""
    if kind.name in INTEGERS:
        return b"\x26" + bytes([INTEGERS[kind.name]])
    simple = {
        "bit": b"\x68\x01",
        "float": b"\x6d\x08",
        "real": b"\x6d\x04",
        "date": b"\x28",
        "uniqueidentifier": b"\x24\x10",
    }
    simple |= {
        "datetime": b"\x6f\x08",
        "smalldatetime": b"\x6f\x04",
        "datetime2": b"\x2a\x07",
        "datetimeoffset": b"\x2b\x07",
        "time": b"\x29\x07",
    }
    if kind.name in simple:
        return simple[kind.name]
    if kind.name in ("decimal", "money"):
        precision, scale = (19, 4) if kind.name == "money" else (kind.size, kind.scale)
        return b"\x6a\x11" + bytes([precision, scale])
    if kind.name in ("varbinary", "binary"):
        return b"\xa5" + struct.pack("<H", 0xFFFF if kind.size > 8000 else kind.size)
    return b"\xe7" + struct.pack("<H", 0xFFFF if kind.size > 4000 else 2 * kind.size) + COLLATION


def encode(value: Any, kind: Type) -> bytes:
    """One value as a ROW token carries it."""
    if kind.is_text or kind.name in ("varbinary", "binary"):
        limit = 4000 if kind.is_text else 8000
        data = None if value is None else value.encode("utf-16-le") if isinstance(value, str) else bytes(value)
        if kind.size > limit:
            return b"\xff" * 8 if data is None else _chunks(data)
        return b"\xff\xff" if data is None else struct.pack("<H", len(data)) + data
    if value is None:
        return b"\0"
    body = _encoders[kind.name](value, kind)
    return bytes([len(body)]) + body


def _chunks(data: bytes) -> bytes:
    head = struct.pack("<Q", len(data))
    return head + (struct.pack("<I", len(data)) + data if data else b"") + struct.pack("<I", 0)


def _whole(value: Any, kind: Type) -> bytes:
    return int(value).to_bytes(INTEGERS[kind.name], "little", signed=kind.name != "tinyint")


def _decimal(value: Any, kind: Type) -> bytes:
    scale = 4 if kind.name == "money" else kind.scale
    scaled = int(Decimal(value).scaleb(scale).to_integral_value())
    return bytes([scaled >= 0]) + abs(scaled).to_bytes(16, "little")


def _days(value: date) -> bytes:
    return (value.toordinal() - 1).to_bytes(3, "little")


def _datetime(value: datetime, _: Type) -> bytes:
    since = value - _EPOCH
    ticks = round((since.seconds + since.microseconds / 1e6) * 300)
    return struct.pack("<iI", since.days + ticks // 25_920_000, ticks % 25_920_000)


def _ticks(value: datetime | time) -> bytes:
    return (((value.hour * 60 + value.minute) * 60 + value.second) * 10**7 + value.microsecond * 10).to_bytes(
        5, "little"
    )


def _offset(value: datetime, _: Type) -> bytes:
    utc = value.astimezone(UTC)
    minutes = int((value.utcoffset() or timedelta()).total_seconds() // 60)
    return _ticks(utc) + _days(utc.date()) + struct.pack("<h", minutes)


_encoders: dict[str, Callable[[Any, Type], bytes]] = {
    "tinyint": _whole,
    "smallint": _whole,
    "int": _whole,
    "bigint": _whole,
    "bit": lambda value, _: bytes([bool(value)]),
    "float": lambda value, _: struct.pack("<d", value),
    "real": lambda value, _: struct.pack("<f", value),
    "decimal": _decimal,
    "money": _decimal,
    "date": lambda value, _: _days(value),
    "time": lambda value, _: _ticks(value),
    "datetime": _datetime,
    "smalldatetime": lambda value, _: struct.pack("<HH", (value - _EPOCH).days, value.hour * 60 + value.minute),
    "datetime2": lambda value, _: _ticks(value) + _days(value.date()),
    "datetimeoffset": _offset,
    "uniqueidentifier": lambda value, _: uuid.UUID(str(value)).bytes_le,
}


class Reader:
    """Reads little-endian fields, strings and typed parameter values out of a request."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def __bool__(self) -> bool:
        return self.at < len(self.data)

    def take(self, size: int) -> bytes:
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "little", signed=signed)

    def short_text(self) -> str:
        return self.take(2 * self.number(1)).decode("utf-16-le")

    def _partial(self) -> bytes | None:
        if self.number(8) == 2**64 - 1:
            return None
        data = b""
        while size := self.number(4):
            data += self.take(size)
        return data

    def value(self) -> Any:
        """TYPE_INFO and value of one RPC parameter."""
        kind = self.number(1)
        fixed = {0x30: 1, 0x32: 1, 0x34: 2, 0x38: 4, 0x7F: 8}
        if kind in fixed:
            return self.number(fixed[kind], signed=kind not in (0x30, 0x32))
        if kind in (0xE7, 0xEF, 0xA7, 0xAF, 0xA5, 0xAD):
            return self._long(kind)
        if kind in (0x63, 0x23, 0x22):  # ntext, text, image
            self.take(4 if kind == 0x22 else 9)
            size = self.number(4)
            data = None if size == 0xFFFFFFFF else self.take(size)
            return data if data is None or kind == 0x22 else data.decode("utf-16-le" if kind == 0x63 else "cp1252")
        if kind not in _DECODERS:
            text = "The incoming tabular data stream (TDS) remote procedure call (RPC) protocol stream is incorrect."
            raise error(8009, f"{text} Data type 0x{kind:02X} is unknown.")
        scale = 0
        if kind in (0x6A, 0x6C):
            scale = self.take(3)[2]
        elif kind in (0x29, 0x2A, 0x2B):
            scale = self.number(1)
        elif kind != 0x28:
            self.take(1)
        data = self.take(self.number(1))
        return _DECODERS[kind](data, scale) if data else None

    def _long(self, kind: int) -> Any:
        limit = self.number(2)
        binary = kind in (0xA5, 0xAD)
        if not binary:
            self.take(5)
        if limit == 0xFFFF:
            data = self._partial()
        else:
            size = self.number(2)
            data = None if size == 0xFFFF else self.take(size)
        if data is None or binary:
            return data
        return data.decode("utf-16-le" if kind in (0xE7, 0xEF) else "cp1252")


def _number(data: bytes, scale: int) -> Decimal:
    return Decimal(int.from_bytes(data[1:], "little") * (1 if data[0] else -1)).scaleb(-scale)


def _fine(data: bytes, scale: int) -> datetime:
    day = date.fromordinal(int.from_bytes(data[-3:], "little") + 1)
    return datetime.combine(day, time()) + _since_midnight(data[:-3], scale)


def _since_midnight(data: bytes, scale: int) -> timedelta:
    return timedelta(microseconds=int.from_bytes(data, "little") * 10 ** (7 - scale) // 10)


def _zoned(data: bytes, scale: int) -> datetime:
    zone = timezone(timedelta(minutes=struct.unpack("<h", data[-2:])[0]))
    return _fine(data[:-2], scale).replace(tzinfo=UTC).astimezone(zone)


def _coarse(data: bytes, _: int) -> datetime:
    days, ticks = struct.unpack("<iI", data)
    return _EPOCH + timedelta(days=days, seconds=ticks / 300)


_DECODERS: dict[int, Callable[[bytes, int], Any]] = {
    0x26: lambda data, _: int.from_bytes(data, "little", signed=len(data) > 1),
    0x68: lambda data, _: bool(data[0]),
    0x6D: lambda data, _: struct.unpack("<d" if len(data) == 8 else "<f", data)[0],
    0x6A: _number,
    0x6C: _number,
    0x24: lambda data, _: uuid.UUID(bytes_le=data),
    0x28: lambda data, _: date.fromordinal(int.from_bytes(data, "little") + 1),
    0x29: lambda data, scale: (_EPOCH + _since_midnight(data, scale)).time(),
    0x2A: _fine,
    0x2B: _zoned,
    0x6F: _coarse,
}
