"""The command line as a newcomer uses it: every answer names the thing, the cause and the fix, and none is a traceback."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any

import httpx
import pytest
from warm import Warm

from lab.spec import PRESETS

Run = Callable[..., subprocess.CompletedProcess[str]]

SIX_FAULTS = r"""
estate: acme-billing
timezone: America/Toronot
hosts:
  sql01: {address: sql01, roles: [mysql], credentials: winrm-acme}
  web01: {adress: web01, roles: [iis, app], credentials: winrm-acme}
sql: {sql01: {instance: MSSQLSERVER, credentials: sql-acme, databases: []}}
engageip:
  host: web09
  folder: 'Program Files'
  services: []
  sites: [{name: AdminPortal, url: 'http://a.example/AdminPortal', check_url: 'http://{host}:8081/AdminPortal'}]
backup: {stores: [{share: '\\nas01\billing', credentials: nas-acme}]}
checks: [{http: AdminPortal}]
"""


def as_a_user(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run billpatch as a user does, with its output going into a pipe."""
    command = [sys.executable, "-m", "billpatch", *arguments]
    done = subprocess.run(
        command,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    return readable(done)


def readable(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """Whatever was wrong, nobody is shown a traceback, and no colours where there is no terminal."""
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    assert "\x1b" not in done.stdout + done.stderr, "colours belong on a terminal"
    return done


@pytest.fixture
def billpatch(warm: Warm, tmp_path: Path) -> Run:
    """The same, without what it takes to import Prefect; so Prefect, which is there before, says its own on stderr."""

    def run(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        out, errors = tmp_path / "stdout", tmp_path / "stderr"
        child = warm.run(["billpatch", *arguments], {**os.environ, **(environment or {})}, out, errors=errors)
        try:
            code = child.wait(180)
        finally:
            child.kill()
        return readable(subprocess.CompletedProcess(arguments, code, out.read_text("utf-8"), errors.read_text("utf-8")))

    return run


@pytest.fixture
def over_prefect(prefect_harness: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that a test starts use the session's Prefect server."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_harness["url"])
    monkeypatch.setenv("PREFECT_HOME", prefect_harness["home"])


# Without a lab -------------------------------------------------------------------------------------------------------


def test_the_help_fits_and_tells_the_exit_codes() -> None:
    """Every command has a whole sentence in 80 columns."""
    done = as_a_user("--help", environment={"COLUMNS": "80"})
    assert done.returncode == 0
    assert "..." not in done.stdout.replace("[ARGS]...", "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    for command in ("check", "plan", "download", "patch", "recover", "lab", "demo", "ui"):
        assert f"\n  {command} " in done.stdout
        assert as_a_user(command, "--help").returncode == 0
    assert "3 portals stay closed" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["patsch"], "No such command 'patsch'"),
        (["patch"], "Missing argument"),
        (["patch", "acme", "--attempt", "0"], "--attempt"),
        (["lab", "--preset", "big"], ", ".join(repr(preset) for preset in sorted(PRESETS))),
        (["ui", "--port", "70000"], "--port"),
    ],
)
def test_a_wrong_command_line_is_told(arguments: list[str], told: str) -> None:
    """With exit code 2, and what would be right."""
    done = as_a_user(*arguments)
    assert done.returncode == 2
    assert told in done.stderr


@pytest.mark.parametrize("command", ["check", "plan", "download", "patch", "recover"])
def test_every_fault_of_a_file_has_its_line(command: str, tmp_path: Path, billpatch: Run) -> None:
    """Six faults are six lines, at once, without a Prefect server and without asking any host."""
    file = tmp_path / "acme.yaml"
    file.write_text(SIX_FAULTS, encoding="utf-8")
    done = billpatch(command, str(file), environment={"PREFECT_API_URL": ""})
    assert done.returncode == 2
    assert done.stdout == ""
    places = [line.removeprefix("- ").split(": ")[:2] for line in done.stderr.splitlines()]
    assert places == [
        [f"{file}:3:11", "timezone"],
        [f"{file}:5:35", "hosts.sql01.roles[0]"],
        [f"{file}:6:11", "hosts.web01.adress"],
        [f"{file}:7:72", "sql.sql01.databases"],
        [f"{file}:9:9", "engageip.host"],
        [f"{file}:10:11", "engageip.folder"],
    ]


def test_faults_are_data_for_a_program(tmp_path: Path, billpatch: Run) -> None:
    """With --json they stand on stdout."""
    file = tmp_path / "acme.yaml"
    file.write_text(SIX_FAULTS, encoding="utf-8")
    done = billpatch("check", str(file), "--json", environment={"PREFECT_API_URL": ""})
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["ok"], len(answer["problems"]), done.stderr) == (2, False, 6, "")


@pytest.mark.parametrize("command", ["check", "plan", "download", "patch", "recover"])
def test_an_estate_that_nobody_knows_is_named(command: str, tmp_path: Path, billpatch: Run) -> None:
    """With the estates that are known."""
    (tmp_path / "acme-billing.yaml").touch()
    known = billpatch(command, "acme", environment={"PREFECT_API_URL": "", "BILLPATCH_ESTATES": str(tmp_path)})
    assert (known.returncode, known.stdout) == (2, "")
    assert "there is no file acme.yaml" in known.stderr
    assert "estates there: acme-billing" in known.stderr


def test_where_no_estate_is_known_it_is_told_what_to_set(billpatch: Run) -> None:
    """A file, a folder, or Prefect's API."""
    nowhere = billpatch("check", "acme", environment={"PREFECT_API_URL": "", "BILLPATCH_ESTATES": ""})
    assert nowhere.returncode == 2
    assert "BILLPATCH_ESTATES names no folder, and no Prefect API is set" in nowhere.stderr


def test_a_prefect_server_that_is_away_is_told_in_seconds(tmp_path: Path) -> None:
    """With its address, what to do, and which command needs none."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/api"
        started = time.monotonic()
        done = as_a_user("patch", "acme", environment={"PREFECT_API_URL": url, "BILLPATCH_ESTATES": str(tmp_path)})
    assert done.returncode == 1
    assert f"Prefect's API at {url} does not answer. Start its server" in done.stderr
    assert time.monotonic() - started < 30


def test_what_cannot_be_started_is_told(tmp_path: Path) -> None:
    """A port that is taken, a folder of somebody's own, a fault that cannot be read: the cause and the way out."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = as_a_user("ui", "--port", str(port), environment={"BILLPATCH_STATE": str(tmp_path / "ui")})
    assert done.returncode == 1
    assert f"Port {port} cannot be used for the Prefect UI: Address already in use." in done.stderr
    (tmp_path / "mine" / "lab").mkdir(parents=True)
    (tmp_path / "mine" / "lab" / "thesis.txt").touch()
    done = as_a_user("lab", "--dir", str(tmp_path / "mine"))
    assert done.returncode == 1
    assert "lab is not empty, and no lab has left it so" in done.stderr
    assert (tmp_path / "mine" / "lab" / "thesis.txt").exists()
    done = as_a_user("lab", "--dir", str(tmp_path / "new"), "--fault", "backup.slo on EngageIP")
    assert done.returncode == 1
    assert "there is no fault backup.slo; did you mean backup.slow" in done.stderr


def test_a_fault_of_the_command_line_strikes(tmp_path: Path) -> None:
    """With its subject and its settings, in a lab of that seed; Ctrl-C ends the lab."""
    command = [sys.executable, "-m", "billpatch", "lab", "--dir", str(tmp_path), "--preset", "single", "--seed", "7"]
    command += ["--fault", 'billing.run on all01 times 1 with {"seconds": 5000}']
    lab = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert lab.stdout is not None
    try:
        assert any(line.startswith("End it") for line in iter(lab.stdout.readline, "")), lab.communicate()[1]
        trail = [json.loads(line) for line in (tmp_path / "lab" / "audit.jsonl").read_text().splitlines()]
        assert [each["host"] for each in trail if each["event"] == "billing.started"] == ["all01"]
        lab.send_signal(signal.SIGINT)
        lab.wait(60)
    finally:
        lab.terminate()
        lab.communicate(timeout=60)


# Over a lab ----------------------------------------------------------------------------------------------------------


@pytest.mark.night
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("over_prefect")
def test_looking_touches_nothing_and_patching_reports(start_lab: Callable[..., Any], billpatch: Run) -> None:
    """check, plan and a dry run leave no effect in the audit trail; after a night the plan knows how old its scans are."""
    lab = start_lab()
    before = lab.audit()
    checked = as_a_user("check", "acme-billing", "--no-canary")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout == "acme-billing: 2 hosts, everything answers, nothing speaks against patching.\n"
    planned = billpatch("plan", lab.estate)
    assert planned.returncode == 0
    assert "    - sql01: not scanned yet" in planned.stdout.splitlines()
    assert json.loads(billpatch("plan", "acme-billing", "--json").stdout)["last_scans"] == {
        "sql01": None,
        "web01": None,
    }
    dry = billpatch("patch", "acme-billing", "--dry-run")
    assert dry.returncode == 0
    assert "acme-billing: looked only, nothing was touched." in dry.stdout
    assert re.search(r"^ +\d+\. sql01: SQL Server 2019 CU32 \(build 15\.0\.4430\.1\)", dry.stdout, re.MULTILINE)
    assert lab.audit() == before

    done = as_a_user("patch", "acme-billing", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["verdict"]) == (0, "succeeded")
    assert "restart     web01: ready" in done.stderr
    planned = billpatch("plan", "acme-billing")
    assert "- sql01: " in planned.stdout
    assert "not scanned yet" not in planned.stdout
    assert planned.stdout.rstrip().endswith("ago")

    recovered = billpatch("recover", "acme-billing", environment={"PREFECT_API_URL": ""})
    assert recovered.returncode == 0
    assert "brought back, everything is up" in recovered.stdout


@pytest.mark.night
@pytest.mark.usefixtures("over_prefect")
def test_what_is_wrong_outside_is_told(start_lab: Callable[..., Any], billpatch: Run) -> None:
    """Missing credentials, refused ones, and hosts that do not answer: each by name, all at once."""
    lab = start_lab()
    without = billpatch("check", lab.estate, environment={"BILLPATCH_CREDENTIALS": ""})
    assert without.returncode == 1
    for name in ("winrm-acme", "sql-acme", "nas-acme", "s3-acme", "pager-acme"):
        assert f"- credentials {name}: not found: " in without.stderr
    lab.declare("winrm.refuse_logon", "web01")
    refused = billpatch("patch", lab.estate, "--change", "CHG1")
    assert refused.returncode == 1
    assert "acme-billing: stopped at preflight, nothing was touched." in refused.stdout
    assert "billpatch patch acme-billing --change CHG1" in refused.stdout
    lab.process.stop()
    gone = billpatch("check", lab.estate)
    assert gone.returncode == 1
    for thing in ("sql01: the connection is refused", "web01: the connection is refused", "s3://acme-backups/billing/"):
        assert thing in gone.stderr


@pytest.mark.night
@pytest.mark.usefixtures("over_prefect")
def test_ctrl_c_brings_the_estate_back(start_lab: Callable[..., Any]) -> None:
    """In the middle of the backups: everything goes up again, the report says so, and the next command is the same run."""
    lab = start_lab()
    lab.declare("backup.slow", seconds=600)
    command = [sys.executable, "-m", "billpatch", "patch", "acme-billing", "--change", "CHG2"]
    # Not in the background for the shell: there Ctrl-C would be ignored.
    night = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lab.until(lambda: lab.audit("backup.archive", "job.start", effects_only=False), "a backup", 90)
    lab.until(lambda: lab.host_json("web01", "services.json")["EngageIP Job Service"]["status"] == "Stopped", "quiet")
    night.send_signal(signal.SIGINT)
    said, _ = night.communicate(timeout=120)
    assert "Traceback" not in said
    assert night.returncode == 130
    assert "Ctrl-C ended the run" in said
    assert "billpatch patch acme-billing --change CHG2\n" in said
    assert lab.host_json("web01", "services.json")["EngageIP Job Service"]["status"] == "Running"


# Everything on one machine -------------------------------------------------------------------------------------------


@pytest.mark.night
@pytest.mark.timeout(400)
def test_the_demo_shows_a_night_and_leaves_nothing_running(tmp_path: Path) -> None:
    """One command: lab, server, night, report, within two minutes; afterwards no process of it is left."""
    started = time.monotonic()
    done = as_a_user("demo", environment={"BILLPATCH_STATE": str(tmp_path), "COLUMNS": "160"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - started < 120
    assert "acme-billing: patched: 4 updates installed, every check passed, everything is up." in done.stdout
    assert (tmp_path / "reports").is_dir()
    assert still_running(tmp_path) == []


@pytest.mark.night
@pytest.mark.timeout(400)
def test_the_ui_runs_what_its_form_starts(tmp_path: Path) -> None:
    """As ``make ui``: a run that is started through the API, as the form does, ends well; Ctrl-C ends everything."""
    command = [sys.executable, "-m", "billpatch", "ui", "--port", "0", "--speed", "100"]
    environment = os.environ | {"BILLPATCH_STATE": str(tmp_path)}
    ui = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert ui.stdout is not None
    try:
        told = takewhile(lambda line: not line.startswith("End it"), iter(ui.stdout.readline, ""))
        facts = {line[:11].strip(): line[11:].strip() for line in told}
        api = f"{facts['Prefect']}/api"
        deployment = httpx.get(f"{api}/deployments/name/patch-estate/acme-billing").raise_for_status().json()["id"]
        asked = {"parameters": {"estate": "acme-billing", "change": "CHG3"}}
        run = httpx.post(f"{api}/deployments/{deployment}/create_flow_run", json=asked).raise_for_status().json()["id"]
        state = state_of(f"{api}/flow_runs/{run}")
        patched = "acme-billing: patched: 4 updates installed, every check passed, everything is up."
        assert (state["type"], state["message"]) == ("COMPLETED", patched)
        of_run = {"flow_run_id": {"any_": [run]}}
        shown = {each["key"] for each in httpx.post(f"{api}/artifacts/filter", json={"artifacts": of_run}).json()}
        assert shown == {f"acme-billing-{name}" for name in ("plan", "backups", "updates", "checks", "report")}
        asked = {"flow_runs": {"id": {"any_": [run]}}, "limit": 200}
        steps = {each["name"] for each in httpx.post(f"{api}/task_runs/filter", json=asked).json()}
        assert {"restart web01", "back up database EngageIP of sql01", "check site Portal answers on web01"} <= steps
        second = as_a_user("lab", "--dir", str(tmp_path))
        assert second.returncode == 1
        assert f"in use by process {ui.pid}" in second.stderr
        ui.send_signal(signal.SIGINT)
        assert ui.wait(60) == 0
    finally:
        ui.terminate()
        ui.wait(60)
    assert still_running(tmp_path) == []


def state_of(run: str) -> dict[str, Any]:
    """The state of a flow run once it has ended."""
    deadline = time.monotonic() + 200
    state: dict[str, Any] = {}
    while state.get("type") not in {"COMPLETED", "FAILED", "CRASHED"} and time.monotonic() < deadline:
        time.sleep(0.5)
        state = httpx.get(run, timeout=30).json()["state"]
    return state


def still_running(folder: Path) -> list[str]:
    """The command lines of processes that name ``folder`` or have it in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (process / "environ").read_bytes() + (process / "cmdline").read_bytes():
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found
