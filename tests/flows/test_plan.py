"""The plan ahead of the night: by what the hosts were last asked, or asked anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from standing import assert_released, standing

from flows.plan import plan_estate
from lab.spec import CUMULATIVE, DOTNET

Flow = Callable[..., Any]


@pytest.mark.slow
def test_a_scan_on_demand(start_lab: Flow, run_flow: Flow) -> None:
    """Without it nothing is touched; with it each host is scanned by a job, and the estate stands as before."""
    lab = start_lab()
    before, touched = standing(lab), lab.audit()
    blind = run_flow(plan_estate, estate=lab.estate)
    assert "web01: not scanned yet" in blind.message
    assert lab.audit() == touched

    seen = run_flow(plan_estate, estate=lab.estate, scan=True)
    assert seen.type == "COMPLETED", seen.message
    assert "not scanned yet" not in seen.message
    for title in (CUMULATIVE.title, DOTNET.title):
        assert title in seen.message
    scans = lab.audit("job.start")[len([each for each in touched if each["event"] == "job.start"]) :]
    assert sorted((each["host"], each["script"]) for each in scans) == [
        ("sql01", "Find-WindowsUpdate"),
        ("web01", "Find-WindowsUpdate"),
    ]
    assert standing(lab) == before
    assert_released(lab)

    lab.declare("winrm.refuse_logon", "web01", times=1)
    locked_out = run_flow(plan_estate, estate=lab.estate, scan=True)
    assert locked_out.type == "FAILED"
    assert locked_out.message.startswith("lease: web01: the host refuses these credentials.")

    folder = lab.folder / "hosts" / "sql01" / "C" / "ProgramData" / "EngageIPPatching"
    (folder / "quiesce.json").write_text(json.dumps({"number": 1, "state": "open", "held": {}}), encoding="utf-8")
    refused = run_flow(plan_estate, estate=lab.estate, scan=True)
    assert refused.type == "FAILED"
    assert "billpatch recover acme-billing" in refused.message
