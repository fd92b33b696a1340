"""Could this estate be patched? The file, then the connections: everything that is wrong, at once."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.form import EstateName
from flows.patch import look
from model.outcome import Stopped
from tasks.run import open_run


@flow(name="check-estate", flow_run_name="check {estate}", persist_result=False, retries=0)
def check_estate(estate: EstateName) -> State[None]:
    """Read the estate's file, log in everywhere, look at everything that a night needs. Touches nothing.

    Args:
        estate: Name of the estate in the estate store, or the path of its file.
    """
    try:
        run = open_run(estate)
        with run:
            look(run)
    except Stopped as stopped:
        return Failed(message=str(stopped), data=stopped)
    return Completed(
        message=f"{run.estate.name}: {len(run.hosts)} hosts, everything answers, nothing speaks against patching."
    )
