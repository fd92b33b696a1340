"""What would patching do? Touches nothing: it shows what the last scan on the hosts found, and how old that is."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.form import EstateName
from model.outcome import Stopped
from model.outlook import Outlook
from tasks import review
from tasks.run import Run, open_run
from tasks.step import settle


@flow(name="plan-estate", flow_run_name="plan {estate}", persist_result=False, retries=0)
def plan_estate(estate: EstateName) -> State[Outlook]:
    """What patching an estate would do, in order, as far as the last scan of each host tells. Touches nothing.

    Args:
        estate: Name of the estate in the estate store, or the path of its file.
    """
    try:
        with open_run(estate) as run:
            outlook = foresee(run)
    except Stopped as stopped:
        return Failed(message=str(stopped), data=stopped)
    return Completed(message="\n".join(outlook.lines()), data=outlook)


def foresee(run: Run) -> Outlook:
    """Read the last scan on each host, and lay out what would be done."""
    looks = {host: review.last_scan.submit(run, host) for host in run.hosts}
    settle("review", looks.values())
    return review.foresee(run, {host: look.result() for host, look in looks.items()})
