"""The traps that a naive WinRM client falls into are really there: what our client avoids must be able to go wrong."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from winrm.exceptions import InvalidCredentialsError, WinRMTransportError, WSManFaultError

from lab.winrm.certificates import Authority


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


def test_declared_idle_closing_does_the_same(machine: Any, wait_until: Callable[..., None]) -> None:
    """``winrm.close_connections`` needs no reboot."""
    session = machine.session()
    machine.fault("winrm.close_connections", action="Signal")
    session.run("hostname")
    # Idle is who finds the connection closed, not who speaks into its end.
    wait_until(
        lambda: not any(listener._live for listener in machine.winrm._listeners), what="the end of the connection"
    )
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


def _files(folder: Path, certificate: str, key: str) -> dict[str, str]:
    (folder / "client.pem").write_text(certificate)
    (folder / "client.key").write_text(key)
    return {"cert_pem": str(folder / "client.pem"), "cert_key_pem": str(folder / "client.key")}


def test_certificates_end_at_tls_1_3(machine_with: Callable[..., Any], authority: Authority, tmp_path: Path) -> None:
    """As on Windows Server 2022: who comes with a certificate over TLS 1.3 loses the connection; over 1.2 it is a login."""
    files = _files(tmp_path, *authority.issue_client("svc@lab"))
    assert machine_with().protocol("certificate", scheme="https", **files).open_shell()
    modern = machine_with(newest_tls=ssl.TLSVersion.TLSv1_3)
    with pytest.raises(requests.exceptions.ConnectionError):
        modern.protocol("certificate", scheme="https", **files).open_shell()
    assert modern.protocol(scheme="https").open_shell()


@pytest.mark.parametrize(("upn", "days"), [("svc@lab", -2), ("other@lab", 365)])
def test_a_certificate_that_is_no_login_gets_401_and_nothing_else(
    machine: Any, authority: Authority, tmp_path: Path, upn: str, days: int
) -> None:
    """Expired, or of a name that nobody is mapped to: there is no WWW-Authenticate to go on with."""
    files = _files(tmp_path, *authority.issue_client(upn, days=days))
    protocol = machine.protocol("certificate", scheme="https", **files)
    with pytest.raises(InvalidCredentialsError):
        protocol.open_shell()
    assert [event["transport"] for event in machine.events("winrm.logon_refused")] == ["certificate"]
    http = protocol.transport.build_session()
    answer = http.post(f"https://{machine.host.address}:5986/wsman", data=b"x", timeout=10, verify=str(machine.ca))
    assert (answer.status_code, answer.headers.get("WWW-Authenticate")) == (401, None)
