"""The PowerShell files as shipped: a lab host runs these and nothing else."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TypeVar

FOLDER = Path(__file__).resolve().parent.parent / "powershell"
BOOTSTRAP = "Invoke-Bootstrap.ps1"

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Parameter:
    """One parameter of a script's ``param()`` block."""

    name: str
    mandatory: bool


@dataclass(frozen=True)
class Script:
    """A shipped script; ``job`` when it lies in ``jobs/`` and is meant to run as a detached job."""

    name: str
    text: str
    job: bool

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """What its ``param()`` block declares, in order."""
        return _parameters(self.text)


class Shipped:
    """Recognises what a client sends; the folder is read anew when something comes that is not known."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._scripts: dict[str, Script] = {}
        self._bootstrap = ""
        self._library = ""

    def is_bootstrap(self, text: str) -> bool:
        """Whether ``text`` is the bootstrap; comment lines are stripped before it travels."""
        sent = without_comments(text)
        return self._known(lambda: sent == self._bootstrap) and bool(sent)

    def is_library(self, text: str) -> bool:
        """Whether ``text`` is all of ``lib/``, in the order of the files' names."""
        sent = _lines(text)
        return self._known(lambda: sent == self._library)

    def script(self, text: str) -> Script | None:
        """The script with that text, whatever its line endings; None for any other."""
        sent = fingerprint(text)
        return self._known(lambda: self._scripts.get(sent))

    def by_name(self, name: str) -> Script | None:
        """The script of that name."""
        wanted = name.casefold()
        return self._known(lambda: next((s for s in self._scripts.values() if s.name.casefold() == wanted), None))

    def _known(self, look: Callable[[], Answer]) -> Answer:
        found = look()
        if not found:
            self._read()
            found = look()
        return found

    def _read(self) -> None:
        library, scripts, bootstrap = [], {}, ""
        for file in sorted(self._folder.rglob("*.ps1")):
            text = file.read_text(encoding="utf-8-sig")
            if file.name == BOOTSTRAP:
                bootstrap = without_comments(text)
            elif file.parent.name == "lib":
                library.append(text)
            else:
                scripts[fingerprint(text)] = Script(file.stem, text, job=file.parent.name == "jobs")
        self._bootstrap, self._library, self._scripts = bootstrap, _lines("\n".join(library)), scripts


def fingerprint(text: str) -> str:
    """SHA-256 of a script's text, which line endings and a byte-order mark do not change."""
    return hashlib.sha256(_unix(text).encode()).hexdigest()


@lru_cache(maxsize=8)
def without_comments(text: str) -> str:
    """The text without what a sender may strip: block comments, comment lines, indentation and empty lines."""
    lines = (line.strip() for line in re.sub(r"<#.*?#>", "", _unix(text), flags=re.DOTALL).split("\n"))
    return "\n".join(line for line in lines if line and not line.startswith("#"))


@lru_cache(maxsize=8)
def _lines(text: str) -> str:
    return "\n".join(line.rstrip() for line in _unix(text).split("\n") if line.strip())


def _unix(text: str) -> str:
    return text.removeprefix("\ufeff").replace("\r\n", "\n").rstrip("\n")


# Quoted strings, here-strings left out: no param() block has one. Comments must not hide a parenthesis or a comma.
_NOISE = re.compile(r"<#.*?#>|#[^\n]*|'(?:[^']|'')*'|\"(?:[^\"`]|`.)*\"", re.DOTALL)


def _parameters(text: str) -> tuple[Parameter, ...]:
    code = _NOISE.sub("", text)
    start = re.search(r"\bparam\s*\(", code, re.IGNORECASE)
    if start is None:
        return ()
    found, depth, piece, bare = [], 0, "", ""
    for character in code[start.end() :]:
        if depth == 0 and character in ",)":
            name = re.search(r"\$(\w+)", bare)
            if name is not None:
                mandatory = re.search(r"Mandatory(?!\s*=\s*\$false)", piece, re.IGNORECASE) is not None
                found.append(Parameter(name[1], mandatory))
            piece = bare = ""
            if character == ")":
                break
            continue
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(character, 0)
        piece += character
        bare += character if depth == 0 else ""  # what stands in brackets are types and attributes
    return tuple(found)
