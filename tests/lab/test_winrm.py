"""The lab's WinRM answers a foreign client as Windows does: logons, shells, streams, quotas, limits."""

from __future__ import annotations

import base64
import json
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from winrm.exceptions import InvalidCredentialsError, WinRMOperationTimeoutError, WinRMTransportError, WSManFaultError

from lab.shipped import Shipped
from lab.winrm import Quotas
from lab.winrm.certificates import Authority
from lab.winrm.processes import Process


@pytest.mark.parametrize("user", ["svc-patching", "SVC-Patching", "SQL01\\svc-patching", ".\\svc-patching"])
def test_ntlm_over_http_is_sealed_and_takes_every_form_of_the_user(machine: Any, user: str) -> None:
    """Any spelling of the account logs on, and nothing of the talk can be read on the wire."""
    assert machine.session(username=user).run("hostname") == (b"sql01\r\n", b"", 0)
    assert machine.winrm.tap is not None
    assert len(machine.winrm.tap.received()) > 1000
    assert not [text for text in ("Envelope", "hostname", "windows/shell") if machine.winrm.tap.shows(text)]
    assert not machine.winrm.tap.shows(machine.password), "the password crossed the wire"
    assert machine.events("winrm.logon")[0]["transport"] == "ntlm"


@pytest.mark.parametrize("transport", ["ntlm", "basic"])
def test_https_takes_ntlm_with_channel_binding_and_basic(machine: Any, transport: str) -> None:
    """TLS with the lab's own authority; basic sends UTF-8 bytes."""
    credentials = {"username": machine.user.encode(), "password": machine.password.encode()}
    session = machine.session(transport, scheme="https", **(credentials if transport == "basic" else {}))
    assert session.run("whoami") == (b"sql01\\svc-patching\r\n", b"", 0)
    logon = machine.events("winrm.logon")[0]
    assert (logon["transport"], logon["tls"]) == (transport, True)


def test_ntlm_bound_to_another_certificate_is_refused(machine_with: Callable[..., Any], authority: Authority) -> None:
    """A logon that was made for another TLS channel (somebody in the middle) does not hold here."""
    machine = machine_with()
    machine.winrm.shutdown()
    tls = machine.winrm._tls
    assert tls is not None
    machine.winrm._tls = type(tls)(tls.context, authority.tls("elsewhere", "127.0.0.1").bindings)
    machine.winrm.boot()
    with pytest.raises(InvalidCredentialsError):
        machine.protocol(scheme="https").open_shell()


def test_an_untrusted_certificate_is_refused_by_the_client(machine: Any) -> None:
    """Without the lab's authority the certificate is nobody's."""
    with pytest.raises(requests.exceptions.SSLError):
        machine.protocol(scheme="https", ca_trust_path=None).open_shell()


def test_a_wrong_password_is_refused(machine: Any) -> None:
    """NTLM and basic both say 401."""
    with pytest.raises(InvalidCredentialsError):
        machine.protocol(password="wrong").open_shell()
    with pytest.raises(InvalidCredentialsError):
        machine.protocol("basic", scheme="https", password="wrong").open_shell()
    assert len(machine.events("winrm.logon_refused")) >= 2


def test_plain_http_is_refused(machine: Any) -> None:
    """Unencrypted SOAP gets no answer, basic over HTTP is not even offered."""
    with pytest.raises(WinRMTransportError) as refused:
        machine.protocol(message_encryption="never").open_shell()
    assert refused.value.code == 500
    with pytest.raises(InvalidCredentialsError):
        machine.protocol("basic", username="x", password="y").open_shell()


def test_identify_does_not_tell_a_stranger_the_version(machine: Any) -> None:
    """Whoever has not logged on learns that this is WinRM, and no more."""
    body = (
        '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Header/><s:Body>'
        '<i:Identify xmlns:i="http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"/></s:Body></s:Envelope>'
    )
    url = f"http://{machine.host.address}:5985/wsman"
    request = urllib.request.Request(url, body.encode(), {"WSMANIDENTIFY": "unauthenticated"})
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        text = answer.read().decode()
    assert "Microsoft Corporation" in text
    assert "OS: 0.0.0" in text


def test_input_comes_in_chunks_and_output_in_envelopes(session: Any) -> None:
    """Bytes arrive unchanged, though cut in the middle of characters on both ways."""
    data = '€é&"'.encode() * 60_000
    command = session.start("more")
    for at in range(0, len(data), 100_001):
        session.protocol.send_command_input(session.shell, command, data[at : at + 100_001])
    session.protocol.send_command_input(session.shell, command, b"", end=True)
    received, rounds, done = b"", 0, False
    while not done:
        out, _, code, done = session.receive(command)
        received, rounds = received + out, rounds + 1
    assert received == data
    assert code == 0
    assert rounds >= 4  # no answer is larger than the client's MaxEnvelopeSize


def test_done_is_sticky(session: Any) -> None:
    """Whoever asks again after the end gets the end again, without the output."""
    command = session.start("hostname")
    assert session.receive(command) == (b"sql01\r\n", b"", 0, True)
    assert session.receive(command) == (b"", b"", 0, True)
    session.protocol.cleanup_command(session.shell, command)
    with pytest.raises(WSManFaultError) as gone:
        session.receive(command)
    assert gone.value.wsman_fault_code == 2150858843


def test_a_silent_command_ends_in_an_operation_timeout(session: Any) -> None:
    """Twenty seconds (of lab time) without output are a fault that only says: ask again."""
    command = session.start("more")
    with pytest.raises(WinRMOperationTimeoutError):
        session.receive(command)
    session.protocol.send_command_input(session.shell, command, b"x", end=True)
    assert session.receive(command)[0] == b"x"


def test_input_after_the_end_is_a_closed_pipe(session: Any) -> None:
    """A command that has ended reads nothing more."""
    command = session.start("hostname")
    session.receive(command)
    with pytest.raises(WSManFaultError) as closed:
        session.protocol.send_command_input(session.shell, command, b"x", end=True)
    assert closed.value.wsman_fault_code == 2147942632


def test_a_dropped_answer_is_delivered_again(machine: Any) -> None:
    """The connection dies under a Receive; the output comes to whoever asks next."""
    session = machine.session()
    command = session.start("hostname")
    machine.fault("winrm.drop", action="Receive")
    with pytest.raises(requests.exceptions.ConnectionError):
        session.receive(command)
    again = machine.protocol()
    assert again.get_command_output(session.shell, command) == (b"sql01\r\n", b"", 0)


def test_nobody_is_told_that_all_is_said_while_an_answer_is_under_way() -> None:
    """Of two Receives one has the output and a connection that is dead: the other waits for what becomes of it."""
    process = Process("more", "user", {}, lambda mine: mine.write(b"said") or 0)
    process.start()
    said = [("stdout", b"said")]
    taken = process.take(1000, 5)
    assert taken is not None
    assert taken[0] == said
    assert process.take(1000, 0.01) is None
    process.settle(said, delivered=False)
    again = process.take(1000, 5)
    assert again is not None
    assert again[0] == said
    process.settle(said, delivered=True)
    assert process.take(1000, 5) == ([], 0)


def test_shells_that_nobody_closes_use_up_the_quota(machine: Any) -> None:
    """Thirty shells a user; the next one is refused by code, until one is closed."""
    protocol = machine.protocol()
    shells = [protocol.open_shell() for _ in range(30)]
    with pytest.raises(WSManFaultError) as full:
        protocol.open_shell()
    assert full.value.wsman_fault_code == 2150859173
    again = machine.protocol()
    again.close_shell(shells[0], close_session=False)
    again.open_shell()
    assert machine.winrm.shells.open_ones() == {machine.user: 30}


def test_processes_and_users_have_quotas_too(machine_with: Callable[..., Any]) -> None:
    """Too many commands: 2150859174; too many users: 2150859179."""
    machine = machine_with(Quotas(processes_per_shell=2, shell_users=1))
    session = machine.session()
    session.start("more")
    session.start("more")
    with pytest.raises(WSManFaultError) as processes:
        session.start("more")
    assert processes.value.wsman_fault_code == 2150859174
    with pytest.raises(WSManFaultError) as users:
        machine.protocol(username="other").open_shell()
    assert users.value.wsman_fault_code == 2150859179


def test_an_idle_shell_is_ended(machine_with: Callable[..., Any], wait_until: Callable[..., None]) -> None:
    """After its idle time a shell is not found any more."""
    machine = machine_with(Quotas(idle_timeout=5.0))
    session = machine.session()
    wait_until(lambda: not machine.winrm.shells.open_ones(), what="the shell's end")
    with pytest.raises(WSManFaultError) as gone:
        session.run("hostname")
    assert gone.value.wsman_fault_code == 2150858843


def test_one_users_shell_is_not_anothers(machine: Any) -> None:
    """A shell's id is worth nothing to another account."""
    shell = machine.protocol().open_shell()
    with pytest.raises(WSManFaultError) as foreign:
        machine.protocol(username="other").run_command(shell, "hostname")
    assert foreign.value.wsman_fault_code == 2150858843


def test_a_request_beyond_the_envelope_is_refused(machine_with: Callable[..., Any]) -> None:
    """Older hosts take 150 KiB: chunks that suit newer ones come back as HTTP 413, as ansible.windows#620 saw."""
    machine = machine_with(Quotas(envelope=150 * 1024))
    session = machine.session()
    command = session.start("more")
    session.protocol.send_command_input(session.shell, command, b"x" * 100 * 1024)
    with pytest.raises(WinRMTransportError) as large:
        session.protocol.send_command_input(session.shell, command, b"x" * 380 * 1024)
    assert large.value.code == 413


def test_command_lines_end_at_8191_characters(session: Any) -> None:
    """Longer ones exit with 1 and the words of cmd.exe; unknown programs too."""
    assert session.run("echo", "x" * 8180) == (b"x" * 8180 + b"\r\n", b"", 0)
    assert session.run("echo", "x" * 8190) == (b"", b"The command line is too long.\r\n", 1)
    unknown = b"'nosuch' is not recognized as an internal or external command,\r\noperable program or batch file.\r\n"
    assert session.run("nosuch", "/x") == (b"", unknown, 1)


def test_without_cmd_a_bare_name_is_not_found(session: Any) -> None:
    """SKIP_CMD_SHELL starts programs by path only."""
    with pytest.raises(WSManFaultError) as absent:
        session.start("hostname", skip_cmd_shell=True)
    assert absent.value.wsman_fault_code == 2147942402


@pytest.mark.parametrize(("wmi", "code"), [(False, 2150859174), (True, 2150859173)])
def test_declared_faults_come_as_wsman_or_wmi_errors(machine: Any, wmi: bool, code: int) -> None:
    """A test can ask for any fault on any action, in either of its two forms."""
    machine.fault("winrm.fault", action="Create", code=code, wmi=wmi)
    with pytest.raises(WSManFaultError) as fault:
        machine.protocol().open_shell()
    assert (fault.value.wsman_fault_code, fault.value.wmierror_code) == ((None, code) if wmi else (code, None))
    machine.protocol().open_shell()


def test_a_declared_refusal_refuses_right_credentials(machine: Any) -> None:
    """As a locked account does; the next logon is let in again."""
    machine.fault("winrm.refuse_logon")
    with pytest.raises(InvalidCredentialsError):
        machine.protocol().open_shell()
    machine.protocol().open_shell()


def test_a_stalled_host_keeps_a_client_waiting(machine: Any) -> None:
    """Silence, then the answer: what a read timeout is for."""
    machine.fault("winrm.stall", seconds=1000, action="Create")
    with pytest.raises(requests.exceptions.ReadTimeout):
        machine.protocol(read_timeout_sec=2, operation_timeout_sec=1).open_shell()


# Scripts -------------------------------------------------------------------------------------------------------------


POWERSHELL = Path(__file__).parents[2] / "powershell"
ARGUMENTS = ("-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-EncodedCommand")


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode("utf-16-le")).decode()


def _bootstrap() -> str:
    lines = (POWERSHELL / "Invoke-Bootstrap.ps1").read_text(encoding="utf-8").splitlines()
    return _encoded("\n".join(line.strip() for line in lines if not line.lstrip().startswith("#")))


def _document(name: str, **changes: object) -> bytes:
    library = "".join(path.read_text(encoding="utf-8") for path in sorted((POWERSHELL / "lib").glob("*.ps1")))
    script = (POWERSHELL / f"{name}.ps1").read_text(encoding="utf-8")
    return json.dumps({"name": name, "library": library, "script": script, "parameters": {}, **changes}).encode()


def test_a_shipped_script_acts_and_says_so(machine: Any) -> None:
    """One JSON document in, one out, the script's name in the audit trail."""
    out, err, code = machine.session().run("powershell.exe", *ARGUMENTS, _bootstrap(), stdin=_document("Get-PatchJob"))
    assert (err, code) == (b"", 0)
    assert json.loads(out)["ok"] is True
    assert [event["script"] for event in machine.events("script.run")] == ["Get-PatchJob"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"script": "Remove-Item C:\\ -Recurse"}, "UnauthorizedAccess"),
        ({"library": "function Get-Lease {}"}, "UnauthorizedAccess"),
        ({"parameters": {"nosuch": 1}}, "NamedParameterNotFound"),
    ],
)
def test_anything_but_a_shipped_script_is_refused(machine: Any, changes: dict[str, object], error: str) -> None:
    """A changed text, a changed library, a parameter that the script does not have: errors, and nothing done."""
    document = _document("Get-PatchJob", **changes)
    out, _, code = machine.session().run("powershell", *ARGUMENTS, _bootstrap(), stdin=document)
    answer = json.loads(out)
    assert (code, answer["ok"], answer["error"]["id"]) == (1, False, error)
    assert not machine.events("script.run")


def test_a_missing_mandatory_parameter_is_named(machine: Any) -> None:
    """As PowerShell's binder says it."""
    document = _document("Get-RebootState")
    out, _, _ = machine.session().run("powershell", *ARGUMENTS, _bootstrap(), stdin=document)
    assert json.loads(out)["error"]["message"].endswith("missing mandatory parameters: intent.")


def test_a_shell_without_memory_speaks_of_the_paging_file(machine: Any) -> None:
    """Nothing of the script has run."""
    machine.fault("winrm.out_of_memory")
    document = _document("Get-PatchJob", parameters={"id": "x"})
    out, _, code = machine.session().run("powershell", *ARGUMENTS, _bootstrap(), stdin=document)
    error = json.loads(out)["error"]
    assert (code, error["hresult"] & 0xFFFFFFFF) == (1, 0x800705AF)
    assert error["message"].startswith("The paging file is too small")
    assert not machine.events("script.run")


def test_foreign_powershell_is_refused_in_clixml(machine: Any) -> None:
    """Only the bootstrap runs; the refusal comes as powershell.exe writes errors, and the audit trail keeps the text."""
    out, err, code = machine.session().run("powershell", *ARGUMENTS, _encoded("Get-Process"))
    assert (out, code) == (b"", 1)
    assert err.startswith(b"#< CLIXML\r\n<Objs ")
    assert machine.events("powershell.refused")[0]["text"] == "Get-Process"


def test_shipped_parameters_are_read_from_the_param_block() -> None:
    """Types, attributes, defaults and comments do not confuse it."""
    script = Shipped().by_name("Enter-Lease")
    assert script is not None
    assert {p.name: p.mandatory for p in script.parameters}["fence"] is False
    assert {p.name: p.mandatory for p in script.parameters}["holder"] is True


def test_threads_do_not_disturb_each_other(machine: Any) -> None:
    """Six sessions at once, each in its own thread, each sees its own output."""
    answers: list[bytes] = []

    def work(number: int) -> None:
        answers.append(machine.session().run("echo", str(number))[0])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [f"{number}\r\n".encode() for number in range(6)]
