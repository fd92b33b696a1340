"""A SQL Server patch: nothing runs that was not approved, and what setup said is evidence, not a verdict."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.faults import Fault

pytestmark = [pytest.mark.lookalike, pytest.mark.telling("Get-SqlBuild", "Install-SqlPatch")]

OLD, NEW = "15.0.4355.3", "15.0.4430.1"
HERE, SHARE = r"C:\Staging\cu32.exe", r"\\nas01\billing\packages\cu32.exe"


def package(**more: Any) -> bytes:
    return b"MZ" + bytes(range(256)) + b"\n" + json.dumps({"build": NEW, "kb": "KB5054833", **more}).encode() + b"\n"


def registry(state: dict[str, Any]) -> None:
    """An instance as setup leaves it in the registry."""
    server = state["HKLM"]["SOFTWARE"]["Microsoft"].setdefault("Microsoft SQL Server", {})
    server["Instance Names"] = {"SQL": {"@": {"MSSQLSERVER": "MSSQL15.MSSQLSERVER"}}}
    server["MSSQL15.MSSQLSERVER"] = {"Setup": {"@": {"PatchLevel": OLD, "Edition": "Standard Edition"}}}


@pytest.fixture
def hosts(twin: Callable[..., Any]) -> Any:
    """Make a SQL Server host with the package on its disk and on the share."""
    made = twin(name="sql01")
    made.state("registry.json", registry)
    put(made, package())
    return made


def put(hosts: Any, data: bytes) -> None:
    hosts.put("C/Staging/cu32.exe", data)
    hosts.put("unc/nas01/billing/packages/cu32.exe", data)


def patch(path: str = HERE, data: bytes | None = None, **more: Any) -> dict[str, Any]:
    wanted = hashlib.sha256(package() if data is None else data).hexdigest()
    return {"path": path, "sha256": wanted, "instance": "MSSQLSERVER", "publisher": "Microsoft Corporation", **more}


def agree(both: Any) -> dict[str, Any]:
    """Both tellings, but for how long it took and when it began."""
    for side in (both.engine, both.lab):
        summary = side["value"]["summary"]
        if summary is not None:
            lines = summary["text"].split("\r\n")
            summary["text"] = "\n".join(line for line in lines if "Start time" not in line)
    found: dict[str, Any] = both.agree("seconds")
    return found


def started(hosts: Any) -> list[str]:
    log: Path = hosts.engine / "setup.log"
    return log.read_text().splitlines() if log.exists() else []


@pytest.mark.parametrize("path", [HERE, SHARE])
def test_a_patch_from_a_disk_or_a_share(hosts: Any, path: str) -> None:
    """It runs from a disk of the host; code, builds, signer and Summary.txt are the answer."""
    answer = agree(hosts.call_job("Install-SqlPatch", patch(path), secrets=None))
    assert (answer["exit_code"], answer["build_before"], answer["build_after"]) == (0, OLD, NEW)
    assert "CN=Microsoft Corporation" in answer["signer"]
    assert "Final result:                  Passed" in answer["summary"]["text"]
    assert answer["summary"]["path"].endswith(r"\150\Setup Bootstrap\Log\Summary.txt")
    folder = r"C:\Staging" if path == HERE else r"C:\ProgramData\EngageIPPatching\staging"
    assert started(hosts) == [
        rf"{folder}\cu32.exe /quiet /IAcceptSQLServerLicenseTerms /Action=Patch /InstanceName=MSSQLSERVER"
    ]
    first, second = hosts.json("registry.json")
    assert first == second


@pytest.mark.parametrize(
    ("fault", "code", "after"),
    [
        ({"exit_code": 3010}, 3010, NEW),
        ({"exit_code": -2067919934}, -2067919934, OLD),
        ({"exit_code": -2068643838, "patches": True}, -2068643838, NEW),
        ({"exit_code": 1513770790, "summary": False}, 1513770790, OLD),
    ],
)
def test_codes_of_setup(hosts: Any, fault: dict[str, Any], code: int, after: str) -> None:
    """Signed decimals, as Summary.txt writes them; the build tells what the code does not."""
    hosts.state("setup.json", lambda state: state.update(fault))
    settings = {"code": fault["exit_code"], **{key: fault[key] for key in ("patches", "summary") if key in fault}}
    hosts.lab.faults.declare(Fault("sqlpatch.exit_code", on="MSSQLSERVER", with_=settings))
    answer = agree(hosts.call_job("Install-SqlPatch", patch()))
    assert (answer["exit_code"], answer["build_after"]) == (code, after)
    assert (answer["summary"] is None) == (fault.get("summary") is False)


def test_the_build_that_setup_has_left_behind(hosts: Any) -> None:
    """From the registry, whatever runs; an instance that is not there has none."""
    assert hosts.run("Get-SqlBuild", {"instance": "MSSQLSERVER"}).agree() == {"instance": "MSSQLSERVER", "build": OLD}
    assert hosts.run("Get-SqlBuild", {"instance": "BILLING"}).agree() == {"instance": "BILLING", "build": None}


def test_a_patch_that_is_there_already(hosts: Any) -> None:
    """Setup says so with a code of its own; a stale Summary.txt is not taken for this run's."""
    agree(hosts.call_job("Install-SqlPatch", patch()))
    answer = agree(hosts.call_job("Install-SqlPatch", patch()))
    assert (answer["exit_code"], answer["build_before"], answer["build_after"]) == (-2042429437, NEW, NEW)


def test_an_old_summary_says_nothing(hosts: Any) -> None:
    """One that lay there before is not this run's."""
    import os

    name = "C/Program Files/Microsoft SQL Server/150/Setup Bootstrap/Log/Summary.txt"
    hosts.put(name, "Final result: Passed")
    for side in (hosts.engine, hosts.lab.folder):
        os.utime(side / name, (1, 1))
    hosts.state("setup.json", lambda state: state.update(exit_code=1, summary=False))
    hosts.lab.faults.declare(Fault("sqlpatch.exit_code", with_={"code": 1, "summary": False}))
    assert agree(hosts.call_job("Install-SqlPatch", patch()))["summary"] is None


def test_no_such_instance(hosts: Any) -> None:
    """Setup refuses; there is no build before and none after."""
    answer = agree(hosts.call_job("Install-SqlPatch", patch(instance="OTHER")))
    assert (answer["exit_code"], answer["build_before"], answer["build_after"]) == (-2068774911, None, None)


@pytest.mark.parametrize("path", [HERE, SHARE])
def test_a_package_with_another_byte_is_not_run(hosts: Any, path: str) -> None:
    """What was approved is a hash."""
    put(hosts, package().replace(b"MZ", b"MX"))
    assert hosts.call_job("Install-SqlPatch", patch(path)).agree("line")["id"] == "PackageChanged"
    assert started(hosts) == []


@pytest.mark.parametrize("data", [package(signer="CN=Contoso"), b"no package at all"])
def test_a_package_of_another_publisher_is_not_run(hosts: Any, data: bytes) -> None:
    """Signed by somebody else, or not signed."""
    put(hosts, data)
    failure = hosts.call_job("Install-SqlPatch", patch(data=data)).agree("line")
    assert failure["id"] == "PackageSignature"
    assert started(hosts) == []


def test_a_package_that_is_gone(hosts: Any) -> None:
    """Named, with where it was looked for."""
    failure = hosts.call_job("Install-SqlPatch", patch(r"C:\Staging\gone.exe")).agree("line")
    assert failure["id"] == "PackageMissing"


def test_arguments_of_ones_own(hosts: Any) -> None:
    """An estate may say how its package wants to be started."""
    hosts.call_job("Install-SqlPatch", patch(arguments=["/quiet", "/InstanceName=MSSQLSERVER"], publisher=""))
    assert started(hosts) == [rf"{HERE} /quiet /InstanceName=MSSQLSERVER"]


def test_as_a_task(hosts: Any) -> None:
    """From start to job.json on both sides, and the lab's trail counts the patch."""
    done = hosts.run_job("Install-SqlPatch", patch())
    first, second = (side["job"]["result"] for side in (done.engine, done.lab))
    for one in (first, second):
        one |= {"seconds": 0, "summary": 0}
    assert first == second
    trail = [json.loads(line) for line in hosts.lab.audit.path.read_text().splitlines()]
    assert [event["build"] for event in trail if event["event"] == "sqlpatch.install"] == [NEW]
