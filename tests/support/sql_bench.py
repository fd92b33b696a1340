"""A lab with a SQL Server to patch, and a run over it: what the tests of SQL Server patches stand on."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import time
from collections.abc import Callable, Container, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from blocks.winrm.errors import HostError, HostUnreachable
from lab.estate import PRESETS, Lab
from lab.faults import Fault
from lab.spec import LabSpec
from model.outcome import Stopped
from model.records import UpdateRecord
from tasks import files
from tasks.progress import Progress, subscribe
from tasks.run import Run, open_run
from tasks.sql_patch import install_sql_patch

OLD, NEW, CU = "15.0.4355.3", "15.0.4430.1", "SQL Server 2019 CU32"
SERVICES = ("SQLSERVERAGENT", "SQLWriter", "MsDtsServer150", "SQLServerReportingServices")


@dataclass
class Bench:
    """A lab with a quiesce open on its hosts, a run over it, and what it has told."""

    lab: Lab
    run: Run
    told: list[Progress]

    def install(self, round_number: int = 1) -> UpdateRecord:
        (package,) = self.run.estate.updates.packages
        return install_sql_patch(self.run, package, round_number)

    def refused(self, round_number: int = 1) -> str:
        with pytest.raises(Stopped) as caught:
            self.install(round_number)
        return str(caught.value)

    def fetch(self) -> Any:
        """What lies ready; the state of the task where it has failed."""
        step: Any = files.fetch
        assert files.hosts(self.run) == ("sql01",)
        return step._task.fn(self.run, "sql01")

    def fault(self, name: str, times: int | None = None, **settings: Any) -> None:
        self.lab.declare(Fault(name, times=times, with_=settings))

    def audit(self, *events: str) -> list[dict[str, Any]]:
        whole, _, _ = self.lab.audit.path.read_text(encoding="utf-8").rpartition("\n")
        return [each for each in map(json.loads, whole.splitlines()) if each["event"] in events]

    def when(self, event: str, act: Callable[[], object]) -> None:
        """Do something the first time that an event is written, before whoever has written it goes on."""
        write, to_do = self.lab.audit.write, [act]

        def written(host: str, what: str, **more: Any) -> None:
            write(host, what, **more)
            if what == event and to_do:
                to_do.pop()()

        self.lab.audit.write = written  # type: ignore[method-assign]

    def tell_each_script(self) -> None:
        """Have each script of an upgrade last until it has been told, however slow or fast the machine is."""
        server = self.lab.hosts["sql01"].parts["sql"]
        log = server.log

        def logged(text: str, *number: int, **more: Any) -> None:
            log(text, *number, **more)
            begun = re.search("is upgrading script '(.+?)'", text)
            deadline = time.monotonic() + 10
            while begun and begun[1] not in self.scripts_told() and time.monotonic() < deadline:
                time.sleep(0.005)

        server.log = logged

    def scripts_told(self) -> list[str]:
        """The scripts of the engine's upgrade that were waited for, in order."""
        waits = (re.search(r"^waiting for its script upgrade \((.+?)\)", each.message) for each in list(self.told))
        return list(dict.fromkeys(found[1] for found in waits if found))

    def unheard(self, script: str, calls: Container[int], monkeypatch: pytest.MonkeyPatch) -> None:
        """Of the calls of ``script`` on the SQL Server host the ones with these numbers get no answer."""
        host = self.run.hosts["sql01"]
        ask, asked = host.run, itertools.count(1)

        def run(name: str, /, **parameters: Any) -> Any:
            if name == script and next(asked) in calls:
                raise HostUnreachable("sql01", "nothing answers")
            return ask(name, **parameters)

        monkeypatch.setattr(host, "run", run)

    def restart(self, intent: str) -> None:
        """Restart the SQL Server host as the runbook does between two rounds, and wait until it is ready."""
        host = self.lab.hosts["sql01"]
        before = host.boot_number
        with suppress(HostError):  # two seconds of lab time later it is down, and may not have answered before
            self.run.hosts["sql01"].run("Restart-PatchedHost", intent=intent, reason="test", fence=1)
        deadline = time.monotonic() + 30
        while True:
            assert time.monotonic() < deadline, "the host has not come back"
            # The sessions of before are dead: a call finds that out, and opens another.
            with suppress(HostError):
                self.run.hosts["sql01"].run("Get-RebootState", intent=intent)
                if host.boot_number > before and host.parts["sql"].wait_until_ready(60):
                    return
            time.sleep(0.01)

    def said(self, stage: str) -> list[str]:
        """What was told of a stage."""
        return [each.message for each in self.told if each.stage == stage]

    def services(self) -> dict[str, str]:
        known = self.lab.hosts["sql01"].read("services.json")
        return {name: known[name]["status"] for name in SERVICES}

    def staged(self) -> list[Path]:
        folder = self.lab.hosts["sql01"].disk.path(r"C:\ProgramData\EngageIPPatching\staging")
        return [path for path in folder.rglob("*") if path.is_file()]

    @property
    def record(self) -> UpdateRecord:
        (record,) = self.run.journal.of(UpdateRecord)
        return record


def benches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bench]]:
    """What starts labs whose estate file is changed; all of them end with the test."""
    made: list[Bench] = []
    told: list[Progress] = []

    def start(
        preset: str | LabSpec = "acme",
        package: dict[str, Any] | None = None,
        sql: dict[str, Any] | None = None,
        speed: float = 400,
        later: tuple[str, ...] = (),
        viewer: bool = False,
    ) -> Bench:
        lab = Lab(PRESETS[preset] if isinstance(preset, str) else preset, tmp_path / "lab", speed=speed).start()
        monkeypatch.setenv("BILLPATCH_CREDENTIALS", str(lab.credentials_file))
        monkeypatch.setenv("BILLPATCH_POLL_SECONDS", "0.02")
        yaml = YAML(typ="safe", pure=True)
        document = yaml.load(lab.estate_file.read_text(encoding="utf-8"))
        document["updates"]["packages"][0].update(package or {})
        document["sql"]["sql01"].update(sql or {})
        for build in later:
            data = b"MZ\n" + json.dumps({"build": build, "kb": "KB5063757"}).encode() + b"\n"
            (lab.share / "packages" / f"{build}.exe").write_bytes(data)
            first = document["updates"]["packages"][0]
            own = {"name": f"the patch to {build}", "source": rf"\\nas01\billing\packages\{build}.exe", "build": build}
            document["updates"]["packages"].append({**first, **own, "sha256": hashlib.sha256(data).hexdigest()})
        if viewer:
            brings = {"installs": {"registry": {r"SOFTWARE\Acme\Reports": {"Version": "9.0"}}}}
            data = b"MZ\n" + json.dumps(brings).encode() + b"\n"
            (lab.share / "packages" / "reports.exe").write_bytes(data)
            own = {"kind": "exe", "name": "Report Viewer", "on": "sql01", "version": "9.0", "after": [CU]}
            where = {"source": r"\\nas01\billing\packages\reports.exe", "sha256": hashlib.sha256(data).hexdigest()}
            probe = {"registry": r"HKLM\SOFTWARE\Acme\Reports", "value": "Version"}
            document["updates"]["packages"].append({**own, **where, "probe": probe, "unsigned": "a test's own"})
        yaml.dump(document, lab.estate_file)
        run = open_run(str(lab.estate_file), change="CHG1")
        run.number, run.fence = 1, 1
        for host in run.hosts.values():
            before = {"build": lab.spec.sql_version, "agent": "running"}
            host.run("Set-QuiesceState", number=1, fence=1, state="open", held={"sql": before})
        made.append(Bench(lab, run, told))
        return made[-1]

    end = subscribe(told.append)
    yield start
    end()
    for each in made:
        each.run.close()
        each.lab.stop()
