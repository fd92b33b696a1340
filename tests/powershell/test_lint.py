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
