"""What somebody listening on the wire can read of a patch run: nothing.

pywinrm keeps an HTTP session whose message encryption was never agreed on; the next call on the same ``Protocol``
then goes out in plain text, secrets and all. These tests read what port 5985 received, byte for byte, and show on a
naive client that they would notice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from winrm.exceptions import WinRMTransportError
from winrm.protocol import Protocol

from blocks.windows_host import WindowsHost
from blocks.winrm.errors import AuthenticationFailed, HostError, ProtocolBroken
from blocks.winrm.session import Session

SCRIPT = "Get-HostFacts"
SECRET = "token-0123456789-abcdefghij"
PLAIN = ("env:Envelope", "windows/shell", SCRIPT, SECRET)


def readable(machine: Any) -> list[str]:
    """What of a call's contents stands readable in the bytes that the host's http port received."""
    assert machine.tap.received(), "the tap heard nothing at all, so it proves nothing"
    return [text for text in (*PLAIN, machine.password) if machine.tap.shows(text)]


def naive(machine: Any, user: str = "svc-patching") -> Protocol:
    """A client as pywinrm's own examples make it."""
    return Protocol(
        f"http://{machine.address}:5985/wsman",
        transport="ntlm",
        username=user,
        password=machine.password,
        proxy=None,
        ca_trust_path=None,
    )


def call_naively(protocol: Protocol) -> None:
    """Run a command with a secret on its stdin."""
    shell = protocol.open_shell(codepage=65001)
    command = protocol.run_command(shell, SCRIPT, console_mode_stdin=False)
    protocol.send_command_input(shell, command, SECRET.encode(), end=True)


def test_the_tap_catches_a_protocol_reused_after_a_refused_call(machine: Any) -> None:
    """The test of the test: a client that calls again on the same Protocol is overheard in plain text."""
    protocol = naive(machine)
    machine.fault("winrm.refuse_logon")
    with pytest.raises(Exception, match="rejected"):
        call_naively(protocol)
    assert readable(machine) == []
    with contextlib.suppress(WinRMTransportError):
        call_naively(protocol)
    assert "env:Envelope" in readable(machine)
    assert "windows/shell" in readable(machine)


def test_nothing_is_readable_after_a_refused_call(machine: Any, host: WindowsHost) -> None:
    """After a refusal the session is thrown away: the next call starts with a handshake, sealed from the first byte."""
    machine.fault("winrm.refuse_logon")
    with pytest.raises(AuthenticationFailed):
        host.run(SCRIPT, secret=SECRET)
    assert host.run(SCRIPT, secret=SECRET) == {"echo": {"secret": SECRET}}
    assert readable(machine) == []


def test_nothing_is_readable_with_a_wrong_password(machine: Any) -> None:
    """However often a refused client asks, it never says what it wants."""
    with machine.client(password="wrong-" + machine.password) as host:
        for _ in range(3):
            with pytest.raises(AuthenticationFailed):
                host.run(SCRIPT, secret=SECRET)
    assert readable(machine) == []


Trouble = Callable[[Any], None]


@pytest.mark.parametrize("action", ["Create", "Command", "Send", "Receive", "Signal", "Delete"])
@pytest.mark.parametrize("trouble", ["drop", "fault", "close_connections"])
def test_nothing_is_readable_after_trouble(machine: Any, trouble: str, action: str) -> None:
    """Whatever goes wrong at whatever step, before, during and after it nothing can be read."""
    with machine.client() as host:
        machine.fault(f"winrm.{trouble}", action=action, code=2150859174)
        for _ in range(3):
            with contextlib.suppress(HostError):
                host.run(SCRIPT, secret=SECRET)
        assert host.run(SCRIPT, secret=SECRET) == {"echo": {"secret": SECRET}}
    assert readable(machine) == []
    # A shell whose id we never heard, or that the host will not delete, ends by lying idle.
    assert machine.shells == (1 if (trouble, action) in (("drop", "Create"), ("fault", "Delete")) else 0)


def test_nothing_is_readable_after_a_restart_in_mid_call(machine: Any, host: WindowsHost) -> None:
    """A host that restarts under a call, or between two, hears nothing readable when it is back."""

    def restart(document: dict[str, Any], _process: Any) -> dict[str, Any]:
        if document["parameters"]["number"] == 1:
            machine.reboot()
        return {"echo": document["parameters"]}

    machine.script = restart
    host.run(SCRIPT, number=0, secret=SECRET)
    with pytest.raises(HostError) as caught:
        host.run(SCRIPT, number=1, secret=SECRET)
    assert caught.value.outcome_unknown
    machine.reboot()
    host.run(SCRIPT, number=2, secret=SECRET)
    host.close()
    assert readable(machine) == []


def test_an_unsecured_session_sends_nothing(machine: Any, host: WindowsHost) -> None:
    """A session that was never secured refuses to send, whoever asks it to."""
    from blocks.winrm.deadline import Deadline

    session = Session(host._pool._target)
    with pytest.raises(ProtocolBroken, match="nothing was sent"):
        session.execute("powershell.exe", (), SECRET.encode(), Deadline(5, "a test"))
    assert session.close(Deadline(5, "a test"))
    assert machine.tap.received() == b""


def test_a_keep_alive_connection_of_before_a_restart_is_dead_to_a_naive_client(machine: Any) -> None:
    """The trap that the pool's second try is for: the same Protocol gets 400 for ever, a new one works."""
    protocol = naive(machine)
    protocol.open_shell()
    machine.reboot()
    for _ in range(3):
        with pytest.raises(WinRMTransportError, match="400"):
            protocol.open_shell()
    naive(machine).open_shell()
