"""Logging on to WinRM over one TCP connection: what its Authorization headers lead to."""

from __future__ import annotations

import base64
import binascii
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from lab.host import Host
from lab.winrm.accounts import Accounts, CredSsp, Handshake, Refused
from lab.winrm.krb_errors import KRB_AP_ERR_SKEW, is_ticket, krb_error
from lab.winrm.tls import Tls

MUTUAL = "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual"
"""What a client's Authorization header says whose certificate is the login."""


@dataclass(frozen=True)
class Verdict:
    """200: the request is the user's; else what to refuse it with, 0 for a connection that ends without a word.

    ``tokens`` go with the answer either way, as WWW-Authenticate headers.
    """

    status: int
    tokens: list[str] = field(default_factory=list)


class Logon:
    """The logon of one connection: NTLM, Kerberos and CredSSP prove a connection, not a request."""

    def __init__(self, host: Host, accounts: Accounts, tls: Tls | None, connection: socket.socket) -> None:
        self._host, self._accounts, self._tls, self._connection = host, accounts, tls, connection
        self.handshake: Handshake | None = None
        self.user: str | None = None

    @property
    def half_way(self) -> bool:
        """Whether the client is to go on with what it has begun, over this connection."""
        return self.handshake is not None and not self.handshake.complete

    def judge(self, authorization: str) -> Verdict:
        """What becomes of a request with this Authorization header."""
        scheme, _, value = authorization.partition(" ")
        kind = scheme.lower()
        try:
            if (way := self._way(kind)) is not None:
                return way(scheme, value)
        except Refused as refused:
            self.handshake, self.user = None, None
            self._refused("certificate" if kind == MUTUAL else kind)
            if kind == MUTUAL:
                return Verdict(401)  # there is nothing else to offer on this way, and Windows offers nothing
            return self._deny(_header(scheme, refused.token) if refused.token else None)
        if self.user is None or self.handshake is None:
            return self._deny()
        return Verdict(200)

    def _way(self, kind: str) -> Callable[[str, str], Verdict] | None:
        """How a logon of that scheme goes on; None for one that this listener does not take."""
        if kind in ("negotiate", "kerberos", "ntlm") or (kind == "credssp" and self._credssp_enabled()):
            return self._negotiate
        return {"basic": self._basic, MUTUAL: self._certificate}.get(kind) if self._tls is not None else None

    def _certificate(self, _scheme: str, _value: str) -> Verdict:
        connection = cast("ssl.SSLSocket", self._connection)
        if connection.version() == "TLSv1.3":
            # Windows Server 2022 asks for it within the connection, and then drops that: no client gets in this way.
            return Verdict(0)
        if self._host.faults.strike("winrm.certificate_revoked", self._host.name) is not None:
            self._refused("certificate")
            return Verdict(403)
        authorities = self._tls.authorities if self._tls is not None else ()
        return self._log_on(self._accounts.certificate(connection.getpeercert(True), authorities), "certificate")

    def _basic(self, _scheme: str, value: str) -> Verdict:
        raw = _decoded(value)
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            text = raw.decode("latin-1")
        user, _, password = text.partition(":")
        return self._log_on(self._accounts.basic(user, password), "basic")

    def _negotiate(self, scheme: str, value: str) -> Verdict:
        credssp = scheme.lower() == "credssp"
        if self.handshake is None or self.handshake.complete or isinstance(self.handshake, CredSsp) is not credssp:
            # A client may start over on a live connection: what the old handshake sealed is gone then.
            self.user = None
            bindings = self._tls.bindings if self._tls is not None else None
            self.handshake = self._accounts.credssp() if credssp else self._accounts.handshake(bindings)
        token = _decoded(value)
        if is_ticket(token) and self._host.faults.strike("winrm.clock_skew", self._host.name) is not None:
            raise Refused(krb_error(KRB_AP_ERR_SKEW))
        answer = self.handshake.step(token)
        if not self.handshake.complete:
            if isinstance(self.handshake, CredSsp) and self.handshake.refused:
                self._refused("credssp")
            return self._deny(_header(scheme, answer or b""))
        return self._log_on(self.handshake.user, self.handshake.transport, [_header(scheme, answer)] if answer else [])

    def _log_on(self, user: str, transport: str, tokens: list[str] | None = None) -> Verdict:
        if self._host.faults.strike("winrm.refuse_logon", self._host.name) is not None:
            raise Refused
        if self.user is None:
            tls = self._tls is not None
            self._host.event("winrm.logon", effect=False, user=user, transport=transport, tls=tls)
        self.user = user
        return Verdict(200, tokens or [])

    def _refused(self, transport: str) -> None:
        self._host.event("winrm.logon_refused", effect=False, transport=transport)

    def _deny(self, challenge: str | None = None) -> Verdict:
        """Go on with ``challenge``, or offer what this listener takes."""
        if challenge is not None:
            return Verdict(401, [challenge])
        offers = {
            "Negotiate": True,
            "Kerberos": self._accounts.domain is not None,
            'Basic realm="WSMAN"': self._tls is not None,
            "CredSSP": self._credssp_enabled(),
        }
        return Verdict(401, [offer for offer, made in offers.items() if made])

    def _credssp_enabled(self) -> bool:
        return self._host.faults.strike("winrm.credssp_disabled", self._host.name) is None


def _header(scheme: str, token: bytes) -> str:
    return f"{scheme} {base64.b64encode(token).decode()}"


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        raise Refused from None
