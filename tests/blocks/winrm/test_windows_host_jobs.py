"""Jobs live on the host: starting is repeated until it is sure, waiting outlives restarts, meaning is left to others."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from blocks.windows_host import WindowsHost
from blocks.winrm import scripts
from blocks.winrm.errors import (
    AuthenticationFailed,
    DeadlineExceeded,
    JobNotBegun,
    ScriptFailed,
    ScriptRefused,
    WaitStopped,
)
from blocks.winrm.jobs import judge
from blocks.winrm.session import REATTACHMENTS

ID = "acme.CHG1.1.backup.sql01"


class Jobs:
    """The host's side: what Start-PatchJob and Get-PatchJob answer, from a list of states."""

    def __init__(self, *states: dict[str, Any]) -> None:
        self.states = list(states)
        self.started: list[dict[str, Any]] = []

    def __call__(self, document: dict[str, Any], _process: Any) -> dict[str, Any]:
        if document["name"] == "Start-PatchJob":
            adopted = bool(self.started)
            self.started.append(document["parameters"])
            return {"adopted": adopted, "started": not adopted, "job": {}}
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return {"boot_id": state["boot_id"], "jobs": [{"id": each, **state} for each in document["parameters"]["ids"]]}


def facts(state: str | None, *, task: str | None = "Running", boot: str = "b1", percent: int = 0) -> dict[str, Any]:
    """Facts of a job as Get-PatchJob gives them."""
    job = None if state is None else {"id": ID, "script": "X", "state": state, "boot": "b1", "result": {"size": 7}}
    return {
        "exists": job is not None,
        "job": job,
        "progress": {"percent": percent},
        "task_state": task,
        "boot_id": boot,
    }


def start(host: WindowsHost, **changes: Any) -> dict[str, Any]:
    """Start the job of these tests."""
    given: dict[str, Any] = {"deadline_seconds": 60, "fence": 3, "every": 0.01, **changes}
    return host.start_job(ID, "Get-HostFacts", {"services": ["W3SVC"]}, **given)


def test_a_job_is_ordered_with_texts_and_hashes(machine: Any, host: WindowsHost) -> None:
    """The host gets script, library and launcher with their SHA-256, and secrets apart from parameters."""
    machine.script = jobs = Jobs(facts("running"))
    assert start(host, secrets={"password": 'a"€'})["started"] is True
    [order] = jobs.started
    for text, digest in (("script", "sha256"), ("library", "library_sha256"), ("launcher", "launcher_sha256")):
        assert scripts.sha256(order[f"{text}_text"]) == order[digest]
    assert order["script_text"] == scripts.script_text("Get-HostFacts")
    assert order["launcher_text"] == scripts.script_text("Invoke-PatchJob")
    assert order["secrets"] == {"password": 'a"€'}
    assert (order["parameters"], order["fence"], order["deadline_seconds"]) == ({"services": ["W3SVC"]}, 3, 60)


def test_the_secrets_can_be_cut_out_by_the_bootstrap() -> None:
    """On the wire the secrets are one flat object of texts, as Invoke-Bootstrap.ps1 expects them."""
    from pydantic import SecretStr

    from blocks.winrm.envelope import question

    document = question("Get-HostFacts", {"secrets": {"a": SecretStr('x"€\\{}')}}).decode("ascii")
    assert r'"secrets": {"a": "x\"\u20ac\\{}"}' in document


def test_a_start_whose_answer_was_lost_is_repeated(machine: Any, host: WindowsHost) -> None:
    """Starting is idempotent: after an unknown outcome it is asked again, and the job adopted."""
    machine.script = jobs = Jobs(facts("running"))
    machine.fault("winrm.drop", times=REATTACHMENTS + 1, action="Receive")
    assert start(host)["adopted"] is True
    assert len(jobs.started) == 2


def test_a_start_that_is_refused_is_not_repeated(machine: Any, host: WindowsHost) -> None:
    """What time does not mend is told at once."""
    calls: list[str] = []

    def refuse(document: dict[str, Any], _process: Any) -> bytes:
        calls.append(document["name"])
        return b'{"ok":false,"error":{"message":"fence 4 is held","id":"Fence"}}'

    machine.script = refuse
    with pytest.raises(ScriptFailed, match="fence 4 is held"):
        start(host)
    assert calls == ["Start-PatchJob"]


def test_waiting_ends_with_the_job(machine: Any, host: WindowsHost) -> None:
    """Progress is told when it changes, and the last facts are the answer."""
    machine.script = Jobs(
        facts("running"), facts("running", percent=5), facts("running", percent=5), facts("succeeded")
    )
    told: list[int] = []
    answer = host.wait_job(
        ID, deadline=20, on_progress=lambda seen: told.append(seen["progress"]["percent"]), every=0.01
    )
    assert answer["job"]["state"] == "succeeded"
    assert answer["job"]["result"] == {"size": 7}
    assert told == [0, 5, 0]


def test_waiting_outlives_a_host_that_is_away(machine: Any, host: WindowsHost) -> None:
    """A restart in the middle of a wait is waited for, too."""
    machine.script = Jobs(facts("running"), facts("succeeded"))
    machine.fault("winrm.drop", times=2)
    assert host.wait_job(ID, deadline=30, every=0.01)["job"]["state"] == "succeeded"


def test_waiting_does_not_try_passwords(machine: Any) -> None:
    """A refused logon ends the wait: repeating it would lock the account."""
    with machine.client(password="wrong") as host, pytest.raises(AuthenticationFailed):
        host.wait_job(ID, deadline=30, every=0.01)


def test_waiting_outlives_a_powershell_that_was_killed(machine: Any, host: WindowsHost) -> None:
    """A host that goes down kills the look in progress, which answers nothing: one more look, but not for ever."""
    jobs = Jobs(facts("succeeded"))
    answers = iter([b"", b"", None])
    machine.script = lambda document, process: jobs(document, process) if next(answers) is None else b""
    assert host.wait_job(ID, deadline=20, every=0.01)["job"]["state"] == "succeeded"
    machine.script = lambda *_: b""
    with pytest.raises(ScriptRefused):
        host.wait_job(ID, deadline=20, every=0.01)


def test_waiting_has_a_deadline(machine: Any, host: WindowsHost) -> None:
    """At the deadline the job goes on, on the host, and the error says what was waited for."""
    machine.script = Jobs(facts("running"))
    with pytest.raises(DeadlineExceeded) as caught:
        host.wait_job(ID, deadline=0.3, every=0.01)
    assert ID in caught.value.waited_for
    assert caught.value.outcome_unknown


def test_waiting_for_a_dead_host_has_a_deadline(machine: Any, host: WindowsHost) -> None:
    """A host that never comes back is told as that when time is up; what became of the job is not known."""
    machine.winrm.shutdown()
    with pytest.raises(DeadlineExceeded, match="within 1 s: the connection is refused") as caught:
        host.wait_job(ID, deadline=1, every=0.01)
    assert caught.value.outcome_unknown


def test_waiting_can_be_stopped(machine: Any, host: WindowsHost) -> None:
    """A stop event ends the wait at the next look, without touching the job."""
    machine.script = Jobs(facts("running"))
    stop = threading.Event()
    with pytest.raises(WaitStopped, match="goes on"):
        host.wait_job(ID, deadline=20, stop=stop, on_progress=lambda _: stop.set(), every=10)


@pytest.mark.parametrize(
    "last",
    [
        facts(None, task=None),
        facts("failed", task="Ready"),
        facts("running", task=None, boot="b2"),
        facts("running", task="Ready"),
    ],
    ids=["no such job", "failed", "rebooted under it", "its task is gone"],
)
def test_what_nobody_runs_is_over(machine: Any, host: WindowsHost, last: dict[str, Any]) -> None:
    """A wait never hangs on a job that cannot end any more; what it means is judged elsewhere."""
    machine.script = Jobs(facts("running"), last)
    seen = host.wait_job(ID, deadline=20, every=0.01)
    assert {key: seen[key] for key in last} == last


def test_what_is_waited_for() -> None:
    """A job that runs, or is about to, is not over; one that nothing runs is looked at twice."""
    named = {"id": ID}
    assert judge(named | facts("running")) == "alive"
    assert judge(named | facts("created")) == judge(named | facts("created", task="Queued")) == "starting"
    assert judge(named | facts("succeeded")) == judge(named | facts("running", boot="b2")) == "over"
    assert judge(named | facts("running", task="Ready")) == judge(named | facts(None, task=None)) == "gone"


@pytest.mark.parametrize(
    ("task", "result", "why"),
    [
        ("Queued", 0x41325, "is queued"),
        ("Ready", 0x41325, "is queued"),
        ("Ready", 0x41303, "has not run"),
        ("Disabled", 0x41303, "is disabled"),
        ("Running", 0x41301, "runs, and says nothing"),
    ],
)
def test_a_start_has_a_deadline_of_its_own(machine: Any, host: WindowsHost, task: str, result: int, why: str) -> None:
    """A task that nobody begins is told by name long before the job's own deadline."""
    machine.script = Jobs(facts("created", task=task) | {"task_result": result})
    with pytest.raises(JobNotBegun, match=f"job {ID} was not begun within 0.2 s: its scheduled task {why}") as caught:
        host.wait_job(ID, deadline=600, start_within=0.2, every=0.01)
    assert not caught.value.outcome_unknown


def test_a_slow_start_is_waited_for(machine: Any, host: WindowsHost) -> None:
    """Ready and never run, queued, running: a small machine takes its time for each, and the job is not given up."""
    delayed = facts("created", task="Ready") | {"task_result": 0x41303}
    queued = facts("created", task="Queued") | {"task_result": 0x41325}
    machine.script = Jobs(delayed, delayed, delayed, queued, queued, facts("running"), facts("succeeded"))
    assert host.wait_job(ID, deadline=20, start_within=10, every=0.01)["job"]["state"] == "succeeded"


def test_facts_that_nobody_understands_are_refused(machine: Any, host: WindowsHost) -> None:
    """An unknown state is an error that names the field, not something to wait for."""
    machine.script = Jobs(facts("sleeping"))
    with pytest.raises(ScriptRefused, match=r"job\.state"):
        host.wait_job(ID, deadline=20, every=0.01)


def test_all_jobs_of_a_host_can_be_asked_for(machine: Any, host: WindowsHost) -> None:
    """Without ids, the host tells what jobs it has."""
    machine.script = lambda document, _process: {
        "boot_id": None,
        "jobs": [{"id": "x", "asked": document["parameters"]}],
    }
    assert host.job() == [{"id": "x", "asked": {}}]
