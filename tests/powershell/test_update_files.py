"""Windows updates as files in a folder: copied, checked, installed by wusa.exe or dism.exe; the code is only told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.faults import Fault
from lab.servicing import commit

pytestmark = [pytest.mark.lookalike, pytest.mark.telling("Find-UpdateFile", "Install-UpdateFile")]

HERE, SHARE = r"D:\Updates", r"\\nas01\billing\updates"
CU, NET, OTHER = "windows10.0-kb5034127-x64.msu", "Windows10.0-KB5033904-x64.cab", "windows10.0-kb5034119-x64.msu"


def content(kb: str, **more: Any) -> bytes:
    return b"MSCF" + bytes(range(200)) + b"\n" + json.dumps({"kb": kb, **more}).encode() + b"\n"


FILES = {
    CU: content("KB5034127", reboot=True, ubr=5329),
    NET: content("KB5033904"),
    OTHER: content("KB5034119", not_for=True),
    "readme.txt": b"not an update",
}


@pytest.fixture
def hosts(twin: Callable[..., Any]) -> Any:
    """Make a host with the files on its disk and on the share, and one hotfix."""
    made = twin(speed=1000.0)
    for name, data in FILES.items():
        made.put(f"D/Updates/{name}", data)
        made.put(f"unc/nas01/billing/updates/{name}", data)
    made.state(
        "cim.json",
        lambda cim: cim.update(Win32_QuickFixEngineering=[{"HotFixID": "KB4589208"}, {"HotFixID": "File 1"}]),
    )
    made.state("updates.json", lambda state: state.update(reboot_pending=False, updates=[]))
    build(made, "17763")
    return made


def build(hosts: Any, number: str) -> None:
    def change(registry: dict[str, Any]) -> None:
        registry["HKLM"]["SOFTWARE"]["Microsoft"]["Windows NT"]["CurrentVersion"]["@"]["CurrentBuildNumber"] = number

    hosts.state("registry.json", change)


def wanted(*names: str, folder: str = HERE) -> dict[str, Any]:
    files = [{"name": name, "sha256": hashlib.sha256(FILES.get(name, b"")).hexdigest()} for name in names]
    return {"folder": folder, "files": files}


def run(hosts: Any) -> list[str]:
    log: Path = hosts.engine / "setup.log"
    return log.read_text().splitlines() if log.exists() else []


@pytest.mark.parametrize("folder", [HERE, SHARE])
def test_what_lies_in_a_folder(hosts: Any, folder: str) -> None:
    """Names, sizes and hashes of .msu and .cab; what Windows lists as installed; its build."""
    answer = hosts.call_job("Find-UpdateFile", {"folder": folder}).agree()
    assert [file["name"] for file in answer["files"]] == [NET, OTHER, CU]
    assert answer["files"][0]["sha256"] == hashlib.sha256(FILES[NET]).hexdigest()
    assert answer["hotfixes"] == ["KB4589208"]
    assert answer["build"] == {"number": 17763, "ubr": 6414}
    quick = hosts.call_job("Find-UpdateFile", {"folder": folder, "hash": False}).agree()
    assert {file["sha256"] for file in quick["files"]} == {None}


def test_a_folder_that_is_not_there(hosts: Any) -> None:
    """Named, with what to correct."""
    failure = hosts.call_job("Find-UpdateFile", {"folder": r"D:\Nowhere"}).agree("line")
    assert failure["id"] == "FolderMissing"


@pytest.mark.parametrize("folder", [HERE, SHARE])
def test_files_are_installed_from_this_host(hosts: Any, folder: str) -> None:
    """In the plan's order, each by the program that it wants, from a copy that is gone afterwards; codes as they came."""
    answer = hosts.call_job("Install-UpdateFile", wanted(NET, OTHER, CU, folder=folder)).agree()
    assert [(file["tool"], file["exit_code"]) for file in answer["files"]] == [
        ("dism", 0),
        ("wusa", -2145124329),
        ("wusa", 3010),
    ]
    assert answer["reboot_required"]
    staging = r"C:\ProgramData\EngageIPPatching\staging\updates"
    assert run(hosts) == [
        rf'C:\Windows\System32\dism.exe /Online /Add-Package /PackagePath:"{staging}\{NET}" /Quiet /NoRestart',
        rf'C:\Windows\System32\wusa.exe "{staging}\{OTHER}" /quiet /norestart',
        rf'C:\Windows\System32\wusa.exe "{staging}\{CU}" /quiet /norestart',
    ]
    assert hosts.files("C/ProgramData/EngageIPPatching/staging") == ([], [])
    assert hosts.call_job("Find-UpdateFile", {"folder": folder}).agree()["hotfixes"] == ["KB4589208", "KB5033904"]
    again = hosts.call_job("Install-UpdateFile", wanted(NET, CU)).agree()
    assert {file["skipped"] for file in again["files"]} == {"reboot first"}


def test_what_is_there_already_is_said_by_a_code(hosts: Any) -> None:
    """2359302 is wusa.exe's word for it; the engine's rescan is the proof, not the code."""
    hosts.state("cim.json", lambda cim: cim["Win32_QuickFixEngineering"].append({"HotFixID": "KB5034127"}))
    answer = hosts.call_job("Install-UpdateFile", wanted(CU)).agree()
    assert answer["files"][0]["exit_code"] == 2359302
    assert not answer["reboot_required"]


def test_checkpoints_want_dism(hosts: Any) -> None:
    """From Windows Server 2025 on: it finds in the folder what a cumulative update builds upon."""
    build(hosts, "26100")
    answer = hosts.call_job("Install-UpdateFile", wanted(CU, OTHER)).agree()
    assert [(file["tool"], file["exit_code"]) for file in answer["files"]] == [("dism", 3010), ("dism", -2146498530)]


def test_what_a_cut_job_has_left_is_not_installed_with_it(hosts: Any) -> None:
    """dism.exe takes what lies beside an update, and nobody has checked that one."""
    build(hosts, "26100")
    hosts.put(
        "C/ProgramData/EngageIPPatching/staging/updates/windows11.0-kb5043080-x64.msu", b"left by a job that was cut"
    )
    answer = hosts.call_job("Install-UpdateFile", wanted(CU)).agree()
    assert answer["files"][0]["exit_code"] == 3010
    assert (hosts.engine / "beside.log").read_text().split() == [CU]
    assert hosts.files("C/ProgramData/EngageIPPatching/staging") == ([], [])


def test_one_flipped_byte_and_nothing_is_run(hosts: Any) -> None:
    """Also not the files that are as they were: all are checked before the first."""
    hosts.put(f"D/Updates/{CU}", FILES[CU].replace(b"MSCF", b"MSCE"))
    failure = hosts.call_job("Install-UpdateFile", wanted(NET, CU)).agree("line")
    assert failure["id"] == "UpdateFileChanged"
    assert CU in failure["message"]
    assert run(hosts) == []
    assert hosts.files("C/ProgramData/EngageIPPatching/staging") == ([], [])


@pytest.mark.parametrize(
    "signer", ["CN=Contoso Ltd, O=Contoso Ltd, C=CA", "CN=Microsoft Corporation, O=Contoso Ltd", None]
)
def test_what_microsoft_has_not_signed_is_not_run(hosts: Any, signer: str | None) -> None:
    """The hash says that it is what lay there at the scan, not whose it is."""
    foreign = content("KB5034127", signer=signer) if signer else b"MSCF, and nobody's name"
    hosts.put(f"D/Updates/{CU}", foreign)
    files = [*wanted(NET)["files"], {"name": CU, "sha256": hashlib.sha256(foreign).hexdigest()}]
    failure = hosts.call_job("Install-UpdateFile", {"folder": HERE, "files": files}).agree("line")
    assert failure["id"] == "UpdateFileSignature"
    assert (
        f"{CU} is not signed by Microsoft: its signature is {'Valid' if signer else 'NotSigned'}" in failure["message"]
    )
    assert run(hosts) == []


def test_a_staging_folder_that_lets_others_in_is_refused(hosts: Any) -> None:
    """Between the comparison of its hash and its run a file could be changed there."""
    staging = r"C:\ProgramData\EngageIPPatching\staging"
    hosts.put("C/ProgramData/EngageIPPatching/staging/theirs.txt", "")
    let_in = {staging: {"owner": "BA", "dacl": "AI(A;OICI;0x1301bf;;;BU)"}}
    hosts.state("acl.json", lambda acl: acl.update(let_in))
    assert hosts.call_job("Install-UpdateFile", wanted(NET)).agree("line")["id"] == "FolderAccess"
    assert run(hosts) == []


def test_a_file_that_is_gone_is_left_out(hosts: Any) -> None:
    """The others go in."""
    answer = hosts.call_job("Install-UpdateFile", wanted("gone-kb1234567.msu", NET)).agree()
    assert [(file["skipped"], file["exit_code"]) for file in answer["files"]] == [("not offered", None), (None, 0)]


def test_codes_are_told_as_they_come(hosts: Any) -> None:
    """Signed decimals; nothing went in."""
    hosts.state("servicing.json", lambda state: state.update({CU: -2145124330}))
    hosts.lab.faults.declare(Fault("updatefile.exit_code", on=CU, with_={"code": -2145124330}))
    answer = hosts.call_job("Install-UpdateFile", wanted(CU)).agree()
    assert answer["files"][0]["exit_code"] == -2145124330
    assert not answer["reboot_required"]


def test_the_boot_completes_it_in_the_lab(hosts: Any) -> None:
    """Listed and the build raised; one that rolls back is neither."""
    hosts.call_job("Install-UpdateFile", wanted(CU))
    commit(hosts.lab)
    found = hosts.call_job("Find-UpdateFile", {"folder": HERE}).lab["value"]
    assert "KB5034127" in found["hotfixes"]
    trail = [json.loads(line) for line in hosts.lab.audit.path.read_text().splitlines()]
    assert [(event["id"], event["kb"]) for event in trail if event["event"] == "update.install"] == [(CU, ["5034127"])]
