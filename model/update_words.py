"""The words of an estate about updates: where they come from, patterns for titles, sizes; each refuses with its fix."""

from __future__ import annotations

import re
import warnings
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, Strict, WithJsonSchema

from model.hints import did_you_mean, shown
from model.words import any_path

WSUS, WINDOWS_UPDATE, MICROSOFT_UPDATE = "wsus", "windows-update", "microsoft-update"
SOURCES = (WSUS, WINDOWS_UPDATE, MICROSOFT_UPDATE)

_UNITS = {"KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
_LONGEST_PATTERN = 200
_MOST_OPEN_REPEATS = 3


def _source(text: str) -> str:
    if text in SOURCES:
        return text
    if is_folder(text):
        return any_path(text)
    raise ValueError(f"{shown(text)} is not a source of updates{did_you_mean(text, (*SOURCES, 'a folder'))}")


def is_folder(source: str) -> bool:
    """Whether a source is a folder of update files, on each host or on a share, and not a service."""
    return source.startswith("\\\\") or re.match(r"[A-Za-z]:", source) is not None


def _pattern(text: str) -> str:
    """A regular expression that is one, and that no title can keep busy: Python's engine backtracks."""
    if len(text) > _LONGEST_PATTERN:
        raise ValueError(f"is longer than {_LONGEST_PATTERN} characters; write several patterns")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compiled = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        place = f" at character {error.pos + 1}" if isinstance(error, re.error) and error.pos is not None else ""
        said = error.msg if isinstance(error, re.error) else "it is too large"
        raise ValueError(
            f"is not a regular expression: {said}{place}; write a backslash before a character that is meant as itself: '\\('"
        ) from None
    # What is escaped, or stands in a class, repeats nothing.
    bare = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", text, flags=re.DOTALL)
    if re.search(r"\)(?:[*+]|\{)", bare):
        raise ValueError("repeats a group, which a long title can keep busy for ever; write several patterns instead")
    if len(re.findall(r"[*+]|\{\d*,\d*\}", bare)) > _MOST_OPEN_REPEATS:
        raise ValueError(f"has more than {_MOST_OPEN_REPEATS} repeats; write several patterns instead")
    if re.search(r"(?<!\\)(?:\\\\)*\\[1-9]", text) or "(?P=" in text:
        raise ValueError("refers back to a group, which a long title can keep busy for ever; write the text out")
    if compiled.search("") is not None:
        raise ValueError(
            "matches every title, the empty one too; write what a title must hold, for example 'Monthly Rollup'"
        )
    return text


def parse_size(text: str) -> int:
    """``500MB`` or ``2GB`` in bytes (of 1,024); ValueError says what to write."""
    match = re.fullmatch(r"(\d{1,6})\s*(KB|MB|GB)", text.strip(), re.ASCII | re.IGNORECASE)
    size = int(match[1]) * _UNITS[match[2].upper()] if match else 0
    if not size:
        raise ValueError(f"{shown(text)} is not a size; write a number with its unit: 500MB or 2GB")
    return size


def size_text(size: int) -> str:
    """A size the way an estate writes it: ``2GB``, ``500MB``."""
    unit = next((unit for unit in ("GB", "MB") if size % _UNITS[unit] == 0), "KB")
    return f"{size // _UNITS[unit]}{unit}"


def _size(value: Any) -> int:
    return parse_size(str(value))


UpdateSource = Annotated[str, Strict(), AfterValidator(_source)]
TitlePattern = Annotated[str, Strict(), AfterValidator(_pattern)]
Size = Annotated[
    int,
    BeforeValidator(_size),
    PlainSerializer(size_text, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^\\d{1,6}\\s*(KB|MB|GB)$"}),
]
