"""The scripts in ``powershell/``: found beside this package (a wheel and a checkout alike), read once, hashed."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "powershell"
_NAME = re.compile(r"[A-Z][A-Za-z]+-[A-Z][A-Za-z0-9]+")
_BLOCK_COMMENT = re.compile(r"<#.*?#>", re.DOTALL)
_COMMAND_LINE = 8191
"""Longest command line of cmd.exe, through which WinRS starts every command (Microsoft KB 830473)."""


def _read(path: Path) -> str:
    # utf-8-sig and universal newlines: the text is the same whatever an editor or a checkout did to the file.
    return path.read_text(encoding="utf-8-sig")


@cache
def script_text(name: str) -> str:
    """The text of ``powershell/<name>.ps1`` or ``powershell/jobs/<name>.ps1``, with the line ends of Unix.

    Raises LookupError for a name that is not shipped.
    """
    if _NAME.fullmatch(name):
        for path in (FOLDER / f"{name}.ps1", FOLDER / "jobs" / f"{name}.ps1"):
            if path.is_file():
                return _read(path)
    raise LookupError(f"no script {name!r} is shipped; there are: {', '.join(script_names())}")


@cache
def script_names() -> tuple[str, ...]:
    """The names of all shipped scripts, jobs included, in order."""
    return tuple(sorted(path.stem for folder in (FOLDER, FOLDER / "jobs") for path in folder.glob("*-*.ps1")))


@cache
def library() -> str:
    """The shared functions that every script can call: ``powershell/lib/*.ps1``, joined in name order."""
    return "".join(_read(path) for path in sorted((FOLDER / "lib").glob("*.ps1")))


def sha256(text: str) -> str:
    """Lower-case hex SHA-256 of the UTF-8 bytes of ``text``, as the host computes it of the file it wrote."""
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def bootstrap_command() -> tuple[str, tuple[str, ...]]:
    """The program and arguments that start PowerShell with the bootstrap; everything else comes by stdin.

    Raises ValueError when the bootstrap has grown beyond what a command line takes.
    """
    encoded = base64.b64encode(stripped(script_text("Invoke-Bootstrap")).encode("utf-16-le")).decode()
    arguments = ("-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-EncodedCommand", encoded)
    length = len(" ".join(("cmd /c powershell.exe", *arguments)))
    if length > _COMMAND_LINE:
        raise ValueError(
            f"Invoke-Bootstrap.ps1 makes a command line of {length} characters; {_COMMAND_LINE} is the end"
        )
    return "powershell.exe", arguments


def stripped(text: str) -> str:
    """``text`` without comments of their own lines, indentation and empty lines: what the host need not read."""
    lines = (line.strip() for line in _BLOCK_COMMENT.sub("", text).splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#"))
