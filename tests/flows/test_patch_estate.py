"""The whole runbook over the lab: what a good night looks like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from standing import TOUCHES, assert_released, snapshots

from flows.patch import patch_estate


def test_a_good_night(start_lab: Callable[..., Any], run_flow: Callable[..., Any]) -> None:
    """Everything is backed up, installed once, restarted in order, checked and reopened; the state says so."""
    lab = start_lab()
    estate = Path(lab.estate)
    document = YAML(typ="safe").load(estate)
    document["checks"].append({"service": "EngageIP Job Service", "on": "web01"})
    YAML().dump(document, estate)
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG0031001")
    assert (ran.type, ran.message) == (
        "COMPLETED",
        "acme-billing: patched: 4 updates installed, every check passed, everything is up.",
    )
    installs = [(e["host"], e["id"], e["revision"]) for e in lab.audit("update.install")]
    assert len(installs) == len(set(installs)) == 3
    assert [e["build"] for e in lab.audit("sqlpatch.install")] == ["15.0.4430.1"]
    assert [e["host"] for e in lab.audit("host.shutdown")] == ["sql01", "web01"]
    taken, deleted = (sorted(e["id"] for e in lab.audit(f"snapshot.{what}")) for what in ("create", "delete"))
    assert len(taken) == len(lab.audit("backup.archive")) > 0, "every folder is read through a snapshot"
    assert deleted == taken
    assert snapshots(lab) == []
    back = [e for e in lab.audit("site.bindings", "job.enabled", "service.start") if e["n"] > last_restart(lab)]
    of_sql = [e for e in back if e["event"] == "service.start" and e["host"] == "sql01"]
    assert of_sql[-1]["service"] == "MsDtsServer150", "started by hand before the night, so no boot starts it"
    opened = [e["event"] for e in back if e.get("site") != "EngageIPMaintenance" and e not in of_sql]
    assert opened == ["site.bindings"] * 2 + ["job.enabled"] + ["service.start"] * 2
    billing = [e["service"] for e in back if "EngageIP" in e.get("service", "")]
    assert billing == ["EngageIP Job Service", "EngageIP Event Manager"], "started in reverse, last of all"
    asked = [check["status"] for check in ran.report["checks"] if check["name"] == "service EngageIP Job Service runs"]
    assert asked == ["passed"], "not before it was started"
    assert all(
        service["status"] == "Running"
        for service in lab.host_json("sql01", "services.json").values()
        if service["start"] == "Automatic"
    )


def last_restart(lab: Any) -> int:
    """Where in the trail the last host came up."""
    return int(lab.audit("host.boot")[-1]["n"])


def test_a_night_with_nothing_to_install_disturbs_nobody(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """Scanned, checked, told; no page goes up, no service stops, nothing is backed up."""
    lab = start_lab()
    estate = Path(lab.estate)
    document = YAML(typ="safe").load(estate)
    document["updates"] = {"classifications": ["tools"]}
    YAML().dump(document, estate)
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG2")
    assert (ran.type, ran.message) == ("COMPLETED", "acme-billing: nothing was left to install; everything is up.")
    assert {check["status"] for check in ran.report["checks"]} == {"passed"}
    assert [e for e in lab.audit(*TOUCHES, "host.shutdown") if e["event"] not in {"lease.enter", "job.start"}] == []
    assert_released(lab)
