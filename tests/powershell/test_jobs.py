"""Jobs as real scheduled tasks on both sides: started once, adopted afterwards, checked before they run."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lab.launcher
import lab.scripts
from lab.faults import Fault
from lab.shipped import Shipped

pytestmark = [pytest.mark.lookalike, pytest.mark.telling("Start-PatchJob", "Get-PatchJob", "Stop-PatchJob")]

ROOT = "C/ProgramData/EngageIPPatching"
TASK = "\\EngageIPPatching\\"
VOLATILE = ("created", "started", "ended", "boot", "boot_id", "at", "line")
POWERSHELL = Path(__file__).resolve().parent.parent.parent / "powershell"

# A job of the test's own, so that these tests are about jobs and not about one job.
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


@pytest.fixture(autouse=True)
def _echo_is_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job named Write-Echo, shipped for the length of a test."""
    (tmp_path / "shipped" / "jobs").mkdir(parents=True)
    (tmp_path / "shipped" / "Invoke-Bootstrap.ps1").write_text((POWERSHELL / "Invoke-Bootstrap.ps1").read_text())
    (tmp_path / "shipped" / "jobs" / "Write-Echo.ps1").write_text(ECHO)
    monkeypatch.setitem(lab.scripts.JOBS, "Write-Echo", _echo)
    monkeypatch.setattr(lab.launcher, "SHIPPED", Shipped(tmp_path / "shipped"))


def order(job_document: Any, **parameters: Any) -> dict[str, Any]:
    """Start-PatchJob's parameters for the echo job."""
    given: dict[str, Any] = job_document("run.1.echo.x", "Write-Echo", {"text": "hällo ‹&€"} | parameters, text=ECHO)
    return given


def test_a_job_runs_to_its_end(twin: Callable[..., Any], job_document: Any) -> None:
    """Started, run as SYSTEM by the launcher, its result on the host's disk: the whole way, in both tellings."""
    hosts = twin()
    started = hosts.run("Start-PatchJob", order(job_document))
    assert (started.engine["value"]["adopted"], started.engine["value"]["started"]) == (False, True)
    assert (started.lab["value"]["adopted"], started.lab["value"]["started"]) == (False, True)
    facts = hosts.wait("run.1.echo.x").agree(*VOLATILE)
    job = facts["job"]
    assert (job["state"], facts["task_state"], facts["task_result"]) == ("succeeded", "Ready", 0)
    assert job["result"] == {"text": "hällo ‹&€", "names": [], "lengths": []}
    assert job["boot"] == facts["boot_id"]
    assert job["created"] <= job["started"] <= job["ended"]
    assert facts["progress"] == {"percent": 100, "message": "is done", "at": facts["progress"]["at"]}
    first, second = hosts.files()
    assert first == second
    assert [name for name in first if ".new" in name] == []


def test_the_task_is_made_as_agreed(twin: Callable[..., Any], job_document: Any) -> None:
    """SYSTEM with highest rights, priority 4, an explicit limit, IgnoreNew; the same in tasks.json on both sides."""
    hosts = twin()
    hosts.run("Start-PatchJob", order(job_document))
    hosts.wait("run.1.echo.x")
    for tasks in hosts.json("tasks.json"):
        task = tasks[TASK + "run.1.echo.x"]
        folder = r"C:\ProgramData\EngageIPPatching\jobs\run.1.echo.x"
        assert {n: v for n, v in task.items() if n not in ("state", "result", "last_run", "stubs", "pid")} == {
            "execute": "powershell.exe",
            "argument": rf'-NoProfile -NonInteractive -ExecutionPolicy Bypass -File "{folder}\launcher.ps1" -Folder "{folder}"',
            "working": None,
            "user": "S-1-5-18",
            "logon": "ServiceAccount",
            "level": "Highest",
            "limit": "PT1H",
            "priority": 4,
            "multiple": "IgnoreNew",
            "description": "EngageIP patching: Write-Echo",
            "triggers": [],
        }


def test_a_second_start_adopts(twin: Callable[..., Any], job_document: Any) -> None:
    """The same id never runs twice: while it runs, after its end, and with other parameters too."""
    hosts = twin()
    hosts.run("Start-PatchJob", order(job_document, seconds=1))
    again = hosts.run("Start-PatchJob", order(job_document, seconds=1))
    for side in (again.engine["value"], again.lab["value"]):
        assert (side["adopted"], side["started"]) == (True, False)
    hosts.wait("run.1.echo.x")
    before = hosts.json(f"{ROOT}/jobs/run.1.echo.x/job.json")
    later = hosts.run("Start-PatchJob", order(job_document, text="other")).agree(*VOLATILE)
    assert (later["adopted"], later["started"], later["job"]["job"]["state"]) == (True, False, "succeeded")
    assert hosts.json(f"{ROOT}/jobs/run.1.echo.x/job.json") == before
    starts = [line for line in hosts.lab.audit.path.read_text().splitlines() if '"job.start"' in line]
    assert len(starts) == 1


def test_a_failed_job_stays_failed(twin: Callable[..., Any], job_document: Any) -> None:
    """The job's own error is in job.json, the task's result is 1, and a second start does not run it again."""
    hosts = twin()
    hosts.run("Start-PatchJob", order(job_document, fail="no space on E: ‹€"))
    facts = hosts.wait("run.1.echo.x").agree(*VOLATILE)
    assert (facts["job"]["state"], facts["task_result"]) == ("failed", 1)
    assert facts["job"]["error"]["message"] == "no space on E: ‹€"
    assert facts["job"]["error"]["id"] == "Asked"
    again = hosts.run("Start-PatchJob", order(job_document)).agree(*VOLATILE)
    assert (again["started"], again["job"]["job"]["state"]) == (False, "failed")


@pytest.mark.parametrize("file", ["script.ps1", "library.ps1"])
def test_what_was_changed_is_not_run(twin: Callable[..., Any], job_document: Any, file: str) -> None:
    """The launcher compares the hashes first: a changed script or library ends the job, and nothing of it runs."""
    hosts = twin()
    hosts.run("Start-PatchJob", order(job_document))
    hosts.wait("run.1.echo.x")
    folder = f"{ROOT}/jobs/run.1.echo.x"
    text = (hosts.engine / folder / file).read_text()
    hosts.put(f"{folder}/{file}", text + "\n[IO.File]::WriteAllText('C:\\pwned.txt', 'x')\n")
    for side, path in ((0, hosts.engine), (1, hosts.lab.folder)):
        job = hosts.json(f"{folder}/job.json")[side] | {
            "state": "created",
            "boot": None,
            "started": None,
            "ended": None,
        }
        (path / folder / "job.json").write_text(json.dumps(job | {"result": None}))
        (path / folder / "progress.json").unlink()
    hosts.state("tasks.json", lambda tasks: tasks[TASK + "run.1.echo.x"].update(result=267011))
    restarted = hosts.run("Start-PatchJob", order(job_document))
    assert restarted.engine["value"]["started"] is True
    facts = hosts.wait("run.1.echo.x").agree(*VOLATILE)
    assert (facts["job"]["state"], facts["job"]["error"]["id"]) == ("failed", "JobTampered")
    assert file in facts["job"]["error"]["message"]
    assert facts["progress"] is None
    assert not (hosts.engine / "C" / "pwned.txt").exists()


def test_a_start_that_died_half_way_is_finished(twin: Callable[..., Any], job_document: Any) -> None:
    """Files written, task never started: the second call adopts the job and starts it."""
    hosts = twin()
    hosts.run("Start-PatchJob", order(job_document))
    hosts.wait("run.1.echo.x")
    folder = f"{ROOT}/jobs/run.1.echo.x"
    for side, path in ((0, hosts.engine), (1, hosts.lab.folder)):
        job = hosts.json(f"{folder}/job.json")[side]
        fresh = job | {"state": "created", "boot": None, "started": None, "ended": None, "result": None}
        (path / folder / "job.json").write_text(json.dumps(fresh))
    hosts.state("tasks.json", lambda tasks: tasks.clear())
    again = hosts.run("Start-PatchJob", order(job_document))
    for side in (again.engine["value"], again.lab["value"]):
        assert (side["adopted"], side["started"]) == (True, True)
    assert hosts.wait("run.1.echo.x").agree(*VOLATILE)["job"]["state"] == "succeeded"


def test_secrets_reach_the_job_and_no_file(twin: Callable[..., Any], job_document: Any) -> None:
    """A job gets its secrets; afterwards no file of the host holds them, and while they wait they are sealed."""
    hosts = twin()
    given = {"password": secrets.token_hex(8) + '"‹&€\\', "url": "https://x/?" + secrets.token_hex(8)}
    parameters = order(job_document) | {"secrets": given}
    hosts.run("Start-PatchJob", parameters)
    facts = hosts.wait("run.1.echo.x").agree(*VOLATILE)
    assert facts["job"]["result"]["names"] == ["password", "url"]
    assert facts["job"]["result"]["lengths"] == [len(given["password"]), len(given["url"])]
    for path in (hosts.engine, hosts.lab.folder):
        assert not (path / ROOT / "jobs" / "run.1.echo.x" / "secrets.bin").exists()
        for file in path.rglob("*"):
            if file.is_file():
                for value in given.values():
                    assert value[:16].encode() not in file.read_bytes(), file


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"sha256": "0" * 64}, "JobHash"),
        ({"library_sha256": "0" * 64}, "JobHash"),
        ({"launcher_sha256": "0" * 64}, "JobHash"),
        ({"id": "..\\..\\evil"}, "JobId"),
        ({"id": "x" * 101}, "JobId"),
        ({"id": ""}, None),
        ({"secrets": {"a": {"b": "c"}}}, "JobSecrets"),
        ({"fence": 2}, "FenceTooLow"),
    ],
)
def test_what_is_refused_leaves_nothing(
    twin: Callable[..., Any], job_document: Any, change: dict[str, Any], error: str | None
) -> None:
    """A broken transfer, an id that leads out of the folder, an overtaken run: an error, no job, no task."""
    hosts = twin()
    hosts.put(f"{ROOT}/lease.json", json.dumps({"fence": 3, "holder": "them", "key": "k", "released": False}))
    both = hosts.run("Start-PatchJob", order(job_document) | {"fence": 3} | change)
    assert (both.engine["ok"], both.lab["ok"]) == (False, False)
    if error is not None:
        assert both.agree("line")["id"] == error
    assert hosts.files() == (["lease.json"], ["lease.json"])
    assert hosts.json("tasks.json") == ({}, {})


def test_a_boot_cuts_a_job(twin: Callable[..., Any], job_document: Any, engine: Any) -> None:
    """A job under a boot stays 'running' with the boot it ran in; its task has ended with 267014; nobody starts it anew."""
    hosts = twin()
    hosts.run("Start-PatchJob", order(job_document, seconds=30))
    _until(lambda: all((j or {}).get("state") == "running" for j in hosts.json(f"{ROOT}/jobs/run.1.echo.x/job.json")))
    _until(lambda: all(hosts.json(f"{ROOT}/jobs/run.1.echo.x/progress.json")))
    engine.boot(hosts.engine)
    hosts.lab.restart(1)
    _until(lambda: '"host.boot"' in hosts.lab.audit.path.read_text())
    facts = hosts.wait("run.1.echo.x").agree(*VOLATILE)
    assert (facts["job"]["state"], facts["task_state"], facts["task_result"]) == ("running", "Ready", 267014)
    assert facts["boot_id"] is None
    assert facts["job"]["boot"] is not None
    assert facts["progress"]["percent"] == 10
    again = hosts.run("Start-PatchJob", order(job_document)).agree(*VOLATILE)
    assert (again["adopted"], again["started"]) == (True, False)


@pytest.mark.parametrize("phase", ["running", "ended", "unknown"])
def test_stopping(twin: Callable[..., Any], job_document: Any, phase: str) -> None:
    """A running job is ended and reads failed; one that had ended, or was never made, is left as it is."""
    hosts = twin()
    if phase != "unknown":
        hosts.run("Start-PatchJob", order(job_document, seconds=30 if phase == "running" else 0))
        if phase == "ended":
            hosts.wait("run.1.echo.x")
        _until(lambda: all(hosts.json(f"{ROOT}/jobs/run.1.echo.x/progress.json")))
    answer = hosts.run("Stop-PatchJob", {"id": "run.1.echo.x", "fence": 1}).agree(*VOLATILE)
    assert answer["stopped"] is (phase == "running")
    if phase == "running":
        assert answer["job"]["job"]["error"]["id"] == "JobStopped"
        assert answer["job"]["task_result"] == 267014
    if phase == "ended":
        assert answer["job"]["job"]["state"] == "succeeded"
    assert hosts.run("Stop-PatchJob", {"id": "run.1.echo.x", "fence": 1}).agree(*VOLATILE)["stopped"] is False


def test_an_overtaken_run_stops_nothing(twin: Callable[..., Any]) -> None:
    """Stopping is an act: a lower fence is refused."""
    hosts = twin()
    hosts.put(f"{ROOT}/lease.json", json.dumps({"fence": 3, "holder": "them", "key": "k", "released": False}))
    assert hosts.run("Stop-PatchJob", {"id": "a", "fence": 2}).agree("line")["id"] == "FenceTooLow"


def test_all_jobs_of_a_host(twin: Callable[..., Any], job_document: Any) -> None:
    """Without ids every job is listed by name; an id that nobody knows is told as such."""
    hosts = twin()
    assert hosts.run("Get-PatchJob").agree()["jobs"] == []
    for name in ("b.2", "A_1"):
        hosts.run("Start-PatchJob", order(job_document) | {"id": name})
        hosts.wait(name)
    hosts.put(f"{ROOT}/jobs/a-1/job.json", json.dumps({"id": "a-1", "state": "created"}))
    hosts.put(f"{ROOT}/jobs/A_1 - Copy/job.json", "{}")
    hosts.put(f"{ROOT}/jobs/unfinished/script.ps1", "")
    assert [job["id"] for job in hosts.run("Get-PatchJob").agree(*VOLATILE)["jobs"]] == ["a-1", "A_1", "b.2"]
    (unknown,) = hosts.run("Get-PatchJob", {"ids": ["c.3"]}).agree(*VOLATILE)["jobs"]
    assert (unknown["exists"], unknown["job"], unknown["task_state"], unknown["task_result"]) == (
        False,
        None,
        None,
        None,
    )


# What only the lab can be asked for -----------------------------------------------------------------------------------


def test_blocked_by_endpoint_protection(twin: Callable[..., Any], job_document: Any) -> None:
    """The task has ended, the job was never begun: the client must see that from the facts and not wait for ever."""
    hosts = twin()
    hosts.lab.faults.declare(Fault("task.blocked", on="web01"))
    hosts.run("Start-PatchJob", order(job_document))
    facts = hosts.wait("run.1.echo.x").lab
    assert (facts["job"]["state"], facts["task_state"], facts["task_result"]) == ("created", "Ready", 1)


def test_a_slow_scheduler_queues(twin: Callable[..., Any], job_document: Any) -> None:
    """A start may be delayed: the task is queued (267045), the job created."""
    hosts = twin()
    hosts.lab.faults.declare(Fault("task.queued", on="web01", with_={"seconds": 60}))
    value = hosts.run("Start-PatchJob", order(job_document)).lab["value"]["job"]
    assert (value["job"]["state"], value["task_state"], value["task_result"]) == ("created", "Queued", 267045)
    assert hosts.wait("run.1.echo.x").lab["job"]["state"] == "succeeded"


def test_a_job_over_its_limit_is_ended(twin: Callable[..., Any], job_document: Any) -> None:
    """ExecutionTimeLimit ends the process: job.json stays 'running', the task has ended with 267014."""
    hosts = twin()
    hosts.run("Start-PatchJob", order(job_document, seconds=20) | {"deadline_seconds": 10})
    _until(lambda: hosts.lab.parts["tasks"].info(TASK + "run.1.echo.x") == ("Ready", 267014))
    assert hosts.json(f"{ROOT}/jobs/run.1.echo.x/job.json")[1]["state"] == "running"
    hosts.run("Stop-PatchJob", {"id": "run.1.echo.x", "fence": 1})


def _until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
