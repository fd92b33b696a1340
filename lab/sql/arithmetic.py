"""T-SQL's ``+``, ``/`` and ``%``, where SQLite's differ: NULL for a division by zero, strings that are zeros."""

from __future__ import annotations

import math
from typing import Any

from lab.sql.errors import SqlError, error


def add(left: Any, right: Any) -> Any:
    """T-SQL's plus: strings are joined, anything else is summed; NULL wins."""
    if left is None or right is None:
        return None
    if isinstance(left, str) and isinstance(right, str):
        return left + right
    try:
        return (float(left) if isinstance(left, str) else left) + (float(right) if isinstance(right, str) else right)
    except ValueError:
        raise _no_number(left if isinstance(left, str) else right) from None


def divide(left: Any, right: Any, exact: Any = 0) -> Any:
    """T-SQL's division: whole numbers give whole numbers, towards zero; by zero it is error 8134.

    ``exact`` where a side's type has fractions: SQLite keeps the decimal 4.00 as the integer 4.
    """
    if left is None or right is None:
        return None
    dividend, divisor = _number(left), _number(right)
    if not divisor:
        raise _by_zero()
    if isinstance(dividend, int) and isinstance(divisor, int) and not exact:
        whole = abs(dividend) // abs(divisor)
        return whole if (dividend < 0) == (divisor < 0) else -whole
    return dividend / divisor


def remainder(left: Any, right: Any) -> Any:
    """T-SQL's ``%``: it has the sign of the dividend."""
    if left is None or right is None:
        return None
    if not _number(right):
        raise _by_zero()
    if isinstance(left, float) or isinstance(right, float):
        return math.fmod(_number(left), _number(right))
    return _number(left) - _number(right) * divide(left, right)


def _number(value: Any) -> int | float:
    if isinstance(value, int | float):
        return value
    try:
        return float(value) if "." in value else int(value)  # decimals of more than 15 digits lie in SQLite as text
    except ValueError:
        raise _no_number(value) from None


def _by_zero() -> SqlError:
    return error(8134, "Divide by zero error encountered.")


def _no_number(text: Any) -> SqlError:
    return error(245, f"Conversion failed when converting the nvarchar value '{text}' to data type int.")
