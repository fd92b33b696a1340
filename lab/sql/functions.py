"""The built-in functions of T-SQL that the lab knows, as functions of SQLite named ``t_...``."""

from __future__ import annotations

import math
import re
import sqlite3
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import InvalidOperation
from typing import Any, Protocol

from lab.sql.arithmetic import add, divide, remainder
from lab.sql.errors import SqlError, error
from lab.sql.values import Type, moment, parse_type, present, store


class Context(Protocol):
    """What a function may ask of the session that it runs in."""

    def now(self) -> datetime:
        """The server's local time, with its offset."""

    def server_property(self, name: str) -> Any: ...
    def global_variable(self, name: str) -> Any: ...
    def database_name(self, number: int | None) -> str | None: ...
    def database_number(self, name: str | None) -> int | None: ...
    def database_property(self, database: str, name: str) -> Any: ...
    def object_number(self, name: str, kind: str | None) -> int | None: ...
    def has_access(self, database: str) -> int | None: ...
    def is_member(self, role: str) -> int | None: ...
    def login_name(self) -> str: ...


@dataclass(frozen=True)
class Function:
    """``call(context, *arguments)`` with SQLite's values; ``type`` is what T-SQL says comes back."""

    call: Callable[..., Any]
    type: Type | None
    fewest: int
    most: int


_TEXT, _INT = Type("nvarchar", 4000), Type("int")
_MOMENT, _FINE, _ZONED = Type("datetime"), Type("datetime2"), Type("datetimeoffset")
GLOBALS = {
    "version",
    "servername",
    "spid",
    "rowcount",
    "error",
    "trancount",
    "identity",
    "servicename",
    "microsoftversion",
    "language",
    "max_precision",
}
_NO_STYLE = 281
DATE_PARTS = {"dateadd", "datediff", "datediff_big", "datepart", "datename"}
_UNITS = {
    "year": "year", "yy": "year", "yyyy": "year", "quarter": "quarter", "qq": "quarter", "q": "quarter",
    "month": "month", "mm": "month", "m": "month", "day": "day", "dd": "day", "d": "day", "dayofyear": "dayofyear",
    "week": "week", "wk": "week", "ww": "week", "hour": "hour", "hh": "hour", "minute": "minute", "mi": "minute", "n": "minute",
    "second": "second", "ss": "second", "s": "second", "millisecond": "millisecond", "ms": "millisecond",
    "microsecond": "microsecond", "mcs": "microsecond", "weekday": "weekday", "dw": "weekday",
}  # fmt: skip
_SECONDS = {
    "week": 604800,
    "day": 86400,
    "hour": 3600,
    "minute": 60,
    "second": 1,
    "millisecond": 0.001,
    "microsecond": 0.000001,
}


def _unit(name: str) -> str:
    if name not in _UNITS:
        raise error(155, f"'{name}' is not a recognized datepart option.", 15)
    return _UNITS[name]


def _moment(value: Any) -> datetime:
    try:
        return moment(value)
    except ValueError:
        raise error(241, "Conversion failed when converting date and/or time from character string.") from None


def _date_add(_: Context, part: str, count: Any, when: Any) -> str:
    unit, start, number = _unit(part), _moment(when), int(count)
    if unit in ("year", "quarter", "month"):
        months = start.year * 12 + start.month - 1 + number * {"year": 12, "quarter": 3, "month": 1}[unit]
        year, month = divmod(months, 12)
        last = (datetime(year + (month == 11), (month + 1) % 12 + 1, 1) - timedelta(days=1)).day  # noqa: DTZ001
        moved = start.replace(year=year, month=month + 1, day=min(start.day, last))
    else:
        moved = start + timedelta(seconds=number * _SECONDS["day" if unit in ("dayofyear", "weekday") else unit])
    return str(store(moved))


def _date_diff(_: Context, part: str, first: Any, second: Any) -> int:
    """Boundaries crossed, as T-SQL counts them: 10:59:59 to 11:00:00 is one hour."""
    unit, a, b = _unit(part), _moment(first), _moment(second)
    if a.tzinfo and b.tzinfo:
        a, b = a.astimezone(UTC), b.astimezone(UTC)
    a, b = a.replace(tzinfo=None), b.replace(tzinfo=None)
    if unit in ("year", "quarter", "month"):
        size = {"year": 12, "quarter": 3, "month": 1}[unit]
        return (b.year * 12 + b.month - 1) // size - (a.year * 12 + a.month - 1) // size
    zero = datetime(1900, 1, 1)  # noqa: DTZ001
    micro = round(_SECONDS["day" if unit in ("dayofyear", "weekday") else unit] * 1_000_000)
    return (b - zero) // timedelta(microseconds=micro) - (a - zero) // timedelta(microseconds=micro)


def _date_part(_: Context, part: str, when: Any) -> int:
    unit, at = _unit(part), _moment(when)
    found: dict[str, int] = {
        "quarter": (at.month + 2) // 3, "dayofyear": at.timetuple().tm_yday, "weekday": at.isoweekday() % 7 + 1,
        "week": int(at.strftime("%U")) + 1, "millisecond": at.microsecond // 1000,
    }  # fmt: skip
    return found[unit] if unit in found else int(getattr(at, unit))


def cast(value: Any, declared: str, style: Any, safe: Any) -> Any:
    """CAST, CONVERT and their TRY_ forms: what cannot be converted is error 241, 245 or 8114, or NULL."""
    kind = parse_type(declared)
    try:
        return convert(value, kind, int(style or 0))
    except SqlError as failure:
        if safe and failure.number != _NO_STYLE:
            return None
        raise


def convert(value: Any, kind: Type, style: int = 0) -> Any:
    """A value of SQLite's as one of this type; errors 241 and 245 where it cannot be, 281 for a style that is none."""
    if value is None:
        return None
    try:
        return _cast(value, kind, style)
    except (ValueError, ArithmeticError, InvalidOperation):
        if kind.name.startswith(("date", "small", "time")):
            raise error(241, "Conversion failed when converting date and/or time from character string.") from None
        raise error(
            245, f"Conversion failed when converting the nvarchar value '{value}' to data type {kind.name}."
        ) from None


def _cast(value: Any, kind: Type, style: int) -> Any:
    if kind.is_text:
        text = _styled(value, style) if style else value.hex().upper() if isinstance(value, bytes) else _plain(value)
        return text[: kind.size]
    if kind.name in ("int", "bigint", "smallint", "tinyint"):
        return (
            math.trunc(float(value))
            if isinstance(value, float) or (isinstance(value, str) and "." in value)
            else int(value)
        )
    if kind.name == "bit":
        return int(str(value).strip().lower() not in ("0", "false", "0.0"))
    if kind.name in ("binary", "varbinary"):
        return value if isinstance(value, bytes) else str(value).encode("utf-16-le")[: kind.size]
    return store(present(value, kind))


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _styled(value: Any, style: int) -> str:
    formats = {112: "%Y%m%d", 120: "%Y-%m-%d %H:%M:%S", 20: "%Y-%m-%d %H:%M:%S", 23: "%Y-%m-%d", 108: "%H:%M:%S"}
    if style in (1, 2) and isinstance(value, bytes):
        return ("0x" if style == 1 else "") + value.hex().upper()
    when = moment(value)
    if style in formats:
        return when.strftime(formats[style])
    if style in (121, 21):
        return when.strftime("%Y-%m-%d %H:%M:%S.") + f"{when.microsecond // 1000:03}"
    if style in (126, 127):
        return when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03}" + ("Z" if style == 127 else "")
    raise error(_NO_STYLE, f"{style} is not a valid style number when converting from datetime to a character string.")


def _local(context: Context) -> str:
    return str(store(context.now().replace(tzinfo=None)))


def _utc(context: Context) -> str:
    return str(store(context.now().astimezone(UTC).replace(tzinfo=None)))


def _null(call: Callable[..., Any]) -> Callable[..., Any]:
    """Most functions answer NULL to NULL."""
    return lambda context, *values: None if any(v is None for v in values) else call(context, *values)


def _quote_name(_: Context, name: Any, quote: str = "[") -> str:
    return "'" + str(name).replace("'", "''") + "'" if quote == "'" else "[" + str(name).replace("]", "]]") + "]"


FUNCTIONS: dict[str, Function] = {
    "getdate": Function(_local, _MOMENT, 0, 0),
    "getutcdate": Function(_utc, _MOMENT, 0, 0),
    "sysdatetime": Function(_local, _FINE, 0, 0),
    "sysutcdatetime": Function(_utc, _FINE, 0, 0),
    "sysdatetimeoffset": Function(lambda c: store(c.now()), _ZONED, 0, 0),
    "dateadd": Function(_null(_date_add), _MOMENT, 3, 3),
    "datediff": Function(_null(_date_diff), _INT, 3, 3),
    "datediff_big": Function(_null(_date_diff), Type("bigint"), 3, 3),
    "datepart": Function(_null(_date_part), _INT, 2, 2),
    "year": Function(_null(lambda c, when: _date_part(c, "year", when)), _INT, 1, 1),
    "month": Function(_null(lambda c, when: _date_part(c, "month", when)), _INT, 1, 1),
    "day": Function(_null(lambda c, when: _date_part(c, "day", when)), _INT, 1, 1),
    "len": Function(_null(lambda _, text: len(str(text).rstrip(" "))), _INT, 1, 1),
    "datalength": Function(_null(lambda _, v: len(v) if isinstance(v, bytes) else 2 * len(str(v))), _INT, 1, 1),
    "left": Function(_null(lambda _, text, n: str(text)[: int(n)]), _TEXT, 2, 2),
    "right": Function(_null(lambda _, text, n: str(text)[-int(n) :] if int(n) else ""), _TEXT, 2, 2),
    "substring": Function(
        _null(lambda _, text, at, n: str(text)[max(int(at) - 1, 0) : max(int(at) - 1 + int(n), 0)]), _TEXT, 3, 3
    ),
    "charindex": Function(
        _null(lambda _, a, b, at=1: str(b).casefold().find(str(a).casefold(), int(at) - 1) + 1), _INT, 2, 3
    ),
    "replace": Function(
        _null(lambda _, text, a, b: re.sub(re.escape(str(a)), lambda _m: str(b), str(text), flags=re.IGNORECASE)),
        _TEXT,
        3,
        3,
    ),
    "replicate": Function(_null(lambda _, text, n: str(text) * int(n)), _TEXT, 2, 2),
    "upper": Function(_null(lambda _, text: str(text).upper()), _TEXT, 1, 1),
    "lower": Function(_null(lambda _, text: str(text).lower()), _TEXT, 1, 1),
    "ltrim": Function(_null(lambda _, text: str(text).lstrip(" ")), _TEXT, 1, 1),
    "rtrim": Function(_null(lambda _, text: str(text).rstrip(" ")), _TEXT, 1, 1),
    "char": Function(_null(lambda _, n: chr(int(n))), Type("nvarchar", 1), 1, 1),
    "nchar": Function(_null(lambda _, n: chr(int(n))), Type("nvarchar", 1), 1, 1),
    "concat": Function(lambda _, *v: "".join("" if x is None else _plain(x) for x in v), _TEXT, 2, 254),
    "isnull": Function(lambda _, a, b: b if a is None else a, None, 2, 2),
    "quotename": Function(_null(_quote_name), Type("nvarchar", 258), 1, 2),
    "abs": Function(_null(lambda _, n: abs(n)), None, 1, 1),
    "round": Function(_null(lambda _, n, places: round(n, int(places))), None, 2, 2),
    "newid": Function(lambda _: str(uuid.uuid4()).upper(), Type("uniqueidentifier"), 0, 0),
    "scope_identity": Function(lambda c: c.global_variable("identity"), Type("decimal", 38, 0), 0, 0),
    "db_name": Function(lambda c, n=None: c.database_name(n), Type("nvarchar", 128), 0, 1),
    "db_id": Function(lambda c, name=None: c.database_number(name), Type("smallint"), 0, 1),
    "databasepropertyex": Function(_null(lambda c, db, name: c.database_property(db, name)), None, 2, 2),
    "serverproperty": Function(_null(lambda c, name: c.server_property(name)), None, 1, 1),
    "object_id": Function(_null(lambda c, name, kind=None: c.object_number(name, kind)), _INT, 1, 2),
    "has_dbaccess": Function(_null(lambda c, name: c.has_access(name)), _INT, 1, 1),
    "is_srvrolemember": Function(_null(lambda c, role: c.is_member(role)), _INT, 1, 1),
    "suser_sname": Function(lambda c: c.login_name(), Type("nvarchar", 128), 0, 0),
    "original_login": Function(lambda c: c.login_name(), Type("nvarchar", 128), 0, 0),
    "global": Function(_null(lambda c, name: c.global_variable(name)), None, 1, 1),
}


def register(connection: sqlite3.Connection, context: Context, failures: list[SqlError]) -> None:
    """Give ``connection`` every function; SQLite hides exceptions, so T-SQL errors are left in ``failures``."""

    def guarded(call: Callable[..., Any], name: str, fewest: int, most: int) -> Callable[..., Any]:
        def run(*values: Any) -> Any:
            try:
                if not fewest <= len(values) <= most:
                    raise error(174, f"The {name} function requires {fewest} argument(s).", 15)
                return call(*values)
            except SqlError as failure:
                failures.append(failure)
                raise

        return run

    for name, function in FUNCTIONS.items():

        def bound(*values: Any, _call: Callable[..., Any] = function.call) -> Any:
            return _call(context, *values)

        connection.create_function(f"t_{name}", -1, guarded(bound, name, function.fewest, function.most))
    connection.create_function("t_add", 2, guarded(add, "+", 2, 2))
    connection.create_function("t_divide", 3, guarded(divide, "/", 3, 3))
    connection.create_function("t_remainder", 2, guarded(remainder, "%", 2, 2))
    connection.create_function("t_cast", 4, guarded(cast, "cast", 4, 4))
