"""Logins that seal their messages: a script runs over http, nothing is readable, and a refusal says why and is not repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from wire import SCRIPT, SECRET, readable, refusal

from blocks.winrm.errors import (
    AuthenticationFailed,
    CertificateRejected,
    HostError,
)
from blocks.winrm.session import CHUNK

Login = tuple[Any, dict[str, Any]]


@pytest.fixture(params=["ntlm", "credssp", "kerberos"])
def sealing(request: pytest.FixtureRequest, make_machine: Callable[..., Any]) -> Login:
    """A machine, and a login for it over http with each transport that seals its messages."""
    if request.param == "kerberos":
        realm = request.getfixturevalue("realm")
        return make_machine(domain=realm.domain), realm.login()
    return make_machine(), {"transport": request.param}


# Transports that seal ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 20_000, 3 * CHUNK])
def test_messages_of_every_size_are_sealed(sealing: Login, size: int) -> None:
    """Over http, from a few bytes to what takes several pieces: the script runs, and the wire shows nothing of it."""
    machine, login = sealing
    text = "ü€" * size
    with machine.client(**login) as host:
        for _ in range(2):
            assert host.run(SCRIPT, secret=SECRET, text=text)["echo"]["text"] == text
    assert readable(machine, str(login.get("password"))) == []
    assert [event["transport"] for event in machine.events("winrm.logon")] == [login["transport"]]
    assert machine.shells == 0


def test_nothing_is_readable_after_a_refusal(sealing: Login) -> None:
    """A call was refused: the next one starts with a login, sealed from the first byte."""
    machine, login = sealing
    with machine.client(**login) as host:
        machine.fault("winrm.refuse_logon")
        with pytest.raises(HostError):
            host.run(SCRIPT, secret=SECRET)
        assert host.run(SCRIPT, secret=SECRET) == {"echo": {"secret": SECRET}}
    assert readable(machine) == []


@pytest.mark.parametrize("action", ["Create", "Command", "Send", "Receive"])
def test_what_goes_on_over_a_new_connection_is_sealed(sealing: Login, action: str) -> None:
    """Whatever a connection broke in the middle of: the next one has a login of its own, and the script has run once."""
    machine, login = sealing
    with machine.client(**login) as host:
        machine.fault("winrm.drop", action=action)
        assert host.run(SCRIPT, secret=SECRET) == {"echo": {"secret": SECRET}}
        assert host.run(SCRIPT, secret=SECRET) == {"echo": {"secret": SECRET}}
    assert len(machine.ran) == 2
    assert readable(machine) == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_idle_session_survives_a_restart(sealing: Login, scheme: str) -> None:
    """A connection that the host forgot costs one more login, not the call: a fault is no refused login."""
    machine, login = sealing
    with machine.client(**login, scheme=scheme) as host:
        host.run(SCRIPT)
        machine.reboot()
        assert host.run(SCRIPT) == {"echo": {}}
        machine.fault("winrm.close_connections", action="Signal")
        host.run(SCRIPT)
        assert host.run(SCRIPT, secret=SECRET) == {"echo": {"secret": SECRET}}
    assert len(machine.ran) == 4
    assert scheme == "https" or readable(machine) == []


def test_over_tls_too(sealing: Login) -> None:
    """With https the same logins work, against a certificate that was validated."""
    machine, login = sealing
    with machine.client(**login, scheme="https") as host:
        assert host.run(SCRIPT, text="€") == {"echo": {"text": "€"}}
    assert machine.events("winrm.logon")[0]["tls"] is True
    with machine.client(**login, scheme="https", ca_trust_path=None) as host:
        assert isinstance(refusal(host), CertificateRejected)


# CredSSP -------------------------------------------------------------------------------------------------------------


def test_credssp_that_is_not_enabled_names_the_command(machine: Any) -> None:
    """Windows has CredSSP off by default: the error says with what it is switched on."""
    machine.fault("winrm.credssp_disabled", times=None)
    error = refusal(machine.client(transport="credssp"))
    assert isinstance(error, AuthenticationFailed)
    assert "Enable-WSManCredSSP -Role Server" in error.fix
    assert machine.events("winrm.logon_refused") == []
    assert readable(machine) == []


def test_a_wrong_password_over_credssp_is_tried_once(machine: Any) -> None:
    """The host says within the handshake that it is wrong; accounts lock, so that is all."""
    error = refusal(machine.client(transport="credssp", password="wrong-" + machine.password))
    assert isinstance(error, AuthenticationFailed)
    assert error.cause == "the host refuses these credentials: the user name or password is wrong"
    assert not error.retryable
    assert len(machine.events("winrm.logon_refused")) == 1
    assert readable(machine) == []
