"""The traps that a naive WinRM client falls into are really there: what our client avoids must be able to go wrong."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import requests
from winrm.exceptions import InvalidCredentialsError, WinRMTransportError, WSManFaultError


def test_a_protocol_reused_after_a_refused_call_sends_clear_text(machine: Any) -> None:
    """The session that pywinrm made before encryption was set up stays: the next call goes out readable."""
    protocol = machine.protocol()
    machine.fault("winrm.refuse_logon")
    with pytest.raises(InvalidCredentialsError):
        protocol.open_shell()
    assert not machine.winrm.tap.shows("Envelope")
    with pytest.raises(WinRMTransportError) as refused:  # the host refuses it, but by then it has crossed the wire
        protocol.open_shell(env_vars={"SECRET": "told-to-everyone"})
    assert refused.value.code == 500
    assert machine.winrm.tap.shows("Envelope")
    assert machine.winrm.tap.shows("told-to-everyone")


def test_basic_over_http_after_a_refusal_sends_the_password(machine: Any) -> None:
    """The same with basic and message_encryption='always': the second call carries the credentials."""
    user, password = machine.user.encode(), machine.password.encode()
    protocol = machine.protocol("basic", username=user, password=password, message_encryption="always")
    for _ in range(2):
        with contextlib.suppress(Exception):
            protocol.open_shell()
    assert machine.winrm.tap.shows(f"{machine.user}:{machine.password}")


def test_a_connection_closed_while_idle_answers_400_for_ever(machine: Any) -> None:
    """After a reboot the client seals for a connection that is gone, until its session is closed."""
    session = machine.session()
    session.run("hostname")
    machine.winrm.shutdown()
    machine.winrm.boot()
    for _ in range(3):
        with pytest.raises(WinRMTransportError) as stale:
            session.run("hostname")
        assert stale.value.code == 400
    session.protocol.transport.close_session()
    with pytest.raises(WSManFaultError) as gone:  # and the shell did not survive
        machine.protocol().run_command(session.shell, "hostname")
    assert gone.value.wsman_fault_code == 2150858843


def test_declared_idle_closing_does_the_same(machine: Any) -> None:
    """``winrm.close_connections`` needs no reboot."""
    session = machine.session()
    machine.fault("winrm.close_connections", action="Signal")
    session.run("hostname")
    with pytest.raises(WinRMTransportError) as stale:
        session.run("hostname")
    assert stale.value.code == 400


def test_a_machine_that_is_down_refuses_connections(machine: Any, wait_until: Callable[..., None]) -> None:
    """A restart cuts the call in progress, refuses new ones, and ends with an empty host that answers again."""
    session = machine.session()
    command = session.start("ping", "-n", "100000", "127.0.0.1")
    machine.host.restart(seconds_down=100)
    cut = (requests.exceptions.ConnectionError, WinRMTransportError)
    with pytest.raises(cut):
        session.protocol.get_command_output(session.shell, command)
    wait_until(lambda: not machine.host.up.is_set(), what="the shutdown")
    with pytest.raises(requests.exceptions.ConnectionError):
        machine.protocol().open_shell()
    wait_until(machine.host.up.is_set, what="the boot")
    wait_until(lambda: _answers(machine), what="WinRM")
    assert machine.winrm.shells.open_ones() == {}


def _answers(machine: Any) -> bool:
    try:
        protocol = machine.protocol()
        protocol.close_shell(protocol.open_shell())
    except requests.exceptions.ConnectionError:
        return False
    return True


def test_stopping_the_service_is_like_a_machine_that_is_down(machine: Any) -> None:
    """WinRM stopped by the service manager listens no more, and does again once started."""
    with machine.host.edit("services.json") as services:
        services["WinRM"] = {"status": "Running", "start": "Automatic"}
    machine.host.service("WinRM", started=False)
    with pytest.raises(requests.exceptions.ConnectionError):
        machine.protocol().open_shell()
    machine.host.service("WinRM", started=True)
    assert machine.session().run("hostname")[0] == b"sql01\r\n"
