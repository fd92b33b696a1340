"""How a connection logs in, for each transport: what pywinrm is given, and what it cannot do is done here.

============  ==========================================  ============================================================
ntlm          requests-ntlm                               seals its messages where there is no TLS
credssp       pywinrm with requests-credssp               seals its messages; TLS within, the password goes to the host
kerberos      ``blocks.winrm.kerberos``                   seals its messages; pywinrm's own needs a compiled pykerberos
certificate   ``blocks.winrm.client_certificate``         TLS; pywinrm's own needs the key in a file, and fails at TLS 1.3
basic         pywinrm                                     TLS; local users only
============  ==========================================  ============================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import requests
from requests_ntlm import HttpNtlmAuth
from winrm.protocol import Protocol

from blocks.winrm import client_certificate
from blocks.winrm.errors import ProtocolBroken, SessionLost
from blocks.winrm.kerberos import KerberosAuth
from blocks.winrm_credentials import WinRMCredentials

READ_SLACK = 10.0
"""Seconds that we listen longer than the host may hold a request."""
SEALING = {"ntlm", "kerberos", "credssp"}
"""Transports that seal their messages themselves, and so may go without TLS."""


@dataclass(frozen=True)
class Target:
    """Where to connect and as whom; ``kerberos_name`` is what the domain calls the host."""

    host: str
    endpoint: str
    credentials: WinRMCredentials
    kerberos_name: str

    def __repr__(self) -> str:
        return f"Target({self.host!r}, {self.endpoint!r})"

    @property
    def transport(self) -> str:
        """How to log in."""
        return self.credentials.transport

    @property
    def operation_timeout(self) -> int:
        """Seconds that the host may hold one request."""
        return self.credentials.operation_timeout

    @property
    def sealed(self) -> bool:
        """Whether messages are sealed by us; over TLS they are not, TLS does it."""
        return not self.endpoint.startswith("https:")


def protocol_for(target: Target) -> Any:
    """A pywinrm Protocol for ``target`` that has sent nothing yet; raises HostError."""
    known = target.credentials
    if target.sealed and target.transport not in SEALING:
        raise ProtocolBroken(target.host, f"{target.transport} over http would be readable", "Use https.")
    user: str | bytes = known.username
    password: str | bytes = known.password.get_secret_value() if known.password is not None else ""
    if target.transport == "basic":
        # As bytes: requests would write them in Latin-1, which has no '€' (RFC 7617 names UTF-8).
        user, password = str(user).encode(), str(password).encode()
    return Protocol(
        target.endpoint,
        # pywinrm's 'certificate' insists on files; the session is made here, whatever it is told.
        transport="kerberos" if target.transport == "certificate" else target.transport,
        username=user,
        password=password,
        # None, not a default: neither proxies nor CA files are taken from the environment.
        ca_trust_path=known.ca_trust_path,
        proxy=None,
        message_encryption="always" if target.sealed else "auto",
        operation_timeout_sec=target.operation_timeout,
        read_timeout_sec=target.operation_timeout + int(READ_SLACK),
    )


def connect(target: Target, protocol: Any) -> bool:
    """Prepare the session and, without TLS, log in and agree on the keys of the seal.

    Returns whether what is sent from now on cannot be read. Raises anything that pywinrm and its layers raise.
    """
    wire = protocol.transport
    if target.transport in ("ntlm", "kerberos", "certificate"):
        wire.session = _own_session(target, wire)
        if target.sealed:
            wire.setup_encryption(wire.session)
    http = wire.build_session()
    # A redirect would carry the message to wherever it points, in plain text if that is http.
    http.max_redirects = 0
    http.trust_env = False
    if target.transport == "credssp":
        if not target.sealed:
            # The login by itself: together with a message, requests-credssp takes its fault for a refused login.
            wire._send_message_request(http, http.prepare_request(requests.Request("POST", target.endpoint)))  # noqa: SLF001
        http.auth.handle_401 = _lost(target.host)
    return not target.sealed or wire.encryption is not None


def _lost(host: str) -> Callable[..., requests.Response]:
    """What a 401 means once we are in: requests-credssp would log in anew, with a message of the old seal."""

    def lost(*_: Any, **__: Any) -> requests.Response:
        raise SessionLost(
            host, "the host no longer knows this connection (HTTP 401)", "It was probably restarted.", codes=(401,)
        )

    return lost


class _Session(requests.Session):
    """Counts its connections: urllib3 opens a new one by itself where the old one has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.connected = 0

    def count(self) -> None:
        """Count from here on; to be called once the adapters are mounted."""
        for adapter in self.adapters.values():
            pools = cast("Any", adapter).poolmanager.pool_classes_by_scheme
            cast("Any", adapter).poolmanager.pool_classes_by_scheme = {
                scheme: self._counted(pool) for scheme, pool in pools.items()
            }

    def _counted(self, pool: Any) -> type:
        def connect(connection: Any) -> None:
            self.connected += 1
            pool.ConnectionCls.connect(connection)

        connection = type(pool.ConnectionCls.__name__, (pool.ConnectionCls,), {"connect": connect})
        return type(pool.__name__, (pool,), {"ConnectionCls": connection})


def _own_session(target: Target, wire: Any) -> requests.Session:
    http = _Session()
    http.max_redirects = 0
    http.trust_env = False
    http.verify = target.credentials.ca_trust_path or True
    http.headers.update(wire.default_headers)
    if target.transport == "ntlm":
        http.auth = HttpNtlmAuth(wire.username, wire.password)
    elif target.transport == "kerberos":
        http.auth = KerberosAuth(target.host, target.kerberos_name, target.credentials)
    else:
        client_certificate.present(http, target.host, target.credentials)
    http.count()
    return http


def was_replaced(protocol: Any) -> bool:
    """Whether another connection has taken the place of the first.

    A login belongs to its connection: where it was begun on the first, a refusal of its second half is none.
    """
    session = protocol.transport.session if protocol is not None else None
    return isinstance(session, _Session) and session.connected > 1


def ends(protocol: Any) -> float:
    """When the login of ``protocol`` is too old for anything new (seconds since 1970); infinity where it never is."""
    session = protocol.transport.session
    return session.auth.ends if session is not None and isinstance(session.auth, KerberosAuth) else math.inf


def release(protocol: Any) -> None:
    """Hang up, and let go of what the login holds."""
    session = protocol.transport.session
    protocol.transport.close_session()
    if session is not None and isinstance(session.auth, KerberosAuth):
        session.auth.close()
