"""Logging in with Kerberos: ``Negotiate`` in the headers of HTTP, and the seal of its messages ([MS-WSMV] 2.2.9.1.1)."""

from __future__ import annotations

import base64
import binascii
import math
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

import requests
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from requests.auth import AuthBase

from blocks.kerberos.context import Context
from blocks.kerberos.errors import UNREACHABLE, KerberosAbsent, KerberosError, meaning
from blocks.kerberos.tickets import Login, margin, tickets
from blocks.winrm.errors import AuthenticationFailed, HostError, HostUnreachable, ProtocolBroken, SessionLost
from blocks.winrm_credentials import WinRMCredentials

T = TypeVar("T")

OFFER = 'Enable it on the host: winrm set winrm/config/service/auth @{Kerberos="true"}; a host of no domain has none.'
DELEGATION = (
    "Check that the account may be delegated (not 'sensitive', not in Protected Users), that the host is trusted for "
    "delegation, and that /etc/krb5.conf or DNS lead to the domain; or set delegate to false."
)
_TOKEN = re.compile(r"Negotiate\s+([A-Za-z0-9+/=]+)", re.IGNORECASE)


class KerberosAuth(AuthBase):
    """Logs one connection in, once, and seals what goes over it; ``ends`` is when it is too old for anything new.

    It is the requests authentication of a session, and what pywinrm's encryption calls. Raises HostError.
    """

    def __init__(self, host: str, name: str, credentials: WinRMCredentials) -> None:
        user, _, realm = credentials.username.rpartition("@")
        password = credentials.password.get_secret_value() if credentials.password is not None else None
        # Windows writes its realms in capitals; people do not.
        self._login = Login(
            user=f"{user}@{realm.upper()}",
            password=None if credentials.keytab else password,
            keytab=credentials.keytab,
            config=credentials.krb5_config,
            forwardable=credentials.delegate,
        )
        self._host, self._name, self._service = host, name, credentials.kerberos_service
        self._context: Context | None = None
        self.ends = math.inf

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Prepare a request: what a 401 leads to."""
        request.register_hook("response", self._answered)  # type: ignore[no-untyped-call]
        return request

    def wrap_winrm(self, _host: str, message: bytes) -> tuple[bytes, bytes]:
        """The sealed message and its header, as pywinrm's encryption asks for them."""
        if self._context is None or not self._context.complete:
            raise ProtocolBroken(self._host, "the session was not secured, nothing was sent")
        return self._tried(lambda context: context.seal(message))

    def unwrap_winrm(self, _host: str, message: bytes, header: bytes) -> bytes:
        """The message that the host sealed."""
        problem: HostError
        if self._context is not None:
            try:
                return self._context.unseal(message, header)
            except KerberosError:
                pass
        problem = ProtocolBroken(
            self._host, "the sealed answer cannot be opened", "Something between us may change the traffic."
        )
        raise problem

    def close(self) -> None:
        """Let go of the security context."""
        context, self._context = self._context, None
        if context is not None:
            context.close()

    def _answered(self, response: requests.Response, **settings: Any) -> requests.Response:
        if response.status_code != 401:
            return response
        if self._context is not None:
            # Another connection than the one that we logged in on: what was sealed for that one is of no use here.
            raise SessionLost(
                self._host,
                "the host no longer knows this connection (HTTP 401)",
                "It was probably restarted.",
                codes=(401,),
            )
        return self._log_in(response, settings)

    def _log_in(self, response: requests.Response, settings: dict[str, Any]) -> requests.Response:
        offered = response.headers.get("WWW-Authenticate", "").lower()
        if "negotiate" not in offered and "kerberos" not in offered:
            raise AuthenticationFailed(self._host, "the host does not offer Kerberos", OFFER, codes=(401,))
        self._open(_channel(response))
        token = self._tried(lambda context: context.step())
        _ = response.content  # read to its end, so that the same connection serves the next request
        response.raw.release_conn()
        request = response.request.copy()
        request.headers["Authorization"] = f"Negotiate {base64.b64encode(token).decode()}"
        again: requests.Response = response.connection.send(request, **settings)
        again.history.append(response)
        answer = _token(again)
        if answer:
            self._tried(lambda context: context.step(answer))
        if again.status_code == 401:
            fix = (
                "Check that the user is in Administrators or Remote Management Users on the host, and the host's clock."
            )
            raise AuthenticationFailed(
                self._host, f"the host refuses the ticket of {self._login.user}", fix, codes=(401,)
            )
        if self._context is None or not self._context.complete:
            fix = "Something else answers at its address, or a proxy has taken its answer away."
            raise AuthenticationFailed(self._host, "the host did not prove by Kerberos who it is", fix)
        if self._login.forwardable and not self._context.delegated:
            raise AuthenticationFailed(
                self._host, f"the ticket of {self._login.user} could not be delegated", DELEGATION
            )
        return again

    def _open(self, bindings: bytes | None) -> None:
        def begin() -> Context:
            ticket = tickets(self._login).service(self._service, self._name)
            self.ends = ticket.ends - margin(ticket.ends - time.time())
            return Context(ticket, bindings=bindings, delegate=self._login.forwardable)

        self._context = self._explained(begin)

    def _tried(self, act: Callable[[Context], T]) -> T:
        context = self._context
        assert context is not None  # noqa: S101 - opened before anything is tried with it
        return self._explained(lambda: act(context))

    def _explained(self, act: Callable[[], T]) -> T:
        """What ``act`` returns; what Kerberos says against it is raised as an error of our tree, and nothing else."""
        try:
            return act()
        except KerberosError as error:
            problem = self._problem(error)
        except KerberosAbsent as absent:
            cause = f"Kerberos cannot be used on this machine: {absent}"
            problem = AuthenticationFailed(
                self._host, cause, "Install its libraries (Debian: apt install libgssapi-krb5-2)."
            )
        # Outside of the handler: the original, with its stage and words, is not its context.
        raise problem

    def _problem(self, error: KerberosError) -> HostError:
        told = meaning(error, user=self._login.user, service=f"{self._service}/{self._name}")
        kind = HostUnreachable if error.number in UNREACHABLE else AuthenticationFailed
        return kind(self._host, told.cause, told.fix, codes=(error.number,))


def _token(response: requests.Response) -> bytes:
    found = _TOKEN.search(response.headers.get("WWW-Authenticate", ""))
    try:
        return base64.b64decode(found[1], validate=True) if found else b""
    except binascii.Error:
        return b""


def _channel(response: requests.Response) -> bytes | None:
    """What binds the login to the TLS channel that ``response`` came by (RFC 5929, tls-server-end-point)."""
    raw: Any = response.raw
    try:
        certificate = raw._fp.fp.raw._sock.getpeercert(True)  # noqa: SLF001 - there is no public way to it
    except AttributeError:
        return None
    digest: hashes.HashAlgorithm = hashes.SHA256()
    try:
        signed = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        signed = None
    if signed is not None and signed.name not in ("md5", "sha1"):
        digest = signed
    bound = hashes.Hash(digest)
    bound.update(certificate)
    return b"tls-server-end-point:" + bound.finalize()
