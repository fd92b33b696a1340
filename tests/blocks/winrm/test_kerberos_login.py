"""Logging in with Kerberos against a real KDC: shared tickets, what is refused and why, and a run longer than its ticket."""

from __future__ import annotations

import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from wire import SCRIPT, SECRET, readable, refusal

from blocks.winrm.errors import (
    AuthenticationFailed,
    HostUnreachable,
    ProtocolBroken,
)
from lab.winrm import Domain


def test_kerberos_with_a_keytab(member: Any, realm: Any) -> None:
    """A keytab is as good as a password, which then is nowhere; capitals of the domain do not matter."""
    keytab = realm.kdc.keytab("svc.keytab", "svc-patching")
    login = realm.login(password=None, keytab=str(keytab), username="svc-patching@acme.test")
    with member.client(**login) as host:
        assert host.run(SCRIPT, secret=SECRET) == {"echo": {"secret": SECRET}}
    assert member.events("winrm.logon")[0]["user"] == "svc-patching"
    assert readable(member) == []


def test_tickets_are_shared(member: Any, realm: Any, make_machine: Any) -> None:
    """Hosts and sessions of one user share one login: the KDC is asked once for the user, once for each host name."""
    other = make_machine(domain=realm.domain)

    def slowly(document: dict[str, Any], process: Any) -> dict[str, Any]:
        process.killed.wait(0.05)
        return {"number": document["parameters"]["number"]}

    member.script = other.script = slowly
    with member.client(**realm.login()) as one, other.client(**realm.login()) as two, ThreadPoolExecutor(6) as pool:
        calls = [pool.submit((one, two)[number % 2].run, SCRIPT, number=number) for number in range(12)]
        assert [call.result()["number"] for call in calls] == list(range(12))
    assert realm.kdc.asked("AS_REQ", "ISSUE") == 1
    assert "KRB5CCNAME" not in os.environ
    assert len(member.events("winrm.logon")) <= 3


def test_a_wrong_password_reaches_the_kdc_once(member: Any, realm: Any, make_machine: Any) -> None:
    """Not once for each host, session and call: a domain locks an account after a few."""
    other = make_machine(domain=realm.domain)
    wrong = realm.login(password=f"wrong-{secrets.token_hex(4)}")
    hosts = [member.client(**wrong), other.client(**wrong), other.client(**wrong)]
    with ThreadPoolExecutor(3) as pool:
        errors = [*pool.map(refusal, hosts), refusal(hosts[0])]
    assert {type(error) for error in errors} == {AuthenticationFailed}
    assert f"refuses the password or keytab of {realm.user}" in errors[0].cause
    assert wrong["password"] not in "".join(str(error) + repr(vars(error)) for error in errors)
    assert realm.kdc.asked("AS_REQ", "PREAUTH_FAILED") == 1
    assert realm.kdc.asked("AS_REQ") <= 2  # the first is how the KDC says that it wants the password proven
    assert readable(member) == []


@pytest.mark.parametrize(
    ("admin", "changes", "cause", "fix"),
    [
        ("", {"username": "nobody@ACME.TEST"}, "knows no user nobody@ACME.TEST", "user name"),
        ("modprinc -pwexpire yesterday svc-patching", {}, "password of svc-patching@ACME.TEST has expired", "new one"),
        ("modprinc -allow_tix svc-patching", {}, "disabled, locked or outside its hours", "unlock"),
        ("modprinc -expire yesterday svc-patching", {}, "the account svc-patching@ACME.TEST has expired", "Extend"),
        ("", {"kerberos_name": "billing.acme.test"}, "knows no service HTTP/billing.acme.test", "setspn -L"),
        ("", {"kerberos_service": "WSMAN"}, "knows no service WSMAN/sql01.acme.test", "kerberos_name"),
        ("", {"keytab": "/nowhere/svc.keytab"}, "/nowhere/svc.keytab: No such file", "keytab"),
        ("", {"krb5_config": "/nowhere/krb5.conf"}, "No such file", "krb5_config"),
    ],
)  # fmt: skip
def test_what_kerberos_refuses_is_told(
    member: Any, realm: Any, admin: str, changes: dict[str, Any], cause: str, fix: str
) -> None:
    """Each of the ways in which a real KDC says no has its cause and its fix, and none of them is tried again."""
    if admin:
        realm.kdc.admin(admin)
    error = refusal(member.client(**realm.login(**changes)))
    assert isinstance(error, AuthenticationFailed)
    assert cause in error.cause
    assert fix in error.fix
    assert member.events("winrm.logon") == []


def test_a_kdc_that_is_not_there_may_come_back(member: Any, realm: Any) -> None:
    """It may be restarting: the host counts as out of reach, with the name of who does not answer, and waits go on."""
    realm.kdc.stop()
    error = refusal(member.client(**realm.login()))
    assert isinstance(error, HostUnreachable)
    assert "no domain controller of ACME.TEST answers" in error.cause
    assert error.retryable
    realm.kdc.start()
    with member.client(**realm.login()) as host:
        assert host.run(SCRIPT) == {"echo": {}}


def test_a_domain_that_nobody_knows(member: Any, realm: Any) -> None:
    """A misspelt domain has no KDC."""
    error = refusal(member.client(**realm.login(username="svc-patching@ACNE.TEST")))
    assert "no domain controller is known for ACNE.TEST" in error.cause


def test_a_host_whose_clock_is_off(member: Any, realm: Any) -> None:
    """The host sends the reason in Kerberos' own words: clocks, not credentials."""
    member.fault("winrm.clock_skew")
    error = refusal(member.client(**realm.login()))
    assert isinstance(error, AuthenticationFailed)
    assert error.cause == "the clocks differ too much for Kerberos"
    assert "w32tm" in error.fix
    assert error.codes == (37,)


def test_a_name_that_belongs_to_another_machine(make_machine: Any, realm: Any, make_realm: Any) -> None:
    """DNS leads elsewhere, or the SPN is registered twice: the host cannot read the ticket."""
    stranger = make_machine(domain=Domain(make_realm().domain.keytab, realm.domain.users))
    error = refusal(stranger.client(**realm.login()))
    assert isinstance(error, AuthenticationFailed)
    assert "belongs to another machine" in error.cause
    assert "setspn -Q" in error.fix
    assert stranger.events("winrm.logon") == []


def test_a_user_of_the_domain_who_is_nobody_on_the_host(make_machine: Any, realm: Any) -> None:
    """A good ticket is not yet a right to come in."""
    machine = make_machine(domain=Domain(realm.domain.keytab, {}))
    error = refusal(machine.client(**realm.login()))
    assert "refuses the ticket" in error.cause
    assert "Administrators" in error.fix


def test_a_host_of_no_domain(machine: Any, realm: Any) -> None:
    """A host that cannot read tickets at all says no; it is told, and tried once."""
    error = refusal(machine.client(**realm.login()))
    assert isinstance(error, AuthenticationFailed)
    assert len(machine.events("winrm.logon_refused")) == 1


def test_a_ticket_that_ends_is_replaced(make_machine: Any, make_realm: Any) -> None:
    """A run of hours outlives its tickets: before one ends, a new one is got, and sessions begin anew with it."""
    realm = make_realm(max_life=6)
    machine = make_machine(domain=realm.domain)
    with machine.client(**realm.login()) as host:
        deadline = time.monotonic() + 30
        while realm.kdc.asked("AS_REQ", "ISSUE") < 2 and time.monotonic() < deadline:
            assert host.run(SCRIPT, secret=SECRET) == {"echo": {"secret": SECRET}}
            time.sleep(0.1)
        host.run(SCRIPT)
    assert realm.kdc.asked("AS_REQ", "ISSUE") >= 2
    assert len(machine.events("winrm.logon")) >= 2
    assert machine.shells == 0
    assert readable(machine) == []


def test_a_delegated_ticket(member: Any, realm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """``delegate`` hands the host a ticket, or says that it could not."""
    error = refusal(member.client(**realm.login(delegate=True)))
    assert "could not be delegated" in error.cause
    monkeypatch.setenv("KRB5_CONFIG", str(realm.kdc.config))
    with member.client(**realm.login(delegate=True)) as host:
        assert host.run(SCRIPT) == {"echo": {}}


def test_a_changed_answer_is_not_believed(member: Any, realm: Any) -> None:
    """What somebody in between has changed cannot be opened."""
    from blocks.kerberos.context import Context
    from blocks.kerberos.errors import KerberosError
    from blocks.kerberos.tickets import Login as Known
    from blocks.kerberos.tickets import tickets

    login = Known(realm.user, realm.password, config=str(realm.kdc.config))
    context = Context(tickets(login).service("HTTP", realm.host))
    host = member.accounts.handshake(None)
    context.step(host.step(context.step()))
    header, data, _ = host.seal(b"the answer")
    assert context.unseal(data, header) == b"the answer"
    header, data, _ = host.seal(b"the answer")
    with pytest.raises(KerberosError):
        context.unseal(bytes([data[0] ^ 1]) + data[1:], header)
    context.close()


def test_kerberos_needs_a_login_before_it_seals(member: Any, realm: Any) -> None:
    """A login that never took place seals nothing."""
    from blocks.winrm.kerberos import KerberosAuth

    auth = KerberosAuth("sql01", realm.host, member.credentials(transport="kerberos", username=realm.user))
    with pytest.raises(ProtocolBroken, match="nothing was sent"):
        auth.wrap_winrm("", SECRET.encode())
