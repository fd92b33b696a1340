"""What Prefect starts when a run ends before its work does: through a worker, with the deployments as they are shipped."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from night import Nights, Prefect
from standing import assert_released, standing

from tasks.run import read_estate
from tests.test_invariants import assert_closed_while_patching, assert_nothing_installed_twice, installed

PROJECT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 90.0


class Worker:
    """A worker for the deployments of ``deployments/prefect.yaml``, on a server of its own choice."""

    def __init__(self, prefect: Prefect, environment: dict[str, str], log: Path) -> None:
        self.prefect = prefect
        self.environment = environment | {
            "PREFECT_API_URL": prefect.url,
            "PREFECT_HOME": str(prefect.home),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
        }
        self._log = log
        self._run("work-pool", "create", "billpatch", "--type", "process", "--overwrite")
        self._run("--no-prompt", "deploy", "--all", "--prefect-file", "deployments/prefect.yaml")
        with log.open("wb") as out:
            command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "billpatch"]
            self._process = subprocess.Popen(
                command, env=self.environment, cwd=PROJECT, stdout=out, stderr=subprocess.STDOUT
            )

    def _run(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "prefect", *arguments]
        done = subprocess.run(command, env=self.environment, cwd=PROJECT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def deployment(self, flow: str) -> str:
        """The id of a flow's deployment."""
        return str(self.prefect.get(f"/deployments/name/{flow}/acme-billing")["id"])

    def runs(self, flow: str) -> list[dict[str, Any]]:
        """The runs of a flow's deployment, oldest first."""
        found: list[dict[str, Any]] = self.prefect.post(
            "/flow_runs/filter",
            deployments={"id": {"any_": [self.deployment(flow)]}},
            sort="EXPECTED_START_TIME_ASC",
        )
        return found

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait for a condition, and return what it answered."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if answer := condition():
                return answer
            time.sleep(0.1)
        pytest.fail(f"{what} did not happen: {self._log.read_text(encoding='utf-8')[-4000:]}")

    def until_state(self, run: str, *types: str) -> dict[str, Any]:
        """Wait until a flow run is in a state of one of these types, and return it."""

        def reached() -> dict[str, Any] | None:
            state = self.prefect.state(run)
            return state if state["type"] in types else None

        found: dict[str, Any] = self.until(reached, f"{' or '.join(types)} of {run}")
        return found

    def engine(self, run: str) -> int:
        """The process of a flow run: a child of this worker's, known by its environment."""
        mark = f"PREFECT__FLOW_RUN_ID={run}".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
            except OSError:
                continue
            if mark in environment.split(b"\0") and b"prefect.engine" in command:
                return int(folder.name)
        pytest.fail(f"no process runs {run}")

    def stop(self) -> None:
        """End the worker."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def worker(nights: Nights) -> Iterator[Worker]:
    assert nights.prefect is not None
    made = Worker(nights.prefect, nights.environment(), nights.folder / "worker.log")
    yield made
    made.stop()


@pytest.mark.night
@pytest.mark.timeout(600)
def test_a_run_that_is_cancelled_paused_or_killed_is_rescued(nights: Nights, worker: Worker) -> None:
    """Cancel, Pause and Resume of the UI, then kill -9: each time an independent run sees to it that the estate is back.

    The same change is patched to its end after all that, and nothing is installed twice.
    """
    prefect, lab = worker.prefect, nights.lab
    before = standing(lab)
    deployment = worker.deployment("patch-estate")
    parameters = {"estate": lab.estate, "change": "CHG0031001"}

    def reached(event: str, count: int = 1) -> None:
        worker.until(lambda: len(lab.audit(event)) >= count, event)

    def rescues(of: str) -> list[dict[str, Any]]:
        return [run for run in worker.runs("recover-estate") if run["parameters"]["flow_run"] == of]

    def rescued(of: str, after: int = 0) -> int:
        """More rescues of this run than so many have come to a good end: customers are served, all is as it was.

        Prefect calls twice, from the worker and by the automation, and one is left to the other: both have to end.
        """
        ends = {"COMPLETED", "FAILED", "CRASHED"}

        def ended() -> list[dict[str, Any]]:
            runs = rescues(of)
            return runs if len(runs) > after and all(run["state_type"] in ends for run in runs) else []

        done: list[dict[str, Any]] = worker.until(ended, f"rescue of {of}")
        for run in done:
            assert run["state_type"] == "COMPLETED", run["state"]["message"]
        assert_served(lab)
        assert standing(lab) == before
        return len(done)

    cancelled = prefect.order(deployment, **parameters)
    reached("store.write")
    prefect.cancel(cancelled)
    assert worker.until_state(cancelled, "CANCELLED")["name"] == "Cancelled"
    rescued(cancelled)

    paused = prefect.order(deployment, **parameters)
    reached("update.install")
    prefect.pause(paused)
    hosts = ("sql01", "web01")
    worker.until(lambda: all(lab.host_json(host, LEASE)["released"] for host in hosts), "the end of the paused run")
    assert prefect.state(paused)["name"] == "Suspended"
    calls = rescued(paused)

    downs = len(lab.audit("host.shutdown"))
    prefect.resume(paused)
    reached("host.shutdown", downs + 1)
    os.kill(worker.engine(paused), 9)
    assert worker.until_state(paused, "CRASHED", "FAILED")["type"] == "CRASHED"
    rescued(paused, after=calls)

    last = prefect.order(deployment, **parameters)
    state = worker.until_state(last, "COMPLETED", "FAILED", "CRASHED")
    assert state["type"] == "COMPLETED", state["message"]
    trail = lab.audit(effects_only=False)
    assert_nothing_installed_twice(trail)
    assert_closed_while_patching(trail, read_estate(lab.estate))
    assert len(installed(trail)) == 4
    assert_served(lab)


LEASE = "C/ProgramData/EngageIPPatching/lease.json"


def assert_served(lab: Any) -> None:
    """Customers see the real pages, and nobody holds anything."""
    for site in read_estate(lab.estate).engageip.sites:
        assert httpx.get(site.url, follow_redirects=True).status_code == 200
    assert_released(lab)
