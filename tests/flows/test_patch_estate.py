"""The whole runbook over the lab: what a good night looks like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flows.patch import patch_estate


def test_a_good_night(start_lab: Callable[..., Any], run_flow: Callable[..., Any]) -> None:
    """Everything is backed up, installed once, restarted in order, checked and reopened; the state says so."""
    lab = start_lab()
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG0031001")
    assert (ran.type, ran.message) == (
        "COMPLETED",
        "acme-billing: patched: 4 updates installed, every check passed, everything is up.",
    )
    installs = [(e["host"], e["id"], e["revision"]) for e in lab.audit("update.install")]
    assert len(installs) == len(set(installs)) == 3
    assert [e["build"] for e in lab.audit("sqlpatch.install")] == ["15.0.4430.1"]
    assert [e["host"] for e in lab.audit("host.shutdown")] == ["sql01", "web01"]
    assert all(
        service["status"] == "Running"
        for service in lab.host_json("sql01", "services.json").values()
        if service["start"] == "Automatic"
    )
