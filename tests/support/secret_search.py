"""Looks for secrets where none may be: in whatever form a program could have written them down.

A secret is looked for by its runs of letters and digits, which no quoting changes: percent-encoded, JSON-escaped, in
HTML or in Python's own notation they stay what they are, and they are found although the rest was cut off.
"""

from __future__ import annotations

import base64
import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ahocorasick

SHORTEST = 8
"""A shorter run of letters and digits is found by chance."""

PRESIGNED = "X-Amz-Signature"
"""In every presigned URL, which lets whoever has it write to the bucket."""


@dataclass(frozen=True)
class Found:
    """A secret (by its name, never its text), the coding in which it lies there, and where."""

    secret: str
    coding: str
    place: str


def fragments(secret: str) -> list[str]:
    """The runs of letters and digits by which ``secret`` is recognised."""
    found = [run for run in re.findall(r"[A-Za-z0-9]+", secret) if len(run) >= SHORTEST]
    assert found, "a secret without a run of eight letters or digits could not be told from other text"
    return found


def codings(text: str) -> Iterator[tuple[str, bytes]]:
    """``text`` as the bytes that would be seen, in each coding that leaves no letter as it is."""
    for name, data in (("UTF-8", text.encode()), ("UTF-16LE", text.encode("utf-16-le"))):
        yield name, data
        yield f"{name} in hex", data.hex().encode()
        yield f"{name} in HEX", data.hex().upper().encode()
        for alignment, encoded in enumerate(_inside_base64(data)):
            yield f"{name} in base64, alignment {alignment}", encoded


def _inside_base64(data: bytes) -> Iterator[bytes]:
    """The middle of ``data`` in base64, for each of the three ways in which it can lie in what is encoded."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + data)
        # What shares its letters with the bytes before and after is cut off.
        yield encoded[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]


class SecretSearch:
    """Looks for ``secrets`` (by name), and for presigned URLs."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        looked_for = [(name, text) for name, secret in secrets.items() for text in fragments(secret)]
        self._needles = ahocorasick.Automaton()
        for name, text in [*looked_for, ("a presigned URL", PRESIGNED)]:
            for coding, needle in codings(text):
                self._needles.add_word(needle.decode("latin-1"), (name, coding))
        self._needles.make_automaton()

    def in_bytes(self, data: bytes, place: str) -> list[Found]:
        """What is found in ``data``."""
        # Base64 for URLs has two letters of its own.
        usual = data.translate(bytes.maketrans(b"-_", b"+/")) if b"_" in data or b"-" in data else data
        seen = [data] if usual is data else [data, usual]
        found = [known for each in seen for _, known in self._needles.iter(each.decode("latin-1"))]
        return [Found(name, coding, place) for name, coding in dict.fromkeys(found)]

    def in_text(self, text: str, place: str) -> list[Found]:
        """What is found in a text that another program's API gave us."""
        return self.in_bytes(text.encode("utf-8", "surrogatepass"), place)

    def in_folder(self, folder: Path, *, except_for: Iterable[str] = ()) -> list[Found]:
        """What is found in names and contents of the files below ``folder``, at one place of each content.

        ``except_for``: patterns of the paths of those that must know secrets.
        """
        found: list[Found] = []
        contents: set[bytes] = set()
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(folder)
            if not path.is_file() or path.is_symlink() or any(relative.match(pattern) for pattern in except_for):
                continue
            data = path.read_bytes()
            found += self.in_bytes(str(relative).encode(), f"the name of {relative}")
            if data in contents:
                continue
            contents.add(data)
            found += self.in_bytes(data, str(relative))
            if data.startswith(b"SQLite format 3"):
                found += self._in_database(path, str(relative))
        return found

    def _in_database(self, path: Path, place: str) -> list[Found]:
        """Long values are cut into pages in the file; here they are whole, and what the log holds is there too."""
        found: list[Found] = []
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            rows = database.execute(f'SELECT * FROM "{table}"').fetchall()  # noqa: S608 - its own table names
            data = b"\n".join(v if isinstance(v, bytes) else str(v).encode() for row in rows for v in row)
            found += self.in_bytes(data, f"{place}, table {table}")
        database.close()
        return found


class CommandLines:
    """Every command line of this machine that was seen while the block ran, looked at every so many seconds."""

    def __init__(self, every: float = 0.02) -> None:
        self._every = every
        self._seen: set[bytes] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="command-lines", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(self._every):
            for process in Path("/proc").iterdir():
                if process.name.isdecimal():
                    with suppress(OSError):  # it may have ended meanwhile
                        self._seen.add((process / "cmdline").read_bytes())

    def all(self) -> bytes:
        """All of them, one a line."""
        return b"\n".join(sorted(self._seen))


def secrets_of(credentials: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """What is secret in a credentials file, by where it stands: ``nas-acme.password``."""
    secret = ("password", "secret_access_key", "url", "authorization", "certificate_key")
    return {
        f"{name}.{field}": entry[field].removeprefix("Bearer ")
        for name, entry in credentials.items()
        for field in secret
        if field in entry
    }
