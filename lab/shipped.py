"""The PowerShell files as shipped: a lab host runs these and nothing else."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "powershell"
BOOTSTRAP = "Invoke-Bootstrap.ps1"


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

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What its ``param()`` block declares, in order."""
        return _parameters(self.text)


class Shipped:
    """Recognises what a client sends; the folder is read anew whenever a file in it changed."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._stamp: tuple[tuple[str, int, int], ...] | None = None
        self._scripts: dict[str, Script] = {}
        self._bootstrap = ""
        self._library = ""

    def is_bootstrap(self, text: str) -> bool:
        """Whether ``text`` is the bootstrap; comment lines are stripped before it travels."""
        self._read()
        return bool(self._bootstrap) and without_comments(text) == self._bootstrap

    def is_library(self, text: str) -> bool:
        """Whether ``text`` is all of ``lib/``, in the order of the files' names."""
        self._read()
        return _lines(text) == self._library

    def script(self, text: str) -> Script | None:
        """The script with that text, whatever its line endings; None for any other."""
        self._read()
        return self._scripts.get(fingerprint(text))

    def by_name(self, name: str) -> Script | None:
        """The script of that name."""
        self._read()
        return next((script for script in self._scripts.values() if script.name.casefold() == name.casefold()), None)

    def _read(self) -> None:
        files = sorted(self._folder.rglob("*.ps1"))
        stamp = tuple((str(f), f.stat().st_mtime_ns, f.stat().st_size) for f in files)
        if stamp == self._stamp:
            return
        library, scripts, bootstrap = [], {}, ""
        for file in files:
            text = file.read_text(encoding="utf-8-sig")
            if file.name == BOOTSTRAP:
                bootstrap = without_comments(text)
            elif file.parent.name == "lib":
                library.append(text)
            else:
                scripts[fingerprint(text)] = Script(file.stem, text, job=file.parent.name == "jobs")
        self._bootstrap, self._library, self._scripts = bootstrap, _lines("\n".join(library)), scripts
        self._stamp = stamp


def fingerprint(text: str) -> str:
    """SHA-256 of a script's text, which line endings and a byte-order mark do not change."""
    return hashlib.sha256(_unix(text).encode()).hexdigest()


def without_comments(text: str) -> str:
    """The text without what a sender may strip: block comments, comment lines, indentation and empty lines."""
    lines = (line.strip() for line in re.sub(r"<#.*?#>", "", _unix(text), flags=re.DOTALL).split("\n"))
    return "\n".join(line for line in lines if line and not line.startswith("#"))


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
