"""The dead man's switch, told twice: when it acts, when it keeps still, and what it leaves behind."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytestmark = [
    pytest.mark.lookalike,
    pytest.mark.telling("Enable-DeadMansSwitch", "Disable-DeadMansSwitch", "Restore-Service"),
]

ROOT = "C/ProgramData/EngageIPPatching"
LEASE, QUIESCE, SWITCH = f"{ROOT}/lease.json", f"{ROOT}/quiesce.json", f"{ROOT}/switch"
TASK = r"\EngageIPPatching\dead-mans-switch"
JOBS = "EngageIP Job Service"
GIVEN = {"after_seconds": 7200, "after": "2h", "recover": "billpatch recover acme"}
TIMES = ("opened", "closed", "renewed", "expires")


def moment(seconds: float) -> str:
    """So many seconds from now, as the files write it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def lease(**changed: Any) -> dict[str, Any]:
    """The lease of a run that died three hours ago."""
    times = {"taken": moment(-12000), "renewed": moment(-10800), "expires": moment(-10620)}
    held = {"fence": 4, "holder": "worker process 7", "key": "acme.CHG1.1", **times}
    return held | {"released": False, "finished": False} | changed


def quiesce(**held: Any) -> dict[str, Any]:
    """A web server behind the maintenance page, its billing service stopped."""
    site = {"name": "AdminPortal", "state": "Started", "pool": "AdminPortal", "pool_state": "Started"}
    public = {"protocol": "http", "information": "*:8080:", "host": "", "certificate_hash": ""}
    binding = public | {"certificate_store": "", "ssl_flags": 0}
    return {
        "number": 3, "state": "open", "fence": 4, "opened": moment(-11000), "closed": None,
        "services": [{"name": JOBS, "status": "Running", "start_mode": "Auto"}],
        "sites": [site | {"check_binding": "*:8081:", "bindings": [binding]}],
        "held": held,
    }  # fmt: skip


@pytest.fixture
def hosts(twin: Callable[..., Any]) -> Any:
    """Make a host in the middle of a night."""
    made = twin()

    def site(number: int, pool: str, binding: str) -> dict[str, Any]:
        one = {"protocol": "http", "bindingInformation": binding, "certificateHash": "", "certificateStoreName": ""}
        path = rf"C:\EngageIP\{pool}"
        return {"id": number, "state": "Started", "path": path, "pool": pool, "bindings": [one | {"sslFlags": 0}]}

    def iis(state: dict[str, Any]) -> None:
        state["sites"] = {
            "AdminPortal": site(1, "AdminPortal", "*:8081:"),
            "EngageIPMaintenance": site(2, "EngageIPMaintenance", "*:8080:"),
        }
        state["pools"] = {"AdminPortal": {"state": "Started"}, "EngageIPMaintenance": {"state": "Started"}}

    made.state("iis.json", iis)
    made.state("services.json", lambda services: services[JOBS].update(status="Stopped"))
    made.put(f"{SWITCH}/here.txt", "")
    return made


def put(hosts: Any, held: dict[str, Any] | None, quiet: dict[str, Any] | None) -> None:
    for path, content in ((LEASE, held), (QUIESCE, quiet)):
        if content is not None:
            hosts.put(path, json.dumps(content))


def events(hosts: Any) -> list[tuple[Any, ...]]:
    """What was written into the event log, the same on both sides."""
    both = []
    for side in hosts.json("events.json"):
        fields = ("log", "provider", "id", "level", "message")
        both.append([tuple(event[field] for field in fields) for event in side or ()])
    assert both[0] == both[1]
    return both[0]


def public(hosts: Any) -> list[bool]:
    """Whether the site has its public binding, on each side."""
    sides = hosts.json("iis.json")
    return ["*:8080:" in [b["bindingInformation"] for b in s["sites"]["AdminPortal"]["bindings"]] for s in sides]


def test_it_restores_service_once(hosts: Any) -> None:
    """Sites open, services run, the silent run is locked out, an event says it all; the next look does nothing."""
    held = lease()
    put(hosts, held, quiesce(agent_jobs=["Billing Run"]))
    answer = hosts.call_job("Restore-Service", GIVEN).agree()
    assert (answer["outcome"], answer["sites"]) == ("restored", ["AdminPortal"])
    assert [(one["name"], one["status"]) for one in answer["services"]] == [(JOBS, "Running")]
    assert public(hosts) == [True, True]
    assert all("EngageIPMaintenance" not in side["sites"] for side in hosts.json("iis.json"))
    first, second = hosts.json(LEASE)
    assert {**first, **dict.fromkeys(TIMES)} == {**second, **dict.fromkeys(TIMES)}
    assert (first["fence"], first["holder"], first["key"]) == (5, "dead man's switch of WEB01", "acme.CHG1.1")
    assert (first["released"], first["finished"], first["taken"]) == (True, False, held["taken"])
    first, second = hosts.json(QUIESCE)
    assert {**first, "opened": 0} == {**second, "opened": 0}
    assert first["held"] == {"agent_jobs": ["Billing Run"], "reopening": True, "released": True, "restored": True}
    assert first["state"] == "open"
    text = (
        "worker process 7 has not been heard of for 2h, and it had installed nothing. Open again: AdminPortal. "
        f"Started again: {JOBS}. SQL Server Agent jobs that stay held: Billing Run. Run: billpatch recover acme"
    )
    assert events(hosts) == [("Application", "EngageIPPatching", 911, 3, text)]
    assert hosts.call_job("Restore-Service", GIVEN).agree()["outcome"] == "idle"
    assert len(events(hosts)) == 1
    refused = hosts.run("Set-QuiesceState", {"number": 3, "fence": 4}).agree("line")
    assert refused["id"] == "FenceTooLow"


STILL = {
    "never made quiet": (lease(), None, "idle"),
    "brought back": (lease(), quiesce() | {"state": "closed"}, "idle"),
    "given back: what is closed stays closed on purpose": (lease(released=True), quiesce(), "idle"),
    "nobody ever held it": (None, quiesce(), "idle"),
    "renewed a moment ago": (lease(renewed=moment(-60)), quiesce(), "attended"),
    "renewed for a long restart": (lease(renewed=moment(-60), expires=moment(3600)), quiesce(), "attended"),
    "a later run holds it": (lease(fence=9, renewed=moment(-1)), quiesce(), "attended"),
    "installs have been let begin on some host": (lease(), quiesce(patching=True), "closed"),
    "installing": (lease(), quiesce(installing={"round": 1}), "closed"),
    "restarting": (lease(), quiesce(restarting={"intent": "i"}), "closed"),
    "a SQL Server patch": (lease(), quiesce(**{"sql-patch-15.0.4430.1": {"name": "CU32"}}), "closed"),
}


@pytest.mark.parametrize("state", STILL)
def test_it_keeps_still(hosts: Any, state: str) -> None:
    """Nothing is touched, not even the lease; where a host stays closed, its event log says why, once."""
    held, quiet, outcome = STILL[state]
    put(hosts, held, quiet)
    for _ in range(2):
        assert hosts.call_job("Restore-Service", GIVEN).agree()["outcome"] == outcome
    assert public(hosts) == [False, False]
    assert [side[JOBS]["status"] for side in hosts.json("services.json")] == ["Stopped", "Stopped"]
    assert hosts.json(LEASE) == (held, held)
    assert hosts.json(QUIESCE) == (quiet, quiet)
    text = (
        "worker process 7 has not been heard of for 2h, and what it installs may be half done: the sites of this host "
        "stay closed, its services stopped. Run: billpatch recover acme"
    )
    assert events(hosts) == ([("Application", "EngageIPPatching", 911, 2, text)] if outcome == "closed" else [])


def test_what_does_not_come_back_is_told(hosts: Any) -> None:
    """The site opens although the service does not start; the quiesce does not read as restored."""
    put(hosts, lease(), quiesce())
    hosts.state("services.json", lambda services: services[JOBS].update(broken=True))
    answer = hosts.call_job("Restore-Service", GIVEN).agree()
    assert (answer["outcome"], public(hosts)) == ("incomplete", [True, True])
    assert f"But: {JOBS}: Service '{JOBS}' cannot be started" in events(hosts)[0][-1]
    assert [side["held"] for side in hosts.json(QUIESCE)] == [{"reopening": True}] * 2


def test_what_has_not_come_back_is_tried_again_at_the_next_look(hosts: Any) -> None:
    """After a power cut services start late; the lease ends meanwhile and keeps nobody out, but it is not given back."""
    put(hosts, lease(), quiesce())
    hosts.state("services.json", lambda services: services[JOBS].update(broken=True))
    assert hosts.call_job("Restore-Service", GIVEN).agree()["outcome"] == "incomplete"
    for side in hosts.json(LEASE):
        assert (side["released"], side["fence"]) == (False, 5)
        assert datetime.fromisoformat(side["expires"]) <= datetime.now(UTC)
    hosts.state("services.json", lambda services: services[JOBS].update(broken=False))
    assert hosts.call_job("Restore-Service", GIVEN).agree()["outcome"] == "restored"
    assert [(side["released"], side["fence"]) for side in hosts.json(LEASE)] == [(True, 6)] * 2
    assert [side[JOBS]["status"] for side in hosts.json("services.json")] == ["Running", "Running"]
    assert events(hosts)[-1][-1].startswith(
        "The run before has not been heard of for 2h, and it had installed nothing."
    )
    assert hosts.call_job("Restore-Service", GIVEN).agree()["outcome"] == "idle"


def arming(job_document: Any) -> dict[str, Any]:
    """The parameters of Enable-DeadMansSwitch."""
    order = job_document("x", "Restore-Service", GIVEN)
    names = ("script_text", "library_text", "launcher_text", "sha256", "library_sha256", "launcher_sha256")
    return {name: order[name] for name in names} | {"parameters": GIVEN, "every_seconds": 300, "fence": 4}


def test_a_folder_that_lets_others_in_is_refused(hosts: Any, job_document: Any) -> None:
    """Its script runs as SYSTEM every few minutes: whoever may write there would be SYSTEM."""
    folder = r"C:\ProgramData\EngageIPPatching\switch"
    let_in = {folder: {"owner": "BA", "dacl": "AI(A;OICI;0x1301bf;;;BU)"}}
    hosts.state("acl.json", lambda acl: acl.update(let_in))
    told = job_document("x", "Restore-Service", GIVEN)
    given = {name: told[name] for name in told if name.endswith(("sha256", "text"))}
    refused = hosts.run("Enable-DeadMansSwitch", given | {"parameters": GIVEN, "every_seconds": 300, "fence": 4})
    assert refused.agree("line")["id"] == "FolderAccess"
    assert hosts.json("tasks.json") == ({}, {})


def test_arming_and_disarming(hosts: Any, job_document: Any, engine: Any) -> None:
    """A task of SYSTEM with a trigger, which survives a boot; it does its work by the launcher; gone without a trace."""
    put(hosts, lease(), quiesce())
    answer = hosts.run("Enable-DeadMansSwitch", arming(job_document)).agree()
    assert answer == {"armed": True, "task": TASK}
    ours = {"state", "result", "last_run", "stubs", "pid", "every", "triggers"}
    first, second = (side[TASK] for side in hosts.json("tasks.json"))
    assert {n: v for n, v in first.items() if n not in ours} == {n: v for n, v in second.items() if n not in ours}
    assert [[t["kind"] for t in side["triggers"]] for side in (first, second)] == [["once"], ["once"]]
    assert (first["user"], first["level"], first["limit"], first["priority"]) == ("S-1-5-18", "Highest", "PT30M", 4)
    settings = ("DisallowStartIfOnBatteries", "StopIfGoingOnBatteries", "StartWhenAvailable")
    assert hosts.json("task-settings.json")[0][TASK] == dict(zip(settings, (False, False, True), strict=True))
    # The engine's scheduler knows no repetition: there the test plays the trigger.
    start = "Start-ScheduledTask -TaskPath '\\EngageIPPatching\\' -TaskName 'dead-mans-switch'"
    engine.run(hosts.engine, ["-NoProfile", "-Command", start])
    until(lambda: public(hosts) == [True, True])
    until(lambda: [side["state"] for side in hosts.json(f"{SWITCH}/job.json")] == ["succeeded", "succeeded"])
    assert [side["result"]["outcome"] for side in hosts.json(f"{SWITCH}/job.json")] == ["restored", "restored"]
    answer = hosts.run("Disable-DeadMansSwitch", {"fence": 5}).agree()
    assert answer["was_armed"] is True
    assert answer["said"].startswith("worker process 7 has not been heard of")
    assert hosts.json("tasks.json") == ({}, {})
    assert not [name for side in hosts.files() for name in side if name.startswith("switch/")]
    assert hosts.run("Disable-DeadMansSwitch", {"fence": 5}).agree() == {"was_armed": False, "said": None}


def test_nobody_arms_it_with_other_bytes_or_without_the_lease(hosts: Any, job_document: Any) -> None:
    """A script that did not arrive as it was sent would run as SYSTEM; an overtaken run arms and disarms nothing."""
    put(hosts, lease(), quiesce())
    changed = arming(job_document) | {"script_text": "# something else"}
    assert hosts.run("Enable-DeadMansSwitch", changed).agree("line")["id"] == "JobHash"
    for name, parameters in (("Enable-DeadMansSwitch", arming(job_document)), ("Disable-DeadMansSwitch", {})):
        assert hosts.run(name, parameters | {"fence": 3}).agree("line")["id"] == "FenceTooLow"
    assert hosts.json("tasks.json") == ({}, {})


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
