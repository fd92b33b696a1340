"""The deployments are what Prefect takes, and their forms explain themselves."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.states import Crashed
from prefect.utilities.callables import parameter_schema
from ruamel.yaml import YAML

from flows.recover import recover_estate
from flows.rescue import call_for_rescue
from model.estate import load_estate

PROJECT = Path(__file__).resolve().parents[2]
FILE = PROJECT / "deployments" / "prefect.yaml"
DEPLOYMENTS: list[dict[str, Any]] = YAML(typ="safe").load(FILE)["deployments"]
FLOWS = {each["entrypoint"]: each for each in DEPLOYMENTS}


def flow_of(entrypoint: str) -> Any:
    module, _, name = entrypoint.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("entrypoint", FLOWS)
def test_every_parameter_explains_itself(entrypoint: str) -> None:
    """Title, description and an example that the flow itself would take: what the form shows."""
    schema = parameter_schema(flow_of(entrypoint)).model_dump_for_openapi()
    for name, field in schema["properties"].items():
        assert field["title"][0].isupper(), name
        assert field["title"] != name, name
        assert field["description"].endswith("."), name
        assert field["examples"], name
        flow_of(entrypoint).validate_parameters({"estate": "acme-billing", name: field["examples"][0]})


@pytest.mark.parametrize("entrypoint", FLOWS)
def test_what_is_filled_in_is_taken(entrypoint: str) -> None:
    """A click on Quick run starts a run: every parameter without a default is filled in, and none is unknown."""
    filled = FLOWS[entrypoint]["parameters"]
    assert flow_of(entrypoint).validate_parameters(filled) == flow_of(entrypoint).validate_parameters(
        {"estate": "acme-billing"}
    )
    assert flow_of(entrypoint).description


def test_the_deployments_of_an_estate_share_its_name() -> None:
    """The rescue of ``patch-estate/acme-billing`` is ``recover-estate/acme-billing``, in the same pool."""
    assert {each["name"] for each in DEPLOYMENTS} == {"acme-billing"}
    assert {each["work_pool"]["name"] for each in DEPLOYMENTS} == {"billpatch"}
    flows = {flow_of(each["entrypoint"]).name for each in DEPLOYMENTS}
    assert flows == {"patch-estate", "recover-estate", "plan-estate", "check-estate", "download-updates"}


def test_the_schedule_falls_into_the_sample_window() -> None:
    """Every time is the Sunday after a second Tuesday, at the start of the window of the sample estate."""
    estate = load_estate((PROJECT / "deployments" / "estates" / "acme-billing.yaml").read_text(), "acme-billing.yaml")
    (schedule,) = FLOWS["flows.patch.patch_estate"]["schedules"]
    assert schedule["timezone"] == estate.timezone
    assert ZoneInfo(schedule["timezone"])
    assert estate.window is not None
    times = rrulestr(schedule["rrule"])[:24]
    assert len(times) == 24
    for time in times:
        assert (time.strftime("%a"), time.time()) == ("Sun", estate.window.start)
        tuesday = time.day - 5
        assert 8 <= tuesday <= 14, time


@pytest.fixture(scope="module")
def deployed(prefect_harness: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[SyncPrefectClient]:
    """A client of a server that the file was deployed to."""
    home = str(tmp_path_factory.mktemp("prefect"))
    environment = os.environ | {"PREFECT_API_URL": prefect_harness["url"], "PREFECT_HOME": home}
    prefect = [sys.executable, "-m", "prefect"]
    for command in (
        ["work-pool", "create", "billpatch", "--type", "process", "--overwrite"],
        ["--no-prompt", "deploy", "--all", "--prefect-file", str(FILE)],
    ):
        done = subprocess.run([*prefect, *command], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    with get_client(sync_client=True) as client:
        yield client


@pytest.mark.slow
def test_prefect_takes_the_file(deployed: SyncPrefectClient) -> None:
    """``prefect deploy --all`` saves each deployment, with the schema that its form is made of."""
    for each in DEPLOYMENTS:
        saved = deployed.read_deployment_by_name(f"{flow_of(each['entrypoint']).name}/{each['name']}")
        assert saved.parameters == each["parameters"]
        assert saved.parameter_openapi_schema["properties"]["estate"]["title"] == "Estate"
        assert saved.enforce_parameter_schema


@pytest.mark.slow
def test_a_rescue_that_crashes_is_followed_by_one_more(deployed: SyncPrefectClient) -> None:
    """For the run that it was for; the one more is not followed by a third."""
    rescuer = deployed.read_deployment_by_name("recover-estate/acme-billing")

    def rescues() -> list[FlowRun]:
        found = deployed.read_flow_runs(deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[rescuer.id])))
        return [run for run in found if run.parameters["flow_run"] == "the-night"]

    parameters = {"estate": "acme-billing", "flow_run": "the-night"}
    first = deployed.create_flow_run_from_deployment(rescuer.id, parameters=parameters)
    for crashed in (first, first):  # Prefect may call twice
        call_for_rescue(recover_estate, crashed, Crashed())
    (second,) = [run for run in rescues() if run.id != first.id]
    assert second.parameters["why"] == f"recover-estate '{first.name}': Crashed"
    call_for_rescue(recover_estate, second, Crashed())
    assert len(rescues()) == 2
