"""Packages that were fetched to a host and that nobody has run: they go with the jobs of their time."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from typing import Any

import pytest
from echo_job import ID, ROOT, order, until

pytestmark = [
    pytest.mark.lookalike,
    pytest.mark.telling("Remove-StagedPackage"),
    pytest.mark.usefixtures("echo_is_shipped"),
]

OURS_ALONE = {"owner": "BA", "dacl": "PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"}
STAGING = f"{ROOT}/staging"
OLD, YOUNG, EMPTY = (f"packages/{letter * 64}" for letter in "abc")
UNPACKED = f"sql-{'d' * 16}"


@pytest.fixture
def staged(twin: Callable[..., Any]) -> Any:
    """A host with packages that were fetched, of which some nobody has run for 100 days; and with things of others."""
    hosts = twin()
    hosts.state("acl.json", lambda acl: acl.update({r"C:\ProgramData\EngageIPPatching": OURS_ALONE}))
    ages = {OLD: 100, YOUNG: 80, EMPTY: 100, UNPACKED: 100, "packages/of-ours": 100, "updates": 100}
    for name in ages:
        hosts.put(f"{STAGING}/{name}/x/agent.msi", "MZ")
    for side in (hosts.engine, hosts.lab.folder):
        shutil.rmtree(side / STAGING / EMPTY / "x")
        for name, days in ages.items():
            os.utime(side / STAGING / name, (time.time() - days * 86400,) * 2)
    return hosts


def left(hosts: Any) -> set[str]:
    """The folders that are left, the same on both sides."""
    first, second = (
        {path.relative_to(side / STAGING).as_posix() for path in (side / STAGING).glob("**/") if path.name != "x"}
        for side in (hosts.engine, hosts.lab.folder)
    )
    assert first == second
    return first - {".", "packages"}


def test_packages_that_nobody_runs_any_more(staged: Any) -> None:
    """Fetched 90 days ago and longer, or left empty or unpacked since then: they go; what is younger, or not ours, stays."""
    answer = staged.run("Remove-StagedPackage", {"older_than_days": 90, "fence": 1}).agree()
    assert answer == {"removed": ["a" * 64, "c" * 64, UNPACKED], "failed": [], "busy": []}
    assert left(staged) == {YOUNG, "packages/of-ours", "updates"}
    again = staged.run("Remove-StagedPackage", {"older_than_days": 90, "fence": 1}).agree()
    assert again == {"removed": [], "failed": [], "busy": []}


def test_packages_stay_while_a_job_is_at_work(staged: Any, job_document: Any) -> None:
    """It may be about to run one of them; it is named."""
    staged.run("Start-PatchJob", order(job_document, seconds=60))
    until(lambda: all(staged.json(f"{ROOT}/jobs/{ID}/progress.json")))
    answer = staged.run("Remove-StagedPackage", {"older_than_days": 0, "fence": 1}).agree()
    assert answer == {"removed": [], "failed": [], "busy": [ID]}
    assert OLD in left(staged)
    staged.run("Stop-PatchJob", {"id": ID, "fence": 1, "begun": True})


def test_packages_that_lie_elsewhere_are_not_removed(staged: Any) -> None:
    """A link in place of a folder leads to what is somebody else's, and a lower fence removes nothing."""
    for side in (staged.engine, staged.lab.folder):
        (side / STAGING / OLD).rename(side / "C/theirs")
        (side / STAGING / OLD).symlink_to(side / "C/theirs")
        os.utime(side / STAGING / OLD, (time.time() - 100 * 86400,) * 2, follow_symlinks=False)
    answer = staged.run("Remove-StagedPackage", {"older_than_days": 90, "fence": 1}).agree()
    assert [each["name"] for each in answer["failed"]] == ["a" * 64]
    assert "is a link to another place" in answer["failed"][0]["error"]
    staged.put(f"{ROOT}/lease.json", json.dumps({"fence": 3, "holder": "them", "key": "k", "released": False}))
    refused = staged.run("Remove-StagedPackage", {"older_than_days": 0, "fence": 2}).agree("line")
    assert refused["id"] == "FenceTooLow"
    for side in (staged.engine, staged.lab.folder):
        (side / STAGING / OLD).unlink()
        (side / STAGING / "packages").rename(side / "C/packages")
        (side / STAGING / "packages").symlink_to(side / "C/packages")
    refused = staged.run("Remove-StagedPackage", {"older_than_days": 0, "fence": 3}).agree("line")
    assert refused["id"] == "FolderIsLink"
    assert all((side / "C/theirs/x/agent.msi").exists() for side in (staged.engine, staged.lab.folder))
