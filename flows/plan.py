"""What would patching do? It shows what the last scan on the hosts found, and how old that is; touches nothing unasked."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.aside import aside
from flows.form import EstateName, shown
from model.outcome import Stopped
from model.outlook import Outlook
from tasks import review
from tasks.run import Run, open_run
from tasks.step import settle


@flow(name="plan-estate", flow_run_name="plan {estate}", persist_result=False, retries=0)
def plan_estate(estate: EstateName, scan: Annotated[bool, shown("Scan", True)] = False) -> State[Outlook]:
    """What patching an estate would do, in order, as far as the last scan of each host tells. Touches nothing.

    Args:
        estate: Name of the estate in the estate store, or the path of its file.
        scan: Ask every host for its updates first. A scan is a job on the host: it holds the estate's lease for a few
            minutes, and changes nothing. Without it nothing at all is touched.
    """
    try:
        with open_run(estate) as run, aside(run) if scan else nullcontext():
            if scan:
                settle("review", [review.scan.submit(run, host, 0) for host in run.hosts])
            outlook = foresee(run)
    except Stopped as stopped:
        return Failed(message=str(stopped), data=stopped)
    return Completed(message="\n".join(outlook.lines()), data=outlook)


def foresee(run: Run) -> Outlook:
    """Read the last scan on each host, and lay out what would be done."""
    looks = {host: review.last_scan.submit(run, host) for host in run.hosts}
    settle("review", looks.values())
    return review.foresee(run, {host: look.result() for host, look in looks.items()})
