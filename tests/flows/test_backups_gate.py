"""Nights that end at the backups: nothing is installed, everything is up again, and one line says what to mend.

Promise 1 itself is asked of each of these labs by ``start_lab``.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from standing import INSTALLS, assert_released, snapshots, standing

from flows.patch import patch_estate
from model.keys import RunKey
from model.stores import object_name, windows_path

pytestmark = pytest.mark.night

CHANGE = "CHG0031003"
SHARE, BUCKET = r"\\nas01\billing", "acme-backups"
STOPPED = "acme-billing: stopped at backup, nothing was installed, everything is up. "
ALL = r"folder D:\Work of web01 and 7 more"
S3 = "s3://acme-backups/billing/"


class Nights:
    """Nights one after the other on one lab, each an attempt of its own; what is broken in one is mended after it."""

    def __init__(self, lab: Any, run_flow: Callable[..., Any]) -> None:
        self.lab, self._run_flow = lab, run_flow
        self.attempt = 0
        self.quiesces = 0
        self.before = standing(lab)

    def fail(self) -> str:
        """Run one night, which must fail and leave everything as it was; answers its message as Prefect tells it."""
        self.attempt += 1
        ran = self._run_flow(patch_estate, estate=self.lab.estate, change=CHANGE, attempt=self.attempt)
        assert ran.type == "FAILED", ran.message
        assert self.lab.audit(*INSTALLS) == []
        assert standing(self.lab) == self.before
        assert_released(self.lab)
        assert self.staged() == []
        assert snapshots(self.lab) == []
        self.lab.clear()
        return str(ran.message)

    def staged(self) -> list[str]:
        """What lies in the staging folders."""
        folders = [
            self.lab.folder / "hosts" / host / drive / "Staging" for host, drive in (("sql01", "E"), ("web01", "D"))
        ]
        return [file.name for folder in folders for file in folder.iterdir()]

    def free(self, host: str, drive: str, free: int) -> None:
        """Leave so many bytes on a drive."""
        path = self.lab.folder / "hosts" / host / "drives.json"
        drives = json.loads(path.read_text(encoding="utf-8"))
        drives[drive]["free"] = free
        path.write_text(json.dumps(drives), encoding="utf-8")

    def in_share(self, kind: str, host: str, subject: str, extension: str) -> str:
        """Where the next night will put a backup."""
        key = RunKey.for_change("acme-billing", CHANGE, self.attempt + 1)
        number = 1 + max((e["number"] for e in self.lab.audit("quiesce.open")), default=0)
        return windows_path(SHARE, object_name(key, number, kind, host, subject, extension))

    @contextmanager
    def meanwhile(self, event: str, act: Callable[[], None]) -> Iterator[None]:
        """Act as soon as the trail tells of another ``event`` than those until now."""
        known = len(self.lab.audit(event))

        def watch() -> None:
            self.lab.until(lambda: len(self.lab.audit(event)) > known, event)
            act()

        thread = threading.Thread(target=watch)
        thread.start()
        yield
        thread.join()


@pytest.fixture
def nights(start_lab: Callable[..., Any], run_flow: Callable[..., Any]) -> Nights:
    """A lab that is ready for its first night."""
    return Nights(start_lab(), run_flow)


def test_corrupt_backups(nights: Nights) -> None:
    """A byte that changes at the source, on the way, at the target, or there later is found before anything is installed."""
    lab = nights.lab
    lab.declare("backup.flip_source", r"D:\Work")
    lab.declare("backup.flip_target", nights.in_share("iis", "web01", "IIS configuration", ".zip"))
    assert nights.fail() == STOPPED + (
        r"(1) folder D:\Work of web01: D:\Staging\files.web01.D-Work--153d8d77.zip has changed since it was made (another "
        "SHA-256). It was sent nowhere. Check the disk of WEB01, then run again. "
        rf"(2) IIS configuration of web01 did not reach {SHARE} whole: what was read back is not what was sent. Check the "
        "network to nas01 and its disks, then run again."
    )

    lab.declare("backup.flip_transit", SHARE)
    lab.declare("backup.flip_transit", BUCKET)
    assert nights.fail() == STOPPED + (
        rf"(1) {ALL} did not reach {SHARE} whole: what was read back is not what was sent. Check the network to nas01 "
        f"and its disks, then run again. (2) {ALL} did not reach {S3} whole: what arrived is not what was sent "
        "(BadDigest). Check the network to the store, then run again."
    )

    lab.declare("backup.flip_target", nights.in_share("database", "sql01", "EngageIP", ".bak"), when="later")
    assert nights.fail() == STOPPED + (
        rf"database EngageIP of sql01: the backup in {SHARE} is not verified: read again where it lies, it is not what "
        "was sent. Check the disks of nas01, then run again."
    )
    assert [e["path"].rpartition("\\")[2] for e in lab.audit("backup.damaged")][-1] == "database.sql01.EngageIP.bak"

    lab.declare("backup.flip_byte", "EngageIP")
    assert nights.fail() == STOPPED + (
        "sql01: the backup of EngageIP is not usable: RESTORE VERIFYONLY says: Damage to the backup set was detected "
        "(3189). Check the disk behind E:, then run again."
    )


def test_full_disks(nights: Nights) -> None:
    """Room is missing before an archive is begun, in the middle of one, or half-way through a database."""
    lab = nights.lab
    lab.declare("backup.disk_full", r"D:\Work", free=1_000_000)
    lab.declare("backup.disk_full", r"C:\Program Files\LogiSense\EngageIP", free=1000)
    message = nights.fail()
    assert re.fullmatch(
        re.escape(
            STOPPED + r"(1) folder D:\Work of web01: no space left on D: while it was packed. Free space, or set "
            r"backup.staging. (2) installation folder C:\Program Files\LogiSense\EngageIP of web01: no space on D: for "
            r"the archive of C:\Program Files\LogiSense\EngageIP (needs SIZE KB, has 1000 bytes). Free space, or set "
            "backup.staging."
        ).replace("SIZE", r"\d+\.\d"),
        message,
    ), message

    nights.free("sql01", "E", 8000)
    message = nights.fail()
    shown = "sql01: BACKUP of {} failed: no space on E: (needs SIZE KB, has 7.8 KB). Free space or set backup.staging."
    first, second, third = (shown.format(name) for name in ("EngageIP", "Reporting", "master"))
    told = f"{STOPPED}(1) {first} (2) {second} (3) {third} (and 2 more)"
    assert re.fullmatch(re.escape(told).replace("SIZE", r"\d+"), message), message
    assert {e["number"] for e in lab.audit("backup.failed")} == {3202}
    (job,) = (lab.folder / "hosts/sql01/C/ProgramData/EngageIPPatching/jobs").glob("*.2.backup.sql01-EngageIP/job.json")
    result = json.loads(job.read_text(encoding="utf-8"))["result"]
    assert {m["number"] for m in result["messages"]} == {3211}, "SQL Server tells its progress before it fails"
    assert [e["number"] for e in result["errors"]] == [3202, 3013]


def test_stores_that_are_away(nights: Nights) -> None:
    """A share and a bucket that refuse or are gone, before the night or in the middle of it: each told once."""
    lab = nights.lab
    endpoint = lab.papers["s3"]
    login = "Is the share up, has it room, and may the login of nas-acme write there?"
    lab.declare("store.unreachable", SHARE)
    assert nights.fail() == (
        "acme-billing: stopped at fetch, nothing was installed, everything is up. sql01: SQL Server 2019 CU32: "
        rf"{SHARE}\packages\SQLServer2019-KB5054833-x64.exe cannot be fetched: The network path was not found. "
        "Can sql01 reach it, and may its login read there?"
    )
    assert lab.audit("quiesce.open") == [], "a file is missed before anything is stopped"

    lab.declare("store.denied", BUCKET, actions=["s3:PutObject"])
    with nights.meanwhile("quiesce.open", lambda: lab.declare("store.unreachable", SHARE)):
        assert nights.fail() == STOPPED + (
            f"(1) {ALL} did not reach {SHARE}: The network path was not found. {login} "
            f"(2) {ALL} did not reach {S3}: {endpoint} answered HTTP 403 AccessDenied: User is not authorized to perform: "
            "s3:PutObject. Grant s3:PutObject on acme-backups to the key of s3-acme."
        )

    lab.declare("store.denied", SHARE)
    with nights.meanwhile("lease.enter", lambda: lab.declare("store.unreachable", BUCKET)):
        assert nights.fail() == STOPPED + (
            f"(1) {ALL} did not reach {SHARE}: Access is denied. {login} "
            f"(2) {ALL} did not reach {S3}: {endpoint} does not answer (ConnectionClosed). Check the route, the firewall "
            "and the name from this host."
        )

    lab.declare("store.denied", BUCKET, actions=["s3:GetObject"])
    assert nights.fail() == STOPPED + (
        f"{ALL}: the backup in {S3} is not verified: key AKIA...LAB1 may not do s3:GetObject on acme-backups, or its "
        "secret is wrong. Grant s3:GetObject, or correct the credentials. Without s3:ListBucket a missing object "
        "answers the same."
    )

    lab.declare("store.unreachable", BUCKET)
    opened = len(lab.audit("quiesce.open"))
    assert nights.fail() == (
        "acme-billing: stopped at preflight, nothing was touched. "
        f"{S3}: {endpoint} does not answer. Check network, proxy and endpoint_url."
    )
    assert len(lab.audit("quiesce.open")) == opened, "seen before anything was touched"
