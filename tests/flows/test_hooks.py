"""Hypervisor, monitoring and load balancer in a night: asked in time, believed when they prove it, and left as they were."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML

from blocks.credential_lookup import read_file
from flows import patch
from flows.check import check_estate
from flows.patch import patch_estate
from tasks import balancers
from tasks.rescue import recover_directly

pytestmark = pytest.mark.timeout(300)
NODES = ("web01", "web02")


def trail(lab: Any, *events: str) -> list[tuple[str, str]]:
    """(event, what it is about) of these events, in order."""
    found = lab.audit(*events, effects_only=False)
    return [(e["event"], str(e.get("node") or e.get("vm") or e.get("silence") or e["host"])) for e in found]


def hooks_of(lab: Any, **changes: Any) -> str:
    """The lab's estate with other settings of its hooks, by kind: ``balancer={"deadline": "1s"}``."""

    def change(document: Any) -> None:
        document["restart"]["deadline"] = "40s"
        for hook in document["hooks"]:
            for kind, settings in changes.items():
                if kind in hook:
                    hook.update(settings)

    changed: str = lab.estate_with(change)
    return changed


def told(report: dict[str, Any]) -> list[tuple[str, str | None, str]]:
    """(act, host, status) of the report's hooks."""
    return [(hook["act"], hook["host"], hook["status"]) for hook in report["hooks"]]


def assert_as_before(lab: Any) -> None:
    """Nothing is silent, and no node is drained."""
    begun, ended = trail(lab, "silence.begun"), trail(lab, "silence.ended")
    assert [what for _, what in begun] == [what for _, what in ended]
    for node in NODES:
        last = trail(lab, "node.draining", "node.active")
        assert [event for event, about in last if about == node][-1:] in ([], ["node.active"])


@pytest.mark.night
def test_a_night_with_all_of_them(start_lab: Callable[..., Any], run_flow: Callable[..., Any]) -> None:
    """Silent first and last, snapshots between backup and install, and each node drained around its own restart.

    From the day on which a snapshot was to be deleted every check says so, until it is gone.
    """
    lab = start_lab("hooks")
    estate = hooks_of(lab, snapshot={"delete_within": "1s"})
    ran = run_flow(patch_estate, estate=estate, change="CHG1")
    assert ran.type == "COMPLETED", ran.message
    events = [event for event, _ in trail(lab)]
    first, last = events.index, lambda name: len(events) - 1 - events[::-1].index(name)
    assert first("silence.begun") < first("job.disabled")
    assert last("silence.ended") > last("site.bindings")
    assert last("store.write") < first("snapshot.taken") <= last("snapshot.taken") < first("update.install")
    assert sorted(about for _, about in trail(lab, "snapshot.taken")) == ["sql01", *NODES]
    around = trail(lab, "node.draining", "node.drained", "host.shutdown", "host.boot", "node.active")
    for node in NODES:
        mine = [event for event, about in around if about == node]
        assert mine == ["node.draining", "node.drained", "host.shutdown", "host.boot", "node.active"]
    first_back = around.index(("node.active", around[[e for e, _ in around].index("node.draining")][1]))
    assert [event for event, _ in around[first_back:]].count("node.draining") == 1, "one node after the other"
    taken = [hook for hook in ran.report["hooks"] if hook["act"] == "taken"]
    assert sorted(hook["host"] for hook in taken) == ["sql01", *NODES]
    assert all(hook["id"].startswith("snapshot-") and hook["until"] > hook["ended"] for hook in taken)
    assert {hook["status"] for hook in ran.report["hooks"]} == {"done"}
    assert_as_before(lab)

    checked = run_flow(check_estate, estate=estate, canary=False)
    assert checked.type == "COMPLETED", "told, no more: as on a night"
    checked = run_flow(check_estate, estate=estate)
    assert checked.type == "FAILED"
    token = read_file(Path(lab.papers["credentials"]))["operations"]["authorization"]
    url = YAML(typ="safe").load(Path(estate))["hooks"][0]["take"]["http"]
    for each in lab.audit("snapshot.taken"):
        assert f"{each['vm']}: snapshot {each['snapshot']} by vcenter was to be deleted by" in checked.message
        gone = httpx.delete(f"{url.format(host=each['vm'])}/{each['snapshot']}", headers={"Authorization": token})
        assert gone.status_code == 204
    assert run_flow(check_estate, estate=estate).type == "COMPLETED"


NO_SNAPSHOT = {
    "sql01": ("hypervisor.refuses", "the datastore of sql01 does not answer"),
    "web01": ("hypervisor.hollow", "not proven: GET"),
    "web02": ("hypervisor.lost_answer", "Look whether there is one all the same, and delete it."),
}


@pytest.mark.night
def test_no_snapshot_no_patch(start_lab: Callable[..., Any], run_flow: Callable[..., Any]) -> None:
    """Where one must be there: nothing is installed, everything is up, none is asked for twice; all faults are told."""
    lab = start_lab("hooks")
    for host, (fault, _) in NO_SNAPSHOT.items():
        lab.declare(fault, host, **({"method": "POST"} if fault == "hypervisor.refuses" else {}))
    ran = run_flow(patch_estate, estate=hooks_of(lab, snapshot={"deadline": "10s"}), change="CHG1")
    assert ran.type == "FAILED"
    assert "stopped at snapshot, nothing was installed, everything is up" in ran.message
    assert len(ran.report["problems"]) == len(NO_SNAPSHOT)
    for (host, (_, says)), problem in zip(NO_SNAPSHOT.items(), sorted(ran.report["problems"]), strict=True):
        assert problem.startswith(f"{host}: ")
        assert says in problem
        assert "or give snapshot vcenter severity: should" in problem
        assert [about for _, about in trail(lab, "snapshot.taken")].count(host) <= 1
        assert ("taken", host, "failed") in told(ran.report)
    assert trail(lab, "update.install", "sqlpatch.start") == []
    assert_as_before(lab)


@pytest.mark.night
def test_what_should_work_and_does_not_is_told(start_lab: Callable[..., Any], run_flow: Callable[..., Any]) -> None:
    """The night goes on without silence, and a node that is not drained restarts all the same."""
    lab = start_lab("hooks")
    lab.declare("monitoring.down", "monitoring")
    lab.declare("balancer.stuck", "web01")
    estate = hooks_of(lab, balancer={"deadline": "1s"}, silence={"deadline": "1s"})
    ran = run_flow(patch_estate, estate=estate, change="CHG1")
    assert ran.type == "COMPLETED", ran.message
    assert ("begun", None, "failed") in told(ran.report)
    assert ("drained", "web01", "failed") in told(ran.report)
    assert ("undrained", "web01", "done") in told(ran.report)
    assert_as_before(lab)


@pytest.mark.night
def test_a_balancer_that_does_not_take_a_node_back_keeps_the_next_one_in_use(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """Where it must: the other node goes on serving; a rescue gives both back once it can."""
    lab = start_lab("hooks")
    estate = hooks_of(lab, balancer={"deadline": "5s", "severity": "must"})

    def fail_once_drained() -> None:
        lab.until(lambda: trail(lab, "host.boot")[-1:] == [("host.boot", "web01")], "web01's boot", 200)
        lab.declare("balancer.down", "web01")

    watcher = threading.Thread(target=fail_once_drained)
    watcher.start()
    ran = run_flow(patch_estate, estate=estate, change="CHG1")
    watcher.join()
    assert ran.type == "FAILED"
    assert "the balancer's API is starting" in ran.message
    assert ("host.shutdown", "web02") not in trail(lab, "host.shutdown")
    assert any("check 'balancer sends it customers' failed" in problem for problem in ran.report["problems"])
    assert trail(lab, "silence.ended") == [], "somebody is at work here still"
    lab.clear()
    ran = run_flow(patch_estate, estate=estate, change="CHG1")
    assert ran.type == "COMPLETED", ran.message
    assert ("begun", None, "adopted") in told(ran.report)
    assert_as_before(lab)


@pytest.mark.night
@pytest.mark.usefixtures("prefect_harness")
def test_a_rescue_gives_nodes_back_and_ends_the_silence(
    start_lab: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what the hosts remember: the run that drained and silenced is gone."""
    lab = start_lab("hooks")

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    drain = balancers.drain

    def drain_and_die(run: Any, host: str) -> None:
        drain(run, host)
        if host == "web01":
            raise MemoryError("cut off")

    monkeypatch.setattr(balancers, "drain", drain_and_die)
    monkeypatch.setattr(patch, "bring_back", die)
    with pytest.raises(KeyboardInterrupt):
        patch_estate(estate=lab.estate, change="CHG1")
    assert trail(lab, "node.draining") == [("node.draining", "web01")]
    assert trail(lab, "silence.ended") == []
    monkeypatch.undo()
    for name, value in {
        "BILLPATCH_ESTATES": str(Path(lab.estate).parent),
        "BILLPATCH_CREDENTIALS": lab.papers["credentials"],
        "BILLPATCH_POLL_SECONDS": "0.1",
        "BILLPATCH_REPORTS": str(lab.folder / "reports"),
    }.items():
        monkeypatch.setenv(name, value)
    written = recover_directly(lab.estate)
    assert written.report.outcome.succeeded, written.report.outcome
    assert_as_before(lab)
    events = [event for event, _ in trail(lab)]
    assert events.index("node.active") > len(events) - 1 - events[::-1].index("service.start"), "services do not wait"


@pytest.mark.night
def test_a_program_and_a_script_on_a_host_do_the_same(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any], tmp_path: Path
) -> None:
    """The three forms differ in who makes the call."""
    lab = start_lab("hooks")
    operations = read_file(Path(lab.papers["credentials"]))["operations"]["authorization"]
    program = tmp_path / "silence.py"
    program.write_text(
        "import json, os, sys, urllib.request\n"
        "method, url, *body = sys.argv[1:]\n"
        "head = {'Authorization': os.environ['BILLPATCH_SECRET'], 'Content-Type': 'application/json'}\n"
        "request = urllib.request.Request(url, body[0].encode() if body else None, head, method=method)\n"
        "print(urllib.request.urlopen(request).read().decode())\n",
        encoding="utf-8",
    )
    script = lab.folder / "hosts" / "web02" / "C" / "Ops" / "Set-Node.ps1"
    script.parent.mkdir(parents=True)
    text = 'param($node, $state)\n# {"asks": {"method": "PUT", "path": "/balancer/nodes/{node}", "body": {"state": "{state}"}}}'
    script.write_text(text, encoding="utf-8")

    def change(document: Any) -> None:
        _, silence, balancer = document["hooks"]
        url = silence["begin"]["http"]
        run = [sys.executable, str(program)]
        silence["begin"] = {
            "command": [*run, "POST", url, '{"scope": "x", "until": "{until}"}'],
            "credentials": "operations",
            "id_at": "id",
        }
        silence["proof"] = {
            "command": [*run, "GET", f"{url}/{{id}}"],
            "credentials": "operations",
            "at": "state",
            "expect": "active",
        }
        silence["end"] = {"command": [*run, "DELETE", f"{url}/{{id}}"], "credentials": "operations"}
        for call, state in (("drain", "drained"), ("undrain", "active")):
            balancer[call] = {
                "powershell": r"C:\Ops\Set-Node.ps1",
                "on": "web02",
                "sha256": hashlib.sha256(text.encode()).hexdigest(),
                "arguments": {"node": "{host}", "state": state},
            }
        balancer |= {"hosts": ["web01"], "deadline": "20s"}

    ran = run_flow(patch_estate, estate=lab.estate_with(change), change="CHG1")
    assert ran.type == "COMPLETED", ran.message
    assert {status for _, _, status in told(ran.report)} == {"done"}, ran.report["hooks"]
    assert operations.split()[-1] not in str(ran.report)
    assert_as_before(lab)


def test_what_stands_around_is_looked_at_before_anything_is_touched(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """A node that is out of use already: the night would begin with none to spare."""
    lab = start_lab("hooks")
    lab.declare("balancer.down", "web02")
    estate = hooks_of(lab, balancer={"severity": "must"})
    ran = run_flow(patch_estate, estate=estate, change="CHG1")
    assert ran.type == "FAILED"
    assert "web02: balancer balancer does not say that it is in use" in ran.message
    assert lab.audit("lease.enter", "silence.begun") == []
