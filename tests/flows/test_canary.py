"""The canary over a whole lab: no night without one, each policy in its way by name, and nothing left behind."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

import pytest

from flows.check import check_estate
from flows.patch import patch_estate
from model.records import HostFacts
from tasks.canary import refusals, rehearse
from tasks.run import Run, open_run

pytestmark = pytest.mark.night

JOBS = "C/ProgramData/EngageIPPatching/jobs"
PLAIN_USER = "S-1-5-21-1004336348-1177238915-682003330-1001"


def change(lab: Any, host: str, file: str, edit: Callable[[Any], object]) -> None:
    """Change a file of a host, as somebody with access to it would."""
    path = lab.folder / "hosts" / host / file
    state = json.loads(path.read_text(encoding="utf-8"))
    edit(state)
    path.write_text(json.dumps(state), encoding="utf-8")


def refused(run: Run, host: str = "web01") -> list[str]:
    """Why a night would refuse the host now."""
    return refusals(run, HostFacts.of(host, run.hosts[host].run("Get-HostFacts")))


def test_no_night_without_a_canary(start_lab: Callable[..., Any], run_flow: Callable[..., Any]) -> None:
    """A fresh estate is refused, in one line for all its hosts, with the command; a check proves it."""
    lab = start_lab(rehearsed=False)
    lab.until(lambda: len(lab.audit("sql.batch", effects_only=False)) >= 2, "the start of both portals' applications")
    before = lab.audit()
    ran = run_flow(patch_estate, estate=lab.estate)
    assert ran.type == "FAILED"
    assert ran.message.startswith("acme-billing: stopped at preflight, nothing was touched. ")
    assert ran.message.endswith(
        "sql01 and web01: no canary has run here, so nobody knows whether its policies let a job do its work. "
        "Run: billpatch check acme-billing"
    )
    assert lab.audit() == before
    looked = run_flow(check_estate, estate=lab.estate, canary=False)
    assert "no canary has run here" in looked.message
    assert lab.audit() == before, "without a canary a check touches nothing"
    proven = run_flow(check_estate, estate=lab.estate)
    assert (proven.type, proven.message) == (
        "COMPLETED",
        "acme-billing: 2 hosts, a canary did its work on each, nothing speaks against patching.",
    )
    with open_run(lab.estate) as run:
        assert refused(run) == []


def test_it_leaves_nothing_but_its_record(start_lab: Callable[..., Any]) -> None:
    """On hosts one folder and one task, however often it runs; nothing on the share, nothing in the bucket."""
    lab = start_lab(rehearsed=False)
    before = set((lab.folder / "nas01").rglob("*"))
    drives = {host: set((lab.folder / "hosts" / host).glob("[DE]/**")) for host in ("sql01", "web01")}
    lab.rehearse()
    lab.rehearse()
    assert set((lab.folder / "nas01").rglob("*")) == before
    assert {host: set((lab.folder / "hosts" / host).glob("[DE]/**")) for host in ("sql01", "web01")} == drives
    trail = lab.process.trail()
    kept = [each["key"] for each in trail if each["event"] == "store.put"]
    assert len(kept) == 4
    assert sorted(kept) == sorted(each["key"] for each in trail if each["event"] == "store.delete")
    for host in ("sql01", "web01"):
        folder = lab.folder / "hosts" / host
        assert [path.name for path in (folder / JOBS).iterdir()] == ["canary.acme-billing"]
        assert list(lab.host_json(host, "tasks.json")) == ["\\EngageIPPatching\\canary.acme-billing"]
        assert not list(folder.rglob("*.probe"))
        assert not list(folder.rglob("secrets.bin"))


def test_a_bucket_that_lets_nothing_be_deleted_is_as_good(start_lab: Callable[..., Any]) -> None:
    """The keys of backups may not delete, which is wise: one small object a host stays, and is written over."""
    lab = start_lab()
    lab.declare("store.denied", "acme-backups", actions=["s3:DeleteObject"])
    lab.rehearse()
    lab.clear()
    lab.declare("store.denied", "acme-backups", actions=["s3:GetObject"])
    with open_run(lab.estate) as run:
        told = rehearse(run)
    assert len(told) == 2
    assert "s3:GetObject" in told[0]


def test_two_checks_at_the_same_time(start_lab: Callable[..., Any]) -> None:
    """The second finds the canary of the first at work, and takes its answer: neither takes the other's probe for a fault."""
    lab = start_lab(rehearsed=False)
    lab.declare("task.queued", "web01", seconds=600)
    with open_run(lab.estate) as one, open_run(lab.estate) as other, ThreadPoolExecutor() as pool:
        first = pool.submit(rehearse, one)
        lab.until(lambda: "canary.acme-billing" in str(lab.host_json("web01", "tasks.json")), "the canary of the first")
        assert rehearse(other) == []
        assert first.result() == []
    assert [each["host"] for each in lab.audit("job.start")].count("web01") == 1


def test_a_canary_that_began_before_another_was_looked_at(start_lab: Callable[..., Any]) -> None:
    """A check that comes to the bucket when the next one has written there believes its host; so does the next."""
    lab = start_lab()
    with open_run(lab.estate) as one, open_run(lab.estate) as other:
        told: list[list[str]] = []
        first = Lock()
        [(name, bucket)] = one.buckets.items()

        class Late:
            """The bucket, as it is reached by somebody slow."""

            def __getattr__(self, name: str) -> Any:
                return getattr(bucket, name)

            def verify(self, *place: Any, **proof: Any) -> Any:
                if first.acquire(blocking=False):
                    told.append(rehearse(other))
                return bucket.verify(*place, **proof)

        one.buckets[name] = Late()  # type: ignore[assignment]
        assert rehearse(one) == []
        assert told == [[]]


def test_a_canary_of_another_estate_file_is_followed_by_ours(start_lab: Callable[..., Any]) -> None:
    """One that is at work and tries other folders than ours proves nothing for us: ours runs after it.

    The host remembers one of them: the last, whichever of the two had to run once more for the other.
    """
    lab = start_lab(rehearsed=False)
    lab.declare("task.queued", "web01", times=1, seconds=600)
    moved = lab.estate_with(lambda estate: estate["backup"]["staging"].update(web01=r"F:\Staging"))
    with open_run(moved) as one, open_run(lab.estate) as other, ThreadPoolExecutor() as pool:
        first = pool.submit(rehearse, one)
        lab.until(lambda: "canary.acme-billing" in str(lab.host_json("web01", "tasks.json")), "the canary of the first")
        assert rehearse(other) == []
        assert first.result() == []
        assert sorted(bool(refused(each)) for each in (one, other)) == [False, True]


def test_a_canary_that_proves_nothing_any_more(start_lab: Callable[..., Any]) -> None:
    """Too old, of other scripts, of other stores or another staging folder, not ended: each is told, a new one mends it."""
    lab = start_lab()
    record = f"{JOBS}/canary.acme-billing/job.json"
    old = (datetime.now(UTC) - timedelta(days=20)).isoformat()
    with open_run(lab.estate) as run:
        change(lab, "web01", record, lambda job: job.update(ended=old))
        assert refused(run) == ["its canary ran 20 days ago, and canary.max_age is 14 days"]
        assert refused(run, "sql01") == []
        assert rehearse(run) == []
        assert refused(run) == []
        change(lab, "web01", record, lambda job: job.update(library_sha256="0" * 64))
        assert "billpatch was changed since" in refused(run)[0]
        change(lab, "web01", record, lambda job: job.update(state="running", ended=None))
        assert refused(run) == ["its canary has not come to an end"]
        assert rehearse(run) == []
        change(lab, "web01", record, lambda job: job["result"]["targets"].pop())
        assert refused(run) == ["its canary did not try s3://acme-backups/billing/acme-billing/canary-web01.txt"]
    moved = lab.estate_with(lambda estate: estate["backup"]["staging"].update(web01=r"F:\Staging"))
    with open_run(moved) as run:
        assert rehearse(run) == []
        assert refused(run) == []
    with open_run(lab.estate) as run:
        assert refused(run) == [r"its canary tried to write to F:\Staging, and backups are made in D:\Staging now"]


def test_an_unfinished_run_is_not_kept_from_its_end(start_lab: Callable[..., Any]) -> None:
    """Its portals are closed: a canary that has grown old since it began is told, and refuses nothing."""
    lab = start_lab()
    old = (datetime.now(UTC) - timedelta(days=20)).isoformat()
    change(lab, "web01", f"{JOBS}/canary.acme-billing/job.json", lambda job: job.update(ended=old))
    with open_run(lab.estate) as run:
        facts = HostFacts.of("web01", run.hosts["web01"].run("Get-HostFacts"))
        assert refusals(run, facts.model_copy(update={"quiesce": {"state": "closed"}})) != []
        assert refusals(run, facts.model_copy(update={"quiesce": {"state": "open"}})) == []


def test_each_policy_in_its_way_is_named(start_lab: Callable[..., Any]) -> None:
    """One after the other on one host; what refuses a canary refuses the night too, until one is well again."""
    lab = start_lab()
    guard = {"CSFalconService": {"status": "Running", "start": "Automatic"}}
    change(lab, "web01", "services.json", lambda services: services.update(guard))
    share = r"\\nas01\billing"
    cases: list[tuple[str, str, dict[str, Any], str]] = [
        ("policy.language", "web01", {}, "runs scripts of SYSTEM's tasks in ConstrainedLanguage"),
        ("policy.execution", "web01", {}, "group policy sets PowerShell's script execution to AllSigned"),
        ("policy.execution", "web01", {"policy": "Restricted"}, "script execution to Restricted"),
        (
            "task.blocked",
            "web01",
            {},
            "endpoint protection ends PowerShell that SYSTEM's tasks start: CrowdStrike Falcon",
        ),
        ("task.refused", "web01", {}, "0x80070569): the account of the task has no right to log on as a batch job"),
        ("store.denied", share, {}, rf"a job cannot store at {share}\acme-billing\canary-web01.txt: Access is denied."),
        ("store.unreachable", share, {}, "The network path was not found."),
    ]
    with open_run(lab.estate) as run:
        for fault, on, settings, words in cases:
            lab.declare(fault, on, **settings)
            told = [each for each in rehearse(run) if each.startswith("web01")]
            assert len(told) == 1, (fault, told)
            assert words in told[0]
            assert len(refused(run)) == 1
            lab.clear(fault)
        change(lab, "web01", "updates.json", lambda state: state.update(search_hresult="80070422"))
        assert "Windows Update refuses SYSTEM a search: 0x80070422" in rehearse(run)[0]
        change(lab, "web01", "updates.json", lambda state: state.pop("search_hresult"))
        assert rehearse(run) == []
        assert refused(run) == []


def test_a_folder_that_a_plain_user_has_prepared_is_never_run(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """The id of a job can be foreseen: a launcher that lies in wait in its folder stops the night, and stays what it was."""
    lab = start_lab()
    name = "acme-billing.CHG0031001.1.0.scan.web01-windows-update"
    folder = lab.folder / "hosts" / "web01" / JOBS / name
    folder.mkdir()
    (folder / "launcher.ps1").write_text("evil")
    (folder / "job.json").write_text('{"id": "x", "script": "Find-WindowsUpdate", "state": "succeeded", "result": {}}')
    owned = {rf"C:\ProgramData\EngageIPPatching\jobs\{name}": {"owner": PLAIN_USER}}
    change(lab, "web01", "acl.json", lambda acl: acl.update(owned))
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG0031001")
    assert ran.type == "FAILED"
    assert ran.message.startswith("acme-billing: stopped at review")
    assert (
        rf"C:\ProgramData\EngageIPPatching\jobs\{name} belongs neither to SYSTEM nor to Administrators. "
        "Look at what is in it, then remove it: patching makes the folder itself"
    ) in ran.message
    assert [each["id"] for each in lab.audit("job.start") if each["host"] == "web01"] == []
    assert name not in str(lab.host_json("web01", "tasks.json"))
    assert sorted(path.name for path in folder.iterdir()) == ["job.json", "launcher.ps1"]
    assert (folder / "launcher.ps1").read_text() == "evil"


def test_old_jobs_are_removed_after_a_good_night(start_lab: Callable[..., Any], run_flow: Callable[..., Any]) -> None:
    """Folder and task of a run of last year go, and a package it fetched; this night's, the canary, what is younger stay."""
    lab = start_lab()
    old, young = "acme-billing.CHG0020001.1.1.archive.web01-x", "acme-billing.CHG0030001.1.1.archive.web01-x"
    for name, days in ((old, 200), (young, 30)):
        folder = lab.folder / "hosts" / "web01" / JOBS / name
        folder.mkdir()
        ended = (datetime.now(UTC) - timedelta(days=days)).isoformat()
        told = {"id": name, "script": "New-FolderArchive", "state": "succeeded", "ended": ended, "result": {}}
        (folder / "job.json").write_text(json.dumps(told))
    staged = lab.folder / "hosts" / "web01" / JOBS / "../staging/packages"
    for name, days in (("a" * 64, 200), ("b" * 64, 30)):
        (staged / name).mkdir(parents=True)
        (staged / name / "agent.msi").write_text("MZ")
        os.utime(staged / name, (time.time() - days * 86400,) * 2)
    assert run_flow(patch_estate, estate=lab.estate, change="CHG0031001").type == "COMPLETED"
    assert [each["id"] for each in lab.audit("job.remove")] == [old]
    assert [path.name for path in staged.iterdir()] == ["b" * 64]
    left = {path.name for path in (lab.folder / "hosts" / "web01" / JOBS).iterdir()}
    assert old not in left
    assert {young, "canary.acme-billing"} < left
