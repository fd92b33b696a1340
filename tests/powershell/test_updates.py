"""Windows Update: what is offered, what was installed, what the agent said; told twice over one updates.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lab.faults import Fault
from lab.servicing import commit

pytestmark = [
    pytest.mark.lookalike,
    pytest.mark.telling("Find-WindowsUpdate", "Install-WindowsUpdate", "Save-WindowsUpdate"),
]

SECURITY = {"name": "Security Updates", "id": "0fa1201d-4330-4fa8-8ae9-b877473b6441"}
REBOOT_KEY = "SOFTWARE/Microsoft/Windows/CurrentVersion/Component Based Servicing/RebootPending"


def update(name: str, kb: str, **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "revision": 200,
        "title": f"Update {name} (KB{kb})",
        "kb": [kb],
        "categories": [SECURITY],
        **more,
    }


def offers() -> list[dict[str, Any]]:
    return [
        update("stack", "1", impact=2, reboot=0),
        update("cumulative", "2", reboot=1, size=700_000_000, requires=["stack"], supersedes=["old"]),
        update("old", "3"),
        update("net", "4", reboot=2, severity="Critical", eula=True, date="2026-01-13T18:00:00Z"),
        update("broken", "5", install={"hresult": "80070643"}),
        update("nowhere", "6", download={"hresult": "80240034"}),
        update("hidden", "7", hidden=True),
        update("driver", "8", type="Driver"),
        update("bare", "9", lacks=["MsrcSeverity", "InstallationBehavior", "Categories", "KBArticleIDs", "SupportUrl"]),
        update("there", "10", installed=True),
    ]


@pytest.fixture
def hosts(twin: Callable[..., Any]) -> Any:
    """Make a host that is offered these."""
    made = twin(speed=1000.0)
    made.state("updates.json", lambda state: state.update(reboot_pending=False, updates=offers()))
    return made


FIND = {"source": "windows-update"}


def plan(*names: str, revision: int = 200, alone: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """What a job is told to install; license terms are accepted unless said."""
    updates = [{"id": name, "revision": revision, "alone": name in alone} for name in names]
    return {"updates": updates, "source": "windows-update", "accept_eulas": True, **more}


def same_state(hosts: Any) -> dict[str, Any]:
    """updates.json and the registry are the same on both sides; returns the former."""
    first, second = hosts.json("registry.json")
    assert first == second
    first, second = hosts.json("updates.json")
    for state in (first, second):
        for entry in state.get("history", []):
            entry["date"] = ""
    assert first == second
    found: dict[str, Any] = first
    return found


def outcomes(answer: dict[str, Any]) -> dict[str, str]:
    return {one["id"]: one["skipped"] or (one["install"] or one["download"])["hresult"] for one in answer["updates"]}


def boot(hosts: Any) -> None:
    hosts.engine_process.boot(hosts.engine)
    commit(hosts.lab)


def test_what_is_offered(hosts: Any) -> None:
    """No hidden ones, no drivers, nothing installed, superseded or not yet unlocked; what lacks a property says so."""
    answer = hosts.call_job("Find-WindowsUpdate", FIND).agree()
    assert [one["id"] for one in answer["updates"]] == ["stack", "net", "broken", "nowhere", "bare"]
    bare = answer["updates"][-1]
    assert bare["lacks"] == [
        "kb", "categories", "reboot_behavior", "impact", "can_request_user_input", "support_url",
    ]  # fmt: skip
    assert (bare["kb"], bare["impact"]) == ([], None)
    assert answer["updates"][0]["impact"] == 2


@pytest.mark.parametrize(
    "criteria",
    [
        "IsInstalled=1",
        "IsInstalled=0",
        "UpdateID='NET' and RevisionNumber=200",
        "IsInstalled=0 and Type='Driver' or IsHidden=1",
    ],
)
def test_criteria(hosts: Any, criteria: str) -> None:
    """The search understands what the documentation of IUpdateSearcher lists."""
    assert hosts.call_job("Find-WindowsUpdate", {**FIND, "criteria": criteria}).agree()["updates"]


@pytest.mark.parametrize("code", ["8024401C", "80248001"])
def test_a_search_that_fails(hosts: Any, code: str) -> None:
    """The HRESULT reaches the job's error, signed as PowerShell has it."""
    hosts.state("updates.json", lambda state: state.update(search_hresult=code))
    failure = hosts.call_job("Find-WindowsUpdate", FIND).agree("line", "id")
    assert failure["hresult"] & 0xFFFFFFFF == int(code, 16)


def test_bad_criteria(hosts: Any) -> None:
    """0x80240032 is WUA's word for it."""
    failure = hosts.call_job("Find-WindowsUpdate", {**FIND, "criteria": "Title='x'"}).agree("line", "id")
    assert failure["hresult"] & 0xFFFFFFFF == 0x80240032


def test_as_a_task_the_agent_does_its_work(hosts: Any) -> None:
    """Started over the network, done by SYSTEM; the progress tells how it ended."""
    done = hosts.run_job("Install-WindowsUpdate", plan("net"))
    first, second = done.engine, done.lab
    assert first["job"]["result"] == second["job"]["result"]
    assert (first["job"]["state"], second["job"]["state"]) == ("succeeded", "succeeded")
    assert first["progress"] | {"at": ""} == second["progress"] | {"at": ""}
    assert outcomes(first["job"]["result"]) == {"net": "00000000"}


@pytest.mark.parametrize(
    ("script", "given"),
    [("Find-WindowsUpdate", FIND), ("Save-WindowsUpdate", plan("net")), ("Install-WindowsUpdate", plan("net"))],
)
def test_over_a_network_logon_it_is_refused(hosts: Any, script: str, given: dict[str, Any]) -> None:
    """Called by WinRM and not as a task: 0x80070005 from the agent; a lab host runs no job's script there at all."""
    before = hosts.json("updates.json")
    agent, lab = hosts.call_over_winrm(script, given)
    said = agent["value"]["updates"][0]["download"]["hresult"] if agent["ok"] else agent["error"]["message"]
    assert said.endswith("80070005")
    assert lab["error"]["id"] == "UnauthorizedAccess"
    assert hosts.json("updates.json") == before


def test_installing_the_plan(hosts: Any) -> None:
    """Each update by its identity, failures for themselves, exclusive ones alone and first, a reboot where wanted."""
    answer = hosts.call_job("Install-WindowsUpdate", plan("net", "broken", "nowhere", "stack")).agree()
    assert outcomes(answer) == {
        "net": "00000000",
        "broken": "80070643",
        "nowhere": "80240034",
        "stack": "00000000",
    }
    state = same_state(hosts)
    assert [entry["id"] for entry in state["history"]] == ["stack", "net", "broken"]
    assert not answer["reboot_required"]


def test_a_reboot_is_wanted_then_nothing_more_is_installed(hosts: Any) -> None:
    """After the first that waits for a reboot the agent refuses; after the boot it is installed, and is not done again."""
    hosts.call_job("Install-WindowsUpdate", plan("stack")).agree()
    answer = hosts.call_job("Install-WindowsUpdate", plan("cumulative")).agree()
    assert answer["reboot_required"]
    assert answer["updates"][0]["install"] == {"result_code": 2, "hresult": "00000000", "reboot_required": True}
    answer = hosts.call_job("Install-WindowsUpdate", plan("cumulative", "net", "stack")).agree()
    assert answer["reboot_required_before"]
    assert outcomes(answer) == {
        "cumulative": "waits for a reboot",
        "net": "reboot first",
        "stack": "installed already",
    }
    same_state(hosts)
    boot(hosts)
    answer = hosts.call_job("Install-WindowsUpdate", plan("cumulative", "net")).agree()
    assert outcomes(answer) == {"cumulative": "installed already", "net": "00000000"}
    same_state(hosts)


def test_what_rolls_back_during_the_boot_is_offered_again(hosts: Any) -> None:
    """A success may be none: only a rescan tells."""
    hosts.state("updates.json", lambda state: state["updates"].append(update("flaky", "11", reboot=1, sticks=False)))
    assert outcomes(hosts.call_job("Install-WindowsUpdate", plan("flaky")).agree()) == {"flaky": "00000000"}
    boot(hosts)
    found = hosts.call_job("Find-WindowsUpdate", FIND).agree("at")["updates"]
    assert "flaky" in [one["id"] for one in found]


@pytest.mark.parametrize(("names", "revision"), [(("hidden", "driver", "no such"), 200), (("net",), 201)])
def test_what_was_not_approved_is_not_installed(hosts: Any, names: tuple[str, ...], revision: int) -> None:
    """An update is its id and its revision: another revision was not reviewed."""
    before = hosts.json("updates.json")
    answer = hosts.call_job("Install-WindowsUpdate", plan(*names, revision=revision)).agree()
    assert set(outcomes(answer).values()) == {"not offered"}
    assert hosts.json("updates.json") == before


def test_an_installer_that_is_busy(hosts: Any) -> None:
    """Another installation runs: the agent throws 0x80240016, which is an answer and not the end of the job."""
    hosts.state("updates.json", lambda state: state.update(busy=True))
    answer = hosts.call_job("Install-WindowsUpdate", plan("net", "stack", patience_seconds=10)).agree()
    assert outcomes(answer) == {"net": "80240016", "stack": "80240016"}
    assert answer["updates"][0]["install"]["result_code"] is None
    same_state(hosts)


def test_the_lab_counts_every_installation(hosts: Any) -> None:
    """Done twice is counted twice: promise 'nothing twice' is judged by this trail. Faults are the lab's own."""
    lab = hosts.lab
    lab.faults.declare(Fault("update.fail", on="KB1", times=1, with_={"hresult": "80240022"}))
    lab.faults.declare(Fault("update.rolls_back", on="old2"))
    hosts.state("updates.json", lambda state: state["updates"].append(update("old2", "12", reboot=1)))
    assert outcomes(hosts.call_job("Install-WindowsUpdate", plan("stack")).lab["value"]) == {"stack": "80240022"}
    for _ in range(2):
        hosts.call_job("Install-WindowsUpdate", plan("old2", "net"))
        commit(lab)
    trail = [json.loads(line) for line in lab.audit.path.read_text().splitlines()]
    installed = [event["id"] for event in trail if event["event"] == "update.install"]
    assert sorted(installed) == ["net", "old2", "old2"]
    assert [event["id"] for event in trail if event["event"] == "update.install_failed"] == ["stack"]


def policy(hosts: Any, server: str | None = "http://wsus01:8530", use: int = 1) -> None:
    """Group policy of WSUS, on both sides."""
    key = {"@": {"WUServer": server} if server else {}, "AU": {"@": {"UseWUServer": use}}}

    def change(registry: dict[str, Any]) -> None:
        software = registry["HKLM"].setdefault("SOFTWARE", {})
        software["Policies"] = {"Microsoft": {"Windows": {"WindowsUpdate": key}}}

    hosts.state("registry.json", change)


def test_what_runs_is_told_beside_what_is_offered(hosts: Any) -> None:
    """The build that a cumulative update must raise, what is in, what the agent remembers, and who governs the host."""

    def version(registry: dict[str, Any]) -> None:
        registry["HKLM"]["SOFTWARE"]["Microsoft"]["Windows NT"]["CurrentVersion"]["@"]["CurrentBuildNumber"] = "17763"

    answer = hosts.call_job("Find-WindowsUpdate", FIND).agree()
    assert (answer["build"], answer["wsus"]) == ({"number": None, "ubr": 6414}, None)
    assert (answer["installed"], answer["history"]) == ([{"id": "there", "revision": 200}], [])
    assert answer["superseded"] == []
    hosts.state("registry.json", version)
    policy(hosts)
    hosts.call_job("Install-WindowsUpdate", plan("net", "broken"))
    answer = hosts.call_job("Find-WindowsUpdate", FIND).agree("at")
    assert (answer["build"], answer["wsus"]) == ({"number": 17763, "ubr": 6414}, "http://wsus01:8530")
    assert [one["id"] for one in answer["installed"]] == ["net", "there"]
    hosts.state("updates.json", lambda state: state["updates"][-1].update(supersedes=["ssu", "earlier", "ssu"]))
    answer = hosts.call_job("Find-WindowsUpdate", FIND).agree("at")
    assert answer["superseded"] == ["earlier", "ssu"]
    assert [(one["id"], one["result_code"], one["hresult"]) for one in answer["history"]] == [
        ("broken", 4, "80070643"),
        ("net", 2, "00000000"),
    ]


def test_a_history_that_throws_is_no_end(hosts: Any) -> None:
    """One bad entry makes QueryHistory throw: the scan goes on without it."""
    hosts.state("updates.json", lambda state: state.update(history=[{"id": "x", "title": "x", "date": "nonsense"}]))
    answer = hosts.call_job("Find-WindowsUpdate", FIND).agree()
    assert answer["history"] is None
    assert answer["updates"]


@pytest.mark.parametrize("source", ["wsus", "microsoft-update"])
def test_other_sources(hosts: Any, source: str) -> None:
    """A WSUS server that policy names, and Microsoft Update, which is registered first where it is not."""
    policy(hosts)
    assert hosts.call_job("Find-WindowsUpdate", {"source": source}).agree()["updates"]


@pytest.mark.parametrize(("server", "use"), [(None, 1), ("http://wsus01:8530", 0)])
@pytest.mark.parametrize(("script", "more"), [("Find-WindowsUpdate", {}), ("Save-WindowsUpdate", plan("net"))])
def test_a_host_without_a_wsus_server_is_not_asked_by_it(
    hosts: Any, server: str | None, use: int, script: str, more: dict[str, Any]
) -> None:
    """Said in words, before the agent says 0x8024....; the fix is in it."""
    policy(hosts, server, use)
    failure = hosts.call_job(script, {**more, "source": "wsus"}).agree("line")
    assert failure["id"] == "NoWsus"
    assert "updates.source" in failure["message"]


def test_license_terms_are_accepted_only_where_it_is_said(hosts: Any) -> None:
    """Nothing is downloaded before."""
    answer = hosts.call_job("Install-WindowsUpdate", plan("net", accept_eulas=False)).agree()
    assert outcomes(answer) == {"net": "license terms"}
    assert not any(each.get("eula_accepted") for each in same_state(hosts)["updates"])
    assert outcomes(hosts.call_job("Install-WindowsUpdate", plan("net")).agree()) == {"net": "00000000"}
    assert any(each.get("eula_accepted") for each in same_state(hosts)["updates"])


def test_what_the_plan_installs_alone_goes_in_first_and_by_itself(hosts: Any) -> None:
    """A servicing stack need not say that it is exclusive; what it wants rebooted keeps the others out."""
    hosts.state("updates.json", lambda state: state["updates"].append(update("ssu", "12", reboot=1)))
    answer = hosts.call_job("Install-WindowsUpdate", plan("net", "ssu", alone=("ssu",))).agree()
    assert outcomes(answer) == {"net": "reboot first", "ssu": "00000000"}
    assert [entry["id"] for entry in same_state(hosts)["history"]] == ["ssu"]


def test_downloading_ahead_installs_nothing(hosts: Any) -> None:
    """What is downloaded is there on the night; failures are told; nothing else is changed."""
    answer = hosts.call_job("Save-WindowsUpdate", plan("net", "nowhere", "no such")).agree()
    assert [(one["id"], one["skipped"], (one["download"] or {}).get("hresult")) for one in answer["updates"]] == [
        ("net", None, "00000000"),
        ("nowhere", None, "80240034"),
        ("no such", "not offered", None),
    ]
    assert "install" not in answer["updates"][0]
    state = same_state(hosts)
    assert [each["id"] for each in state["updates"] if each.get("downloaded")] == ["net"]
    assert "history" not in state
    assert [each["id"] for each in state["updates"] if each.get("installed")] == ["there"]


def test_another_installation_is_waited_for(hosts: Any) -> None:
    """Fault of the lab: it ends while the job waits, and the update goes in."""
    hosts.lab.faults.declare(Fault("update.busy", times=3))
    answer = hosts.call_job("Install-WindowsUpdate", plan("net")).lab["value"]
    assert outcomes(answer) == {"net": "00000000"}


def test_what_wants_to_be_alone_fails_beside_others(hosts: Any) -> None:
    """Faults of the lab: 0x80240019, an Install() that throws, and a success that leaves the build where it was."""
    lab = hosts.lab
    lab.faults.declare(Fault("update.wants_alone", on="net"))
    answer = hosts.call_job("Install-WindowsUpdate", plan("net", "bare")).lab["value"]
    assert outcomes(answer) == {"net": "80240019", "bare": "00000000"}
    answer = hosts.call_job("Install-WindowsUpdate", plan("net", alone=("net",))).lab["value"]
    assert outcomes(answer) == {"net": "00000000"}
    lab.faults.declare(Fault("update.throws", on="KB1", times=1, with_={"hresult": "8024001E"}))
    answer = hosts.call_job("Install-WindowsUpdate", plan("stack")).lab["value"]
    assert answer["updates"][0]["install"] == {"result_code": None, "hresult": "8024001E", "reboot_required": None}


def test_what_needs_the_servicing_stack_fails_without_it(hosts: Any) -> None:
    """State of the lab: offered all the same, refused with 0x80242017 until the stack is in; alone, it goes in first."""
    hosts.state("updates.json", lambda state: state["updates"].append(update("late", "12", needs_stack=["stack"])))
    answer = hosts.call_job("Install-WindowsUpdate", plan("late")).lab["value"]
    assert outcomes(answer) == {"late": "80242017"}
    answer = hosts.call_job("Install-WindowsUpdate", plan("late", "stack")).lab["value"]
    assert outcomes(answer) == {"late": "00000000", "stack": "00000000"}


def test_a_hollow_success_leaves_the_build_where_it_was(hosts: Any) -> None:
    """Fault of the lab: committed during the boot and offered no more, with the UBR of before."""
    lab = hosts.lab
    lab.faults.declare(Fault("update.hollow", on="KB12"))
    for name, kb in (("hollow", "12"), ("real", "13")):
        hosts.state(
            "updates.json",
            lambda state, name=name, kb=kb: state["updates"].append(update(name, kb, reboot=1, ubr=7000 + int(kb))),
        )
    builds = []
    for name in ("hollow", "real"):
        hosts.call_job("Install-WindowsUpdate", plan(name))
        commit(lab)
        found = hosts.call_job("Find-WindowsUpdate", FIND).lab["value"]
        assert name in [one["id"] for one in found["installed"]]
        builds.append(found["build"]["ubr"])
    assert builds == [6414, 7013]
