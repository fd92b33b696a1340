"""Versions of products (``4.2.0``), as installers write them: compared as numbers where both are some, else as texts."""

from __future__ import annotations

import re


def same_version(found: str | None, wanted: str | None) -> bool:
    """Whether two versions are one: 4.2 and 4.2.0.0 are; nothing is the same as none."""
    if found is None or wanted is None:
        return found is wanted
    numbers = _numbers(found), _numbers(wanted)
    if None in numbers:
        return found.strip().casefold() == wanted.strip().casefold()
    return numbers[0] == numbers[1]


def reached(found: str | None, wanted: str) -> bool:
    """Whether ``found`` is ``wanted`` or newer; what is no row of numbers must be the very same text."""
    if found is None:
        return False
    one, other = _numbers(found), _numbers(wanted)
    if one is None or other is None:
        return same_version(found, wanted)
    return one >= other


def _numbers(version: str) -> tuple[int, ...] | None:
    """4.2.0 as (4, 2); None where it is no row of numbers."""
    # 3, 1, 0, 0: some file versions are written so.
    text = re.sub(r",\s*", ".", version.strip())
    if not re.fullmatch(r"v?\d+(\.\d+)*", text, re.ASCII | re.IGNORECASE):
        return None
    numbers = [int(part) for part in text.lstrip("vV").split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
