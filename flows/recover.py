"""Rescue: bring an estate back after a run that ended before its work did."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.form import EstateName, shown
from flows.rescue import RESCUER, call_for_rescue
from model.outcome import Stopped
from model.records import RunOutcome
from tasks import report
from tasks.outcome import conclude
from tasks.progress import await_prefect
from tasks.rescue import rescue
from tasks.run import open_run


@flow(
    name=RESCUER,
    flow_run_name="recover {estate}",
    on_crashed=[call_for_rescue],
    persist_result=False,
    retries=0,
)
def recover_estate(
    estate: EstateName,
    why: Annotated[str, shown("Why", "the worker died at 03:12")] = "asked for",
    flow_run: Annotated[str, shown("Flow run", "0198c2a4-5b1e-7c3d-9e10-2f4a6b8c0d12")] = "",
) -> State[RunOutcome]:
    """Take over the lease, wait for a live install, and reopen what may be reopened; what may not is named.

    Args:
        estate: Name of the estate in the estate store, or the path of its file.
        why: What happened; shown in the log.
        flow_run: Id of the flow run that ended before its work did. Where a later one is at work it is left alone; empty
            takes the estate over from whoever has it.
    """
    try:
        run = open_run(estate)
    except Stopped as stopped:
        return Failed(message=str(stopped), data=stopped)
    with run:
        back = rescue(run, why, flow_run)
        outcome = conclude(run, None, back, recovering=True)
        report.write(run, outcome)
    await_prefect()
    return (Completed if outcome.succeeded else Failed)(message=outcome.headline)
