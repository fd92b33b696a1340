"""Windows updates over the lab, in rounds: what was reviewed goes in once, each failure is met as its code demands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.patch import patch_estate
from lab.spec import (
    APPEARS_LATER,
    CUMULATIVE,
    DOTNET,
    EXCLUSIVE,
    LACKING,
    NEEDS_STACK,
    SERVICING_STACK,
    SUPERSEDED,
    UNLOCKED,
    UNLOCKED_BY_CUMULATIVE,
    UpdateSpec,
)
from tasks.run import read_estate
from tests.test_invariants import assert_promise_2

Flow = Callable[..., Any]


def installs(lab: Any, host: str) -> list[str]:
    """The KBs that went in on a host, in order, as often as they did."""
    return [f"KB{each['kb'][0]}" for each in lab.audit("update.install") if each["host"] == host]


def restarts(lab: Any) -> list[str]:
    return [each["host"] for each in lab.audit("host.shutdown")]


def told(ran: Any, update: UpdateSpec, host: str = "web01") -> dict[str, Any]:
    """What the report says of an update."""
    (found,) = (each for each in ran.report["updates"] if each["host"] == host and each["kb"] == update.kb)
    return dict(found)


@pytest.mark.night
def test_a_night_of_three_rounds(start_lab: Flow, run_flow: Flow) -> None:
    """A servicing stack unlocks a cumulative update, which unlocks another; one is exclusive, one superseded meanwhile.

    Everything once, in order; only KBs that the frozen plan names go in although they appeared later. What a moment mends
    is tried again on the way, and needs no restart: a silent source, a download, another installation, work after a boot.
    """
    lab = start_lab("rounds")
    lab.declare("update.search", "sql01", times=1, hresult="80072EE2")
    lab.declare("update.partial", "web01", times=1)
    lab.declare("update.fail_download", LACKING.kb, times=1)
    lab.declare("update.wants_alone", LACKING.kb)
    lab.declare("update.busy", "web01", times=3)
    lab.declare("update.still_at_work", "sql01", times=1, scans=1)
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG1")
    assert ran.type == "COMPLETED", ran.message
    assert installs(lab, "web01") == [
        SERVICING_STACK.kb,
        EXCLUSIVE.kb,  # wants a restart: what was to go in with others waits for round 2
        UNLOCKED.kb,
        LACKING.kb,  # failed beside others, goes in alone
        UNLOCKED_BY_CUMULATIVE.kb,
    ]
    assert installs(lab, "sql01") == [SERVICING_STACK.kb, NEEDS_STACK.kb, UNLOCKED.kb]
    assert {each["hresult"] for each in lab.audit("update.install_failed")} == {"80240019"}
    assert restarts(lab) == ["sql01", "web01", "sql01", "web01", "web01"]
    assert told(ran, UNLOCKED)["verified_by"] == "rescan, build 10.0.17763.5400"
    assert told(ran, SUPERSEDED)["result"] == "not-needed"
    assert "superseded or withdrawn" in told(ran, SUPERSEDED)["remark"]
    assert {(each["host"], each["kb"]) for each in ran.report["updates_later"]} == {
        ("sql01", APPEARS_LATER.kb),
        ("web01", APPEARS_LATER.kb),
    }
    refused = {each["title"]: each["reason"] for each in ran.report["plan"]["refused"] if each["host"] == "web01"}
    assert "license terms" in next(why for title, why in refused.items() if "KB5011048" in title)
    assert "BrowseOnly" in next(why for title, why in refused.items() if "KB5034441" in title)
    assert not any("KB5001716" in title for title in refused)  # hidden: not even offered
    assert_promise_2(lab.audit(effects_only=False), read_estate(lab.estate))


@pytest.mark.night
def test_what_a_restart_mends_is_tried_once_more_after_one(start_lab: Flow, run_flow: Flow) -> None:
    """A handler that wants a restart, a service that is stopping, a host that restarts under its install: then they are in.

    Nobody knows how the job that was cut off has ended: the rescan offers its updates, and each goes in once.
    """
    lab = start_lab()
    lab.disorderly = True  # an installer restarts web01, whatever sql01 is at just then
    lab.declare("update.fail", "sql01", times=1, hresult="8024201D")
    lab.declare("update.restarts", DOTNET.kb, times=1)
    lab.declare("update.throws", CUMULATIVE.kb, times=1, hresult="8024001E")
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG1")
    assert ran.type == "COMPLETED", ran.message
    assert sorted(installs(lab, "web01")) == sorted([CUMULATIVE.kb, DOTNET.kb])
    assert installs(lab, "sql01") == [CUMULATIVE.kb]


@pytest.mark.night
def test_an_agent_that_wants_a_restart_of_which_windows_says_nothing_has_it(start_lab: Flow, run_flow: Flow) -> None:
    """Its refusal is all that tells of it: after one restart everything goes in, once."""
    lab = start_lab()
    updates = lab.host_json("web01", "updates.json")
    (Path(lab.folder) / "hosts" / "web01" / "updates.json").write_text(
        json.dumps(updates | {"reboot_pending": True}), encoding="utf-8"
    )
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG1")
    assert ran.type == "COMPLETED", ran.message
    assert sorted(installs(lab, "web01")) == sorted([CUMULATIVE.kb, DOTNET.kb])
    assert restarts(lab) == ["sql01", "web01", "web01"]


@pytest.mark.night
def test_what_does_not_stick_or_cannot_go_in_is_named_and_left(start_lab: Flow, run_flow: Flow) -> None:
    """One rolls back and is offered again; one is offered no more, and the build is what it was; one hangs a second time.

    Each fails by its KB, none is installed twice, and no restart is made that can mend nothing. The same run, started
    again, finds its tries counted.
    """
    lab = start_lab()
    lab.declare("update.rolls_back", "sql01")
    lab.declare("update.hollow", CUMULATIVE.kb)
    lab.declare("update.fail", DOTNET.kb, hresult="80242007")
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG1")
    assert ran.type == "FAILED"
    assert installs(lab, "sql01") == installs(lab, "web01") == [CUMULATIVE.kb]
    assert "rolled back" in told(ran, CUMULATIVE, "sql01")["remark"]
    assert "the build is still 10.0.17763.5206: it has not taken effect" in told(ran, CUMULATIVE)["remark"]
    hung = told(ran, DOTNET)
    assert (hung["hresult"], hung["tries"]) == ("0x80242007", ["0x80242007", "0x80242007"])
    assert "(2 tries)" in hung["remark"]
    assert len(ran.report["problems"]) == 3
    assert restarts(lab) == ["sql01", "web01"]

    done = [each["id"] for each in lab.audit("update.install", "update.install_failed")]
    again = run_flow(patch_estate, estate=lab.estate, change="CHG1")
    assert again.type == "FAILED"
    assert told(again, DOTNET)["tries"] == hung["tries"]
    assert [each["id"] for each in lab.audit("update.install", "update.install_failed")] == done
    assert restarts(lab) == ["sql01", "web01"]


def test_a_source_that_never_answers_or_that_nobody_named_stops_the_night_at_once(
    start_lab: Flow, run_flow: Flow
) -> None:
    """Before anything is touched: the host, the source, the code and its meaning, and 'check WSUS and proxy'.

    A host that policy sets to a WSUS server is not updated past it by default.
    """
    lab = start_lab()
    lab.declare("update.search", "web01", hresult="8024402C")
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG1")
    assert (ran.type, ran.message) == (
        "FAILED",
        (
            "acme-billing: stopped at review, nothing was installed, everything is up. web01: the scan for updates "
            "failed, asking windows-update: 0x8024402C: the update service's name was not found; check WSUS, proxy and "
            "DNS, 3 times"
        ),
    )
    lab.clear()
    registry = lab.host_json("sql01", "registry.json")
    policy = {"@": {"WUServer": "http://wsus01:8530"}, "AU": {"@": {"UseWUServer": 1}}}
    registry["HKLM"]["SOFTWARE"]["Policies"] = {"Microsoft": {"Windows": {"WindowsUpdate": policy}}}
    (Path(lab.folder) / "hosts" / "sql01" / "registry.json").write_text(json.dumps(registry), encoding="utf-8")
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG2")
    assert ran.type == "FAILED"
    assert "sql01: policy sets it to the WSUS server http://wsus01:8530" in ran.message
    assert "Say updates.source: wsus, or windows-update" in ran.message
    assert lab.audit("update.install", "service.stop", "host.shutdown") == []


@pytest.mark.night
def test_files_from_a_folder_go_in_by_hash_and_are_judged_by_the_list_of_hotfixes(
    start_lab: Flow, run_flow: Flow
) -> None:
    """One wants a restart, one is not for this host, one fails by its code; exit codes prove nothing."""
    lab = start_lab()
    folder = Path(lab.folder) / "nas01" / "billing" / "updates"
    folder.mkdir()
    files = {
        "windows10.0-kb5034127-x64.msu": {"kb": "KB5034127", "reboot": True, "ubr": 5329},
        "windows10.0-kb5034119-x64.msu": {"kb": "KB5034119", "not_for": True},
        "windows10.0-kb5033904-x64.cab": {"kb": "KB5033904"},
        "notes.cab": {"kb": "KB1"},
    }
    for name, brings in files.items():
        (folder / name).write_bytes(b"MSCF\n" + json.dumps(brings).encode() + b"\n")
    text = Path(lab.estate).read_text(encoding="utf-8")
    source = r"  source: '\\nas01\billing\updates'"
    Path(lab.estate).write_text(text.replace("\nupdates:\n", f"\nupdates:\n{source}\n"), encoding="utf-8")
    lab.declare("updatefile.exit_code", "KB5033904", code=-2147023293)
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG1")
    assert ran.type == "FAILED"
    assert installs(lab, "sql01") == installs(lab, "web01") == ["KB5034127"]
    results = {(each["host"], each["kb"]): each for each in ran.report["updates"] if each["kind"] == "windows-update"}
    assert results["web01", "KB5034127"]["verified_by"] == (
        "list of hotfixes; Windows went from 10.0.17763.5206 to 10.0.17763.5329"
    )
    assert results["web01", "KB5034119"]["result"] == "not-needed"
    assert results["web01", "KB5033904"]["hresult"] == "0x80070643"
    assert [each["reason"] for each in ran.report["plan"]["refused"] if each["host"] == "web01"] == [
        "its name holds no KB, by which it could be looked for afterwards"
    ]
    assert {each["id"] for each in lab.audit("update.install")} == {"windows10.0-kb5034127-x64.msu"}
    assert restarts(lab) == ["sql01", "web01"]
