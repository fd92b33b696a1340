"""Downloading ahead of the window: exactly what the policy admits is fetched, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flows.download import download_updates
from flows.patch import patch_estate
from lab.spec import CUMULATIVE, DOTNET, SQL_GDR

Flow = Callable[..., Any]
QUIET = ("update.install", "service.stop", "host.shutdown", "site.bindings", "job.disabled", "store.write")


def downloaded(lab: Any) -> list[tuple[str, str]]:
    """Host and id of each download, as often as it was made."""
    return [(each["host"], each["id"]) for each in lab.audit("update.download")]


@pytest.mark.night
def test_what_is_fetched_ahead_is_not_fetched_at_night(start_lab: Flow, run_flow: Flow) -> None:
    """One that fails at first is tried again; the lease is given back, so that the night can take it at once."""
    lab = start_lab()
    lab.declare("update.fail_download", DOTNET.kb, times=1, hresult="80240034")
    ran = run_flow(download_updates, estate=lab.estate)
    assert (ran.type, ran.message) == (
        "COMPLETED",
        "acme-billing: 3 updates lie ready for the night; nothing was installed.",
    )
    wanted = {("sql01", CUMULATIVE.id), ("web01", CUMULATIVE.id), ("web01", DOTNET.id)}
    assert set(downloaded(lab)) == wanted
    assert len(downloaded(lab)) == 3
    assert SQL_GDR.id not in {update for _, update in downloaded(lab)}
    assert lab.audit(*QUIET) == []
    night = run_flow(patch_estate, estate=lab.estate)
    assert night.type == "COMPLETED", night.message
    assert len(downloaded(lab)) == 3
    assert len(lab.audit("update.install")) == 3


def test_what_cannot_be_fetched_is_told_by_host_and_kb(start_lab: Flow, run_flow: Flow) -> None:
    """After as many tries as help; the others lie there all the same."""
    lab = start_lab()
    lab.declare("update.fail_download", DOTNET.kb, hresult="80246013")
    ran = run_flow(download_updates, estate=lab.estate)
    assert ran.type == "FAILED"
    assert f"web01: {DOTNET.title} ({DOTNET.kb}): 0x80246013" in ran.message
    assert len(downloaded(lab)) == 2
    assert lab.audit(*QUIET) == []


def test_an_estate_that_a_run_has_left_quiet_is_left_alone(start_lab: Flow, run_flow: Flow) -> None:
    """Its place on the hosts is needed to go on with it, or to bring it back: the command for that is said."""
    lab = start_lab()
    folder = lab.folder / "hosts" / "sql01" / "C" / "ProgramData" / "EngageIPPatching"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "quiesce.json").write_text('{"number": 1, "state": "open", "held": {}}', encoding="utf-8")
    ran = run_flow(download_updates, estate=lab.estate)
    assert ran.type == "FAILED"
    assert "a run has not ended, sql01: quiet since" in ran.message
    assert "billpatch recover acme-billing" in ran.message
    assert lab.audit("lease.enter", "job.start", effects_only=False) == []
