"""What would patching do? Touches nothing: it shows what the last scan on the hosts found, and how old that is."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from model.outcome import Stopped
from tasks import review
from tasks.progress import publish
from tasks.run import open_run
from tasks.step import settle


@flow(name="plan-estate", flow_run_name="plan {estate}", persist_result=False, retries=0)
def plan_estate(estate: Annotated[str, Field(examples=["acme-billing"], min_length=1)]) -> State[None]:
    """Print what would happen, in order, from the last scan of each host.

    Args:
        estate: Name of the estate in the estate store, or the path of its file.
    """
    try:
        run = open_run(estate)
        with run:
            looks = {host: review.last_scan.submit(run, host) for host in run.hosts}
            settle("review", looks.values())
            plan = review.plan_from(run, {host: look.result() for host, look in looks.items()})
    except Stopped as stopped:
        return Failed(message=str(stopped))
    publish("plan", "```\n" + "\n".join(plan.lines()) + "\n```", f"What would be done, in order ({plan.hash[:12]})")
    return Completed(message="\n".join(plan.lines()))
