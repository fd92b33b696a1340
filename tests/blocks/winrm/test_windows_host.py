"""A script goes over, its answer comes back, and nothing of us stays on the host."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from blocks.winrm.errors import DeadlineExceeded, HostUnreachable, ScriptFailed, ScriptRefused
from blocks.winrm.session import CHUNK
from lab.winrm import Quotas

SCRIPT = "Get-HostFacts"


def test_every_character_survives_the_round_trip(host: Any) -> None:
    """Text outside every code page goes over by stdin and comes back as it was (pywinrm's own way raises on '€')."""
    text = "d'é \"\u2039&€» 漢字 😀 \\ %PATH% `$x` \r\n\t<![CDATA[]]>"
    assert host.run(SCRIPT, text=text, number=7, none=None, nested={"a": [1, text]}) == {
        "echo": {"text": text, "number": 7, "none": None, "nested": {"a": [1, text]}}
    }


def test_the_scripts_travel_unchanged(machine: Any, host: Any) -> None:
    """What runs is the text of the shipped files: the host refuses anything else."""
    from blocks.winrm.scripts import FOLDER

    host.run(SCRIPT)
    assert machine.ran[0]["name"] == SCRIPT
    assert machine.ran[0]["script"] == (FOLDER / f"{SCRIPT}.ps1").read_text(encoding="utf-8")
    parts = sorted((FOLDER / "lib").glob("*.ps1"))
    assert machine.ran[0]["library"] == "".join(part.read_text(encoding="utf-8") for part in parts)


def test_a_script_of_any_size_fits(make_machine: Any) -> None:
    """The command line stays below 8,191 characters and a Send below the 150 KiB envelope of older Windows."""
    machine = make_machine(quotas=Quotas(envelope=150 * 1024))
    big = "x€" * (3 * CHUNK)
    with machine.client() as host:
        assert host.run(SCRIPT, text=big)["echo"]["text"] == big
    assert "-EncodedComman" in machine.events("winrm.command")[0]["line"]


def test_a_megabyte_of_output_arrives(machine: Any, host: Any) -> None:
    """Output larger than an envelope is put together from many Receives."""
    machine.script = lambda _document, _process: {"text": "\u2039€»" * 120_000}
    assert host.run(SCRIPT)["text"] == "\u2039€»" * 120_000


def test_one_logon_and_one_shell_serve_many_calls(machine: Any, host: Any) -> None:
    """Shells are opened once and reused: a new one for every call costs three times as much."""
    for _ in range(5):
        host.run(SCRIPT)
    assert len(machine.events("winrm.logon")) == 1
    assert len({event["shell"] for event in machine.events("winrm.command")}) == 1


def test_a_quiet_script_is_waited_for(machine: Any, host: Any) -> None:
    """Operation timeouts (2150858793) without output are no error, as long as the deadline has not come."""

    def slowly(_document: dict[str, Any], process: Any) -> dict[str, Any]:
        process.killed.wait(0.7)  # more than three operation timeouts of 20 s in a lab a hundred times as fast
        return {"done": True}

    machine.script = slowly
    assert host.run(SCRIPT) == {"done": True}


def test_the_deadline_ends_the_wait_and_the_script(machine: Any, host: Any) -> None:
    """At the deadline the caller is told what was waited for, and the script's shell is ended on the host."""
    ended = threading.Event()

    def endless(_document: dict[str, Any], process: Any) -> dict[str, Any]:
        process.killed.wait()
        ended.set()
        return {}

    machine.script = endless
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        host.run(SCRIPT, deadline=1.5)
    assert time.monotonic() - started < 4
    assert caught.value.waited_for == SCRIPT
    assert caught.value.outcome_unknown
    assert ended.wait(5)
    assert machine.shells == 0


def test_six_threads_share_three_sessions(machine: Any, host: Any) -> None:
    """Any number of threads may call; a conversation is never shared, and never more than three go on."""

    def call(number: int) -> int:
        return int(host.run(SCRIPT, number=number)["echo"]["number"])

    machine.script = lambda document, process: process.killed.wait(0.02) or {"echo": document["parameters"]}
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(call, range(30))) == list(range(30))
    assert 1 <= machine.shells <= 3
    assert len(machine.events("winrm.logon")) <= 3


def test_waiting_for_a_session_has_a_deadline(machine: Any, host: Any) -> None:
    """A fourth caller waits for one of the three sessions, and not for ever."""
    free, busy = threading.Event(), threading.Semaphore(0)

    def hold(_document: dict[str, Any], _process: Any) -> dict[str, Any]:
        busy.release()
        free.wait(10)
        return {}

    machine.script = hold
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(host.run, SCRIPT) for _ in range(3)]
        for _ in calls:
            assert busy.acquire(timeout=10)
        with pytest.raises(DeadlineExceeded, match="free session"):
            host.run(SCRIPT, deadline=0.2)
        free.set()
        assert [call.result(10) for call in calls] == [{}, {}, {}]


def test_close_leaves_no_shell_behind(machine: Any, host: Any) -> None:
    """After close the host keeps nothing, and what has lost its connection is deleted over another one."""
    host.run(SCRIPT)
    machine.fault("winrm.drop", times=None, action="Receive")
    with pytest.raises(HostUnreachable):
        host.run(SCRIPT)
    host.close()
    assert machine.shells == 0


def test_a_closed_host_can_be_used_again(host: Any) -> None:
    """Rescue may come after the runbook has closed its hosts."""
    host.run(SCRIPT)
    host.close()
    host.close()
    assert host.run(SCRIPT) == {"echo": {}}


def test_close_of_a_dead_host_is_quick(machine: Any, host: Any) -> None:
    """Saying goodbye to a host that is gone neither fails nor lingers."""
    host.run(SCRIPT)
    machine.winrm.shutdown()
    started = time.monotonic()
    host.close()
    assert time.monotonic() - started < 6


def test_an_idle_session_survives_a_restart_of_the_host(machine: Any, host: Any) -> None:
    """The keep-alive connection of before a reboot answers 400 for ever; the call is made once more on a new one."""
    host.run(SCRIPT)
    machine.reboot()
    assert host.run(SCRIPT) == {"echo": {}}
    assert len(machine.ran) == 2


def test_an_idle_connection_that_the_host_closed_is_no_failure(machine: Any, host: Any) -> None:
    """A connection closed while nobody used it costs one more logon, not the call."""
    host.run(SCRIPT)
    machine.fault("winrm.close_connections", action="Signal")
    host.run(SCRIPT)
    assert host.run(SCRIPT) == {"echo": {}}
    assert len(machine.ran) == 3


def test_a_shell_that_idled_away_is_replaced(make_machine: Any) -> None:
    """A host ends shells that lie idle (2150858843 afterwards); the next call opens another."""
    machine = make_machine(speed=20_000)  # 900 s of idling in 45 ms
    with machine.client() as host:
        host.run(SCRIPT)
        deadline = time.monotonic() + 5
        while machine.shells and time.monotonic() < deadline:
            time.sleep(0.01)
        assert machine.shells == 0
        assert host.run(SCRIPT) == {"echo": {}}


@pytest.mark.parametrize("transport", ["ntlm", "basic"])
def test_https_works_with_the_labs_own_authority(machine: Any, transport: str) -> None:
    """Over TLS both NTLM (bound to the channel) and basic work, against a certificate that was validated."""
    with machine.client(scheme="https", transport=transport) as host:
        assert host.run(SCRIPT, text="€") == {"echo": {"text": "€"}}
        assert host.run(SCRIPT, text="€") == {"echo": {"text": "€"}}
    assert machine.events("winrm.logon")[0]["tls"] is True
    assert machine.shells == 0


def test_proxies_of_the_environment_are_ignored(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """WinRM is spoken directly: a proxy variable meant for browsers must not receive our logon."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(0.2)
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
        for scheme in ("http", "https"):
            with machine.client(scheme=scheme) as host:
                assert host.run(SCRIPT) == {"echo": {}}
        with pytest.raises(TimeoutError):
            proxy.accept()


def test_a_script_that_fails_tells_where_and_why(machine: Any, host: Any) -> None:
    """The script's own error arrives with its type, HRESULT, line and id, and the session stays in use."""
    machine.script = lambda *_: (
        b'{"ok":false,"error":{"type":"System.IO.IOException","message":"There is not enough space on the disk.",'
        b'"hresult":-2147024784,"script":"Get-HostFacts","line":12,"id":"DiskFull,Get-HostFacts"}}'
    )
    with pytest.raises(ScriptFailed) as caught:
        host.run(SCRIPT)
    error = caught.value
    assert str(error) == "sql01: Get-HostFacts failed at line 12: There is not enough space on the disk (0x80070070)."
    ours = ScriptFailed(
        "sql01", "X", "No. Do.", type="System.InvalidOperationException", hresult=5, line=1, id="FolderOwner"
    )
    assert str(ours) == "sql01: No. Do."
    assert (error.type, error.hresult, error.line) == ("System.IO.IOException", -2147024784, 12)
    assert not error.retryable
    assert not error.outcome_unknown
    assert machine.shells == 1


def test_an_error_that_repeats_a_secret_is_cleaned(machine: Any, host: Any) -> None:
    """PowerShell quotes the value it stumbles over; a secret among them does not get into our errors."""
    secret = 'tok"\u2039&€-1234'
    machine.script = lambda *_: '{"ok":false,"error":{"message":"Cannot convert tok\\"\u2039&€-1234 to int"}}'.encode()
    with pytest.raises(ScriptFailed) as caught:
        host.run(SCRIPT, secrets={"token": secret})
    assert "1234" not in str(caught.value)
    assert "***" in str(caught.value)


@pytest.mark.parametrize(
    ("stdout", "stderr", "words"),
    [
        (b"", b"Cannot invoke method. Method invocation is supported only on core types in this language mode.", "language mode"),
        (b"", b"The command line is too long.\r\n", "command line is too long"),
        (
            b"",
            b'#< CLIXML\r\n<Objs><S S="Error">It contains malicious con_x000D__x000A_</S><S S="Error">tent.</S></Objs>',
            "antivirus",
        ),
        (b"Hello!", b"", "Hello!"),
        (b'{"ok": true, "value": [1]}', b"", "list"),
        (b'{"value": {}}', b"", "value"),
    ],
)  # fmt: skip
def test_what_is_not_our_answer_is_a_refusal(machine: Any, host: Any, stdout: bytes, stderr: bytes, words: str) -> None:
    """Where PowerShell does not run the bootstrap, the error says what the host said, and never 'JSONDecodeError'."""
    machine.script, machine.stderr = (lambda *_: stdout), stderr
    with pytest.raises(ScriptRefused, match=words):
        host.run(SCRIPT)


def test_a_byte_order_mark_and_blanks_are_no_refusal(machine: Any, host: Any) -> None:
    """Some code pages let PowerShell begin its output with a byte-order mark."""
    machine.script = lambda *_: b'\xef\xbb\xbf{"ok":true,"value":{"a":1}}\r\n'
    assert host.run(SCRIPT) == {"a": 1}


def test_unknown_scripts_are_refused_here(host: Any) -> None:
    """Only shipped scripts run; a name is never a path."""
    for name in ("Get-Nothing", "../secrets", "lib/Files", ""):
        with pytest.raises(LookupError, match="no script"):
            host.run(name)


def test_the_representation_of_a_host_shows_no_password(machine: Any, host: Any) -> None:
    """A host may be logged."""
    shown = f"{host!r} {host._pool._target!r} {machine.credentials()!r}"
    assert machine.password not in shown
