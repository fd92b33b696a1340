"""Logging in with a client certificate: which host takes it, why another does not, and where the key is meanwhile."""

from __future__ import annotations

import contextlib
import ssl
import tempfile
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from wire import SCRIPT, refusal

from blocks.winrm.errors import (
    AuthenticationFailed,
    CertificateRejected,
)
from lab.winrm.certificates import Authority


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_is_a_login(make_machine: Any, newest: ssl.TLSVersion) -> None:
    """Also on hosts with TLS 1.3, where pywinrm's own way ends in a dropped connection."""
    machine = make_machine(newest_tls=newest)
    with machine.client(**machine.certificate()) as host:
        for _ in range(2):
            assert host.run(SCRIPT, text="€") == {"echo": {"text": "€"}}
    logon = machine.events("winrm.logon")[0]
    assert (logon["user"], logon["transport"], logon["tls"]) == ("svc-patching", "certificate", True)


def test_the_key_lies_in_no_file(machine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither on a disk nor, while a script runs, in memory that a path leads to; and it is in nothing that is said."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))  # what is written there would fail
    seen: list[str] = []

    def look(_document: dict[str, Any], _process: Any) -> dict[str, Any]:
        for entry in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # the one by which the folder itself was read
                seen.append(str(entry.readlink()))
        return {}

    login = machine.certificate()
    machine.script = look
    with machine.client(**login) as host:
        host.run(SCRIPT)
        assert login["certificate_key"] not in f"{host!r}{host._pool._target!r}{machine.credentials(**login)!r}"
    assert seen
    assert not [link for link in seen if "memfd" in link]


def test_a_key_with_a_passphrase(machine: Any) -> None:
    """The passphrase is the password; a wrong or absent one is told, and nobody is asked at a terminal."""
    login = machine.certificate()
    key = serialization.load_pem_private_key(login["certificate_key"].encode(), None)
    sealed = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"open sesame"),
    ).decode()
    with machine.client(**login | {"certificate_key": sealed, "password": "open sesame"}) as host:
        assert host.run(SCRIPT) == {"echo": {}}
    for wrong in ("open barley", None):
        error = refusal(machine.client(**login | {"certificate_key": sealed, "password": wrong}))
        assert "passphrase" in error.cause


def test_a_key_of_another_certificate(machine: Any) -> None:
    """What does not belong together is told before anything is sent."""
    other = machine.certificate("other@lab")["certificate_key"]
    error = refusal(machine.client(**machine.certificate() | {"certificate_key": other}))
    assert error.cause == "our certificate and key cannot be used: the key is another certificate's"
    assert machine.events("winrm.logon_refused") == []


def test_an_expired_certificate_is_told_with_its_date(machine: Any) -> None:
    """Nothing is sent with it: the host could only say no."""
    error = refusal(machine.client(**machine.certificate(days=-2)))
    assert isinstance(error, AuthenticationFailed)
    assert "has expired on 20" in error.cause
    assert machine.events("winrm.logon_refused") == []


def test_a_certificate_without_mapping(machine: Any) -> None:
    """The host says 401 and nothing else: the error says how a mapping is made. It is tried once."""
    error = refusal(machine.client(**machine.certificate(mapped=False)))
    assert isinstance(error, AuthenticationFailed)
    assert "maps our certificate to no user" in error.cause
    assert "WSMan:\\localhost\\ClientCertificate" in error.fix
    assert len(machine.events("winrm.logon_refused")) == 1


def test_a_revoked_certificate(machine: Any) -> None:
    """403 from the host's HTTP layer is about the certificate."""
    machine.fault("winrm.certificate_revoked")
    error = refusal(machine.client(**machine.certificate()))
    assert isinstance(error, AuthenticationFailed)
    assert "revoked" in error.cause


def test_a_certificate_of_an_authority_that_the_host_does_not_know(machine: Any, tmp_path: Path) -> None:
    """The TLS handshake ends with an alert, which is told as what it is: not a broken network."""
    certificate, key = Authority(tmp_path / "elsewhere").issue_client("svc@lab")
    error = refusal(machine.client(**machine.certificate() | {"certificate": certificate, "certificate_key": key}))
    assert isinstance(error, AuthenticationFailed)
    assert "authority is not trusted" in error.cause


def test_a_certificate_does_not_trust_whoever_answers(machine: Any) -> None:
    """The TLS context is our own, so that it checks the host must be seen: authority, and name."""
    error = refusal(machine.client(**machine.certificate(), ca_trust_path=None))
    assert isinstance(error, CertificateRejected)
    machine.winrm.shutdown()
    machine.winrm._tls = machine.ca.tls("other", "127.0.0.1")
    machine.winrm.boot()
    error = refusal(machine.client(**machine.certificate()))
    assert isinstance(error, CertificateRejected)
    assert "IP address mismatch" in error.cause
