"""Logging in with a client certificate, whose key never lies in a file of a disk."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime
from typing import Any

import requests
from cryptography import x509
from requests.adapters import HTTPAdapter

from blocks.winrm.errors import AuthenticationFailed
from blocks.winrm_credentials import WinRMCredentials

MUTUAL = "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual"
"""What the Authorization header says when the certificate is the login (DSP0226, C.3.2)."""


class _Adapter(HTTPAdapter):
    """Connects with a TLS context of ours; requests itself only takes file names."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **settings: Any) -> None:
        super().init_poolmanager(*arguments, **settings, ssl_context=self._context)


def present(http: requests.Session, host: str, credentials: WinRMCredentials) -> None:
    """Let ``http`` log in with the certificate of ``credentials``; raises AuthenticationFailed where it is of no use."""
    certificate, key = credentials.certificate or "", credentials.certificate_key
    _must_be_valid(host, certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Over TLS 1.3 Windows Server 2022 asks for the certificate in a way that its own clients do not answer either, and
    # drops the connection; with TLS 1.2 it takes it. The server's certificate is checked as for every other transport.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    passphrase = credentials.password.get_secret_value() if credentials.password is not None else ""
    pem = f"{certificate.strip()}\n{key.get_secret_value().strip() if key is not None else ''}\n"
    problem = _load(context, pem, passphrase)
    if problem:
        fix = "Save certificate, certificate_key and, where the key has one, its passphrase as password, again."
        raise AuthenticationFailed(host, f"our certificate and key cannot be used: {problem}", fix)
    http.mount("https://", _Adapter(context))
    http.headers["Authorization"] = MUTUAL


def _must_be_valid(host: str, certificate: str) -> None:
    problem = ""
    try:
        ours = x509.load_pem_x509_certificate(certificate.encode())
    except ValueError:
        problem = "it cannot be read"
    else:
        now = datetime.now(UTC)
        if ours.not_valid_after_utc < now:
            problem = f"it has expired on {ours.not_valid_after_utc:%Y-%m-%d}"
        elif ours.not_valid_before_utc > now:
            problem = f"it is valid from {ours.not_valid_before_utc:%Y-%m-%d} only"
    if problem:
        fix = "Issue a new one, save it in the credentials, and map it on the hosts."
        raise AuthenticationFailed(host, f"our certificate is of no use: {problem}", fix)


def _load(context: ssl.SSLContext, pem: str, passphrase: str) -> str:
    """Give ``context`` the certificate and key; what is wrong with them, or nothing.

    OpenSSL reads them from a path only: of a file without a name, in memory, which is gone when this returns.
    """
    file = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        with os.fdopen(file, "w", encoding="ascii", errors="replace", closefd=False) as out:
            out.write(pem)
        try:
            # A passphrase is always given: without one OpenSSL would ask for it at the terminal.
            context.load_cert_chain(f"/proc/self/fd/{file}", password=passphrase)
        except ssl.SSLError as error:
            return _REASONS.get(error.reason or "", "they cannot be read, or the passphrase is wrong")
        except (OSError, ValueError):
            return "they cannot be read"
        return ""
    finally:
        os.close(file)


_REASONS = {"KEY_VALUES_MISMATCH": "the key is another certificate's"}
