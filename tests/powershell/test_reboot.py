"""Restarting a host and telling whether it has restarted; told twice over the same states."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from lab.faults import Fault
from lab.power import power, show_logon

pytestmark = [pytest.mark.lookalike, pytest.mark.telling("Get-RebootState", "Confirm-Boot", "Restart-PatchedHost")]

ROOT = "C/ProgramData/EngageIPPatching"
BOOT = "5e5a0b3c-0000-4000-8000-000000000001"
ASK = {"intent": "run.1.restart", "reason": 'EngageIP "patching" C:\\x', "fence": 1}
VOLATILE = ("now", "asked", "uptime_seconds")
SERVICING = ("SOFTWARE", "Microsoft", "Windows", "CurrentVersion", "Component Based Servicing", "Interface")
LOGON = ("SOFTWARE", "Microsoft", "Windows NT", "CurrentVersion", "Winlogon", "AutoLogonChecked")


def key(path: tuple[str, ...], **values: Any) -> Callable[[dict[str, Any]], None]:
    """A change of the registry: a key under HKLM with values."""

    def change(tree: dict[str, Any]) -> None:
        here = tree["HKLM"]
        for part in path:
            here = here.setdefault(part, {})
        here.setdefault("@", {}).update(values)

    return change


def booted(tree: dict[str, Any]) -> None:
    """A boot id that is known, so that both sides say the same."""
    key(("SOFTWARE", "EngageIPPatching", "Boot"), Id=BOOT)(tree)
    tree["HKLM"]["SOFTWARE"]["EngageIPPatching"]["Boot"]["@volatile"] = True


@pytest.fixture
def hosts(twin: Callable[..., Any]) -> Any:
    """A host at real speed, so that its two seconds of grace are longer than a look at it."""
    made = twin(speed=1)
    made.state("registry.json", booted)
    return made


READS = {
    "nothing known": dict,
    "still up": key(("SOFTWARE", "EngageIPPatching", "Restart"), Intent="run.1.restart"),
    "another intent": key(("SOFTWARE", "EngageIPPatching", "Restart"), Intent="run.2.restart"),
    "updates configure": key(SERVICING, ServicingInProgress=2),
    "servicing done": key(SERVICING, ServicingInProgress=0),
    "logon screen": key(LOGON),
    "no acting script since the boot": lambda tree: tree["HKLM"]["SOFTWARE"].pop("EngageIPPatching"),
}


@pytest.mark.parametrize("state", READS)
def test_reading_the_state_of_a_boot(hosts: Any, state: str) -> None:
    """Each piece of evidence shows in both answers, and changes them."""
    before = hosts.run("Get-RebootState", {"intent": "run.1.restart"}).agree(*VOLATILE)
    hosts.state("registry.json", READS[state])
    after = hosts.run("Get-RebootState", {"intent": "run.1.restart"}).agree(*VOLATILE)
    blurred = ({**side, "now": 0, "uptime_seconds": 0} for side in (before, after))
    assert (next(blurred) == next(blurred)) is (state in ("nothing known", "another intent"))


def test_what_an_ordinary_boot_says(hosts: Any) -> None:
    """The fields, in full."""
    answer = hosts.run("Get-RebootState", {"intent": "run.1.restart"}).agree(*VOLATILE)
    assert answer["uptime_seconds"] > 0
    assert {n: v for n, v in answer.items() if n not in ("now", "uptime_seconds")} == {
        "asked": None,
        "marker_present": False,
        "boot_id": BOOT,
        "last_boot": "2026-01-10T02:03:04.567Z",
        "servicing_in_progress": None,
        "logon_ready": False,
    }


PHASES = {
    None: ("asked", [0]),
    "scheduled": ("asked", [1190, 0, 0]),
    "in_progress": ("in_progress", [1115]),
    "denied": ("refused", [5]),
}


@pytest.mark.parametrize("phase", PHASES)
def test_asking_for_a_restart(hosts: Any, phase: str | None) -> None:
    """What shutdown.exe said, and what is written down before it is asked."""
    outcome, codes = PHASES[phase]
    hosts.state("shutdown.json", lambda state: state.update(phase=phase))
    answer = hosts.run("Restart-PatchedHost", ASK).agree()
    assert (answer["outcome"], [attempt["code"] for attempt in answer["attempts"]]) == (outcome, codes)
    assert answer["boot_id"] == BOOT
    first, second = hosts.json(f"{ROOT}/restart.json")
    assert {**first, "asked": 0} == {**second, "asked": 0}
    assert (first["intent"], first["boot_id"], first["fence"]) == ("run.1.restart", BOOT, 1)
    for registry in hosts.json("registry.json"):
        marker = registry["HKLM"]["SOFTWARE"]["EngageIPPatching"]["Restart"]
        assert marker == {"@volatile": True, "@": {"Intent": "run.1.restart"}}
        assert "@volatile" not in registry["HKLM"]["SOFTWARE"]["EngageIPPatching"]
    state = hosts.run("Get-RebootState", {"intent": "run.1.restart"}).agree(*VOLATILE)
    assert state["marker_present"] is True
    assert state["asked"]["intent"] == "run.1.restart"


def test_the_intent_is_written_down_before_windows_is_asked(hosts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """File and mark are there when shutdown.exe is called: a script that dies right after has left both."""
    asked, there = power(hosts.lab).shutdown_exe, []

    def shutdown_exe(arguments: list[str]) -> tuple[int, str]:
        file, registry = hosts.json(f"{ROOT}/restart.json")[1], hosts.json("registry.json")[1]
        mark = registry["HKLM"]["SOFTWARE"]["EngageIPPatching"].get("Restart", {"@": {}})
        there.append([file and file["intent"], mark["@"].get("Intent")])
        return asked(arguments)

    monkeypatch.setattr(power(hosts.lab), "shutdown_exe", shutdown_exe)
    hosts.run("Restart-PatchedHost", ASK)
    assert [hosts.json("shutdown.json")[0]["there"], *there] == [["run.1.restart"] * 2] * 2


def test_the_request_is_planned_and_names_its_reason(hosts: Any) -> None:
    """Two seconds, planned, security fix; quotes and backslashes of the reason cannot break the command line."""
    (attempt,) = hosts.run("Restart-PatchedHost", ASK).agree()["attempts"]
    assert attempt["arguments"] == ["/r", "/t", "2", "/d", "p:2:17", "/c", "EngageIP 'patching' C:'x"]


def test_an_intent_restarts_once(hosts: Any, engine: Any) -> None:
    """After the boot the same intent is answered 'restarted', and nothing is asked; another intent asks again."""
    hosts.lab.clock.speed = 50
    hosts.run("Restart-PatchedHost", ASK)
    engine.boot(hosts.engine)
    hosts.state_of_engine("shutdown.json", {"phase": None})
    _until(lambda: '"host.boot"' in hosts.lab.audit.path.read_text())
    _until(lambda: hosts.json("shutdown.json")[1]["phase"] is None)
    both = hosts.run("Restart-PatchedHost", ASK)
    assert both.agree()["outcome"] == "restarted"
    assert both.engine["value"]["boot_id"] == BOOT
    assert both.engine["value"]["attempts"] == []
    state = hosts.run("Get-RebootState", {"intent": "run.1.restart"})
    for side in (state.engine["value"], state.lab["value"]):
        assert (side["marker_present"], side["boot_id"]) == (False, None)
    hosts.lab.clock.speed = 1
    assert (
        hosts.run("Restart-PatchedHost", ASK | {"intent": "run.2.restart"}).agree("boot_id", "last_boot")["outcome"]
        == "asked"
    )


@pytest.mark.parametrize(
    ("intent", "asked", "mark", "outcome"),
    [
        ("acme.CHG1.1.1", "acme.CHG1.1.2", None, "restarted"),
        ("acme.CHG1.1.9", "acme.CHG1.1.10", None, "restarted"),
        ("acme.CHG1.1.2", "acme.CHG1.1.2", None, "restarted"),
        ("acme.CHG1.1.3", "acme.CHG1.1.2", None, "asked"),
        ("acme.CHG1.2.1", "acme.CHG1.1.2", None, "asked"),
        ("acme.CHG1.1.1", "ACME.CHG1.1.2", None, "asked"),
        ("acme.CHG1.1.1", "acme.CHG1.1.x", None, "asked"),
        ("1", "2", None, "asked"),
        ("acme.CHG1.1.1", "acme.CHG1.1.2", "acme.CHG1.1.2", "asked"),
        ("acme.CHG1.1.1", "acme.CHG1.1.2", "acme.CHG1.1.1", "asked"),
    ],
)
def test_a_later_intent_that_has_happened_tells_of_an_earlier(
    hosts: Any, intent: str, asked: str, mark: str | None, outcome: str
) -> None:
    """The last one alone is written down; a run that is gone on with asks again for those before it."""
    hosts.put(f"{ROOT}/restart.json", json.dumps({"intent": asked, "boot_id": "another", "last_boot": "x"}))
    if mark is not None:
        hosts.state("registry.json", key(("SOFTWARE", "EngageIPPatching", "Restart"), Intent=mark))
    answer = hosts.run("Restart-PatchedHost", ASK | {"intent": intent}).agree()
    assert (answer["outcome"], answer["attempts"] == []) == (outcome, outcome == "restarted")


def test_a_request_that_was_cut_short_is_made_again(hosts: Any) -> None:
    """Mark and file written, shutdown never asked: the same boot, so it is asked now."""
    hosts.state("registry.json", key(("SOFTWARE", "EngageIPPatching", "Restart"), Intent="run.1.restart"))
    hosts.put(f"{ROOT}/restart.json", json.dumps({"intent": "run.1.restart", "boot_id": BOOT, "last_boot": "x"}))
    assert hosts.run("Restart-PatchedHost", ASK).agree()["outcome"] == "asked"


def test_an_overtaken_run_restarts_nothing(hosts: Any) -> None:
    """A lower fence is refused before anything is written or asked."""
    hosts.put(f"{ROOT}/lease.json", json.dumps({"fence": 3, "holder": "them", "key": "k", "released": False}))
    assert hosts.run("Restart-PatchedHost", ASK).agree("line")["id"] == "FenceTooLow"
    assert hosts.files() == (["lease.json"], ["lease.json"])
    assert hosts.json("shutdown.json") == (None, None)


def test_a_boot_is_named_once(hosts: Any, engine: Any) -> None:
    """The name stays for as long as the boot; the next boot has none until it is asked for, and then another."""
    for _ in range(2):
        assert hosts.run("Confirm-Boot").agree() == {"boot_id": BOOT}
    engine.boot(hosts.engine)
    hosts.lab.clock.speed = 50
    hosts.lab.restart(1)
    _until(lambda: hosts.run("Get-RebootState", {"intent": "i"}).lab["value"]["boot_id"] is None)
    both = hosts.run("Confirm-Boot")
    assert BOOT not in (both.agree("boot_id")["boot_id"], both.lab["value"]["boot_id"])
    assert hosts.run("Confirm-Boot") == both


def test_the_lab_goes_down_and_comes_up_in_phases(hosts: Any) -> None:
    """Down, up, servicing, logon screen: each is seen by Get-RebootState in the lab, the boot's time included."""
    lab = hosts.lab
    lab.clock.speed = 50
    show_logon(lab)
    lab.faults.declare(Fault("power.servicing", on="web01", with_={"seconds": 200}))

    def look() -> dict[str, Any]:
        # The engine, which knows no phases, would be asked first, and take its time.
        seen.append(hosts.call_lab("Get-RebootState", {"intent": "i"})["value"])
        return seen[-1]

    seen: list[dict[str, Any]] = []
    before = look()
    assert before["logon_ready"] is True
    hosts.call_lab("Restart-PatchedHost", ASK | {"intent": "i"})
    _until(lambda: _events(lab) == ["host.shutdown", "host.boot"])
    _until(lambda: look()["servicing_in_progress"] == 2)
    early = seen[-1]  # a later look may find it done
    assert (early["logon_ready"], early["marker_present"]) == (False, False)
    assert early["last_boot"] > before["last_boot"]
    _until(lambda: look()["logon_ready"])
    assert look()["servicing_in_progress"] == 0


def _events(lab: Any) -> list[str]:
    """What the trail has of the power, in order."""
    whole, _, _ = lab.audit.path.read_text(encoding="utf-8").rpartition("\n")
    events = [json.loads(line)["event"] for line in whole.splitlines()]
    return [event for event in events if event in {"host.shutdown", "host.boot"}]


def _until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
