"""Every shipped script, and every stub that the tests put in place of Windows, is Windows PowerShell 5.1."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

import lab.scripts

HERE = Path(__file__).resolve().parent
POWERSHELL = HERE.parent.parent / "powershell"


def _findings(pslint: Path, folder: Path) -> list[dict[str, object]]:
    done = subprocess.run([pslint, "--json", folder], capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


@pytest.mark.lookalike
def test_shipped_scripts_have_no_finding(pslint: Path) -> None:
    """What is sent to hosts parses and exists on 5.1 with Windows Server 2016 and 2019, and keeps the house rules."""
    assert _findings(pslint, POWERSHELL) == []


@pytest.mark.lookalike
def test_stubs_use_what_windows_has(pslint: Path) -> None:
    """The stubs keep the same rules, but for names: they bear those of the programs and methods they stand for."""
    assert [found for found in _findings(pslint, HERE / "stubs") if found["Rule"] != "verb"] == []


def test_shipped_scripts_are_ascii() -> None:
    """5.1 reads a file without a byte-order mark as ANSI, so nothing but ASCII is in one."""
    for path in POWERSHELL.rglob("*.ps1"):
        assert path.read_bytes().isascii(), path.name


@pytest.mark.parametrize(
    ("library", "settings"),
    [
        (
            "Transfer",
            [
                "-bor [Net.SecurityProtocolType]::Tls12",
                "DefaultConnectionLimit = 32",
                "$request.Proxy = $null",
                "$request.AllowWriteStreamBuffering = $false",
            ],
        ),
        ("Packages", ["-bor [Net.SecurityProtocolType]::Tls12", "$request.Proxy = $null"]),
    ],
)
def test_requests_are_set_up_for_the_dotnet_of_windows(library: str, settings: list[str]) -> None:
    """Its defaults lack TLS 1.2 and allow two connections; SYSTEM's proxy is nobody's; a large body fills the memory.

    No newer .NET, on which the scripts can be run elsewhere, shows any of it.
    """
    lines = (POWERSHELL / "lib" / f"{library}.ps1").read_text(encoding="utf-8").splitlines()
    code = [line.strip() for line in lines if not line.lstrip().startswith("#")]
    for setting in settings:
        assert any(line.endswith(setting) for line in code), setting


def test_every_script_is_told_by_the_lab(shipped_scripts: list[str], shipped_jobs: list[str]) -> None:
    """A script that the lab does not know would fail only when a flow calls it."""
    assert sorted(lab.scripts.SCRIPTS) == shipped_scripts
    assert sorted(lab.scripts.JOBS) == shipped_jobs


def test_every_script_has_both_tellings_held_together(shipped_scripts: list[str], shipped_jobs: list[str]) -> None:
    """Each shipped script and job is named by a test marked ``telling``."""
    marked: set[str] = set()
    for path in HERE.glob("test_*.py"):
        for names in re.findall(r"pytest\.mark\.telling\(([^)]*)\)", path.read_text(encoding="utf-8")):
            marked |= set(re.findall(r'"([^"]+)"', names))
    assert {*shipped_scripts, *shipped_jobs} - marked == set()
