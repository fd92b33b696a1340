"""``python -m lab``: an estate in its own process, with its papers, its control API, and a clean end."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import winrm
from ruamel.yaml import YAML

PROJECT = Path(__file__).resolve().parents[2]


def _start(folder: Path, *arguments: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    command = [sys.executable, "-m", "lab", "--dir", str(folder), "--speed", "100", *arguments]
    process = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"the lab ended with {process.wait(10)}"
    return process, json.loads(line)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A lab of two hosts, ended at the end of the module."""
    process, ready = _start(tmp_path_factory.mktemp("lab") / "acme", "--tap")
    yield process, ready
    process.terminate()
    process.wait(20)


def _call(ready: dict[str, Any], method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(ready["control"] + path, data, method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


def _protocol(ready: dict[str, Any], host: str) -> winrm.Protocol:
    known = json.loads(Path(ready["credentials"]).read_text())["winrm-acme"]
    endpoint = f"{known['scheme']}://{ready['hosts'][host]['address']}:5985/wsman"
    return winrm.Protocol(
        endpoint,
        transport=known["transport"],
        username=known["username"],
        password=known["password"],
        proxy=None,
        ca_trust_path=None,
    )


def test_the_first_line_says_where_everything_is(running: tuple[Any, dict[str, Any]]) -> None:
    """Estate, credentials (for their owner alone), audit trail, control address; every host answers with them."""
    _, ready = running
    assert YAML(typ="safe").load(Path(ready["estate"]))["hosts"].keys() == ready["hosts"].keys() == {"sql01", "web01"}
    assert stat.S_IMODE(Path(ready["credentials"]).stat().st_mode) == 0o600
    for host in ready["hosts"]:
        protocol = _protocol(ready, host)
        shell = protocol.open_shell()
        command = protocol.run_command(shell, "hostname")
        assert protocol.get_command_output(shell, command)[0].decode().strip() == host
        protocol.close_shell(shell)
    events = [json.loads(line)["event"] for line in Path(ready["audit"]).read_text().splitlines()]
    assert "winrm.logon" in events


def test_secrets_are_awkward_and_nowhere_but_in_the_credentials(running: tuple[Any, dict[str, Any]]) -> None:
    """Every password holds the characters that show quoting bugs; the papers of the lab repeat none of them."""
    _, ready = running
    known = json.loads(Path(ready["credentials"]).read_text())
    passwords = [value for entry in known.values() for name, value in entry.items() if name == "password"]
    assert len(set(passwords)) == 3
    assert all('"‹&€' in password for password in passwords)
    folder = Path(ready["estate"]).parent
    for file in ("estate.yaml", "lab.json", "audit.jsonl"):
        text = (folder / file).read_text()
        assert not [number for number, password in enumerate(passwords) if password in text], file


def test_hosts_have_the_layout_of_the_engine(running: tuple[Any, dict[str, Any]]) -> None:
    """Drives, state files and the share are where the PowerShell engine of the tests looks for them."""
    _, ready = running
    folder = Path(ready["estate"]).parent
    for host in ("sql01", "web01"):
        place = folder / "hosts" / host
        for file in ("registry.json", "services.json", "cim.json", "tasks.json", "updates.json", "drives.json"):
            assert json.loads((place / file).read_text()) is not None
        assert (place / "C").is_dir()
        assert (place / "unc" / "nas01" / "billing").resolve() == (folder / "nas01" / "billing").resolve()


def test_faults_and_restarts_come_by_the_control_api(
    running: tuple[Any, dict[str, Any]], wait_until: Callable[..., None]
) -> None:
    """Declared, they strike; withdrawn, they do not; a restarted host counts one more boot."""
    _, ready = running
    _call(ready, "POST", "/faults", {"name": "winrm.refuse_logon", "on": "web01"})
    with pytest.raises(winrm.exceptions.InvalidCredentialsError):
        _protocol(ready, "web01").open_shell()
    _call(ready, "DELETE", "/faults?name=winrm.refuse_logon")
    protocol = _protocol(ready, "web01")
    protocol.close_shell(protocol.open_shell())
    before = _call(ready, "GET", "/state")["hosts"]["web01"]["boot"]
    _call(ready, "POST", "/hosts/web01/restart", {"seconds_down": 5})
    wait_until(lambda: _call(ready, "GET", "/state")["hosts"]["web01"]["boot"] == before + 1, what="the boot")
    with pytest.raises(urllib.error.HTTPError) as unknown:
        _call(ready, "POST", "/hosts/nosuch/restart", {})
    assert unknown.value.code == 400


def test_the_tap_of_another_process_is_a_file(running: tuple[Any, dict[str, Any]]) -> None:
    """What port 5985 received can be read from outside, and tells nothing."""
    _, ready = running
    protocol = _protocol(ready, "sql01")
    protocol.close_shell(protocol.open_shell())
    seen = (Path(ready["estate"]).parent / "wire" / "sql01.bin").read_bytes()
    assert b"multipart/encrypted" in seen
    assert b"Envelope" not in seen


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "stop", "stdin"])
def test_it_ends_cleanly(tmp_path: Path, how: str) -> None:
    """A signal, the control API, or the end of its parent: exit code 0, and the ports are free."""
    process, ready = _start(
        tmp_path / "lab", "--preset", "single", *(["--until-stdin-closes"] if how == "stdin" else [])
    )
    if how == "stop":
        _call(ready, "POST", "/stop", {})
    elif how == "stdin":
        assert process.stdin is not None
        process.stdin.close()
    else:
        process.send_signal(getattr(signal, how))
    assert process.wait(20) == 0
    with pytest.raises(OSError, match="refused"):
        _call(ready, "GET", "/state")


def test_a_used_folder_is_refused(tmp_path: Path) -> None:
    """Two labs never mix their traces."""
    (tmp_path / "x").write_text("")
    command = [sys.executable, "-m", "lab", "--dir", str(tmp_path)]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=20)
    assert ended.returncode == 2
    assert "not empty" in ended.stderr
