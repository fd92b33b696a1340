"""T-SQL types: how their values lie in SQLite and look in Python.

In SQLite a moment is ISO text (it sorts and compares rightly), a bit is 0 or 1, a decimal a number.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

MAX = 1 << 31

INTEGERS = {"tinyint": 1, "smallint": 2, "int": 4, "bigint": 8}
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
    known = {*INTEGERS, *_TEXTS, "bit", "float", "real", "decimal", "money", "date", "time", "datetime"}
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
    rule = next((rule for python, rule in _TYPE_RULES if isinstance(value, python)), None)
    return rule(value) if rule else Type("nvarchar", 4000 if len(str(value)) <= 4000 else MAX)


_TYPE_RULES: list[tuple[type, Callable[[Any], Type]]] = [
    (bool, lambda _: Type("bit")),
    (int, lambda value: Type("int" if -(2**31) <= value < 2**31 else "bigint")),
    (float, lambda _: Type("float")),
    (Decimal, lambda value: Type("decimal", 38, max(0, -int(value.as_tuple().exponent)))),
    (datetime, lambda value: Type("datetimeoffset" if value.tzinfo else "datetime2")),
    (date, lambda _: Type("date")),
    (time, lambda _: Type("time")),
    (uuid.UUID, lambda _: Type("uniqueidentifier")),
    (bytes, lambda value: Type("varbinary", 8000 if len(value) <= 8000 else MAX)),
]


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
    return _PRESENT[kind.name](value, kind)


def _decimal(value: Any, kind: Type) -> Decimal:
    places = Decimal(1).scaleb(-(4 if kind.name == "money" else kind.scale))
    return Decimal(str(value)).quantize(places, ROUND_HALF_UP, Context(prec=50))


def _naive(value: Any, _: Type) -> datetime:
    return moment(value).replace(tzinfo=None)


def _zoned(value: Any, _: Type) -> datetime:
    when = moment(value)
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _clock(value: Any, _: Type) -> time:
    text = str(value).strip()
    return time.fromisoformat(text) if "-" not in text else moment(text).time()


def _bytes(value: Any, _: Type) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-16-le")


def _text(value: Any, _: Type) -> str:
    return value.decode("utf-16-le") if isinstance(value, bytes) else str(value)


_PRESENT: dict[str, Callable[[Any, Type], Any]] = {
    "bit": lambda value, _: bool(value),
    **dict.fromkeys(("tinyint", "smallint", "int", "bigint"), lambda value, _: int(value)),
    **dict.fromkeys(("float", "real"), lambda value, _: float(value)),
    **dict.fromkeys(("decimal", "money"), _decimal),
    **dict.fromkeys(("datetime", "datetime2", "smalldatetime"), _naive),
    "datetimeoffset": _zoned,
    "date": lambda value, _: moment(value).date(),
    "time": _clock,
    "uniqueidentifier": lambda value, _: uuid.UUID(str(value)),
    **dict.fromkeys(("binary", "varbinary"), _bytes),
    "nvarchar": _text,
}
