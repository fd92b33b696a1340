"""One package at a time over a lab: what runs, what never runs, what is written down, and what is done only once."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from lab_process import LabProcess

from blocks.credential_lookup import resolve
from blocks.winrm.errors import HostError
from model.estate import Estate, load_estate
from model.keys import RunKey
from model.outcome import Stopped
from model.packages import ExePackage, MsiPackage
from model.plan import plan_of
from model.records import UpdateRecord
from model.reopen import INSTALLING
from model.scan import Scan
from tasks import install
from tasks.jobs import JobFailed
from tasks.packages import install_package, verify_packages
from tasks.restart import restart_host
from tasks.run import Run
from tasks.still_installing import still_installing

pytestmark = pytest.mark.slow


class Bench:
    """A lab, and runs over it that hold no lease: each under a key of its own."""

    def __init__(self, process: LabProcess) -> None:
        self.process, self.papers, self.folder = process, process.papers, process.folder
        self.estate: Estate = load_estate(Path(self.papers["estate"]).read_bytes(), "estate.yaml")
        self.credentials = resolve(self.estate.credentials_names())
        self._runs = 0

    def run(self, change: str = "") -> Run:
        self._runs += 1
        run = Run(self.estate, RunKey.for_change("acme", change or f"CHG{self._runs}"), self.credentials)
        run.fence, run.number, run.poll = 1, 1, 0.05
        return run

    def package(self, name: str = "agent", **changes: Any) -> Any:
        """The MSI from the bucket (``agent``) or the EXE from the web (``viewer``), with other words of the estate."""
        kind = MsiPackage if name == "agent" else ExePackage
        one = next(each for each in self.estate.updates.packages if isinstance(each, kind))
        return one.model_copy(update=changes)

    def declare(self, name: str, on: str, times: int | None = 1, **settings: Any) -> None:
        fault = {"name": name, "on": on, "times": times, "with": settings}
        httpx.post(f"{self.papers['control']}/faults", json=fault).raise_for_status()

    def trail(self, *events: str) -> list[dict[str, Any]]:
        return [each for each in self.process.trail() if each["event"] in events]

    def until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def end_processes(self) -> None:
        """Somebody at the console ends what an installer has left running."""
        file = self.folder / "hosts" / "web01" / "cim.json"
        cim = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps({**cim, "Win32_Process": []}), encoding="utf-8")

    def forget(self, product: str) -> None:
        """Uninstall it, behind everybody's back."""
        file = self.folder / "hosts" / "web01" / "registry.json"
        registry = json.loads(file.read_text(encoding="utf-8"))
        keys = registry["HKLM"]["SOFTWARE"]["Microsoft"]["Windows"]["CurrentVersion"].get("Uninstall", {})
        for key in [key for key, value in keys.items() if value["@"]["DisplayName"] == product]:
            del keys[key]
        registry["HKLM"]["SOFTWARE"].pop("Acme", None)
        file.write_text(json.dumps(registry), encoding="utf-8")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, start_lab_process: Callable[..., LabProcess]) -> Iterator[Bench]:
    """One lab for all of them."""
    folder = tmp_path_factory.mktemp("packages") / "lab"
    process = start_lab_process(folder, "--preset", "packages", "--speed", "300")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("BILLPATCH_CREDENTIALS", process.papers["credentials"])
        yield Bench(process)
    process.stop()


@pytest.fixture
def bench(lab: Bench) -> Bench:
    """The lab with nothing of Acme's installed, nothing staged, and no fault."""
    lab.forget("Acme Provisioning Agent")
    shutil.rmtree(lab.folder / "hosts/web01/C/ProgramData/EngageIPPatching/staging/packages", ignore_errors=True)
    httpx.delete(f"{lab.papers['control']}/faults").raise_for_status()
    return lab


@pytest.fixture
def counted(bench: Bench) -> Callable[[], tuple[int, int]]:
    """How often an installer was started, and how often something was installed, since the test began."""
    before = len(bench.trail("package.start")), len(bench.trail("package.install"))
    return lambda: (
        len(bench.trail("package.start")) - before[0],
        len(bench.trail("package.install")) - before[1],
    )


def test_a_package_goes_in_once(bench: Bench, counted: Callable[[], tuple[int, int]]) -> None:
    """The job of an earlier start is adopted; a later run finds the version, and starts nothing."""
    package = bench.package()
    with bench.run("CHG-ONCE") as run:
        first = install_package(run, package)
        held = run.hosts["web01"].run("Get-QuiesceState")["quiesce"]["held"]
    assert (first.result, first.verified_by, first.restart) == ("installed", "version 4.2.0", False)
    assert INSTALLING in held
    stops = len(bench.trail("service.stop"))
    with bench.run("CHG-ONCE") as run:
        assert install_package(run, package).result == "installed"
    assert len(bench.trail("service.stop")) == stops
    with bench.run() as run:
        assert install_package(run, package).result == "not-needed"
    assert counted() == (1, 1)


def test_a_failure_is_adopted_and_another_attempt_tries_again(
    bench: Bench, counted: Callable[[], tuple[int, int]]
) -> None:
    """1603 stays 1603 for the same run; under a new key it is tried again."""
    bench.declare("package.exit_code", "Acme Provisioning Agent", codes=[1603])
    for _ in range(2):
        with bench.run("CHG-FAILS") as run:
            record = install_package(run, bench.package())
        assert record.result == "failed"
        assert "answered 1603: fatal error" in (record.remark or "")
        assert "Its log says: Product: Acme Provisioning Agent -- Error 1306" in (record.remark or "")
        assert record.hresult == "0x00000643"
    with bench.run() as run:
        assert install_package(run, bench.package()).result == "installed"
    assert counted() == (2, 1)


@pytest.mark.parametrize(
    ("fault", "settings", "said"),
    [
        ("package.flip_byte", {}, "is not the file that was approved: its SHA-256 is "),
        ("package.signer", {"signer": "CN=Acme Software, O=Contoso"}, "its signature is Valid, its signer 'Acme Software'"),
        ("package.signer", {"signer": None}, "its signature is NotSigned, its signer nobody"),
    ],
)  # fmt: skip
def test_what_was_not_approved_never_runs(
    bench: Bench, counted: Callable[[], tuple[int, int]], fault: str, settings: dict[str, Any], said: str
) -> None:
    """A flipped byte, another publisher, no signature: the run ends with the file's name and what to do."""
    package = bench.package()
    bench.declare(fault, package.name, times=None, **settings)
    with bench.run() as run:
        with pytest.raises(JobFailed) as failed:
            install_package(run, package)
        (record,) = run.journal.of(UpdateRecord)
    assert f"{package.source} " in str(failed.value)
    assert said in str(failed.value)
    assert "Nothing was run." in str(failed.value)
    assert record.result == "failed"
    assert counted() == (0, 0)
    assert not list(bench.folder.glob("hosts/web01/C/ProgramData/EngageIPPatching/staging/**/*.msi"))


def test_an_installer_that_lies_has_failed(bench: Bench, counted: Callable[[], tuple[int, int]]) -> None:
    """Exit code 0, and the version is not there."""
    bench.declare("package.lies", "Acme Provisioning Agent")
    with bench.run() as run:
        record = install_package(run, bench.package())
    assert (record.result, record.verified_by) == ("failed", None)
    assert "answered 0: succeeded, and no version is there instead of 4.2.0" in (record.remark or "")
    assert counted() == (1, 0)


def test_what_waits_for_its_restart_is_looked_at_again(bench: Bench) -> None:
    """3010 with nothing there yet is 'reboot pending'; after the restart the version decides, both ways."""
    package = bench.package()
    for installs, result in ((True, "installed"), (False, "failed")):
        bench.forget("Acme Provisioning Agent")
        bench.declare("package.exit_code", package.name, codes=[3010])
        if not installs:
            bench.declare("package.lies", package.name)
        with bench.run() as run:
            record = install_package(run, package)
            assert (record.result, record.restart) == ("reboot-pending", True)
            verify_packages(run, "web01", {package.name: package})
            (record,) = run.journal.of(UpdateRecord)
        assert (record.result, record.verified_by) == (result, "version 4.2.0" if installs else None)


@pytest.mark.parametrize(
    ("fault", "settings", "why"),
    [
        ("package.hangs", {}, "past its deadline viewer-2.1 still ran"),
        ("package.hangs", {"watched": False}, "its job lost sight of it (No more handles"),
        ("package.orphaned", {}, "its process ended without writing an end"),
    ],
)
def test_nothing_is_begun_under_an_installer_that_has_not_ended(
    bench: Bench, fault: str, settings: dict[str, Any], why: str
) -> None:
    """At its deadline nothing is killed: the night stops, its host knows, and is not restarted before it has ended."""
    package = bench.package("viewer", deadline=timedelta(minutes=5), services_to_stop=("Acme Agent",))
    bench.declare(fault, package.name, **settings)
    with bench.run() as run:
        run.journal.write(_in(bench.package().name))
        with pytest.raises(Stopped) as stopped:
            install_package(run, package)
        record = run.journal.of(UpdateRecord)[-1]
        assert why in str(stopped.value)
        assert "billpatch recover acme-packages" in str(stopped.value)
        assert record.result == "unknown"
        assert why in (record.remark or "")
        services = json.loads((bench.folder / "hosts" / "web01" / "services.json").read_text(encoding="utf-8"))
        assert services["Acme Agent"]["status"] == "Stopped", "its files may be at work"

        quiesce = run.hosts["web01"].run("Get-QuiesceState")["quiesce"]
        left = still_installing(run, "web01", quiesce)
        assert (left or "").startswith(f"viewer-2.1 of {package.name} (process ")
        boots = len(bench.trail("host.boot"))
        refused: Any = restart_host._task.fn(run, "web01", 1)  # type: ignore[attr-defined]
        assert refused.message.startswith(f"restart: web01: not restarted, for {left} still goes on there.")
        assert len(bench.trail("host.boot")) == boots
        bench.end_processes()
        assert still_installing(run, "web01", quiesce) is None
        run.hosts["web01"].run("Start-HostServices", names=["Acme Agent"], fence=1, timeout_seconds=60)


def test_each_installer_that_goes_on_is_known_and_nothing_runs_beside_it(
    bench: Bench, counted: Callable[[], tuple[int, int]]
) -> None:
    """The first has ended, the next attempt leaves another: its host knows that one too, and a third is not begun."""
    package = bench.package("viewer", after=(), deadline=timedelta(minutes=5))
    for _ in range(2):
        bench.declare("package.hangs", package.name)
        with bench.run() as run, pytest.raises(Stopped, match="past its deadline"):
            install_package(run, package)
        with bench.run() as run:
            left = still_installing(run, "web01", run.hosts["web01"].run("Get-QuiesceState")["quiesce"])
            assert (left or "").startswith(f"viewer-2.1 of {package.name} (process ")
            for other in (package, bench.package()):
                with pytest.raises(Stopped, match=f"{other.name} was not begun, for viewer-2.1 of {package.name}"):
                    install_package(run, other)
        bench.end_processes()
    assert counted() == (2, 0)
    with bench.run() as run:
        assert install_package(run, package).result == "installed"


def test_what_comes_after_an_installer_that_restarts_its_host_waits_for_the_next_round(bench: Bench) -> None:
    """1641 while others wait: nothing more is asked of a host that goes down by itself, and nothing is forgotten."""
    agent, viewer = bench.package().name, bench.package("viewer").name
    bench.declare("package.exit_code", agent, codes=[1641])
    plan = plan_of(bench.estate, {})
    boots, begun = len(bench.trail("host.boot")), len(bench.trail("package.start"))
    step: Any = install.install_on
    with bench.run() as run:
        first = step._task.fn(run, "web01", 1, plan.of("install", "web01"))
        assert ([each.update for each in first.records], first.restart) == ([agent], True)
        bench.until(lambda: len(bench.trail("host.boot")) > boots)
        bench.until(lambda: _answers(run))
        todo = install.verify(run, plan, 1, {"web01": Scan()})
        assert [each.update for each in todo["web01"]] == [viewer]
        second = step._task.fn(run, "web01", 2, todo["web01"])
        assert [(each.update, each.result) for each in second.records] == [(viewer, "installed")]
        assert install.verify(run, plan, 2, {"web01": Scan()}) == {}
    assert len(bench.trail("package.start")) == begun + 2


def _answers(run: Run) -> bool:
    with suppress(HostError):
        return bool(run.hosts["web01"].run("Confirm-Boot"))
    return False


def _in(name: str) -> UpdateRecord:
    return UpdateRecord(
        host="web01", update=name, title=name, kind="msi", result="installed", started="2026-11-01T00:00:00Z"
    )  # type: ignore[arg-type]


def test_https_is_validated_and_its_answers_are_told(bench: Bench, counted: Callable[[], tuple[int, int]]) -> None:
    """By the vendor's server: 503 is told as such, and a host that does not trust its certificate fetches nothing."""
    package = bench.package("viewer", after=())
    bench.declare("download.status", "viewer-2.1.exe", status=503)
    with bench.run() as run, pytest.raises(JobFailed, match="answered HTTP 503"):
        install_package(run, package)
    bench.declare("download.cut", "viewer-2.1.exe")
    with bench.run() as run, pytest.raises(JobFailed, match=r"the connection to https://.* broke"):
        install_package(run, package)
    trusted = bench.folder / "hosts" / "web01" / "trusted.pem"
    authority = trusted.read_bytes()
    trusted.unlink()
    with bench.run() as run, pytest.raises(JobFailed, match=r"\(TrustFailure\)"):
        install_package(run, package)
    trusted.write_bytes(authority)
    with bench.run() as run:
        assert install_package(run, package).result == "installed"
    assert counted() == (1, 1)


def test_one_that_needs_another_waits_for_it(bench: Bench, counted: Callable[[], tuple[int, int]]) -> None:
    """What it needs has failed, or was never begun: it is not begun either."""
    with bench.run() as run:
        record = install_package(run, bench.package("viewer"))
    assert (record.result, record.remark) == ("failed", f"not begun: {bench.package().name} is not in")
    assert counted() == (0, 0)


def test_services_are_stopped_first_and_run_afterwards(bench: Bench) -> None:
    """Recorded on the host, stopped before the installer, started again also when it fails."""
    services = bench.folder / "hosts" / "web01" / "services.json"
    bench.declare("package.exit_code", "Acme Provisioning Agent", codes=[1603])
    begun = max((each["n"] for each in bench.trail("package.start")), default=0)
    with bench.run() as run:
        assert install_package(run, bench.package()).result == "failed"
    trail = [each for each in bench.trail("service.stop", "service.start", "package.start") if each["n"] > begun]
    assert [(each["event"], each.get("service")) for each in trail][-3:] == [
        ("service.stop", "Acme Agent"), ("package.start", None), ("service.start", "Acme Agent"),
    ]  # fmt: skip
    assert json.loads(services.read_text())["Acme Agent"]["status"] == "Running"


def test_what_was_stopped_for_a_package_that_is_not_begun_runs_again(
    bench: Bench, counted: Callable[[], tuple[int, int]]
) -> None:
    """One of its services does not stop: the others are started again at once."""
    services = bench.folder / "hosts" / "web01" / "services.json"
    bench.declare("service.stuck", "LanmanServer", times=None)
    package = bench.package(services_to_stop=("Acme Agent", "LanmanServer"))
    begun = max((each["n"] for each in bench.trail("service.stop")), default=0)
    with bench.run() as run, pytest.raises(Stopped, match=r"was not begun: LanmanServer is"):
        install_package(run, package)
    assert any(each["n"] > begun and each["service"] == "Acme Agent" for each in bench.trail("service.stop"))
    assert json.loads(services.read_text())["Acme Agent"]["status"] == "Running"
    assert counted() == (0, 0)


def test_a_host_that_goes_down_under_an_installer(bench: Bench, counted: Callable[[], tuple[int, int]]) -> None:
    """Nobody knows how it ended: the version is asked for once the host is back, and the same run starts nothing again."""
    package = bench.package("viewer", after=())
    bench.declare("package.forks", package.name, seconds=3000)
    with bench.run("CHG-CUT") as run, ThreadPoolExecutor(1) as beside:
        installing = beside.submit(install_package, run, package)
        bench.until(lambda: counted()[0] == 1)
        httpx.post(f"{bench.papers['control']}/hosts/web01/restart", json={}).raise_for_status()
        record = installing.result(60)
    assert record.result == "failed"
    assert record.remark == "its job was cut off, and no version is there instead of 2.1"
    assert record.restart is True  # nobody has waited for that boot
    with bench.run("CHG-CUT") as run:
        assert install_package(run, package).result == "failed"
    assert counted() == (1, 0)
    with bench.run() as run:
        assert install_package(run, package).result == "installed"
    assert counted() == (2, 1)


def test_an_installer_that_restarts_its_host(bench: Bench) -> None:
    """1641: it is in, and the host goes down by itself; that is no failure, whatever the connection says."""
    package = bench.package("viewer", after=())
    bench.declare("package.exit_code", package.name, codes=[1641])
    boots = len(bench.trail("host.boot"))
    with bench.run() as run:
        record = install_package(run, package)
    assert record.result in {"installed", "reboot-pending"}
    assert record.verified_by == "version 2.1.0"
    bench.until(lambda: len(bench.trail("host.boot")) > boots)
