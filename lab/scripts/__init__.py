"""The second telling of the scripts in ``powershell/``: what each does to a lab host, and what it answers.

A lab host recognises a shipped script by its text (``lab.shipped``) and acts by its name and parameters (``lab.shell``).
Every module of this package is imported here and registers what it tells:

    @script("Get-HostFacts")                      # powershell/Get-HostFacts.ps1, called over WinRM
    def get_host_facts(host, parameters): ...     # -> the object that the script returns

    @job("New-FolderArchive")                     # powershell/jobs/New-FolderArchive.ps1, run as a scheduled task
    def new_folder_archive(host, parameters, secrets, progress, stop): ...   # -> the job's result

``parameters`` are those of the wire, by the script's own parameter names; ``secrets`` is a flat dict of texts;
``progress(percent, message)`` writes progress.json and raises ``JobCut`` once the job was ended from outside; ``stop``
is the event that says so, for what waits. What a script throws on purpose is a ``ScriptFailure``.
"""

from __future__ import annotations

import importlib
import pkgutil
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from lab.host import Host

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


JOB_FOLDER: ContextVar[str | None] = ContextVar("job_folder", default=None)
"""Where the job that runs keeps its files (``$PatchJobFolder`` of the launcher); None outside of one."""
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
        self.message, self.id, self.type, self.hresult = message, error_id, exception, hresult

    def error(self, name: str | None, line: int = 1) -> dict[str, Any]:
        """The error as the bootstrap and the launcher write it."""
        return {
            "type": self.type,
            "message": self.message,
            "hresult": self.hresult,
            "script": name,
            "line": line,
            "id": self.id,
        }


class JobCut(Exception):  # noqa: N818 - an end, not an error
    """The job was ended from outside (a boot, a stop, its time limit): it writes nothing any more."""


class JobKilled(Exception):  # noqa: N818 - an end, not an error
    """The PowerShell of the job is ended under it, and its task with it: it writes nothing any more."""


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
