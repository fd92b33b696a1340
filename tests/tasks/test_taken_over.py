"""A host that refuses a run's fence: the run knows who has the estate, and begins nothing more."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from blocks.winrm.errors import ScriptFailed
from model.outcome import Stopped
from tasks.run import Run

OWNER = "vm process 17 flow run 5b1e for acme.CHG1.1"
REFUSAL = (
    f"Refused: this act carries fence 1, and the host's lease is at 2, held by {OWNER}. Another run has taken over this "
    "estate: stop this one."
)


@pytest.fixture
def run() -> Any:
    """What a run knows of its own end."""
    run = SimpleNamespace(
        lease_lost="", stop=threading.Event(), over=threading.Event(), _turn=threading.Condition(), _acting=0
    )
    run.lose_lease = lambda to: Run.lose_lease(run, to)  # type: ignore[arg-type]
    return run


def begin(run: Any) -> None:
    """What every task does first."""
    with Run.acting(run):
        pass


def test_whoever_took_over_is_told_by_name(run: Any) -> None:
    """By the first refusal, and by every task that is not begun any more."""
    begin(run)
    Run.heed(run, ScriptFailed("sql01", "Start-PatchJob", "no such folder", id="PathNotFound"))
    assert not run.stop.is_set()
    Run.heed(run, ScriptFailed("sql01", "Start-PatchJob", REFUSAL, id="FenceTooLow"))
    assert run.over.is_set()
    Run.heed(run, ScriptFailed("web01", "Start-PatchJob", REFUSAL.replace("17", "18"), id="FenceTooLow"))
    assert run.lease_lost == OWNER
    with pytest.raises(Stopped, match=rf"^interruption: not begun: {OWNER} has taken over$"):
        begin(run)


def test_a_run_that_is_told_to_end_begins_nothing(run: Any) -> None:
    """Nobody has taken over."""
    run.stop.set()
    with pytest.raises(Stopped, match="not begun: the run was told to end"):
        begin(run)
