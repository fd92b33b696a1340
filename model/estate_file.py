"""Reading YAML so that every value knows its line and column, and every fault of the text is a ``Fault``.

Built on ruamel.yaml's events, with YAML 1.2's core types: ``on``, ``yes`` and ``03:00`` are text. Anchors, aliases
and tags are refused: an estate is read by people, line by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

Path = tuple[str | int, ...]

_START = "an estate starts with fields such as 'estate: acme-billing'"
_LONGEST_FILE = 1_000_000
_DEEPEST = 20
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")


@dataclass(frozen=True, order=True)
class Place:
    """Where something stands: line and column, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Fault:
    """One thing wrong with an estate file: where, at which field, what, and the fix."""

    source: str
    place: Place
    path: str
    message: str

    def __str__(self) -> str:
        at = f"{self.path}: " if self.path else ""
        text = f"{self.source}:{self.place.line}:{self.place.column}: {at}{self.message}"
        # A line separator in a key of the file would make two lines of this one.
        return "".join(character if character.isprintable() else " " for character in text)


class EstateFaults(Exception):  # noqa: N818
    """Everything that is wrong with an estate file, in the order of its lines; ``str()`` is one line per fault."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = sorted(faults, key=lambda fault: fault.place)
        super().__init__("\n".join(str(fault) for fault in self.faults))


def path_text(path: Path) -> str:
    """``hosts.web01.roles[0]`` for ``("hosts", "web01", "roles", 0)``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


@dataclass
class Document:
    """A file's values, and the places of its keys and values."""

    source: str
    data: Any = None
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def fault(self, path: Path, message: str, *, at_key: bool = False) -> Fault:
        """A fault at ``path``, placed at its key or value, or at the nearest enclosing one that stands in the file."""
        first, second = (self.keys, self.values) if at_key else (self.values, self.keys)
        for length in range(len(path), -1, -1):
            place = first.get(path[:length]) or second.get(path[:length])
            if place is not None:
                return Fault(self.source, place, path_text(path), message)
        return Fault(self.source, Place(1, 1), path_text(path), message)


class _Unreadable(Exception):  # noqa: N818
    """The text is not YAML that can be read on; holds the one fault."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message


def read_document(text: str | bytes, source: str) -> Document:
    """The document in ``text``; raises EstateFaults where it cannot be read as one mapping.

    Faults that leave the rest readable (a key twice, an empty value, a tag) are collected in ``Document.faults``.
    """
    document = Document(source)
    try:
        decoded = _decode(text)
        events = _events(decoded)
        _Builder(document, events).build()
    except _Unreadable as unreadable:
        fault = Fault(source, unreadable.place, "", unreadable.message)
        raise EstateFaults([*document.faults, fault]) from None
    return document


def _decode(text: str | bytes) -> str:
    if isinstance(text, bytes):
        raw = text
        utf16 = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
        try:
            text = raw.decode("utf-16" if utf16 else "utf-8")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise _Unreadable(Place(line, 1), "is not text in UTF-8; save the file as UTF-8") from None
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if len(text) > _LONGEST_FILE:
        raise _Unreadable(Place(1, 1), f"is longer than {_LONGEST_FILE:,} characters; an estate is a short file")
    found = _CONTROL.search(text)
    if found is not None:
        line = text.count("\n", 0, found.start()) + 1
        column = found.start() - text.rfind("\n", 0, found.start())
        code = ord(found[0])
        raise _Unreadable(
            Place(line, column),
            f"holds the control character U+{code:04X}: not a text file? Remove it, or name the YAML file",
        )
    return text


def _events(text: str) -> Iterator[Event]:
    yaml = YAML(typ="safe", pure=True)
    here = Place(1, 1)
    try:
        for event in yaml.parse(text):
            here = _place(event)
            yield event
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else here
        raise _Unreadable(place, _syntax_message(error, text, place)) from None
    except YAMLError as error:
        raise _Unreadable(here, f"is not YAML: {_one_line(error)}") from None
    except (ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError):
        # The scanner trips over some escapes and directives with whatever Python raises first.
        raise _Unreadable(here, "is not YAML: something after this place cannot be read") from None


def _syntax_message(error: MarkedYAMLError, text: str, place: Place) -> str:
    lines = text.split("\n")
    line = lines[place.line - 1] if place.line <= len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())] or line[place.column - 1 : place.column] == "\t":
        return "a tab stands here; YAML indents with spaces"
    problem = str(error.problem or error.context or "cannot be read").strip()
    if "escape" in problem or "hexadecimal" in problem:
        return f"is not YAML: {problem}; write Windows paths in single quotes: 'C:\\Work'"
    if "mapping values are not allowed" in problem:
        return "is not YAML: a second ':' on this line; write a value that holds ': ' in quotes"
    return f"is not YAML: {problem}; look at the quotes, brackets and indentation up to here"


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:120]


def _place(event: Event) -> Place:
    mark = event.start_mark
    return Place(mark.line + 1, mark.column + 1) if mark is not None else Place(1, 1)


class _Builder:
    """Turns events into plain values, and notes where each stood."""

    def __init__(self, document: Document, events: Iterator[Event]) -> None:
        self.document = document
        self.events = events

    def build(self) -> None:
        documents = 0
        for event in self.events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _Unreadable(_place(event), "a second document starts here; an estate is one, without '---'")
            elif isinstance(event, ScalarEvent | SequenceStartEvent | MappingStartEvent | AliasEvent):
                if isinstance(event, ScalarEvent | SequenceStartEvent) and not getattr(event, "anchor", None):
                    empty = isinstance(event, ScalarEvent) and not event.value
                    raise _Unreadable(_place(event), f"{'is empty' if empty else 'is not a mapping'}; {_START}")
                self.document.data = self._value(event, ())
        if self.document.data is None:
            raise _Unreadable(Place(1, 1), f"is empty; {_START}")

    def _value(self, event: Event, path: Path) -> Any:
        place = _place(event)
        self.document.values.setdefault(path, place)
        if len(path) > _DEEPEST:
            raise _Unreadable(place, "is nested too deeply; look at the brackets")
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
            raise _Unreadable(place, "anchors (&name) and aliases (*name) are not read here; write the value out")
        if isinstance(event, ScalarEvent):
            return self._scalar(event, path)
        if isinstance(event, SequenceStartEvent):
            self._no_tag(event, path)
            return self._sequence(path)
        self._no_tag(event, path)
        return self._mapping(path)

    def _sequence(self, path: Path) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self.events), SequenceEndEvent):
            items.append(self._value(event, (*path, len(items))))
        return items

    def _mapping(self, path: Path) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not isinstance(event := next(self.events), MappingEndEvent):
            place = _place(event)
            if not isinstance(event, ScalarEvent) or getattr(event, "anchor", None):
                raise _Unreadable(place, "a key is plain text followed by ':'; look at the brackets and quotes")
            key = event.value
            twice = key in items
            here = (*path, key)
            if twice:
                first = self.document.keys[here].line
                message = f"stands here twice, first on line {first}; remove one"
                self.document.faults.append(Fault(self.document.source, place, path_text(here), message))
            self.document.keys.setdefault(here, place)
            value = self._value(next(self.events), here)
            if not twice:
                items[key] = value
        return items

    def _scalar(self, event: ScalarEvent, path: Path) -> Any:
        self._no_tag(event, path)
        plain = event.implicit[0] and not event.style
        if not plain:
            return event.value
        try:
            value = _plain(event.value)
        except (ValueError, OverflowError):
            self._fault(event, path, "is too large a number; write it in quotes if it is text")
            return event.value
        if value is None:
            # Nothing at all is told by the scanner where the next thing stands, often a line further on.
            at = next(
                (self.document.keys[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.document.keys), None
            )
            if at is not None and not event.value:
                self.document.values[path] = at
            self._fault(event, path, "has no value; give it one, or remove the line")
        return value

    def _no_tag(self, event: Event, path: Path) -> None:
        tag = getattr(event, "tag", None)
        if tag:
            self._fault(event, path, f"tags are not read here; remove {str(tag)[:40]}")

    def _fault(self, event: Event, path: Path, message: str) -> None:
        place = self.document.values.get(path) or _place(event)
        self.document.faults.append(Fault(self.document.source, place, path_text(path), message))


def _plain(text: str) -> Any:
    """A scalar without quotes, by YAML 1.2's core schema; ValueError where a number is out of all bounds."""
    if text in {"", "~", "null", "Null", "NULL"}:
        return None
    if text in {"true", "True", "TRUE", "false", "False", "FALSE"}:
        return text.casefold() == "true"
    if re.fullmatch(r"[-+]?[0-9]+", text):
        if len(text) > 18:
            raise ValueError(text)
        return int(text)
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", text):
        value = float(text)
        if value in {float("inf"), float("-inf")}:
            raise OverflowError(text)
        return value
    return text
