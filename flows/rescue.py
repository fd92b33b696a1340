"""What happens when a run is cancelled or dies: an independent run brings the estate back."""

from __future__ import annotations

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.logging import get_logger


def call_for_rescue(flow: Flow[..., object], flow_run: FlowRun, state: State) -> None:
    """Start ``recover-estate`` for the estate of ``flow_run``; best effort, for the hosts hold the truth.

    Prefect calls it with keywords, so the parameters must keep these names.
    """
    estate = (flow_run.parameters or {}).get("estate")
    logger = get_logger("billpatch")
    if not estate:
        return
    try:
        run_deployment(
            f"recover-estate/{_deployment(flow_run)}",
            parameters={"estate": estate, "why": f"{flow.name} {flow_run.name}: {state.name}"},
            timeout=0,
            as_subflow=False,
        )
    except Exception as error:  # noqa: BLE001 - a hook that raises helps nobody; the person is told what to type
        logger.warning("No rescue could be started (%s). Run: billpatch recover %s", type(error).__name__, estate)


def _deployment(flow_run: FlowRun) -> str:
    """Deployments of one estate share their name: ``patch-estate/acme-billing``, ``recover-estate/acme-billing``."""
    return str((flow_run.parameters or {})["estate"])
