"""A job of the tests' own, so that they are about jobs and not about one job."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lab.launcher
import lab.scripts
from lab.shipped import Shipped

POWERSHELL = Path(__file__).resolve().parent.parent.parent / "powershell"
ROOT = "C/ProgramData/EngageIPPatching"
ID = "run.1.echo.x"
TASK = "\\EngageIPPatching\\"

ECHO = r"""#Requires -Version 5.1
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$text,
    [int]$seconds = 0,
    [string]$fail = '',
    $secrets = $null
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

Write-JobProgress -Percent 10 -Message "has begun: $text"
# Real seconds in both tellings, whatever the speed.
$watch = [Diagnostics.Stopwatch]::StartNew()
while ($watch.Elapsed.TotalSeconds -lt $seconds) { [Threading.Thread]::Sleep(50) }
if ($fail) { throw (New-Failure -Id 'Asked' -Message $fail) }
$names = @()
$lengths = @()
if ($null -ne $secrets) {
    $names = @($secrets.Keys | Sort-Object)
    $lengths = @($names | ForEach-Object { $secrets[$_].Length })
}
Write-JobProgress -Percent 100 -Message 'is done'
[ordered]@{ text = $text; names = $names; lengths = $lengths }
"""
VOLATILE = ("created", "started", "ended", "boot", "boot_id", "at", "line")


def _echo(_host: Any, parameters: Any, given: Any, progress: Any, stop: Any) -> dict[str, Any]:
    progress(10, f"has begun: {parameters['text']}")
    if stop.wait(parameters.get("seconds", 0)):
        raise lab.scripts.JobCut
    if parameters.get("fail"):
        raise lab.scripts.ScriptFailure(parameters["fail"], "Asked")
    names = sorted(given)
    progress(100, "is done")
    # Characters are counted as .NET counts them.
    lengths = [len(given[name].encode("utf-16-le")) // 2 for name in names]
    return {"text": parameters["text"], "names": names, "lengths": lengths}


def ship(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Ship it, as Write-Echo, for the length of a test."""
    (folder / "jobs").mkdir(parents=True)
    (folder / "Invoke-Bootstrap.ps1").write_text((POWERSHELL / "Invoke-Bootstrap.ps1").read_text())
    (folder / "jobs" / "Write-Echo.ps1").write_text(ECHO)
    patch.setitem(lab.scripts.JOBS, "Write-Echo", _echo)
    patch.setattr(lab.launcher, "SHIPPED", Shipped(folder))


def order(job_document: Any, **parameters: Any) -> dict[str, Any]:
    """Start-PatchJob's parameters for the echo job."""
    given: dict[str, Any] = job_document(ID, "Write-Echo", {"text": "hällo ‹&€"} | parameters, text=ECHO)
    return given


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def as_made(hosts: Any) -> None:
    """The job as it was made, before it began."""
    folder = f"{ROOT}/jobs/{ID}"
    for side, path in ((0, hosts.engine), (1, hosts.lab.folder)):
        job = hosts.json(f"{folder}/job.json")[side]
        fresh = job | {"state": "created", "boot": None, "started": None, "ended": None, "result": None}
        (path / folder / "job.json").write_text(json.dumps(fresh))
        (path / folder / "progress.json").unlink()


def start_task(hosts: Any) -> None:
    """'Run' in the Task Scheduler."""
    start = f"Start-ScheduledTask -TaskPath '\\EngageIPPatching\\' -TaskName '{ID}'"
    hosts.engine_process.run(hosts.engine, ["-NoProfile", "-Command", start])
    hosts.lab.parts["tasks"].start(TASK + ID)
