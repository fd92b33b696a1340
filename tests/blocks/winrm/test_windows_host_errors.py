"""Every trouble has its own error, which names the host, the cause and the fix, and carries nothing else."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import cloudpickle
import pytest

from blocks.credentials import WinRMCredentials
from blocks.windows_host import WindowsHost
from blocks.winrm import errors
from blocks.winrm.errors import (
    AuthenticationFailed,
    CertificateRejected,
    DeadlineExceeded,
    HostBusy,
    HostError,
    HostUnreachable,
    ProtocolBroken,
    QuotaExceeded,
    ScriptFailed,
    SessionLost,
    WaitStopped,
)
from lab.winrm import Quotas

SCRIPT = "Get-HostFacts"
PASSWORD = "pass-9f3a77"


def failing(host: WindowsHost, **parameters: Any) -> HostError:
    """The error of a call that must fail; checked for what is true of all errors."""
    with pytest.raises(HostError) as caught:
        host.run(SCRIPT, deadline=parameters.pop("deadline", 20), **parameters)
    error = caught.value
    assert error.host == "sql01"
    assert str(error).startswith("sql01: ")
    assert error.__context__ is None, "the original, with its request, must not travel along"
    assert error.__cause__ is None
    again = cloudpickle.loads(cloudpickle.dumps(error))
    assert (type(again), str(again), again.codes) == (type(error), str(error), error.codes)
    assert not any(isinstance(value, Exception) for value in vars(error).values())
    return error


def at(address: str, **fields: Any) -> WindowsHost:
    """A client of something that is no lab machine."""
    return WindowsHost("sql01", address, WinRMCredentials(username="svc", password=PASSWORD, **fields))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port where somebody listens who has nothing to say."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_refused() -> None:
    """Nobody listens: unreachable, worth another try, and certainly nothing was run."""
    with socket.create_server(("127.0.0.1", 0)) as once:
        port = once.getsockname()[1]
    error = failing(at("127.0.0.1", scheme="http", port=port))
    assert isinstance(error, HostUnreachable)
    assert "refused" in error.cause
    assert "winrm quickconfig" in error.fix
    assert error.retryable
    assert not error.outcome_unknown


def test_no_such_name() -> None:
    """A name that cannot be resolved is told as that."""
    error = failing(at("sql01.no-such-domain.invalid", scheme="http"))
    assert isinstance(error, HostUnreachable)
    assert "cannot be resolved" in error.cause
    assert "DNS" in error.fix


def test_no_way_to_it() -> None:
    """An address that nothing leads to is told as that, with the system's own word."""
    error = failing(at("255.255.255.255", scheme="http"))
    assert isinstance(error, HostUnreachable)
    assert "there is no way to it" in error.cause
    assert not error.outcome_unknown


def test_silent(listener: socket.socket) -> None:
    """A host that takes the connection and says nothing does not hold us beyond the deadline."""
    started = time.monotonic()
    error = failing(at("127.0.0.1", scheme="http", port=listener.getsockname()[1]), deadline=1)
    assert isinstance(error, HostUnreachable)
    assert "nothing answers" in error.cause
    assert time.monotonic() - started < 4


def test_wrong_password(machine: Any) -> None:
    """A wrong password is never tried twice: accounts lock."""
    with machine.client(password=PASSWORD) as host:
        error = failing(host)
    assert isinstance(error, AuthenticationFailed)
    assert not error.retryable
    assert PASSWORD not in repr(error) + str(vars(error))


def test_ntlm_is_not_offered() -> None:
    """A server that refuses the second leg of NTLM raises PermissionError in requests_ntlm: still our error."""
    import http.server
    import threading

    class Refuser(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Negotiate")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuser) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            error = failing(at("127.0.0.1", scheme="http", port=server.server_address[1]))
        finally:
            server.shutdown()
    assert isinstance(error, AuthenticationFailed)


def test_a_redirect_is_not_followed(machine: Any) -> None:
    """Who redirects is not WinRM; what we say must not go where it points."""
    import http.server
    import threading

    class Redirector(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(307)
            self.send_header("Location", f"http://{machine.address}:5985/wsman")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirector) as server:
        context = machine.ca.tls("redirector", "127.0.0.1").context
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            trusting = {"scheme": "https", "transport": "basic", "ca_trust_path": str(machine.ca.file)}
            error = failing(at("127.0.0.1", port=server.server_address[1], **trusting))
        finally:
            server.shutdown()
    assert isinstance(error, ProtocolBroken)
    assert "redirects" in error.cause
    assert machine.tap.received() == b""


def test_untrusted_certificate(machine: Any) -> None:
    """Without the CA the certificate is refused, and the fix names the setting."""
    with machine.client(scheme="https", ca_trust_path=None) as host:
        error = failing(host)
    assert isinstance(error, CertificateRejected)
    assert "ca_trust_path" in error.fix


def test_certificate_of_another_machine(make_machine: Any) -> None:
    """A certificate for another name is refused although its CA is trusted."""
    one, other = make_machine(), make_machine()
    one.winrm.shutdown()
    one.winrm._tls = one.ca.tls("other", other.address)
    one.winrm.boot()
    with one.client(scheme="https") as host:
        error = failing(host)
    assert isinstance(error, CertificateRejected)
    assert "IP address mismatch" in error.cause


def test_missing_ca_file(machine: Any) -> None:
    """A ca_trust_path that is not there is told as that, not as a network error."""
    with machine.client(scheme="https", ca_trust_path="/nowhere/ca.pem") as host:
        error = failing(host)
    assert isinstance(error, CertificateRejected)
    assert "ca_trust_path" in error.cause


def test_https_to_a_port_without_tls(machine: Any) -> None:
    """The usual mix-up of 5985 and 5986 says so."""
    with machine.client(scheme="https", port=5985) as host:
        error = failing(host)
    assert isinstance(error, ProtocolBroken)
    assert "5986" in error.fix


def test_channel_binding_protects_against_a_man_in_the_middle(machine: Any) -> None:
    """NTLM over TLS is bound to the certificate: with another one, the host refuses the logon."""
    machine.winrm.shutdown()
    tls = machine.winrm._tls
    machine.winrm._tls = type(tls)(tls.context, b"\0" * 32)
    machine.winrm.boot()
    with machine.client(scheme="https") as host:
        assert isinstance(failing(host), AuthenticationFailed)


def test_shell_quota(make_machine: Any) -> None:
    """The host's own limit is told as a quota, with the setting that it comes from."""
    machine = make_machine(quotas=Quotas(shells_per_user=1))
    with machine.client() as first, machine.client() as second:
        first.run(SCRIPT)
        error = failing(second)
    assert isinstance(error, QuotaExceeded)
    assert error.codes == (2150859173,)
    assert "MaxShellsPerUser" in error.cause
    assert "maximum number of 1 concurrent shells" in error.cause
    assert error.retryable


@pytest.mark.parametrize("wmi", [False, True])
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (2150859173, QuotaExceeded),
        (2150859174, QuotaExceeded),
        (2150859179, QuotaExceeded),
        (0x803381E4, QuotaExceeded),
        (0x803381EA, QuotaExceeded),
        (170, HostBusy),
        (5, AuthenticationFailed),
        (2150858843, SessionLost),
        (87, ProtocolBroken),
    ],
)
def test_fault_codes(machine: Any, host: WindowsHost, code: int, kind: type[HostError], wmi: bool) -> None:
    """A fault keeps its code, wherever it came: some stand in MSFT_WmiError, with no WSManFault code at all."""
    machine.fault("winrm.fault", times=None, code=code, action="Create", wmi=wmi, text="Something special. ")
    error = failing(host)
    machine.faults.clear()
    assert type(error) is kind
    assert code in error.codes
    assert "Something special" in error.cause
    assert host.run(SCRIPT) == {"echo": {}}


def test_a_local_administrator_with_a_filtered_token(machine: Any, host: WindowsHost) -> None:
    """Its password is right, and everything is denied: the policy that does it is named."""
    machine.fault("winrm.fault", times=None, code=5, action="Create", text="Access is denied. ")
    error = failing(host)
    assert isinstance(error, AuthenticationFailed)
    assert "LocalAccountTokenFilterPolicy" in error.fix


def test_a_shell_that_has_used_up_its_memory(machine: Any, host: WindowsHost) -> None:
    """Windows speaks of the paging file; the setting that it comes from is named."""
    machine.script = lambda *_: (
        b'{"ok":false,"error":{"type":"System.ComponentModel.Win32Exception","message":"The paging file is too small for '
        b'this operation to complete","hresult":-2147023441,"script":"Get-HostFacts","line":1,"id":"X"}}'
    )
    error = failing(host)
    assert isinstance(error, ScriptFailed)
    assert "The paging file is too small" in error.cause
    assert "MaxMemoryPerShellMB" in error.fix


@pytest.mark.parametrize(
    ("action", "ran", "unknown"),
    [("Create", 0, False), ("Command", 0, False), ("Send", 1, True), ("Receive", 1, True)],
)
def test_whether_the_script_may_have_run(machine: Any, host: WindowsHost, action: str, ran: int, unknown: bool) -> None:
    """A host that drops every connection before the script's last byte went out has done nothing; else nobody can know."""
    machine.fault("winrm.drop", times=None, action=action)
    error = failing(host)
    assert isinstance(error, HostUnreachable)
    assert error.outcome_unknown is unknown
    assert ("outcome is not known" in str(error)) is unknown
    until = time.monotonic() + 5
    while len(machine.ran) < ran and time.monotonic() < until:
        time.sleep(0.01)
    assert len(machine.ran) == ran


@pytest.mark.parametrize("size", [1, 300_000], ids=["one piece", "several pieces"])
@pytest.mark.parametrize("action", ["Create", "Command", "Send", "Receive", "Signal"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_connection_may_break_at_any_moment(
    machine: Any, host: WindowsHost, action: str, times: int, size: int
) -> None:
    """Whatever was under way, the script has run once and its answer is here: it goes on in its shell without us."""
    machine.fault("winrm.drop", times=times, action=action)
    text = "x" * size
    assert host.run(SCRIPT, text=text) == {"echo": {"text": text}}
    assert len(machine.ran) == 1


def test_a_shell_that_went_with_its_connection_is_an_unknown_outcome(machine: Any, host: WindowsHost) -> None:
    """The host restarted under the script: a new connection finds no shell, and nobody knows how far it came."""

    def restart(_document: Any, _process: Any) -> dict[str, Any]:
        machine.reboot()
        return {}

    machine.script = restart
    error = failing(host)
    assert error.outcome_unknown
    assert len(machine.ran) == 1


def test_shells_without_a_connection_do_not_pile_up(machine: Any, host: WindowsHost) -> None:
    """A host allows 30 shells to a user; each connection that breaks at the wrong moment leaves one behind."""
    for _ in range(12):
        machine.fault("winrm.drop", action="Command")
        host.run(SCRIPT)
    assert machine.shells <= 7


def test_a_connection_that_ends_between_two_exchanges_costs_a_session(machine: Any, host: WindowsHost) -> None:
    """Also one that has served nothing yet: what was sealed for it is refused on the next one, and nothing was done."""
    machine.fault("winrm.close_connections", action="Create", times=5)
    assert host.run(SCRIPT) == {"echo": {}}
    assert len(machine.ran) == 1


def test_a_login_that_is_cut_in_half_is_no_refusal(machine: Any, host: WindowsHost) -> None:
    """Its second half is lost, or refused on the next connection, for a login belongs to its connection. It begins anew."""
    machine.fault("winrm.cut_logon", times=3)
    assert host.run(SCRIPT) == {"echo": {}}
    assert machine.host.faults.strike("winrm.cut_logon", machine.host.name) is None
    assert len(machine.ran) == 1


def test_connections_that_are_killed_all_the_time(machine: Any, host: WindowsHost) -> None:
    """Every 0.4 s all connections die: each call has its answer, and has run once."""
    machine.fault("winrm.kill_connections", times=None, every=0.4)
    until = time.monotonic() + 20
    calls = 0
    while len(machine.events("winrm.connections_killed")) < 3:
        assert host.run(SCRIPT, number=calls) == {"echo": {"number": calls}}
        calls += 1
        assert time.monotonic() < until
    assert [each["parameters"]["number"] for each in machine.ran] == list(range(calls))


def test_a_lost_answer_to_the_clean_up_loses_nothing(machine: Any, host: WindowsHost) -> None:
    """The answer was here already when the connection broke: it counts."""
    machine.fault("winrm.drop", action="Signal")
    assert host.run(SCRIPT) == {"echo": {}}
    assert host.run(SCRIPT) == {"echo": {}}


def test_an_unknown_outcome_is_not_repeated(machine: Any, host: WindowsHost) -> None:
    """Only what certainly did nothing is tried again by itself: a script that acts must not act twice."""
    host.run(SCRIPT)
    machine.fault("winrm.drop", times=None, action="Send")
    assert failing(host).outcome_unknown
    until = time.monotonic() + 5
    while len(machine.ran) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert len(machine.ran) == 2


@pytest.mark.parametrize(
    "error",
    [
        HostUnreachable("h", "c", "f", codes=(1, 2), outcome_unknown=True),
        ScriptFailed("h", "Get-X", "m", type="T", hresult=-1, line=3, id="I"),
        DeadlineExceeded("h", "a job", 3.5, outcome_unknown=True),
        WaitStopped("h", "a job"),
    ],
)
def test_errors_can_be_stored_by_prefect(error: HostError) -> None:
    """Prefect pickles what a task raises; nothing of the error is lost."""
    again = cloudpickle.loads(cloudpickle.dumps(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert (str(again), again.args) == (str(error), error.args)


def test_the_drawn_tree_is_the_real_one() -> None:
    """The tree at the top of the module is what the classes are."""
    drawn = {
        line.split()[0]: len(line) - len(line.lstrip())
        for line in (errors.__doc__ or "").splitlines()
        if line.strip() and line.split()[0] in vars(errors)
    }
    real = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, HostError)}
    assert set(drawn) == set(real)
    assert {name: 2 * (len(kind.__mro__) - len(HostError.__mro__)) for name, kind in real.items()} == drawn
