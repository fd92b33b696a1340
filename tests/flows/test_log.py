"""What the log of a run shows in Prefect's UI, where people look first."""

from __future__ import annotations

from night import Nights

WARNING = 30


def test_a_failure_is_told_once_and_last(nights: Nights) -> None:
    """Each failed task says why, once; the last line is the outcome, and no traceback of Prefect's own follows it."""
    assert nights.prefect is not None
    nights.lab.declare("winrm.refuse_logon", "web01")
    night = nights.flow()
    night.wait()
    state = nights.prefect.state(night.flow_run)
    assert state["type"] == "FAILED"
    lines = nights.prefect.logs(night.flow_run)
    assert lines[-1]["message"] == f"Finished in state Failed({state['message']!r})"
    assert [line["message"] for line in lines if "Traceback" in line["message"] or "NoneType" in line["message"]] == []
    (failed,) = [line["message"] for line in lines if line["level"] >= WARNING and line["name"] == "prefect.task_runs"]
    assert "web01: the host refuses these credentials." in failed
