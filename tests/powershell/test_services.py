"""Services and the record of a quiesce: what was running is written down before anything stops, and once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lab.faults import Fault

pytestmark = [
    pytest.mark.lookalike,
    pytest.mark.telling(
        "Get-QuiesceState", "Set-QuiesceState", "Stop-HostServices", "Start-HostServices", "Get-AutoServices"
    ),
]

QUIESCE = "C/ProgramData/EngageIPPatching/quiesce.json"
TIMES = ("opened", "closed")
JOBS, BILLING = "EngageIP Job Service", "EngageIP Billing"


def service(status: str = "Running", start: str = "Automatic", *depends: str, **more: Any) -> dict[str, Any]:
    return {"status": status, "start": start, "depends": list(depends), **more}


@pytest.fixture
def hosts(twin: Callable[..., Any]) -> Any:
    """Make a host with services that depend on each other, a manual one that runs, a disabled one, a broken one."""
    made = twin()

    def change(services: dict[str, Any]) -> None:
        services.clear()
        services |= {
            JOBS: service(),
            BILLING: service("Running", "Manual"),
            "EngageIP Watcher": service("Running", "Automatic", JOBS),
            "EngageIP Reports": service("Stopped", "Automatic", JOBS),
            "Spooler": service("Stopped", "Disabled"),
            "Broken": service("Stopped", broken=True),
            "Stuck": service(stuck=True),
        }

    made.state("services.json", change)
    return made


def same_state(hosts: Any, *volatile: str) -> dict[str, Any]:
    """Both hosts' services and quiesce.json are the same; returns the latter."""
    first, second = hosts.json("services.json")
    assert first == second
    first, second = hosts.json(QUIESCE)
    for one in (first, second):
        one.update(dict.fromkeys((*TIMES, *volatile)))
    assert first == second
    found: dict[str, Any] = first
    return found


def stop(*names: str, number: int = 1, fence: int = 1, timeout_seconds: int = 5) -> dict[str, Any]:
    return {"names": list(names), "number": number, "fence": fence, "timeout_seconds": timeout_seconds}


def test_services_stop_in_order_and_come_back_in_reverse(hosts: Any) -> None:
    """Those that depend on a named one are recorded and stopped before it; what did not run is not started."""
    answer = hosts.run("Stop-HostServices", stop(BILLING, JOBS.upper(), "EngageIP Reports", "No such")).agree()
    assert [(s["name"], s["status"]) for s in answer["services"]] == [
        (BILLING, "Stopped"),
        ("EngageIP Watcher", "Stopped"),
        (JOBS, "Stopped"),
        ("EngageIP Reports", "Stopped"),
        ("No such", None),
    ]
    assert answer["complete"]
    record = same_state(hosts)
    assert [(s["name"], s["status"], s["start_mode"]) for s in record["services"]] == [
        (BILLING, "Running", "Manual"),
        ("EngageIP Watcher", "Running", "Auto"),
        (JOBS, "Running", "Auto"),
        ("EngageIP Reports", "Stopped", "Auto"),
    ]
    answer = hosts.run("Start-HostServices", {"fence": 1}).agree()
    assert [(s["name"], s["status"]) for s in answer["services"]] == [
        (JOBS, "Running"),
        ("EngageIP Watcher", "Running"),
        (BILLING, "Running"),
    ]
    assert answer["complete"]
    same_state(hosts)


def test_the_record_of_a_number_is_written_once(hosts: Any) -> None:
    """A second call after a crash sees stopped services and does not take them for the earlier state."""
    hosts.run("Stop-HostServices", stop(JOBS)).agree()
    before = same_state(hosts)
    answer = hosts.run("Stop-HostServices", stop(JOBS, BILLING)).agree()
    assert answer["complete"]
    after = same_state(hosts)
    assert after["services"][: len(before["services"])] == before["services"]
    assert after["services"][-1]["name"] == BILLING


def test_start_types_never_change(hosts: Any) -> None:
    """Neither stopping nor starting touches them."""
    modes = {name: state["start"] for name, state in hosts.json("services.json")[0].items()}
    hosts.run("Stop-HostServices", stop(JOBS, BILLING)).agree()
    hosts.run("Start-HostServices", {"fence": 1}).agree()
    assert {name: state["start"] for name, state in hosts.json("services.json")[0].items()} == modes


def test_one_that_refuses_to_stop_ends_the_work(hosts: Any) -> None:
    """The order has a reason: what comes after it is left running, and the answer says what went wrong."""
    answer = hosts.run("Stop-HostServices", stop("Stuck", JOBS)).agree()
    assert not answer["complete"]
    assert "cannot be stopped" in answer["services"][0]["error"]
    assert [s["status"] for s in answer["services"]] == ["StopPending", "Running", "Running"]
    same_state(hosts)


def test_one_that_hangs_is_waited_for_until_the_deadline(hosts: Any) -> None:
    """A service that says it is stopping, and does not, is told with the time that was given."""
    hosts.state("services.json", lambda services: services[JOBS].update(status="StopPending", depends=[]))
    hosts.state("services.json", lambda services: services.pop("EngageIP Watcher"))
    answer = hosts.run("Stop-HostServices", stop(JOBS, BILLING, timeout_seconds=1)).agree()
    assert answer["services"][0]["error"] == "still 'StopPending' after 1 s"
    assert answer["services"][1]["status"] == "Running"


def test_the_lab_can_make_a_service_hang(hosts: Any) -> None:
    """The fault service.stuck: the lab's service manager answers, the service does not stop."""
    hosts.lab.faults.declare(Fault("service.stuck", on=BILLING))
    answer = hosts.run("Stop-HostServices", stop(BILLING)).lab["value"]
    assert answer["services"][0] == {
        "name": BILLING,
        "exists": True,
        "status": "StopPending",
        "start_mode": "Manual",
        "error": "still 'StopPending' after 5 s",
    }


def test_one_that_does_not_start_does_not_keep_the_others_down(hosts: Any) -> None:
    """A disabled, a broken and an absent service are named; the next still starts."""
    hosts.run("Stop-HostServices", stop(BILLING)).agree()
    names = ["Spooler", "Broken", "No such", BILLING, JOBS]
    answer = hosts.run("Start-HostServices", {"names": names, "fence": 1}).agree()
    assert not answer["complete"]
    assert [s["status"] for s in answer["services"]] == ["Stopped", "Stopped", None, "Running", "Running"]
    assert "cannot be started" in answer["services"][0]["error"]
    same_state(hosts)


def test_nothing_is_started_where_nothing_was_recorded(hosts: Any) -> None:
    """Without a quiesce there is no earlier state to go back to."""
    answer = hosts.run("Start-HostServices", {"fence": 1}).agree()
    assert answer == {"services": [], "complete": True}


def test_an_open_quiesce_is_never_replaced(hosts: Any) -> None:
    """Its record is the only one of how the host was; a closed number does not open again."""
    hosts.run("Stop-HostServices", stop(JOBS)).agree()
    assert hosts.run("Stop-HostServices", stop(BILLING, number=2)).agree("line")["id"] == "QuiesceOpen"
    answer = hosts.run("Set-QuiesceState", {"number": 1, "fence": 1, "state": "closed"}).agree(*TIMES)
    assert answer["quiesce"]["state"] == "closed"
    assert hosts.run("Stop-HostServices", stop(BILLING, number=1)).agree("line")["id"] == "QuiesceClosed"
    assert hosts.run("Stop-HostServices", stop(BILLING, number=2)).agree()["complete"]
    assert [s["name"] for s in same_state(hosts)["services"]] == [BILLING]


def test_held_sections_are_recorded_once(hosts: Any) -> None:
    """What the caller disabled elsewhere is kept as it was first told, and closing twice is closing."""
    jobs = {"agent_jobs": [{"name": "Nightly billing & €", "enabled": True}]}
    hosts.run("Set-QuiesceState", {"number": 3, "fence": 2, "held": jobs}).agree(*TIMES)
    more = {"agent_jobs": [], "tasks": ["a"]}
    answer = hosts.run("Set-QuiesceState", {"number": 3, "fence": 2, "held": more}).agree(*TIMES)
    assert answer["quiesce"]["held"] == {**jobs, "tasks": ["a"]}
    for _ in range(2):
        hosts.run("Set-QuiesceState", {"number": 3, "fence": 2, "state": "closed"}).agree(*TIMES)
    read = hosts.run("Get-QuiesceState").agree(*TIMES)["quiesce"]
    assert (read["state"], read["held"]) == ("closed", {**jobs, "tasks": ["a"]})
    same_state(hosts)


def test_an_open_record_goes_on_under_another_number(hosts: Any) -> None:
    """It keeps what it tells of before, and forgets what a reopening had given back; a closed one is not carried on."""
    held = {"agent_jobs": ["a"], "reopening": True, "released": True, "installing": {"round": 1}}
    hosts.run("Set-QuiesceState", {"number": 3, "fence": 2, "held": held}).agree(*TIMES)
    going_on = {
        "number": 4,
        "fence": 2,
        "from": 3,
        "forget": ["reopening", "released", "restored"],
        "held": {"late": 1},
    }
    after = hosts.run("Set-QuiesceState", going_on).agree(*TIMES)["quiesce"]
    assert (after["number"], after["held"]) == (4, {"agent_jobs": ["a"], "installing": {"round": 1}, "late": 1})
    hosts.run("Set-QuiesceState", {"number": 4, "fence": 2, "state": "closed"}).agree(*TIMES)
    fresh = hosts.run("Set-QuiesceState", {"number": 5, "fence": 2, "from": 4}).agree(*TIMES)["quiesce"]
    assert (fresh["number"], fresh["held"]) == (5, {})
    same_state(hosts)


@pytest.mark.parametrize(
    ("section", "anew"), [("installing", False), ("sql-patch-15.0.4430.1", False), ("agent_jobs", True)]
)
def test_a_record_on_which_nothing_was_begun_is_opened_anew(hosts: Any, section: str, anew: bool) -> None:
    """What the event logs have told since is not of this night; where something was begun, it is."""
    long_ago = "2026-03-08T08:00:00.000Z"
    record = {
        "number": 3, "state": "open", "fence": 1, "opened": long_ago, "closed": None, "services": [], "sites": [],
        "held": {section: ["a"]},
    }  # fmt: skip
    hosts.put(QUIESCE, json.dumps(record))
    both = hosts.run("Set-QuiesceState", {"number": 4, "fence": 2, "from": 3})
    both.agree(*TIMES)
    for told in (both.engine, both.lab):
        assert (told["value"]["quiesce"]["opened"] != long_ago) is anew


def test_a_section_is_forgotten_where_it_is_named(hosts: Any) -> None:
    """What is told anew under the same name is recorded again, in one write."""
    hosts.run("Set-QuiesceState", {"number": 3, "fence": 2, "held": {"a": 1, "b": 1}}).agree(*TIMES)
    anew = {"number": 3, "fence": 2, "held": {"a": 2, "b": 2}, "forget": ["a", "c"]}
    assert hosts.run("Set-QuiesceState", anew).agree(*TIMES)["quiesce"]["held"] == {"b": 1, "a": 2}
    same_state(hosts)


def test_nothing_to_close_is_closed(hosts: Any) -> None:
    """A host that never was made quiet answers so."""
    assert hosts.run("Get-QuiesceState").agree() == {"quiesce": None}
    assert hosts.run("Set-QuiesceState", {"number": 1, "fence": 1, "state": "closed"}).agree() == {"quiesce": None}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Stop-HostServices", stop(JOBS, fence=4)),
        ("Start-HostServices", {"names": [JOBS], "fence": 4}),
        ("Set-QuiesceState", {"number": 1, "fence": 4}),
    ],
)
def test_a_run_that_lost_its_lease_changes_nothing(hosts: Any, name: str, parameters: dict[str, Any]) -> None:
    """A lower fence than the lease's is refused before anything is written."""
    lease = {"fence": 5, "holder": "other", "key": "k", "taken": "", "expires": "", "released": False}
    hosts.put("C/ProgramData/EngageIPPatching/lease.json", json.dumps(lease))
    before = hosts.json("services.json")
    assert hosts.run(name, parameters).agree("line")["id"] == "FenceTooLow"
    assert hosts.json("services.json") == before
    assert hosts.json(QUIESCE) == (None, None)


def test_services_that_start_by_themselves(hosts: Any) -> None:
    """What the last run of each ended with, and whether it starts late, or by a trigger; a user's services are not the host's."""

    def change(tree: dict[str, Any]) -> None:
        services = tree["HKLM"]["SYSTEM"]["CurrentControlSet"].setdefault("Services", {})
        services[BILLING] = {"@": {"Type": 16}}
        services[JOBS] = {"@": {"Type": 16, "DelayedAutostart": 1}}
        services["EngageIP Reports"] = {"@": {"DelayedAutostart": 0}, "TriggerInfo": {"0": {"@": {"Type": 1}}}}
        services["EngageIP Watcher"] = {"@": {"Type": 0xE0}}

    hosts.state("registry.json", change)
    hosts.state("services.json", lambda services: services["Broken"].update(exit=1053))
    answer = hosts.run("Get-AutoServices").agree()
    fields = ("status", "exit_code", "delayed", "triggered")
    assert {one["name"]: tuple(one[field] for field in fields) for one in answer["services"]} == {
        JOBS: ("Running", 0, True, False),
        "EngageIP Reports": ("Stopped", 0, False, True),
        "Broken": ("Stopped", 1053, False, False),
        "Stuck": ("Running", 0, False, False),
    }
