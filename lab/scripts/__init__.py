"""The second telling of the scripts in ``powershell/``: what each does to a lab host, and what it answers.

A lab host recognises a shipped script by the SHA-256 of its text and acts by its name and parameters. Every module of
this package is imported here and registers what it tells:

    @script("Get-HostFacts")                      # powershell/Get-HostFacts.ps1, called over WinRM
    def get_host_facts(host, parameters): ...     # -> the object that the script returns

    @job("New-FolderArchive")                     # powershell/jobs/New-FolderArchive.ps1, run as a scheduled task
    def new_folder_archive(host, parameters, secrets, progress, stop): ...   # -> the job's result

``parameters`` are those of the wire, by the script's own parameter names; ``secrets`` is a flat dict of texts;
``progress(percent, message)`` writes progress.json and raises ``JobCut`` once the job was ended from outside; ``stop``
is the event that says so, for what waits. What a script throws on purpose is a ``ScriptFailure``.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import pkgutil
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lab.host import Host

SHIPPED = Path(__file__).resolve().parent.parent.parent / "powershell"

Script = Callable[[Host, dict[str, Any]], dict[str, Any]]


class Job(Protocol):
    """What runs as a scheduled task."""

    def __call__(
        self,
        host: Host,
        parameters: dict[str, Any],
        secrets: dict[str, str],
        progress: Callable[[int, str], None],
        stop: threading.Event,
    ) -> dict[str, Any]:
        """Do the work and return its result."""
        ...


SCRIPTS: dict[str, Script] = {}
JOBS: dict[str, Job] = {}

_S = TypeVar("_S", bound=Script)
_J = TypeVar("_J", bound=Job)


def script(name: str) -> Callable[[_S], _S]:
    """Register the telling of ``powershell/<name>.ps1``."""

    def register(telling: _S) -> _S:
        SCRIPTS[name] = telling
        return telling

    return register


def job(name: str) -> Callable[[_J], _J]:
    """Register the telling of ``powershell/jobs/<name>.ps1``."""

    def register(telling: _J) -> _J:
        JOBS[name] = telling
        return telling

    return register


class ScriptFailure(Exception):  # noqa: N818 - it fails, as a script does
    """What a script throws: ``error_id`` is the FullyQualifiedErrorId; the defaults are those of the library's New-Failure."""

    def __init__(
        self,
        message: str,
        error_id: str,
        exception: str = "System.InvalidOperationException",
        hresult: int = -2146233079,
    ) -> None:
        super().__init__(message)
        self.message, self.id, self.exception, self.hresult = message, error_id, exception, hresult

    def error(self, name: str | None, line: int = 1) -> dict[str, Any]:
        """The error as the bootstrap and the launcher write it."""
        return {
            "type": self.exception,
            "message": self.message,
            "hresult": self.hresult,
            "script": name,
            "line": line,
            "id": self.id,
        }


class JobCut(Exception):  # noqa: N818 - an end, not an error
    """The job was ended from outside (a boot, a stop, its time limit): it writes nothing any more."""


def digest(text: str) -> str:
    """SHA-256 of a script's text, whatever its line endings."""
    return hashlib.sha256(text.replace("\r\n", "\n").encode()).hexdigest()


def library() -> str:
    """The text of ``powershell/lib``, as it travels: concatenated in name order."""
    return "".join(path.read_text(encoding="utf-8") for path in sorted((SHIPPED / "lib").glob("*.ps1")))


def shipped(text: str) -> str | None:
    """The name of the shipped script or job (without ``.ps1``) whose text this is, else None."""
    wanted = digest(text)
    for path in [*SHIPPED.glob("*.ps1"), *SHIPPED.glob("jobs/*.ps1")]:
        if digest(path.read_text(encoding="utf-8")) == wanted:
            return path.stem
    return None


def is_bootstrap(text: str) -> bool:
    """Whether a decoded -EncodedCommand is the shipped bootstrap; the sender may strip comments and blank lines."""
    own = (SHIPPED / "Invoke-Bootstrap.ps1").read_text(encoding="utf-8")
    return _bare(text) == _bare(own)


def _bare(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def answer(host: Host, document: str) -> tuple[str, int]:
    """What the bootstrap writes to stdout for the document on its stdin, and its exit code."""
    name: str | None = None
    try:
        request = json.loads(document)
        name = str(request["name"])
        telling = _recognise(request)
        value = telling(host, bind(request["script"], request["parameters"]))
    except ScriptFailure as failure:
        return _compact({"ok": False, "error": failure.error(name)}), 1
    except (ValueError, KeyError, TypeError) as unreadable:
        broken = ScriptFailure(f"{name}: {unreadable!r}", "RuntimeException", "System.Exception", -2146233088)
        return _compact({"ok": False, "error": broken.error(name)}), 1
    return _compact({"ok": True, "value": value}), 0


def _recognise(request: dict[str, Any]) -> Script:
    name = request["name"]
    if digest(request["library"]) != digest(library()):
        raise ScriptFailure(f"The lab runs only the shipped library; {name} came with another text.", "NotShipped")
    known = shipped(request["script"])
    if known != name or known not in SCRIPTS:
        raise ScriptFailure(f"The lab runs only shipped scripts; the text of {name} is not one of them.", "NotShipped")
    return SCRIPTS[known]


def bind(text: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Bind the parameters as PowerShell does: names fold case, unknown ones and absent mandatory ones are errors."""
    head = re.search(r"(?ims)^\[CmdletBinding\(\)\]\s*param\((.*?)^\)", text)
    mandatory = r"(\[Parameter\(Mandatory = \$true\)\])?"
    declared = re.findall(rf"(?im)^\s*{mandatory}(?:\[[^$]*\])?\$(\w+)", head.group(1) if head else "")
    names = {name.casefold(): name for _, name in declared}
    bound: dict[str, Any] = {}
    for given, value in parameters.items():
        if given.casefold() not in names:
            message = f"A parameter cannot be found that matches parameter name '{given}'."
            raise ScriptFailure(message, "NamedParameterNotFound", _BINDING, _BINDING_CODE)
        bound[names[given.casefold()]] = value
    if missing := [name for needed, name in declared if needed and name not in bound]:
        message = f"Cannot process command because of one or more missing mandatory parameters: {' '.join(missing)}."
        raise ScriptFailure(message, "MissingMandatoryParameter", _BINDING, _BINDING_CODE)
    return bound


_BINDING = "System.Management.Automation.ParameterBindingException"
_BINDING_CODE = -2146233087


def _compact(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
