"""What happens when a run is cancelled or dies: an independent run brings the estate back."""

from __future__ import annotations

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging import get_logger

RESCUER = "recover-estate"


def call_for_rescue(flow: Flow[..., object], flow_run: FlowRun, state: State) -> None:
    """Start ``recover-estate`` for the estate of ``flow_run``; best effort, for the hosts hold the truth.

    Of a run that is rescued, and whose rescue crashes, one more is started and no third.

    Prefect calls it with keywords, so the parameters must keep these names.
    """
    parameters = flow_run.parameters or {}
    estate = parameters.get("estate")
    # A rescue that crashes is followed by one more, for the run that it was for.
    again = flow.name == RESCUER
    cut = str((again and parameters.get("flow_run")) or flow_run.id)
    logger = get_logger("billpatch")
    if not estate:
        return
    if flow_run.deployment_id is None:
        # Started by hand: whoever did sits before the terminal that says how it ended.
        logger.warning("%s: %s. To bring the estate back: billpatch recover %s", flow_run.name, state.name, estate)
        return
    try:
        with get_client(sync_client=True) as client:
            # Deployments of one estate share their name: patch-estate/acme-billing, recover-estate/acme-billing.
            name = client.read_deployment(flow_run.deployment_id).name
            client.create_flow_run_from_deployment(
                client.read_deployment_by_name(f"{RESCUER}/{name}").id,
                parameters={
                    "estate": estate,
                    "why": f"{flow.name} '{flow_run.name}': {state.name}",
                    "flow_run": cut,
                },
                # Prefect may call twice: from the worker, and from the run's own process.
                idempotency_key=f"{RESCUER} {cut} {'again' if again else flow_run.run_count}",
            )
    except Exception as error:  # noqa: BLE001 - a hook that raises helps nobody; the person is told what to type
        logger.warning("No rescue could be started (%s). Run: billpatch recover %s", type(error).__name__, estate)
