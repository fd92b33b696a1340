"""The canary: it does what jobs do, names each thing that does not work, and leaves nothing behind."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lab.faults import Fault

pytestmark = [pytest.mark.lookalike, pytest.mark.telling("Test-PatchHost", "Get-PolicyFacts")]

PROBE = "canary of web01, 2026-03-03T02:15:00Z"
STAGING = r"D:\Staging"
SHARE = {"name": "store0", "kind": "share", "path": r"\\nas01\billing\acme\canary-web01.txt"}
CHECKSUM = base64.b64encode(hashlib.sha256(PROBE.encode()).digest()).decode()
S3 = {
    "name": "store1",
    "kind": "s3",
    "path": "s3://acme/acme/canary-web01.txt",
    "headers": {"x-amz-checksum-sha256": CHECKSUM},
}
SECRETS = {"store0.username": r"nas01\backup", "store0.password": 'pa"ss€', "store1.url": "http://127.0.0.1:9/x?sig=1"}
OTHER = {"store1.username": r"nas01\backup", "store1.password": "x"}
POWER = r"SYSTEM\CurrentControlSet\Control\Power"
SCHEME = "8c5e7fda-e8bf-4a96-9a85-a6e23a8c635c"
SLEEP = r"238c9fa8-0aad-41ed-83f4-97be242c8f20"
IDLE = r"29f6c1db-86da-48c5-9fdb-f2b67b1f44da"


@pytest.fixture
def hosts(twin: Callable[..., Any]) -> Any:
    made = twin()
    for side in (made.engine, made.lab.folder):
        (side / "unc/nas01/billing").mkdir(parents=True)
        (side / "D/Staging").mkdir(parents=True)
    made.put("updates.json", json.dumps({"updates": []}))
    made.state("drives.json", lambda drives: drives.update(D={"size": 9_000_000_000, "free": 5_000_000_000}))
    return made


def order(*targets: dict[str, Any], staging: str = STAGING) -> dict[str, Any]:
    return {"probe": PROBE, "staging": staging, "targets": list(targets)}


@pytest.fixture
def bucket() -> Iterator[tuple[str, list[bytes]]]:
    """An object store's address, and what was put there."""
    kept: list[bytes] = []

    class Store(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            kept.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200 if self.headers["x-amz-checksum-sha256"] == CHECKSUM else 400)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Be silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", kept
    server.shutdown()
    server.server_close()


def test_all_that_jobs_need(hosts: Any, bucket: Any) -> None:
    """As a task of SYSTEM, by launcher and library: everything was tried, and nothing of it is left."""
    address, kept = bucket
    before = hosts.tree("unc"), hosts.tree("D")
    secrets = SECRETS | {"store1.url": f"{address}/acme/canary?sig=geheim"}
    facts = hosts.run_job("Test-PatchHost", order(SHARE, S3), secrets=secrets, job_id="canary")
    # How far it was told last depends on how fast this machine is.
    volatile = ("created", "started", "ended", "boot", "boot_id", "progress", "powershell")
    found = facts.agree(*volatile)["job"]["result"]
    assert found["language_mode"] == "FullLanguage"
    assert (found["system"], found["elevated"]) == (True, True)
    assert found["update_agent"] == {"error": None, "hresult": None}
    assert found["staging"]["error"] is None
    assert [target["error"] for target in found["targets"]] == [None, None]
    assert kept == [PROBE.encode()] * 2
    assert found["sha256"] == hashlib.sha256(PROBE.encode()).hexdigest()
    assert (hosts.tree("unc"), hosts.tree("D")) == before
    for side in (hosts.engine, hosts.lab.folder):
        assert "geheim" not in (side / "C/ProgramData/EngageIPPatching/jobs/canary/job.json").read_text()


def test_each_store_for_itself(hosts: Any) -> None:
    """A share that is not there and an address that does not answer are told beside each other."""
    lost = {**SHARE, "name": "lost", "path": r"\\nas02\gone\canary.txt"}
    secrets = SECRETS | {"lost.username": "u", "lost.password": "p"}
    both = hosts.call_job("Test-PatchHost", order(lost, SHARE, S3), secrets=secrets)
    both.agree("powershell", "error")
    for side in (both.engine, both.lab):
        first, second, third = side["value"]["targets"]
        assert first["error"] == "The network path was not found"
        assert second["error"] is None
        assert third["error"].startswith("http://127.0.0.1:9 does not answer")


@pytest.mark.parametrize("fault", ["store.denied", "backup.flip_transit"])
def test_faults_of_a_share(hosts: Any, fault: str) -> None:
    """What the lab's share does to a backup it does to the canary, which leaves nothing there."""
    hosts.lab.faults.declare(Fault(fault, on=r"\\nas01\billing"))
    answer = hosts.call_job("Test-PatchHost", order(SHARE), secrets=SECRETS).lab["value"]["targets"][0]
    assert answer["error"]
    assert hosts.tree("unc/nas01/billing")[1] == []


def test_a_search_that_windows_update_refuses(hosts: Any) -> None:
    """The agent's own code: a disabled service, a broken store."""
    hosts.state("updates.json", lambda state: state.update(search_hresult="80070422"))
    agent = hosts.call_job("Test-PatchHost", order()).agree("powershell")["update_agent"]
    assert agent["hresult"] == "80070422"


def test_a_staging_folder_is_made_and_removed_again(hosts: Any) -> None:
    """One that backups would make is no fault, and does not stay, nor those above it that were made for it."""
    for path in (r"D:\Other", r"D:\Other\one\more"):
        staging = hosts.call_job("Test-PatchHost", order(staging=path)).agree("powershell")["staging"]
        assert staging["error"] is None
        assert hosts.tree("D") == (["Staging"],) * 2


def test_folders_that_were_there_stay(hosts: Any) -> None:
    """Also empty ones: somebody has made them for the backups, with the rights that these need."""
    for side in (hosts.engine, hosts.lab.folder):
        (side / "unc/nas01/billing/acme").mkdir()
    deeper = {**SHARE, "path": r"\\nas01\billing\acme\1\2\canary-web01.txt"}
    found = hosts.call_job("Test-PatchHost", order(SHARE, deeper), secrets=SECRETS | OTHER).agree("powershell")
    assert [target["error"] for target in found["targets"]] == [None, None]
    assert hosts.tree("unc/nas01/billing") == (["acme"],) * 2


@pytest.mark.parametrize(("name", "stays"), [("backup.zip", True), ("canary-web02.txt", False)])
def test_others_write_into_the_folder_that_was_made(hosts: Any, name: str, stays: bool) -> None:
    """With a backup in it, it is that one's folder; the canary of another host is waited for: it found the folder there."""
    sides = (hosts.engine, hosts.lab.folder)
    folder = "unc/nas01/billing/acme"
    wrote: list[Path] = []
    over = threading.Event()

    def write() -> None:
        while not over.wait(0.0001):
            for side in sides:
                with suppress(FileNotFoundError):  # it is not there yet, or no more
                    if side not in wrote:
                        (side / folder / name).write_text("x")
                        wrote.append(side)
                        if not stays:
                            threading.Timer(0.3, (side / folder / name).unlink).start()

    other = threading.Thread(target=write)
    other.start()
    found = hosts.call_job("Test-PatchHost", order(SHARE), secrets=SECRETS).agree("powershell")
    over.set()
    other.join()
    assert found["targets"][0]["error"] is None
    for side in sides:
        left = sorted(path.name for path in (side / "unc/nas01/billing").rglob("*"))
        assert left == (["acme", name] if stays and side in wrote else [])


@pytest.mark.parametrize("source", ["policy", "plan", "default", "none"])
def test_when_this_host_goes_to_sleep(hosts: Any, source: str) -> None:
    """Policy before the power plan's setting before the plan's default; a server that sleeps drops its installer."""
    values = {
        "policy": (rf"SOFTWARE\Policies\Microsoft\Power\PowerSettings\{IDLE}", 1800),
        "plan": (rf"{POWER}\User\PowerSchemes\{SCHEME}\{SLEEP}\{IDLE}", 0),
        "default": (rf"{POWER}\PowerSettings\{SLEEP}\{IDLE}\DefaultPowerSchemeValues\{SCHEME}", 900),
    }
    order_of = list(values)
    here = order_of[order_of.index(source) :] if source in values else []

    def write(registry: dict[str, Any]) -> None:
        _at(registry, rf"{POWER}\User\PowerSchemes")["@"] = {"ActivePowerScheme": SCHEME}
        for name in here:
            key, seconds = values[name]
            _at(registry, key)["@"] = {"ACSettingIndex": seconds}

    hosts.state("registry.json", write)
    found = hosts.call_job("Test-PatchHost", order()).agree("powershell")["sleep_seconds"]
    assert found == {"policy": 1800, "plan": 0, "default": 900, "none": None}[source]


def _at(registry: dict[str, Any], key: str) -> dict[str, Any]:
    here = registry["HKLM"]
    for part in key.split("\\"):
        here = here.setdefault(part, {})
    found: dict[str, Any] = here
    return found


# The policies in the way ----------------------------------------------------------------------------------------------


def test_no_policies(twin: Callable[..., Any]) -> None:
    """An ordinary host has none of them."""
    assert twin().run("Get-PolicyFacts").agree() == {
        "language_mode": "FullLanguage",
        "execution_policy": None,
        "scripts_enabled": None,
        "app_locker": None,
        "code_integrity": None,
    }


@pytest.mark.parametrize(
    ("key", "name", "value", "fact"),
    [
        (r"SOFTWARE\Policies\Microsoft\Windows\PowerShell", "ExecutionPolicy", "AllSigned", "execution_policy"),
        (r"SOFTWARE\Policies\Microsoft\Windows\PowerShell", "EnableScripts", 0, "scripts_enabled"),
        (r"SOFTWARE\Policies\Microsoft\Windows\SrpV2\Script", "EnforcementMode", 1, "app_locker"),
    ],
)
def test_policies_of_the_registry(twin: Callable[..., Any], key: str, name: str, value: Any, fact: str) -> None:
    """Group policy writes them there; no command line overrides them."""
    hosts = twin()
    hosts.state("registry.json", lambda registry: _at(registry, key).setdefault("@", {}).update({name: value}))
    assert hosts.run("Get-PolicyFacts").agree()[fact] == value


def test_app_control(twin: Callable[..., Any]) -> None:
    """As Device Guard tells of itself."""
    hosts = twin()
    guard = [{"UsermodeCodeIntegrityPolicyEnforcementStatus": 2}]
    hosts.state("cim.json", lambda cim: cim.update(Win32_DeviceGuard=guard))
    assert hosts.run("Get-PolicyFacts").agree()["code_integrity"] == 2
