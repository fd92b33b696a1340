"""The dead man's switch over the lab: a run is killed, nobody recovers, and each host decides by itself."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
from night import Night, Nights
from ruamel.yaml import YAML
from standing import assert_released

from tasks.run import read_estate
from tests.test_invariants import assert_closed_while_patching, assert_nothing_installed_twice, installed

BILLING = ("EngageIP Event Manager", "EngageIP Job Service")
AFTER = "8s"
"""Host clocks are real in the lab, so the test waits for as long."""


@pytest.fixture
def nights(nights: Nights) -> Nights:
    """Processes over a lab whose hosts restore service after a few seconds without a run."""
    yaml, estate = YAML(), Path(nights.lab.estate)
    document = yaml.load(estate)
    document["quiet"]["restore_after"] = AFTER
    with estate.open("w", encoding="utf-8") as out:
        yaml.dump(document, out)
    return nights


def statuses(lab: Any) -> list[int]:
    """What customers are answered."""
    return [httpx.get(s.url, follow_redirects=True).status_code for s in read_estate(lab.estate).engageip.sites]


def billing(lab: Any) -> list[str]:
    """How the billing services are."""
    services = lab.host_json("web01", "services.json")
    return [services[name]["status"] for name in BILLING]


def said(lab: Any, host: str) -> list[str]:
    """What the switch of a host has written into its event log."""
    path = lab.folder / "hosts" / host / "events.json"
    events = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return [event["message"] for event in events if event["provider"] == "EngageIPPatching"]


def silent_at(nights: Nights, number: int, event: str, **fields: str) -> Night:
    """Run until an event, then send this signal: SIGKILL, or SIGSTOP as a machine that hangs."""
    night = nights.flow()
    night.until(lambda _, now: now["event"] == event and fields.items() <= now.items(), event)
    night.process.send_signal(number)
    return night


@pytest.mark.night
@pytest.mark.timeout(300)
def test_a_host_that_nobody_looks_after_restores_service_unless_installs_have_begun(nights: Nights) -> None:
    """A run that hangs during backups: portals open, billing runs. It wakes up, and touches nothing more, and pages.

    Killed during an install: closed. The same run finishes afterwards: with new backups, for customers were at work in
    between; nothing is installed twice.
    """
    lab = nights.lab
    hung = silent_at(nights, signal.SIGSTOP, "store.write", host="web01")
    assert (statuses(lab), billing(lab)) == ([503, 503], ["Stopped", "Stopped"])
    lab.until(lambda: {e["host"] for e in lab.audit("switch.restored")} == {"sql01", "web01"}, "the switches")
    assert (statuses(lab), billing(lab)) == ([200, 200], ["Running", "Running"])
    (text,) = said(lab, "web01")
    assert f"has not been heard of for {AFTER}, and it had installed nothing. Open again: AdminPortal, Portal." in text
    assert text.endswith("Run: billpatch recover acme-billing")
    (text,) = said(lab, "sql01")
    assert "SQL Server Agent jobs that stay held: EngageIP Billing Run." in text
    assert lab.host_json("web01", "C/ProgramData/EngageIPPatching/lease.json")["released"]

    touched = len(lab.audit())
    hung.process.send_signal(signal.SIGCONT)
    hung.wait()
    assert nights.prefect is not None
    restored = "acme-billing: a host that did not hear from this run for 8s has restored its service by itself"
    assert nights.prefect.state(hung.flow_run)["message"].startswith(restored)
    assert lab.audit("pager.page")[-1]["text"].startswith(restored)
    changes = {"site.bindings", "service.stop", "service.start", "job.enabled", "quiesce.close", "lease.enter"}
    assert not [e for e in lab.audit()[touched:] if e["event"] in changes]

    first = len(lab.audit("backup.database"))
    silent_at(nights, signal.SIGKILL, "update.install", host="web01").process.wait(10)
    lab.until(lambda: len(said(lab, "web01")) == 2, "the word of the switch of web01")
    assert "the sites of this host stay closed, its services stopped" in said(lab, "web01")[-1]
    lab.until(lambda: len(said(lab, "sql01")) == 2, "the word of the switch of sql01")
    assert (statuses(lab), billing(lab)) == ([503, 503], ["Stopped", "Stopped"])
    assert len(lab.audit("switch.restored")) == 2
    assert len(lab.audit("backup.database")) > first

    night = nights.flow()
    assert night.wait() == 0, night.said()
    state = nights.prefect.state(night.flow_run)
    assert state["type"] == "COMPLETED", state["message"]
    assert (statuses(lab), billing(lab)) == ([200, 200], ["Running", "Running"])
    assert_released(lab)
    trail = lab.audit(effects_only=False)
    assert_nothing_installed_twice(trail)
    assert_closed_while_patching(trail, read_estate(lab.estate))
    assert len(installed(trail)) == 4
    assert not [e for e in trail if e["event"] == "lab.bug"]
    assert {e["host"] for e in trail if e["event"] == "switch.disarmed"} == {"sql01", "web01"}
    for host in ("sql01", "web01"):
        assert not [task for task in lab.host_json(host, "tasks.json") if "dead-mans-switch" in task]
