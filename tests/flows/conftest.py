"""A lab in its own process, and flows run against it as a user runs them, with the state read back from Prefect."""

from __future__ import annotations

import json
import os
import re
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from lab_process import LabProcess
from night import Nights, Prefect
from rehearsal import give, take
from ruamel.yaml import YAML
from screen import assert_explained
from secret_search import secrets_of
from warm import Warm

from model.estate import load_estate
from tasks.canary import rehearse
from tasks.run import open_run
from tests.test_invariants import (
    assert_armed_while_held,
    assert_nothing_installed_twice,
    assert_promise_1,
    assert_promise_2,
    assert_promise_7,
    assert_promise_8,
)

ONE_IN = int(os.environ.get("BILLPATCH_NIGHTS", "1"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of the whole nights keep one in BILLPATCH_NIGHTS, other ones each day: all of them take longer than people wait."""
    nights = [item.nodeid for item in items if item.get_closest_marker("night")]
    drawn = sorted(nights, key=lambda night: zlib.crc32(f"{os.environ['BILLPATCH_SEED']} {night}".encode()))[
        : -(-len(nights) // ONE_IN)
    ]
    left = [item for item in items if item.get_closest_marker("night") and item.nodeid not in drawn]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]


@dataclass
class EmbeddedLab:
    """A lab in its own process: its audit trail, its control API."""

    process: LabProcess
    disorderly: bool = False
    """Whether the test itself has restarted its servers in a wrong order."""
    seen: int = 0
    """Lines of the audit trail that tell of the rehearsal before the test."""

    @property
    def papers(self) -> dict[str, Any]:
        """What it said at its start: the paths of its estate, credentials and audit trail, its control API."""
        return self.process.papers

    @property
    def folder(self) -> Path:
        """Where it keeps everything."""
        return self.process.folder

    @property
    def estate(self) -> str:
        """The path of the estate's file."""
        return str(self.papers["estate"])

    def estate_with(self, change: Callable[[Any], object]) -> str:
        """The path of a copy of the estate's file whose document ``change`` has been at."""
        yaml = YAML()
        document = yaml.load(Path(self.estate))
        change(document)
        copy = Path(self.estate).with_name("edited.yaml")
        with copy.open("w", encoding="utf-8") as out:
            yaml.dump(document, out)
        return str(copy)

    def audit(self, *events: str, effects_only: bool = True) -> list[dict[str, Any]]:
        """What the audit trail says, oldest first; of these events where any are named."""
        return [
            each
            for each in self.process.trail()[self.seen :]
            if (not events or each["event"] in events) and (each["effect"] or not effects_only)
        ]

    def declare(self, name: str, on: str = "*", times: int | None = None, **settings: Any) -> None:
        """Put a fault into force."""
        fault = {"name": name, "on": on, "times": times, "with": settings}
        httpx.post(f"{self.papers['control']}/faults", json=fault).raise_for_status()

    def rehearse(self) -> None:
        """Run the canary of every host, as a check does; what that leaves in the audit trail is no test's business."""
        with open_run(self.estate) as run:
            assert rehearse(run) == []
        # The job has ended, and its task does so a moment later: who copies it before has one that runs for ever.
        for host in self.state()["hosts"]:
            self.until(lambda host=host: self.is_idle(host), f"the end of the canary's task on {host}")
        self.seen = len(self.process.trail())

    def is_idle(self, host: str) -> bool:
        """Whether no task of the host is at work."""
        return all(task["state"] == "Ready" for task in self.host_json(host, "tasks.json").values())

    def work(self, kind: str, seconds: float = 0, host: str = "sql01") -> int | None:
        """Begin a billing run (``billing``) or an eCheck batch (``payments``) of so many seconds of lab time.

        ``finish`` lets all that runs come to its end now.
        """
        answer = httpx.post(f"{self.papers['control']}/hosts/{host}/work", json={"kind": kind, "seconds": seconds})
        number: int | None = answer.raise_for_status().json()["number"]
        return number

    def clear(self, name: str | None = None) -> None:
        """Withdraw faults."""
        httpx.delete(f"{self.papers['control']}/faults", params={"name": name} if name else {}).raise_for_status()

    def restart(self, host: str, seconds_down: float = 20) -> None:
        """Restart a host, as somebody at its console would; so many seconds of lab time it is down."""
        httpx.post(f"{self.papers['control']}/hosts/{host}/restart", json={"seconds_down": seconds_down})

    def state(self) -> dict[str, Any]:
        """Which hosts are up, and where they are."""
        answer: dict[str, Any] = httpx.get(f"{self.papers['control']}/state").json()
        return answer

    def host_json(self, host: str, file: str) -> dict[str, Any]:
        """A state file of a host (``services.json``, ``iis.json``)."""
        answer: dict[str, Any] = json.loads((self.folder / "hosts" / host / file).read_text(encoding="utf-8"))
        return answer

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
        """Wait for a condition, and return what it answered."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if answer := condition():
                return answer
            time.sleep(0.05)
        pytest.fail(f"{what} did not happen within {seconds:g} s")


@pytest.fixture(scope="session")
def rehearsals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session's rehearsals are kept, by the kind of lab."""
    return tmp_path_factory.mktemp("rehearsals")


@pytest.fixture
def start_lab(
    tmp_path: Path,
    rehearsals: Path,
    monkeypatch: pytest.MonkeyPatch,
    secrets_of_labs: dict[str, str],
    start_lab_process: Callable[..., LabProcess],
) -> Iterator[Callable[..., EmbeddedLab]]:
    """Start a lab: ``start_lab("farm", 100)``; flows find its papers.

    Its hosts have a fresh canary, without which they would not be patched, unless ``rehearsed=False``. Whatever the test
    is about: at its end promises 1, 2, 3, 7 and 8 must have held in each of its labs, and switches stood over what was held.
    """
    labs: list[EmbeddedLab] = []

    def start(preset: str = "acme", speed: float = 100, *more: str, rehearsed: bool = True) -> EmbeddedLab:
        folder = tmp_path / f"lab{len(labs)}"
        lab = EmbeddedLab(start_lab_process(folder, "--preset", preset, "--speed", str(speed), *more))
        papers = lab.papers
        credentials = json.loads(Path(papers["credentials"]).read_text(encoding="utf-8"))
        secrets_of_labs.update({f"{name} of {folder}": text for name, text in secrets_of(credentials).items()})
        labs.append(lab)
        estates = tmp_path / "estates"
        estates.mkdir(exist_ok=True)
        text = Path(papers["estate"]).read_text(encoding="utf-8")
        (estates / f"{re.findall('^estate: (.+)$', text, re.MULTILINE)[0]}.yaml").write_text(text, encoding="utf-8")
        monkeypatch.setenv("BILLPATCH_ESTATES", str(estates))
        monkeypatch.setenv("BILLPATCH_CREDENTIALS", papers["credentials"])
        monkeypatch.setenv("BILLPATCH_REPORTS", str(tmp_path / "reports"))
        monkeypatch.setenv("BILLPATCH_POLL_SECONDS", "0.1")
        if rehearsed:
            kept = rehearsals / re.sub(r"\W+", "-", " ".join((preset, *more)))
            if kept.exists():
                give(kept, lab.folder)
                lab.seen = len(lab.process.trail())
            else:
                lab.rehearse()
                take(lab.folder, kept)
        return lab

    yield start
    for lab in labs:
        lab.process.stop()
    for lab in labs:
        trail, estate = lab.audit(effects_only=False), load_estate(Path(lab.estate).read_bytes(), lab.estate)
        assert_promise_1(trail, estate)
        assert_nothing_installed_twice(trail)
        assert_armed_while_held(trail, estate)
        if not lab.disorderly:
            assert_promise_2(trail, estate)
            assert_promise_7(trail, estate)
    assert_promise_8(tmp_path)


@dataclass
class Ran:
    """A flow run as Prefect's API tells of it, and its report."""

    type: str
    message: str
    report: dict[str, Any] = field(default_factory=dict)
    flow_run_id: str = ""


@pytest.fixture
def run_flow(prefect_harness: dict[str, str]) -> Callable[..., Ran]:  # noqa: ARG001 - needed to be running
    """Run a flow to its end in this process; the state's type and message are read back through Prefect's API.

    Whatever the test is about: the first screen of a night that was reported on explains how it ended.
    """

    def run(flow: Any, **parameters: Any) -> Ran:
        from prefect.client.orchestration import get_client

        from tasks.report import on_report

        written: list[Any] = []
        on_report(written.append)
        state = flow(**parameters, return_state=True)
        run_id = state.state_details.flow_run_id
        with get_client(sync_client=True) as client:
            seen = client.read_flow_run(run_id).state
        assert seen is not None
        report = {}
        if written and written[-1].folder is not None:
            report = json.loads((written[-1].folder / "report.json").read_text(encoding="utf-8"))
        if written:
            assert_explained(written[-1].report)
        return Ran(seen.type.value, seen.message or "", report, str(run_id))

    return run


@pytest.fixture(scope="session")
def prefect(prefect_harness: dict[str, str]) -> Prefect:
    """The session's Prefect server, by its REST API."""
    return Prefect(prefect_harness["url"], Path(prefect_harness["home"]))


@pytest.fixture
def nights(start_lab: Callable[..., EmbeddedLab], prefect: Prefect, warm: Warm, tmp_path: Path) -> Iterator[Nights]:
    """A lab, and processes over it as a worker starts them."""
    (tmp_path / "nights").mkdir()
    made = Nights(start_lab(), tmp_path / "nights", prefect, warm)
    yield made
    made.close()
