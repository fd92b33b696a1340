"""Who may log on to a host, and how: passwords, NTLM, Kerberos and CredSSP handshakes, mapped certificates."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import spnego
import spnego.channel_bindings
import spnego.tls
from spnego._ntlm_raw.crypto import ntowfv1

from lab.winrm.certificates import thumbprint, upn_of, valid_now
from lab.winrm.krb_errors import KRB_AP_ERR_MODIFIED, is_ticket, krb_error

_STORE = threading.Lock()
"""pyspnego finds accounts and keytabs by the environment of the process; each host has its own, so hosts take turns."""


class Refused(Exception):  # noqa: N818 - the answer of a logon, not an error of the lab
    """The logon was refused; ``token`` is what the host says about it in the client's own protocol, if anything."""

    def __init__(self, token: bytes | None = None) -> None:
        super().__init__()
        self.token = token


@dataclass(frozen=True)
class CertificateMapping:
    r"""An entry of WSMan:\localhost\ClientCertificate: certificates of that UPN and that authority are that user."""

    subject: str
    issuer: str
    user: str


@dataclass(frozen=True)
class Domain:
    """The host as a member of a Kerberos realm: its keytab, and which principals are users of it."""

    keytab: Path
    users: Mapping[str, str]
    """Principal (``svc@ACME.TEST``) to account."""


class Accounts:
    """The accounts of one host, the local ones kept as pyspnego's acceptor wants them.

    The file is in the smbpasswd form, which holds NT hashes: passwords may then contain anything, the colon that the
    plain form splits at included, and no password lies on the disk in readable form. An account is looked up by the
    exact domain that the client wrote, so every form that Windows takes is listed.
    """

    def __init__(
        self,
        machine: str,
        file: Path,
        users: Mapping[str, str],
        *,
        certificates: Iterable[CertificateMapping] = (),
        domain: Domain | None = None,
    ) -> None:
        self.machine = machine
        self.domain = domain
        self.certificates = list(certificates)
        self._file = file
        self._users = {name.casefold(): password for name, password in users.items()}
        lines = []
        for name, password in users.items():
            digest = ntowfv1(password).hex().upper()
            domains = ("", f"{machine.upper()}\\", ".\\", "WORKGROUP\\")
            lines += [f"{domain}{name}:0:{'0' * 32}:{digest}:[U]:LCT-0\n" for domain in domains]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text("".join(lines), encoding="utf-8")

    def basic(self, user: str, password: str) -> str:
        """The account's name when the password is right; raises Refused."""
        name = user.rsplit("\\", 1)[-1]
        if self._users.get(name.casefold()) != password:
            raise Refused
        return name

    def certificate(self, der: bytes | None, chain: Iterable[bytes]) -> str:
        """The account that a client's certificate is mapped to; ``chain`` holds the authorities. Raises Refused."""
        if der is None or not valid_now(der):
            raise Refused
        issuers = {thumbprint(each) for each in chain}
        for mapping in self.certificates:
            if mapping.issuer in issuers and mapping.subject.casefold() == upn_of(der).casefold():
                return mapping.user
        raise Refused

    def handshake(self, bindings: bytes | None) -> Handshake:
        """A new handshake; ``bindings`` is the hash of the TLS certificate where there is one."""
        return Handshake(self, bindings)

    def credssp(self) -> CredSsp:
        """A new handshake by which the client hands over its password."""
        return CredSsp(self)

    @contextlib.contextmanager
    def store(self) -> Any:
        """Let pyspnego find this host's accounts and keytab for the length of the block."""
        keytab = str(self.domain.keytab) if self.domain is not None else os.devnull
        with _STORE:
            os.environ |= {"NTLM_USER_FILE": str(self._file), "KRB5_KTNAME": keytab}
            yield

    def account(self, principal: str) -> str:
        """The account's name, without its domain; raises Refused for a principal that is no user here."""
        if "@" in principal:
            users = self.domain.users if self.domain is not None else {}
            if principal not in users:
                raise Refused
            return users[principal]
        return principal.rsplit("\\", 1)[-1]


class Handshake:
    """NTLM, Kerberos or SPNEGO on one TCP connection, and the sealing of messages once it is complete."""

    sealed_as = "SPNEGO"
    """As the content type of sealed messages calls it."""

    def __init__(self, accounts: Accounts, bindings: bytes | None) -> None:
        self._accounts = accounts
        channel = None
        if bindings is not None:
            data = b"tls-server-end-point:" + bindings
            channel = spnego.channel_bindings.GssChannelBindings(application_data=data)
        self.complete = False
        self._bound = channel is not None
        with accounts.store():
            self._context = self._begin(channel)

    def _begin(self, channel: Any) -> Any:
        return spnego.server(
            protocol="negotiate",
            channel_bindings=channel,
            options=spnego.NegotiateOptions.use_negotiate,
        )

    @property
    def user(self) -> str:
        """The account's name, without its domain; raises Refused for a stranger."""
        return self._accounts.account(str(self._context.client_principal or ""))

    @property
    def transport(self) -> str:
        """What was negotiated: ``ntlm`` or ``kerberos``."""
        return str(self._context.negotiated_protocol)

    def step(self, token: bytes) -> bytes | None:
        """Answer the client's token; raises Refused."""
        try:
            with self._accounts.store():
                answer = self._context.step(token)
            self.complete = bool(self._context.complete)
        except Exception:  # noqa: BLE001 - whatever pyspnego stumbles over, Windows says 401
            raise Refused(self._complaint(token)) from None
        return bytes(answer) if answer else None

    def _complaint(self, token: bytes) -> bytes | None:
        """What Windows says of a ticket that it cannot read; pyspnego loses the answer that Kerberos has for it."""
        ticket = is_ticket(token) and self._accounts.domain is not None and not self._bound
        return krb_error(KRB_AP_ERR_MODIFIED) if ticket else None

    def unseal(self, header: bytes, data: bytes) -> bytes:
        """The clear text of a sealed message; raises Refused when it was sealed under another handshake."""
        try:
            return bytes(self._context.unwrap_winrm(header, data))
        except Exception:  # noqa: BLE001 - a wrong signature, a broken stream: all end the same way
            raise Refused from None

    def seal(self, data: bytes) -> tuple[bytes, bytes, int]:
        """Header, sealed data, and how many bytes of padding the data carries."""
        sealed = self._context.wrap_winrm(data)
        return bytes(sealed.header), bytes(sealed.data), int(sealed.padding_length)


class CredSsp(Handshake):
    """CredSSP: TLS within the headers, a handshake of the kind above within it, and at its end the client's password."""

    sealed_as = "CredSSP"

    def __init__(self, accounts: Accounts) -> None:
        super().__init__(accounts, None)

    def _begin(self, channel: Any) -> Any:
        return spnego.server(
            protocol="credssp",
            credssp_negotiate_context=super()._begin(channel),
            credssp_tls_context=_credssp_tls(),
        )

    @property
    def transport(self) -> str:
        return "credssp"

    @property
    def refused(self) -> bool:
        """Whether the host has just told the client, within the handshake, that it is refused."""
        return str(self._context.get_extra_info("auth_stage")) == "Authentication failure"


@cache
def _credssp_tls() -> Any:
    """The certificate that WinRM makes for CredSSP, signed by itself: nobody checks who signed it."""
    certificate, key, public = spnego.tls.generate_tls_certificate()
    made = spnego.tls.default_tls_context("accept")
    file = os.memfd_create("credssp")
    try:
        os.write(file, certificate + key)
        made.context.load_cert_chain(f"/proc/self/fd/{file}")
    finally:
        os.close(file)
    made.public_key = public
    return made
