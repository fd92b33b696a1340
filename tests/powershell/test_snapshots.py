"""Snapshots of a volume: what others have open is archived as it was, and no snapshot outlives its use by much."""

from __future__ import annotations

import fcntl
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from lab.faults import Fault
from lab.scripts import JOBS, JobCut

pytestmark = [pytest.mark.lookalike, pytest.mark.telling("New-FolderArchive", "Remove-BackupStaging")]

ARCHIVE = {"source": r"C:\Work", "destination": r"C:\Staging\work.zip"}
RECORDS = "C/ProgramData/EngageIPPatching/snapshots"
LIVE = "open files were read as they are"
OURS, THEIRS = (f"{{{letter * 8}-0000-4000-8000-{letter * 12}}}" for letter in "AB")
RECORD = json.dumps({"id": OURS, "drive": "C:"}, separators=(",", ":"))
DEVICE = r"\\?\GLOBALROOT\Device\HarddiskVolumeShadowCopy"


@pytest.fixture
def hosts(twin: Callable[..., Any]) -> Any:
    """Make a host with working files."""
    made = twin()
    protected = {"owner": "BA", "dacl": "PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"}
    made.state("acl.json", lambda acl: acl.update({r"C:\ProgramData\EngageIPPatching": protected}))
    made.put("C/Work/CDR/2026-01.csv", b"1;2\r\n" * 1000)
    made.put("C/Work/open.log", b"before")
    return made


def snapshots(hosts: Any) -> tuple[list[str], list[str]]:
    """The ids of the snapshots that there are, on both sides."""
    first, second = ([each["ID"] for each in cim.get("Win32_ShadowCopy", [])] for cim in hosts.json("cim.json"))
    return first, second


def nothing_is_left(hosts: Any) -> None:
    """No snapshot, no record, no link, on either side."""
    assert snapshots(hosts) == ([], [])
    for side in (hosts.engine, hosts.lab.folder):
        assert not (side / RECORDS).exists() or list((side / RECORDS).iterdir()) == []
    assert not (hosts.engine / "shadow").exists() or list((hosts.engine / "shadow").iterdir()) == []


def archived(hosts: Any, name: str = "open.log") -> list[bytes]:
    """A file as it is in the archive, on both sides."""
    both = []
    for side in (hosts.engine, hosts.lab.folder):
        with zipfile.ZipFile(side / "C/Staging/work.zip") as archive:
            both.append(archive.read(name))
    return both


def windows_says(hosts: Any, **said: Any) -> None:
    """What the engine's stub does otherwise than to make a snapshot."""
    hosts.state_of_engine("vss.json", said)


def left_behind(hosts: Any, record: str = RECORD) -> list[Path]:
    """A snapshot of an earlier job with its record and its link, and one that somebody else has made; the records."""
    both = [{"ID": id_, "DeviceObject": f"{DEVICE}{n}", "VolumeName": "C:\\"} for n, id_ in ((7, OURS), (8, THEIRS))]
    hosts.state("cim.json", lambda cim: cim.update(Win32_ShadowCopy=both))
    hosts.put(f"{RECORDS}/earlier.json", record)
    for number in (7, 8):
        (hosts.engine / f"shadow/{number}/Work").mkdir(parents=True)
    (hosts.engine / RECORDS / "earlier").symlink_to(hosts.engine / "shadow/7", target_is_directory=True)
    return [side / RECORDS / "earlier.json" for side in (hosts.engine, hosts.lab.folder)]


# Reading -------------------------------------------------------------------------------------------------------------


def test_a_snapshot_is_read_and_deleted(hosts: Any) -> None:
    """Nothing is left of it: no snapshot, no record, no link."""
    answer = hosts.call_job("New-FolderArchive", ARCHIVE).agree("sha256", "size")
    assert (answer["snapshot"], answer["remark"], answer["files"]) == (True, None, 2)
    assert archived(hosts) == [b"before"] * 2
    nothing_is_left(hosts)
    told = [json.loads(line) for line in hosts.lab.audit.path.read_text().splitlines()]
    assert [each["event"] for each in told] == ["snapshot.create", "snapshot.delete", "backup.archive"]
    assert told[0]["id"] == told[1]["id"]


def test_what_is_written_meanwhile_is_not_in_it(hosts: Any) -> None:
    """The archive is of one moment: the one of the snapshot."""
    windows_says(hosts, meanwhile={r"C:\Work\open.log": "after", r"C:\Work\new.log": "new"})
    hosts.call_job("New-FolderArchive", ARCHIVE).agree("sha256", "size")
    assert (hosts.engine / "C/Work/open.log").read_text() == "after"
    assert archived(hosts) == [b"before"] * 2


def test_a_locked_file(hosts: Any) -> None:
    """It is archived through a snapshot, and named without one."""
    hosts.lab.faults.declare(Fault("file.locked", on=r"C:\Work\open.log"))
    with (hosts.engine / "C/Work/open.log").open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert hosts.call_job("New-FolderArchive", ARCHIVE).agree("sha256", "size")["snapshot"] is True
        assert archived(hosts) == [b"before"] * 2
        both = hosts.call_job("New-FolderArchive", ARCHIVE | {"snapshot": False})
    assert both.agree("line", "message")["id"] == "FileUnreadable"
    for side in (both.engine, both.lab):
        assert side["error"]["message"].startswith(
            r"C:\Work\open.log cannot be read: The process cannot access the file"
        )


def test_an_estate_may_want_none(hosts: Any) -> None:
    """None is asked for then, and there is nothing to remark on."""
    answer = hosts.call_job("New-FolderArchive", ARCHIVE | {"snapshot": False}).agree("sha256", "size")
    assert (answer["snapshot"], answer["remark"]) == (False, None)
    assert [cim.get("Win32_ShadowCopy") for cim in hosts.json("cim.json")] == [None, None]


# None, and why -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (1, "access denied"),
        (2, "invalid argument"),
        (3, "volume not found"),
        (4, "volume not supported"),
        (5, "context not supported"),
        (6, "insufficient storage"),
        (7, "volume in use"),
        (8, "maximum number reached"),
        (10, "provider vetoed"),
        (11, "provider not registered"),
        (12, "provider failure"),
        (13, "unknown error"),
        (2147754774, "error 2147754774"),
    ],
)
def test_windows_makes_none(hosts: Any, code: int, why: str) -> None:
    """The files are read as they are, and it is said why."""
    windows_says(hosts, codes=[code])
    hosts.lab.faults.declare(Fault("vss.unavailable", on=hosts.lab.name, times=1, with_={"code": code}))
    answer = hosts.call_job("New-FolderArchive", ARCHIVE).agree("sha256", "size")
    assert answer["remark"] == f"Windows makes no snapshot of C: ({why}): {LIVE}"
    assert (answer["snapshot"], answer["files"]) == (False, 2)
    nothing_is_left(hosts)


def test_another_one_is_being_made(hosts: Any) -> None:
    """Windows makes one after the other: that is waited for, two minutes long."""
    for times, remark in ((3, None), (60, f"Windows makes no snapshot of C: (another snapshot is being made): {LIVE}")):
        windows_says(hosts, codes=[9] * times)
        hosts.lab.faults.declare(Fault("vss.unavailable", on=hosts.lab.name, times=times, with_={"code": 9}))
        answer = hosts.call_job("New-FolderArchive", ARCHIVE).agree("sha256", "size")
        assert (answer["snapshot"], answer["remark"]) == (remark is None, remark)
        nothing_is_left(hosts)


def test_a_link_that_cannot_be_made(hosts: Any) -> None:
    """The snapshot that was made goes at once."""
    windows_says(hosts, mklink=1)
    value = hosts.call_job("New-FolderArchive", ARCHIVE).engine["value"]
    why = "mklink says You do not have sufficient privilege to perform this operation"
    assert (value["snapshot"], value["remark"]) == (False, f"Windows makes no snapshot of C: ({why}): {LIVE}")
    nothing_is_left(hosts)


def test_a_folder_that_a_link_leads_to(hosts: Any) -> None:
    """It may lie on another volume, of which the snapshot holds nothing: none is asked for, and nothing is claimed."""
    for side in (hosts.engine, hosts.lab.folder):
        (side / "C/Link").symlink_to(side / "C/Work", target_is_directory=True)
    answer = hosts.call_job("New-FolderArchive", ARCHIVE | {"source": r"C:\Link\CDR"}).agree("sha256", "size")
    assert (answer["snapshot"], answer["files"]) == (False, 1)
    assert answer["remark"] == rf"C:\Link is a link, which a snapshot of C: does not hold: {LIVE}"
    nothing_is_left(hosts)


def test_one_that_windows_drops(hosts: Any) -> None:
    """Its storage was full: everything is read anew, as it is."""
    windows_says(hosts, lost=True)
    hosts.lab.faults.declare(Fault("vss.lost", on=r"C:\Work", times=1))
    answer = hosts.call_job("New-FolderArchive", ARCHIVE).agree("sha256", "size")
    assert (answer["snapshot"], answer["files"]) == (False, 2)
    assert answer["remark"].startswith("Windows dropped the snapshot of C: while it was read")
    assert archived(hosts) == [b"before"] * 2
    assert snapshots(hosts) == ([], [])
    assert hosts.files(RECORDS) == ([], [])


def test_records_that_another_has_made(hosts: Any) -> None:
    """Whoever writes records decides what is deleted: a folder of anybody else's is not touched."""
    records = left_behind(hosts)
    hosts.state(
        "acl.json",
        lambda acl: acl.update({r"C:\ProgramData\EngageIPPatching\snapshots": {"owner": "BU"}}),
    )
    answer = hosts.call_job("New-FolderArchive", ARCHIVE).agree("sha256", "size")
    assert (answer["snapshot"], "belongs neither to SYSTEM nor to Administrators" in answer["remark"]) == (False, True)
    assert snapshots(hosts) == ([OURS, THEIRS],) * 2
    assert all(record.exists() for record in records)


# What is left behind -------------------------------------------------------------------------------------------------

LATER = [("New-FolderArchive", ARCHIVE), ("Remove-BackupStaging", {"paths": []})]


@pytest.mark.parametrize(("script", "parameters"), LATER)
def test_what_a_job_that_was_cut_has_left(hosts: Any, script: str, parameters: dict[str, Any]) -> None:
    """The next job deletes it, by its id; nobody else's snapshot is ever touched."""
    left_behind(hosts)
    hosts.call_job(script, parameters).agree("sha256", "size")
    assert snapshots(hosts) == ([THEIRS],) * 2
    assert hosts.files(RECORDS) == ([], [])
    assert list((hosts.engine / RECORDS).iterdir()) == []
    assert [each.name for each in (hosts.engine / "shadow").iterdir()] == ["8"]


@pytest.mark.parametrize(("script", "parameters"), LATER)
def test_one_in_use_is_left_alone(hosts: Any, script: str, parameters: dict[str, Any]) -> None:
    """Other archives are made at the same time: a record that is open has its maker."""
    records = left_behind(hosts)
    hosts.lab.held.add(r"C:\ProgramData\EngageIPPatching\snapshots\earlier.json")
    with records[0].open("r+b") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        hosts.call_job(script, parameters).agree("sha256", "size")
    assert snapshots(hosts) == ([OURS, THEIRS],) * 2
    assert all(record.exists() for record in records)


@pytest.mark.parametrize("begun", [True, False])
def test_whoever_cuts_a_job_deletes_what_it_leaves(
    hosts: Any, job_document: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    """A run that is cancelled in its backups leaves no snapshot behind; a job that is only withdrawn has made none."""
    monkeypatch.setitem(JOBS, "New-FolderArchive", lambda *_, **__: {})
    hosts.run("Start-PatchJob", job_document("run.1.archive.x", "New-FolderArchive", ARCHIVE))
    hosts.wait("run.1.archive.x")
    left_behind(hosts)
    for side in (hosts.engine, hosts.lab.folder):
        job = side / "C/ProgramData/EngageIPPatching/jobs/run.1.archive.x/job.json"
        told = json.loads(job.read_text(encoding="utf-8"))
        job.write_text(json.dumps(told | {"state": "running" if begun else "created"}), encoding="utf-8")
    answer = hosts.run("Stop-PatchJob", {"id": "run.1.archive.x", "fence": 1, "begun": True})
    assert [side["value"]["stopped"] for side in (answer.engine, answer.lab)] == [True, True]
    assert snapshots(hosts) == (([THEIRS] if begun else [OURS, THEIRS]),) * 2


@pytest.mark.parametrize("record", ["", "\0" * 256, '{"id":"', '{"id":"*","drive":"C:"}', '{"id":"{B%}","drive":"C:"}'])
def test_a_record_that_names_none(hosts: Any, record: str) -> None:
    """Its maker died before there was one: it goes, and nothing with it."""
    left_behind(hosts, record)
    hosts.call_job("New-FolderArchive", ARCHIVE).agree("sha256", "size")
    assert snapshots(hosts) == ([OURS, THEIRS],) * 2
    assert hosts.files(RECORDS) == ([], [])


def test_one_that_cannot_be_deleted(hosts: Any) -> None:
    """The backup counts, its remark says so, and the next one tries again."""
    windows_says(hosts, stays=True)
    hosts.lab.faults.declare(Fault("vss.stays", on=hosts.lab.name, times=1))
    both = hosts.call_job("New-FolderArchive", ARCHIVE)
    assert both.agree("sha256", "size", "remark")["snapshot"] is True
    for side, (left,) in zip((both.engine, both.lab), snapshots(hosts), strict=True):
        said = f"the snapshot {left} could not be deleted (Generic failure): the next backup tries again"
        assert side["value"]["remark"] == said
    windows_says(hosts)
    hosts.call_job("Remove-BackupStaging", {"paths": []}).agree()
    nothing_is_left(hosts)


def test_a_job_of_the_lab_that_is_cut(hosts: Any) -> None:
    """It runs no finally: its snapshot and its record stay, of the real script's form, until the next job comes."""
    stop = Event()

    def cut(_percent: int, message: str) -> None:
        if message.startswith("packing"):
            stop.set()

    with pytest.raises(JobCut):
        JOBS["New-FolderArchive"](hosts.lab, ARCHIVE, {}, cut, stop)
    ((left,), (record,)) = snapshots(hosts)[1], hosts.files(RECORDS)[1]
    assert re.fullmatch(r"[0-9a-f-]{36}\.json", record)
    assert (hosts.lab.folder / RECORDS / record).read_text() == RECORD.replace(OURS, left)
    hosts.call_job("Remove-BackupStaging", {"paths": []}).agree()
    nothing_is_left(hosts)


def test_what_the_record_says(hosts: Any) -> None:
    """The real script's, as it lies there while the snapshot is read: its id, on the disk before anything else is done."""
    windows_says(hosts, stays=True)
    hosts.call_job("New-FolderArchive", ARCHIVE)
    ((left,), (record,)) = snapshots(hosts)[0], hosts.files(RECORDS)[0]
    assert (hosts.engine / RECORDS / record).read_text() == RECORD.replace(OURS, left)
