"""The lab's logons judged by clients that nobody here wrote: CredSSP, client certificates and Kerberos, from pypsrp and Ansible.

The lab is in a process of its own. Kerberos has a real KDC; pypsrp speaks it with python-gssapi, Ansible with pykerberos
and kinit, and neither with anything of ours.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import foreign_call
import pypsrp.shell
import pypsrp.wsman
import pytest
import requests
from ansible_raw import raw
from kdc import REALM, Kdc

PROJECT = Path(__file__).resolve().parents[2]
USER = "svc-patching"
NAME = "web01.acme.test"
"""What the realm calls every host of the lab: one name, for one keytab."""


@dataclass(frozen=True)
class Estate:
    """A running lab, and the realm that its hosts are members of, where there is one."""

    state: dict[str, Any]
    password: str
    kdc: Kdc | None
    ticket_password: str

    def address(self, host: str = "web01") -> str:
        return str(self.state["hosts"][host]["address"])

    @property
    def ca(self) -> Path:
        return Path(self.state["estate"]).parent / "ca"

    def logons(self) -> list[dict[str, Any]]:
        events = map(json.loads, Path(self.state["audit"]).read_text().splitlines())
        return [event for event in events if event["event"] == "winrm.logon"]


def _start(folder: Path, *more: str) -> tuple[subprocess.Popen[str], dict[str, Any], str]:
    command = [sys.executable, "-m", "lab", "--dir", str(folder), "--speed", "100", *more]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    state = json.loads(process.stdout.readline())
    known = json.loads(Path(state["credentials"]).read_text())["winrm-acme"]
    return process, state, known["password"]


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """A lab of hosts that belong to no domain."""
    process, state, password = _start(tmp_path_factory.mktemp("logons") / "lab")
    yield Estate(state, password, None, "")
    process.terminate()
    process.wait(20)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory, kerberos: None) -> Iterator[Estate]:
    """A lab whose hosts are members of a realm."""
    del kerberos
    folder = tmp_path_factory.mktemp("members")
    kdc = Kdc(folder / "kdc")
    kdc.principal(USER, "t-1cket")
    kdc.principal(f"HTTP/{NAME}")
    keytab = kdc.keytab("hosts.keytab", f"HTTP/{NAME}")
    kdc.start()
    process, state, password = _start(folder / "lab", "--keytab", str(keytab), "--principal", f"{USER}@{REALM}")
    yield Estate(state, password, kdc, "t-1cket")
    process.terminate()
    process.wait(20)
    kdc.stop()


def _run(estate: Estate, **settings: Any) -> str:
    """The computer's name out of a shipped script's answer, by pypsrp's WinRS client; its input takes several pieces."""
    secure = {"port": 5986, "cert_validation": str(estate.ca / "ca.pem")} if settings.get("ssl") else {}
    with (
        pypsrp.wsman.WSMan(estate.address(), no_proxy=True, **secure, **settings) as wsman,
        pypsrp.shell.WinRS(wsman, codepage=65001, no_profile=True) as shell,
    ):
        powershell = pypsrp.shell.Process(shell, "powershell.exe", foreign_call.arguments())
        powershell.begin_invoke()
        powershell.send(foreign_call.stdin("Get-HostFacts", services=["W3SVC"]), end=True)
        powershell.end_invoke()
        assert (powershell.rc, powershell.stderr) == (0, b"")
        return str(json.loads(powershell.stdout)["value"]["computer"]).lower()


@pytest.mark.parametrize("ssl", [False, True])
def test_pypsrp_with_credssp(estate: Estate, ssl: bool) -> None:
    """Sealed within CredSSP's own TLS over http, and within https."""
    known = {"username": USER, "password": estate.password, "auth": "credssp", "ssl": ssl}
    assert _run(estate, **known) == "web01"
    assert (estate.logons()[-1]["transport"], estate.logons()[-1]["tls"]) == ("credssp", ssl)
    with pytest.raises(Exception, match="0x8009030c"):
        _run(estate, **known | {"password": "wrong"})


def test_pypsrp_with_a_certificate(estate: Estate) -> None:
    """The certificate that the lab maps to its user is a login; a host's own, made for servers, is none."""
    files = {"certificate_pem": str(estate.ca / "client.pem"), "certificate_key_pem": str(estate.ca / "client.key")}
    assert _run(estate, auth="certificate", ssl=True, **files) == "web01"
    assert (estate.logons()[-1]["transport"], estate.logons()[-1]["user"]) == ("certificate", USER)
    with pytest.raises(requests.exceptions.SSLError, match="UNSUPPORTED_CERTIFICATE"):
        _run(
            estate,
            auth="certificate",
            ssl=True,
            certificate_pem=str(estate.ca / "web01.pem"),
            certificate_key_pem=str(estate.ca / "web01.key"),
        )


@pytest.mark.parametrize(("auth", "ssl"), [("kerberos", False), ("kerberos", True), ("negotiate", False)])
def test_pypsrp_with_kerberos(members: Estate, monkeypatch: pytest.MonkeyPatch, auth: str, ssl: bool) -> None:
    """Sealed with the ticket's key over http; bound to the TLS channel over https; and negotiated, as Windows does it."""
    assert members.kdc is not None
    monkeypatch.setenv("KRB5_CONFIG", str(members.kdc.config))
    known = {"username": f"{USER}@{REALM}", "password": members.ticket_password, "auth": auth, "ssl": ssl}
    name = {"negotiate_hostname_override": NAME, "negotiate_service": "HTTP"}
    assert _run(members, **known, **name) == "web01"
    assert (members.logons()[-1]["transport"], members.logons()[-1]["tls"]) == ("kerberos", ssl)


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["credssp", "certificate", "kerberos"])
def test_ansible(request: pytest.FixtureRequest, tmp_path: Path, transport: str) -> None:
    """``ansible -m raw`` with each of them: pywinrm as it comes, with requests-credssp, files, pykerberos and kinit."""
    lab: Estate = request.getfixturevalue("members" if transport == "kerberos" else "estate")
    variables: dict[str, Any] = {
        "ansible_winrm_transport": transport,
        "ansible_winrm_ca_trust_path": str(lab.ca / "ca.pem"),
    }
    environ = {}
    if transport == "certificate":
        files = {
            "ansible_winrm_cert_pem": str(lab.ca / "client.pem"),
            "ansible_winrm_cert_key_pem": str(lab.ca / "client.key"),
        }
        variables |= {"ansible_winrm_scheme": "https", "ansible_port": 5986, **files}
    else:
        variables |= {
            "ansible_winrm_scheme": "http",
            "ansible_port": 5985,
            "ansible_user": USER,
            "ansible_password": lab.password,
        }
    if lab.kdc is not None:
        variables |= {"ansible_user": f"{USER}@{REALM}", "ansible_password": lab.ticket_password}
        variables |= {"ansible_winrm_kerberos_hostname_override": NAME, "ansible_winrm_kinit_env_vars": ["KRB5_CONFIG"]}
        environ = {"KRB5_CONFIG": str(lab.kdc.config)}
    ended = raw(tmp_path, {"web01": lab.address()}, variables, "hostname", **environ)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "web01 | CHANGED | rc=0 >>\nweb01" in ended.stdout
    assert lab.logons()[-1]["transport"] == transport
