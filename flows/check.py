"""Could this estate be patched? The file, the connections, and a canary on each host: everything that is wrong, at once."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.form import EstateName, shown
from flows.patch import look
from model.outcome import Stopped
from model.records import Caution
from tasks.run import open_run


@flow(name="check-estate", flow_run_name="check {estate}", persist_result=False, retries=0)
def check_estate(
    estate: EstateName, canary: Annotated[bool, shown("Canary", True)] = True
) -> State[tuple[Caution, ...]]:
    """Read the estate's file, log in everywhere, look at all that a night needs, and prove that jobs do their work.

    Args:
        estate: Name of the estate in the estate store, or the path of its file.
        canary: Run a small job on every host that does what jobs do on a night and leaves nothing behind but its own
            record, which patching asks for. Without it nothing at all is touched, and the last one is looked at.
    """
    try:
        run = open_run(estate)
        with run:
            look(run, prove=canary)
    except Stopped as stopped:
        return Failed(message=str(stopped), data=stopped)
    proven = "a canary did its work on each" if canary else "everything answers"
    cautions = tuple(run.journal.of(Caution))
    well = f"{run.estate.name}: {len(run.hosts)} hosts, {proven}, nothing speaks against patching."
    return Completed(message="\n".join([well, *(f"take care: {caution}" for caution in cautions)]), data=cautions)
