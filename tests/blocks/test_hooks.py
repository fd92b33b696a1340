"""Calls of hooks: by HTTP and by a program, with their secrets where they belong and nowhere else."""

from __future__ import annotations

import http.server
import json
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from blocks.command import CommandFailed, run_command
from blocks.credentials import ApiCredentials
from blocks.hooks import HookCaller, HookFailed
from model.hooks import CommandCall, HttpCall


class _System(http.server.BaseHTTPRequestHandler):
    asked: list[tuple[str, str, Any, str | None]]
    answers: list[tuple[int, str]]

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append((self.command, self.path, json.loads(body) if body else None, self.headers.get("X-Key")))
        status, text = self.answers.pop(0)
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing."""


@pytest.fixture
def system() -> Iterator[Any]:
    """A system that answers what the test tells it to."""
    handler = type("System", (_System,), {"asked": [], "answers": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    handler.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield handler
    server.shutdown()
    server.server_close()


@pytest.fixture
def caller() -> HookCaller:
    """With one block."""
    return HookCaller({"ops": ApiCredentials(authorization=SecretStr("s3cr3t-1"), header="X-Key")}, {})


def test_a_request_has_method_body_and_header(system: Any, caller: HookCaller) -> None:
    """Words are put in; the secret is in the header."""
    system.answers.append((201, '{"id": "17"}'))
    call = HttpCall(http=system.url + "/vms/{host}", method="POST", body={"name": "{run}"}, credentials="ops")
    assert caller.make(call, {"host": "web01", "run": "acme.1"}, 5) == '{"id": "17"}'
    assert system.asked == [("POST", "/vms/web01", {"name": "acme.1"}, "s3cr3t-1")]


@pytest.mark.parametrize(
    ("status", "begun", "final"), [(400, False, True), (404, False, True), (409, False, False), (500, True, False)]
)
def test_a_no_is_told_without_the_secret(
    system: Any, caller: HookCaller, status: int, begun: bool, final: bool
) -> None:
    """Some systems say back what they were sent."""
    system.answers.append((status, "no such key: s3cr3t-1"))
    call = HttpCall(http=system.url + "/x?key=1", method="PUT", credentials="ops")
    with pytest.raises(HookFailed, match=rf"PUT {system.url}/x answered {status}: no such key: \*\*\*") as failed:
        caller.make(call, {}, 5)
    assert (failed.value.begun, failed.value.final) == (begun, final)


def test_nobody_there(caller: HookCaller) -> None:
    """Told within the deadline; a mere question has begun nothing."""
    with pytest.raises(HookFailed, match=r"http://127.0.0.1:9/: .*port open") as failed:
        caller.make(HttpCall(http="http://127.0.0.1:9/"), {}, 2)
    assert not failed.value.begun


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def test_a_program_answers_and_finds_its_secret(caller: HookCaller, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its environment; what is ours alone is not there."""
    monkeypatch.setenv("PREFECT_API_KEY", "pnu_1")
    monkeypatch.setenv("BILLPATCH_CREDENTIALS", "/etc/x")
    code = "import os, sys; print(sys.argv[1], os.environ['BILLPATCH_SECRET'], [n for n in os.environ if n[:8] in ('PREFECT_', 'BILLPATC')])"
    call = CommandCall(command=tuple(python(code, "{host}")), credentials="ops")
    assert caller.make(call, {"host": "web 01; rm"}, 20) == "web 01; rm s3cr3t-1 ['BILLPATCH_SECRET']\n"


def test_a_program_that_fails_says_why(caller: HookCaller) -> None:
    """Its last words, without the secret."""
    code = "import os, sys; sys.exit('denied for ' + os.environ['BILLPATCH_SECRET'])"
    with pytest.raises(HookFailed, match=r"ended with 1: denied for \*\*\*") as failed:
        caller.make(CommandCall(command=tuple(python(code)), credentials="ops"), {}, 20)
    assert failed.value.begun


def test_a_program_that_is_not_there_has_begun_nothing(caller: HookCaller) -> None:
    """The call may be made again."""
    with pytest.raises(HookFailed, match=r"silence cannot be started \(No such file") as failed:
        caller.make(CommandCall(command=("/opt/none/silence",)), {}, 5)
    assert not failed.value.begun


def test_a_program_that_hangs_is_ended_with_its_children(tmp_path: Any) -> None:
    """At its deadline, and nothing of it stays."""
    mark = tmp_path / "alive"
    child = (
        f"import time, pathlib\nfor n in range(600): pathlib.Path({str(mark)!r}).write_text(str(n)); time.sleep(0.1)"
    )
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    with pytest.raises(CommandFailed, match="had not answered within 2 s"):
        run_command(python(code), secret=None, deadline=2)
    last = mark.read_text() if mark.exists() else ""
    time.sleep(0.5)
    assert (mark.read_text() if mark.exists() else "") == last
