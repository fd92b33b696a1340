"""The whole way at once: WindowsHost, the lab's WinRM, and a real PowerShell engine that runs what arrives."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blocks.winrm import scripts
from blocks.winrm.errors import ScriptFailed

pytestmark = [pytest.mark.lookalike, pytest.mark.slow]


def engine(lookalike: Path, folder: Path) -> Callable[[Any], int]:
    """A program for the lab's shells that hands the command line and stdin to the engine, unchanged."""

    def run(process: Any) -> int:
        program, *arguments = process.line.split(" ")
        assert program == "powershell.exe"
        # The engine knows no other policy than to run.
        arguments = [each for each in arguments if each not in ("-ExecutionPolicy", "Bypass")]
        command = [lookalike, "--host", folder, "--codepage", "65001", "--clixml", *arguments]
        done = subprocess.run(command, input=process.read(), capture_output=True, timeout=60, check=False)
        process.write(done.stdout)
        process.write(done.stderr, "stderr")
        return done.returncode

    return run


@pytest.fixture
def real(machine: Any, lookalike: Path) -> Any:
    """The lab machine with the engine for a PowerShell."""
    for file in ("tasks.json", "registry.json"):
        (machine.host.folder / file).write_text("{}", encoding="utf-8")
    (machine.host.folder / "C").mkdir()
    machine.winrm._service._program = engine(lookalike, machine.host.folder)
    return machine


def test_a_shipped_script_answers(real: Any) -> None:
    """What WindowsHost sends is what the bootstrap reads, and what it writes is what WindowsHost reads."""
    with real.client() as host:
        [facts] = host.job(["acme.1.x"])
    assert facts["id"] == "acme.1.x"
    assert facts["exists"] is False


def test_a_scripts_error_arrives_typed(real: Any) -> None:
    """An error thrown in PowerShell is a ScriptFailed with its id, message and HRESULT; every character survives."""
    with real.client() as host, pytest.raises(ScriptFailed) as caught:
        host.job(["\u2039€» no id"])
    assert "'\u2039€» no id' is no job id" in caught.value.message
    assert caught.value.id.startswith("JobId")
    assert caught.value.hresult


def test_the_bootstrap_cuts_our_secrets_out(real: Any) -> None:
    """Secrets of any characters survive the way that keeps them from every cmdlet's log."""
    secret = "p\"'\u2039&€\\ \t{}:, 😀"
    probe = "param($secrets) [ordered]@{ back = $secrets['a'] }"
    with real.client() as host:
        session: Any
        from blocks.winrm.deadline import Deadline

        document = json.dumps(
            {"name": "Probe", "library": "", "script": probe, "parameters": {"secrets": {"a": secret, "b": ""}}}
        )
        deadline = Deadline(60, "a probe")
        with host._pool.session(deadline) as session:
            output = session.execute(*scripts.bootstrap_command(), document.encode(), deadline)
    assert json.loads(output.stdout)["value"]["back"] == secret
