"""T-SQL types: how their values lie in SQLite, look in Python and travel in TDS.

In SQLite a moment is ISO text (it sorts and compares rightly), a bit is 0 or 1, a decimal a number.
"""

from __future__ import annotations

import re
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

COLLATION = b"\x09\x04\xd0\x00\x34"  # SQL_Latin1_General_CP1_CI_AS
_EPOCH = datetime(1900, 1, 1)  # noqa: DTZ001 - T-SQL's datetime has no zone
MAX = 1 << 31

_INTEGERS = {"tinyint": 1, "smallint": 2, "int": 4, "bigint": 8}
_TEXTS = {"char", "varchar", "nchar", "nvarchar", "sysname", "text", "ntext", "xml"}
_DEFAULT_LENGTH = {"sysname": 128, "text": MAX, "ntext": MAX, "xml": MAX, "varbinary": 8000, "binary": 8000}


@dataclass(frozen=True)
class Type:
    """A T-SQL type: its name, and the length, or precision and scale, where it has them."""

    name: str
    size: int = 0
    scale: int = 0

    @property
    def is_text(self) -> bool:
        """Whether values are strings."""
        return self.name in _TEXTS


@dataclass(frozen=True)
class Column:
    """One column of a result."""

    name: str
    type: Type


def parse_type(declared: str) -> Type:
    """``nvarchar(128)``, ``decimal(12, 2)``, ``varbinary(max)`` as a Type; unknown names raise KeyError."""
    found = re.fullmatch(r"\s*\[?(\w+)\]?\s*(?:\(\s*(\w+)\s*(?:,\s*(\d+)\s*)?\))?\s*", declared)
    if not found:
        raise KeyError(declared)
    name, first, second = found[1].lower(), found[2], found[3]
    name = {"numeric": "decimal", "integer": "int", "smallmoney": "money", "timestamp": "binary"}.get(name, name)
    known = {*_INTEGERS, *_TEXTS, "bit", "float", "real", "decimal", "money", "date", "time", "datetime"}
    known |= {"smalldatetime", "datetime2", "datetimeoffset", "uniqueidentifier", "binary", "varbinary"}
    if name not in known:
        raise KeyError(declared)
    size = MAX if (first or "").lower() == "max" else int(first) if first else _DEFAULT_LENGTH.get(name, 0)
    if name == "decimal":
        return Type(name, size or 18, int(second or 0))
    if name in _TEXTS and not size:
        size = 4000
    return Type("nvarchar" if name in _TEXTS else name, size)


def type_of(value: Any) -> Type:
    """The type that a bare Python value would have in T-SQL."""
    if isinstance(value, bool):
        return Type("bit")
    if isinstance(value, int):
        return Type("int" if -(2**31) <= value < 2**31 else "bigint")
    if isinstance(value, float):
        return Type("float")
    if isinstance(value, Decimal):
        return Type("decimal", 38, max(0, -int(value.as_tuple().exponent)))
    if isinstance(value, datetime):
        return Type("datetimeoffset" if value.tzinfo else "datetime2")
    if isinstance(value, date):
        return Type("date")
    if isinstance(value, bytes):
        return Type("varbinary", 8000 if len(value) <= 8000 else MAX)
    return Type("nvarchar", 4000 if len(str(value)) <= 4000 else MAX)


def store(value: Any) -> Any:
    """A Python value as SQLite keeps it."""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="microseconds")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Decimal):
        # Halves and hundredths compare as SQLite numbers; what does not fit into a float stays text (LSNs).
        return float(value) if abs(value) < 2**53 and value != int(value) else _integer(value)
    if isinstance(value, uuid.UUID):
        return str(value).upper()
    return value


def _integer(value: Decimal) -> int | str:
    whole = int(value)
    return whole if -(2**63) <= whole < 2**63 else str(value)


def moment(value: Any) -> datetime:
    """A stored moment (ISO text, with or without time) as a datetime; ValueError where it is none."""
    if isinstance(value, datetime):
        return value
    text = str(value).strip().replace("T", " ")
    found = re.fullmatch(r"(.*?\.\d{6})\d+(.*)", text)  # T-SQL has seven digits
    return datetime.fromisoformat((found[1] + found[2]) if found else text)


def present(value: Any, kind: Type) -> Any:
    """What SQLite kept, as a Python value of that type."""
    if value is None:
        return None
    match kind.name:
        case "bit":
            return bool(value)
        case "tinyint" | "smallint" | "int" | "bigint":
            return int(value)
        case "float" | "real":
            return float(value)
        case "decimal" | "money":
            scale = 4 if kind.name == "money" else kind.scale
            return round(Decimal(str(value)), scale)
        case "datetime" | "datetime2" | "smalldatetime":
            return moment(value).replace(tzinfo=None)
        case "datetimeoffset":
            when = moment(value)
            return when if when.tzinfo else when.replace(tzinfo=UTC)
        case "date":
            return moment(value).date()
        case "uniqueidentifier":
            return uuid.UUID(str(value))
        case "varbinary" | "binary":
            return value if isinstance(value, bytes) else str(value).encode("utf-16-le")
    return value if isinstance(value, str) else _text(value)


def _text(value: Any) -> str:
    return value.decode("utf-16-le") if isinstance(value, bytes) else str(value)


# In TDS -----------------------------------------------------------------------------------------------------------------


def type_info(kind: Type) -> bytes:
    """TYPE_INFO of [MS-TDS] 2.2.5.6 for a nullable column."""
    if kind.name in _INTEGERS:
        return b"\x26" + bytes([_INTEGERS[kind.name]])
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
    }
    if kind.name in simple:
        return simple[kind.name]
    if kind.name in ("decimal", "money"):
        precision, scale = (19, 4) if kind.name == "money" else (kind.size, kind.scale)
        return b"\x6a\x11" + bytes([precision, scale])
    if kind.name in ("varbinary", "binary"):
        return b"\xa5" + struct.pack("<H", 0xFFFF if kind.size > 8000 else kind.size)
    if kind.name == "time":
        raise NotImplementedError("time columns")
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
    return int(value).to_bytes(_INTEGERS[kind.name], "little", signed=kind.name != "tinyint")


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


def _ticks(value: datetime) -> bytes:
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
        scale = 0
        if kind in (0x6A, 0x6C):
            scale = self.take(3)[2]
        elif kind in (0x29, 0x2A, 0x2B):
            scale = self.number(1)
        elif kind != 0x28:
            self.take(1)
        data = self.take(self.number(1))
        return _decode(kind, data, scale) if data else None

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


def _decode(kind: int, data: bytes, scale: int) -> Any:
    match kind:
        case 0x26:
            return int.from_bytes(data, "little", signed=len(data) > 1)
        case 0x68:
            return bool(data[0])
        case 0x6D:
            return struct.unpack("<d" if len(data) == 8 else "<f", data)[0]
        case 0x6A | 0x6C:
            return Decimal(int.from_bytes(data[1:], "little") * (1 if data[0] else -1)).scaleb(-scale)
        case 0x24:
            return uuid.UUID(bytes_le=data)
        case 0x28:
            return date.fromordinal(int.from_bytes(data, "little") + 1)
        case 0x2A | 0x2B:
            clock, rest = (data[:-3], b"") if kind == 0x2A else (data[:-5], data[-2:])
            day = data[-3:] if kind == 0x2A else data[-5:-2]
            micro = int.from_bytes(clock, "little") * 10 ** (7 - scale) // 10
            when = datetime.combine(date.fromordinal(int.from_bytes(day, "little") + 1), time()) + timedelta(
                microseconds=micro
            )
            if kind == 0x2A:
                return when
            zone = timezone(timedelta(minutes=struct.unpack("<h", rest)[0]))
            return when.replace(tzinfo=UTC).astimezone(zone)
        case 0x6F:
            days, ticks = struct.unpack("<iI", data)
            return _EPOCH + timedelta(days=days, seconds=ticks / 300)
    raise NotImplementedError(f"parameter type {kind:#x}")
