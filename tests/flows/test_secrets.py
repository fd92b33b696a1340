"""Promise 8: no secret leaves its block. Looked for in everything that a night writes down, in whatever form."""

from __future__ import annotations

import base64
import gzip
import json
import os
import secrets as random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus
from uuid import UUID

import pytest
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import State
from prefect.logging.handlers import APILogWorker
from prefect.states import Failed
from secret_search import CommandLines, Found, SecretSearch, secrets_of

from flows.check import check_estate
from flows.patch import patch_estate
from tests.test_invariants import KNOWN_THERE

AWKWARD = '"‹&€'


def secret() -> str:
    """A password as the lab makes them."""
    return random.token_hex(4) + AWKWARD + random.token_hex(6)


def everything(search: SecretSearch, prefect: dict[str, str], runs: list[str], tmp_path: Path) -> list[Found]:
    """Whatever was written anywhere: Prefect's home and what its API tells, reports, the lab with its hosts' disks."""
    APILogWorker.instance().drain()  # lines are sent in the background
    found = search.in_folder(Path(prefect["home"]))
    found += search.in_folder(tmp_path, except_for=KNOWN_THERE)
    with get_client(sync_client=True) as client:
        for run in runs:
            ours = FlowRunFilter(id={"any_": [run]})
            seen: list[Any] = [client.read_flow_run(run), *client.read_task_runs(flow_run_filter=ours)]
            seen += client.read_artifacts(flow_run_filter=ours)
            found += search.in_text("\n".join(each.model_dump_json() for each in seen), f"run {run}")
            offset, logs = 0, LogFilter(flow_run_id=LogFilterFlowRunId(any_=[UUID(run)]))
            while lines := client.read_logs(logs, limit=200, offset=offset):
                found += search.in_text("\n".join(line.message for line in lines), f"the log of run {run}")
                offset += 200
    return found


# The search itself ---------------------------------------------------------------------------------------------------

WRITTEN: dict[str, Callable[[str], bytes]] = {
    "raw": str.encode,
    "UTF-16": lambda text: text.encode("utf-16-le"),
    "base64 at its start": lambda text: base64.b64encode(text.encode()),
    "base64 after one byte": lambda text: base64.b64encode(b":" + text.encode() + b";"),
    "base64 after two bytes": lambda text: base64.b64encode(b"u:" + text.encode() + b";"),
    "base64 of UTF-16, as -EncodedCommand takes it": lambda text: base64.b64encode(f"a{text}b".encode("utf-16-le")),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(b"\xff\xfe" + text.encode() + b"\xff"),
    "percent-encoded": lambda text: quote(text, safe="").encode(),
    "percent-encoded in small letters": lambda text: quote(text, safe="").lower().encode(),
    "form-encoded": lambda text: quote_plus(text).encode(),
    "JSON-escaped": lambda text: json.dumps({"password": text}).encode(),
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)).encode(),
    "Python's own": lambda text: repr(text.encode()).encode(),
    "hexadecimal": lambda text: text.encode().hex().encode(),
    "its first half": lambda text: text[: text.index(AWKWARD) + 1].encode(),
    "its second half": lambda text: text[text.index(AWKWARD) + 2 :].encode(),
}


@pytest.mark.parametrize("written", WRITTEN)
def test_one_planted_is_found(written: str, tmp_path: Path) -> None:
    """In every coding, in a file, in a file's name where it can be one, and in a database whatever its pages cut."""
    planted, other = secret(), secret()
    search = SecretSearch({"planted": planted, "other": other})
    data = WRITTEN[written](planted)
    (tmp_path / "log").write_bytes(b"x" * 1000 + data + b"y" * 1000)
    assert {found.secret for found in search.in_folder(tmp_path)} == {"planted"}
    assert search.in_folder(tmp_path, except_for=["log"]) == []
    with sqlite3.connect(tmp_path / "a.db") as database:
        database.execute("CREATE TABLE log (message BLOB)")
        database.executemany("INSERT INTO log VALUES (?)", [(b"-" * 4050 + b"-" * n + data,) for n in range(40)])
    database.close()
    (tmp_path / "log").unlink()
    assert "a.db, table log" in {found.place for found in search.in_folder(tmp_path)}


def test_a_presigned_url_is_found() -> None:
    """Whoever has one can write to the bucket; nobody knows its text beforehand."""
    url = "http://127.0.0.1:9000/acme/x.bak?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0123456789abcdef"
    search = SecretSearch({})
    for written in ("raw", "UTF-16", "base64 after one byte", "percent-encoded", "JSON in JSON"):
        assert [found.secret for found in search.in_bytes(WRITTEN[written](url), written)] == ["a presigned URL"]


def test_a_secret_on_a_command_line_is_found() -> None:
    """A process is seen while it lives, and told of when it has gone."""
    planted = secret()
    command = [sys.executable, "-c", "input()", planted]
    with CommandLines() as lines, subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        while planted.encode() not in lines.all() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.communicate(b"\n")
    assert SecretSearch({"planted": planted}).in_bytes(lines.all(), "a command line") != []


def test_one_planted_in_prefect_is_found(prefect_harness: dict[str, str], tmp_path: Path) -> None:
    """In a log line, a task's state, an artifact and a parameter: through the API and in the database alike."""
    planted = secret()

    @task
    def says(text: str) -> State[None]:
        get_run_logger().info("logged in with %s", text)
        create_markdown_artifact(key="planted", markdown=text)
        return Failed(message=f"refused: {text}")

    @flow
    def night(text: str) -> State[None]:
        says(text, return_state=True)
        return Failed(message="refused")

    state: Any = night(planted, return_state=True)
    run = str(state.state_details.flow_run_id)
    search = SecretSearch({"planted": planted})
    places = " ".join(found.place for found in everything(search, prefect_harness, [run], tmp_path))
    for table in ("log", "task_run_state", "artifact", "flow_run"):
        assert f"table {table}" in places
    assert f"the log of run {run}" in places


def test_what_is_no_secret_is_not_found() -> None:
    """Neither other texts nor a compressed secret: nobody reads that by accident."""
    planted = secret()
    search = SecretSearch({"planted": planted})
    assert search.in_bytes(gzip.compress(planted.encode()) + os.urandom(100_000), "noise") == []


# What it finds after nights -------------------------------------------------------------------------------------------


@pytest.mark.night
@pytest.mark.timeout(400)
def test_nights_leave_no_secret_behind(
    start_lab: Callable[..., Any],
    run_flow: Callable[..., Any],
    prefect_harness: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """After wrong passwords, a store that fails, a script that fails, a kill in mid-backup, and a good night."""
    lab = start_lab()
    known = json.loads(Path(lab.papers["credentials"]).read_text(encoding="utf-8"))
    wrong = {name: entry | {"password": secret()} if "password" in entry else entry for name, entry in known.items()}
    looked_for = secrets_of(known) | {f"wrong {name}": text for name, text in secrets_of(wrong).items()}
    search = SecretSearch(looked_for)
    runs: list[str] = []

    def night(change: str) -> Any:
        ran = run_flow(patch_estate, estate=lab.estate, change=change)
        runs.append(ran.flow_run_id)
        return ran

    with CommandLines() as lines:
        bad = tmp_path / "wrong" / "credentials.json"
        bad.parent.mkdir()
        bad.write_text(json.dumps(wrong), encoding="utf-8")
        bad.chmod(0o600)
        with monkeypatch.context() as patched:
            patched.setenv("BILLPATCH_CREDENTIALS", str(bad))
            refused = run_flow(check_estate, estate=lab.estate)
            runs.append(refused.flow_run_id)
        assert "refuses these credentials" in refused.message

        only_share_wrong = known | {"nas-acme": wrong["nas-acme"]}
        bad.write_text(json.dumps(only_share_wrong), encoding="utf-8")
        with monkeypatch.context() as patched:
            patched.setenv("BILLPATCH_CREDENTIALS", str(bad))
            assert night("SHARE").type == "FAILED"
        bad.unlink()

        lab.declare("store.flip_byte")
        refused = night("STORE")
        assert refused.message.startswith("acme-billing: stopped at backup")
        assert "s3://acme-backups" in refused.message
        lab.clear()

        lab.declare("backup.flip_byte", "EngageIP", times=1)
        assert night("DAMAGE").type == "FAILED"

        lab.declare("backup.slow", seconds=300)
        command = [sys.executable, "-m", "billpatch", "patch", lab.estate, "--change", "KILL"]
        environment = os.environ | {"PREFECT_API_URL": prefect_harness["url"], "PREFECT_HOME": prefect_harness["home"]}
        with (tmp_path / "killed.log").open("wb") as log:
            killed = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        lab.until(
            lambda: [e for e in lab.audit("job.start", effects_only=False) if ".KILL." in e["id"]], "a backup", 90
        )
        killed.send_signal(signal.SIGKILL)
        killed.wait(10)
        lab.clear()
        assert night("KILL").type == "COMPLETED"

    known_to_the_lab = {found.place for found in search.in_folder(tmp_path)}
    assert any(place.endswith("credentials.json") for place in known_to_the_lab), "the search looks somewhere else"
    (tmp_path / "terminal.log").write_text("".join(capfd.readouterr()), encoding="utf-8")
    assert everything(search, prefect_harness, runs, tmp_path) == []
    assert search.in_bytes(lines.all(), "a command line") == []
