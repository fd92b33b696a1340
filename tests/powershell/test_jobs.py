"""Jobs as real scheduled tasks on both sides: started once, adopted afterwards, checked before they run."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from echo_job import ID, POWERSHELL, ROOT, TASK, VOLATILE, as_made, order, start_task, until

from lab.faults import Fault

pytestmark = [
    pytest.mark.lookalike,
    pytest.mark.telling("Start-PatchJob", "Get-PatchJob"),
    pytest.mark.usefixtures("echo_is_shipped"),
]

FOLDER = r"C:\ProgramData\EngageIPPatching\jobs" + f"\\{ID}"
PLAIN_USER = "S-1-5-21-1004336348-1177238915-682003330-1001"


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


def logged(hosts: Any) -> list[str]:
    """The job's log without its dates, the same on both sides; where an error was thrown only the engine knows."""
    both = []
    for side in (hosts.engine, hosts.lab.folder):
        lines = (side / ROOT / "jobs" / ID / "job.log").read_text(encoding="utf-8").splitlines()
        dated = [line.partition(" ") for line in lines if not line.startswith("    ")]
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", date) for date, _, _ in dated)
        both.append([text for _, _, text in dated])
    assert both[0] == both[1]
    return both[0]


def test_a_job_keeps_a_log(twin: Callable[..., Any], job_document: Any) -> None:
    """What it said and what became of it, to be read beside its script; done anew, it begins anew."""
    hosts = twin()
    for text in ("hällo ‹&€", "again"):
        hosts.run("Start-PatchJob", order(job_document, text=text) | {"again": True})
        hosts.wait(ID)
        assert logged(hosts) == ["started: Write-Echo", f"has begun: {text}", "is done", "succeeded"]


def test_the_log_of_a_failed_job_ends_with_its_error(twin: Callable[..., Any], job_document: Any) -> None:
    """Its message, its id, and from where in the script it came: job.json has one line's number only."""
    hosts = twin()
    hosts.run("Start-PatchJob", order(job_document, fail="no space on E: ‹€") | {"secrets": {"password": "geheim"}})
    hosts.wait(ID)
    assert logged(hosts)[-1] == "failed: no space on E: ‹€ (Asked)"
    text = (hosts.engine / ROOT / "jobs" / ID / "job.log").read_text(encoding="utf-8")
    assert re.search(r"\n    at <ScriptBlock>, .*: line \d+\n", text)
    assert "geheim" not in text


def test_a_log_that_grows_too_long(twin: Callable[..., Any], job_document: Any) -> None:
    """A job that says more than 1 MB is heard no further, but for its end; an error of that length is cut."""
    hosts = twin()
    long = "x" * (1 << 20)
    hosts.run("Start-PatchJob", order(job_document, text=long))
    hosts.wait(ID)
    assert logged(hosts) == ["started: Write-Echo", "is done", "succeeded"]
    hosts.run("Start-PatchJob", order(job_document, fail=long) | {"again": True})
    hosts.wait(ID)
    assert logged(hosts)[-1] == f"failed: {'x' * 4000} (Asked)"


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


def test_a_job_runs_on_batteries_too(twin: Callable[..., Any], job_document: Any) -> None:
    """By default Windows neither starts a task on batteries nor lets one go on: a host on its UPS would cut an install."""
    hosts = twin()
    hosts.run("Start-PatchJob", order(job_document))
    told = hosts.json("task-settings.json")[0][TASK + "run.1.echo.x"]
    assert (told["DisallowStartIfOnBatteries"], told["StopIfGoingOnBatteries"]) == (False, False)
    hosts.wait("run.1.echo.x")


def test_who_reads_job_json_meanwhile_reads_the_old_one(twin: Callable[..., Any], job_document: Any) -> None:
    """The launcher has a writer of its own, and replaces the file as the library does."""
    hosts = twin()
    hosts.run("Start-PatchJob", order(job_document, seconds=1))
    with (hosts.engine / ROOT / "jobs" / "run.1.echo.x" / "job.json").open("rb") as reader:
        assert hosts.wait("run.1.echo.x").engine["job"]["state"] == "succeeded"
        assert json.loads(reader.read())["state"] in {"created", "running"}


def test_no_job_runs_as_a_call(twin: Callable[..., Any], shipped_jobs: list[str]) -> None:
    """Windows Update and wusa.exe refuse a network logon: a lab host runs the script of a job as a task only."""
    hosts = twin()
    for name in shipped_jobs:
        text = (POWERSHELL / "jobs" / f"{name}.ps1").read_text(encoding="utf-8")
        refused = hosts.call_lab(name, {}, text)
        assert refused["error"]["id"] == "UnauthorizedAccess", name


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


def test_an_end_is_written_where_the_file_is_gone(twin: Callable[..., Any], job_document: Any) -> None:
    """A replacement that fails half way leaves no job.json: neither is the end lost then, nor is the job begun anew."""
    hosts = twin()
    hosts.run("Start-PatchJob", order(job_document, seconds=8))  # longer than both are asked, one after the other
    until(lambda: all(hosts.json(f"{ROOT}/jobs/{ID}/progress.json")))
    _lose(hosts)
    again = hosts.run("Start-PatchJob", order(job_document)).agree(*VOLATILE)
    assert (again["adopted"], again["started"], again["job"]["exists"]) == (True, False, False)
    assert hosts.wait(ID).agree(*VOLATILE)["job"]["state"] == "succeeded"
    _lose(hosts)
    lost = hosts.run("Start-PatchJob", order(job_document)).agree(*VOLATILE)
    assert (lost["adopted"], lost["started"], lost["job"]["logged"]) == (True, False, True)


def _lose(hosts: Any) -> None:
    for side in (hosts.engine, hosts.lab.folder):
        (side / ROOT / "jobs" / ID / "job.json").unlink()


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
    start_task(hosts)
    facts = hosts.wait("run.1.echo.x").agree(*VOLATILE)
    assert (facts["job"]["state"], facts["job"]["error"]["id"]) == ("failed", "JobTampered")
    assert file in facts["job"]["error"]["message"]
    assert facts["progress"] is None
    assert not (hosts.engine / "C" / "pwned.txt").exists()


def test_a_start_that_died_half_way_is_finished(twin: Callable[..., Any], job_document: Any) -> None:
    """Files written, task never started: the second call makes the job anew and starts it."""
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
        assert (side["adopted"], side["started"]) == (False, True)
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
    until(lambda: all((j or {}).get("state") == "running" for j in hosts.json(f"{ROOT}/jobs/run.1.echo.x/job.json")))
    until(lambda: all(hosts.json(f"{ROOT}/jobs/run.1.echo.x/progress.json")))
    engine.boot(hosts.engine)
    hosts.lab.restart(1)
    until(lambda: '"host.boot"' in hosts.lab.audit.path.read_text())
    facts = hosts.wait("run.1.echo.x").agree(*VOLATILE)
    assert (facts["job"]["state"], facts["task_state"], facts["task_result"]) == ("running", "Ready", 267014)
    assert facts["boot_id"] is None
    assert facts["job"]["boot"] is not None
    assert facts["progress"]["percent"] == 10
    again = hosts.run("Start-PatchJob", order(job_document)).agree(*VOLATILE)
    assert (again["adopted"], again["started"]) == (True, False)


def test_a_task_that_cannot_be_started_leaves_no_secret(twin: Callable[..., Any], job_document: Any) -> None:
    """The job never begins, so nobody else would delete them; a job that is made anew finds none of an earlier start."""
    hosts = twin()
    hosts.state_of_engine("task-settings.json", {"unstartable": "The task is disabled."})
    hosts.lab.faults.declare(Fault("task.unstartable", on="web01"))
    hosts.put(f"{ROOT}/jobs/{ID}/secrets.bin.0f.new", b"sealed")
    failed = hosts.run("Start-PatchJob", order(job_document) | {"secrets": {"password": "x"}})
    assert failed.agree("line", "id", "type", "hresult")["message"] == "The task is disabled."
    assert hosts.json(f"{ROOT}/jobs/{ID}/job.json")[0]["state"] == "created"
    first, second = hosts.files()
    assert first == second
    assert not [name for name in first if "secrets" in name]


def test_a_run_that_is_overtaken_on_the_way_starts_nothing(
    twin: Callable[..., Any], job_document: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fence is looked at once more right before the start: the lock was waited for, and files were written."""
    hosts = twin()
    lease = {"fence": 3, "holder": "them", "key": "k", "released": False}
    hosts.state_of_engine("task-settings.json", {"overtaken": lease})
    tasks = hosts.lab.parts["tasks"]
    register = tasks.register

    def overtaken(*args: Any, **kwargs: Any) -> None:
        register(*args, **kwargs)
        (hosts.lab.folder / ROOT / "lease.json").write_text(json.dumps(lease))

    monkeypatch.setattr(tasks, "register", overtaken)
    refused = hosts.run("Start-PatchJob", order(job_document) | {"secrets": {"password": "x"}})
    assert refused.agree("line")["id"] == "FenceTooLow"
    assert [state[TASK + ID]["result"] for state in hosts.json("tasks.json")] == [267011, 267011]
    first, second = hosts.files()
    assert first == second
    assert "secrets.bin" not in str(first)


def test_a_job_begins_once(twin: Callable[..., Any], job_document: Any) -> None:
    """Somebody clicks 'Run' on an old task in the Task Scheduler: what it has done is not done again."""
    hosts = twin()
    hosts.run("Start-PatchJob", order(job_document))
    hosts.wait(ID)
    before = hosts.json(f"{ROOT}/jobs/{ID}/job.json")
    start_task(hosts)
    assert hosts.wait(ID).agree(*VOLATILE)["task_result"] == 2
    assert hosts.json(f"{ROOT}/jobs/{ID}/job.json") == before


@pytest.mark.parametrize("fail", ["", "no"])
def test_what_has_ended_is_done_again_only_where_that_is_said(
    twin: Callable[..., Any], job_document: Any, fail: str
) -> None:
    """The canary proves something about now: 'again' makes it anew in its own folder, with what is given now."""
    hosts = twin()
    hosts.run("Start-PatchJob", order(job_document, fail=fail))
    hosts.wait(ID)
    anew = hosts.run("Start-PatchJob", order(job_document, text="again") | {"again": True})
    for side in (anew.engine["value"], anew.lab["value"]):
        assert (side["adopted"], side["started"]) == (False, True)
    assert hosts.wait(ID).agree(*VOLATILE)["job"]["result"]["text"] == "again"


@pytest.mark.parametrize("lasts", [267011, 267014, 1, 0x80070569])
def test_a_job_that_nothing_has_begun_is_started(twin: Callable[..., Any], job_document: Any, lasts: int) -> None:
    """Its start was cut off, a boot ended its queue, or Windows refused it: nothing has run, so the next call starts it."""
    hosts = twin()
    hosts.run("Start-PatchJob", order(job_document))
    hosts.wait(ID)
    as_made(hosts)
    hosts.state("tasks.json", lambda tasks: tasks[TASK + ID].update(result=lasts))
    again = hosts.run("Start-PatchJob", order(job_document))
    for side in (again.engine["value"], again.lab["value"]):
        assert (side["adopted"], side["started"]) == (False, True)
    assert hosts.wait(ID).agree(*VOLATILE)["job"]["state"] == "succeeded"


@pytest.mark.parametrize("what", ["jobs", "folder", "file", "link"])
def test_a_folder_that_a_plain_user_has_prepared_is_refused(
    twin: Callable[..., Any], job_document: Any, what: str
) -> None:
    """SYSTEM would run what lies there: a folder, or one file in it, of another owner, or a link to elsewhere."""
    hosts = twin()
    hosts.put(f"{ROOT}/jobs/{ID}/launcher.ps1", "evil")
    hosts.put(f"{ROOT}/jobs/{ID}/job.json", json.dumps({"id": ID, "script": "Write-Echo", "state": "succeeded"}))
    path = {"jobs": FOLDER.rpartition("\\")[0], "file": rf"{FOLDER}\launcher.ps1"}.get(what, FOLDER)
    if what == "link":
        for side in (hosts.engine, hosts.lab.folder):
            (side / ROOT / "jobs" / ID).rename(side / "C" / "elsewhere")
            (side / ROOT / "jobs" / ID).symlink_to(side / "C" / "elsewhere")
    else:
        hosts.state("acl.json", lambda acl: acl.update({path: {"owner": PLAIN_USER}}))
    refused = hosts.run("Start-PatchJob", order(job_document)).agree("line")
    assert refused["id"] == ("FolderIsLink" if what == "link" else "FolderOwner")
    assert refused["message"].startswith(path + (" is a link" if what == "link" else " belongs neither to SYSTEM nor"))
    assert hosts.json("tasks.json") == ({}, {})
    for side in (hosts.engine, hosts.lab.folder):
        assert (side / ROOT / "jobs" / ID / "launcher.ps1").read_text() == "evil"
    if what in {"folder", "link"}:
        assert hosts.run("Get-PatchJob", {"ids": [ID]}).agree("line")["id"] == refused["id"]
        assert hosts.run("Get-PatchJob").agree(*VOLATILE)["jobs"] == []


@pytest.mark.parametrize("what", ["jobs", "folder", "file"])
@pytest.mark.parametrize(
    ("let_in", "named"),
    [
        ("AI(A;OICI;0x1301bf;;;BU)", "Users"),
        (f"AI(A;;FR;;;{PLAIN_USER})", PLAIN_USER),
        ("NO_ACCESS_CONTROL", "Everyone"),
    ],
)
def test_a_folder_that_lets_others_in_is_refused(
    twin: Callable[..., Any], job_document: Any, what: str, let_in: str, named: str
) -> None:
    """Protecting the root takes from those below only what they inherit: who was let in by name stays, and is named."""
    hosts = twin()
    hosts.put(f"{ROOT}/jobs/{ID}/launcher.ps1", "evil")
    path = {"jobs": FOLDER.rpartition("\\")[0], "file": rf"{FOLDER}\launcher.ps1"}.get(what, FOLDER)
    hosts.state("acl.json", lambda acl: acl.update({path: {"owner": "BA", "dacl": let_in}}))
    refused = hosts.run("Start-PatchJob", order(job_document)).agree("line")
    assert refused["id"] == "FolderAccess"
    assert refused["message"].startswith(f"{path} lets others in than SYSTEM and Administrators: {named}. ")
    assert hosts.json("tasks.json") == ({}, {})


def test_without_full_language_nothing_is_run_and_that_is_told(twin: Callable[..., Any], job_document: Any) -> None:
    """AppLocker or App Control leaves the launcher nothing but cmdlets: with these it says so."""
    hosts = twin()
    hosts.put("policies.json", json.dumps({"language": "ConstrainedLanguage"}))
    hosts.run("Start-PatchJob", order(job_document) | {"secrets": {"password": "x"}})
    facts = hosts.wait(ID).agree(*VOLATILE)
    assert (facts["job"]["state"], facts["job"]["error"]["id"], facts["task_result"]) == ("failed", "LanguageMode", 1)
    assert "ConstrainedLanguage" in facts["job"]["error"]["message"]
    assert "secrets.bin" not in str(hosts.files())


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
