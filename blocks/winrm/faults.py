"""What pywinrm, requests and the host's faults mean, in our own words.

pywinrm raises what its layers raise: its own errors (not all of one family), requests' errors, OSErrors, and now and
then a KeyError. None of them leaves this package: they hold requests with Authorization headers in them.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from collections.abc import Callable
from html import unescape

import requests
import spnego.exceptions
import urllib3.exceptions
from winrm.exceptions import (
    AuthenticationError,
    WinRMError,
    WinRMOperationTimeoutError,
    WinRMTransportError,
    WSManFaultError,
)

from blocks.winrm.errors import (
    AuthenticationFailed,
    CertificateRejected,
    ConnectionDropped,
    HostBusy,
    HostError,
    HostUnreachable,
    ProtocolBroken,
    QuotaExceeded,
    SessionLost,
)
from blocks.winrm.refusals import LOGIN, REFUSALS, chain, refusal

SHELL_NOT_FOUND = 2150858843
OPERATION_TIMED_OUT = 2150858793
ACCESS_DENIED = 5
FILTERED = (
    f"{LOGIN} A local administrator other than the built-in one has no administrator's rights over the network while "
    r"LocalAccountTokenFilterPolicy (HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System) is not 1: "
    "set it, or use a domain account."
)
"""The password is right, and the token that the account gets is not an administrator's."""
BUSY = 170
QUOTAS = {
    2150859173: "the user has as many shells open as the host allows (MaxShellsPerUser)",
    2150859174: "the user has as many operations running as the host allows (MaxConcurrentOperationsPerUser)",
    2150859179: "as many users as the host allows have shells open (MaxConcurrentUsers)",
    # 0x803381E4 to 0x803381EA: the quotas of plugins.
    **dict.fromkeys(range(0x803381E4, 0x803381EB), "a quota of the host's WinRM shell plugin is used up"),
}
_DETAIL = re.compile(r"<(?:\w+:)?(?:Message|error_Message)(?:\s[^>]*)?>([^<]+)<")
_STALE = 400
_UNAVAILABLE = 503
_NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EACCES}

REACH = "Check that the host is up, that WinRM listens there (winrm quickconfig) and that no firewall is in between."
QUOTA = "Close other sessions on the host, or raise the quota (winrm get winrm/config/winrs)."


def explain(host: str, error: BaseException, transport: str = "ntlm") -> HostError:
    """The error of our tree that says what ``error`` (of pywinrm and below) means for ``host``; strings only."""
    if isinstance(error, HostError):
        return error
    if (refused := refusal(host, error, transport)) is not None:
        return refused
    for kind, tell in _TELLERS:
        if isinstance(error, kind):
            return tell(host, error)
    # The type is all that is told: the text of a stranger's error may hold anything.
    return ProtocolBroken(host, f"the answer cannot be understood ({type(error).__name__})", REACH)


def never_arrived(error: BaseException) -> bool:
    """Whether the request that raised ``error`` certainly never reached WinRM (as opposed to: we cannot know)."""
    if isinstance(error, (requests.exceptions.ConnectTimeout, AuthenticationError, HostError, *REFUSALS)):
        return True  # a HostError comes from our own login
    if isinstance(error, WinRMTransportError):
        # 400: sealed for a connection that is gone, so nobody could read it. 503: HTTP.SYS, before WinRM.
        return error.code in (_STALE, _UNAVAILABLE)
    if isinstance(error, WSManFaultError):
        return True  # a fault is a refusal, made before anything was done
    return any(isinstance(cause, urllib3.exceptions.NewConnectionError) for cause in chain(error))


def _fault(host: str, error: WSManFaultError) -> HostError:
    codes = tuple(int(code) & 0xFFFFFFFF for code in (error.wsman_fault_code, error.wmierror_code) if code is not None)
    # The reason is generic ("The WS-Management service cannot process the request"); what is specific stands in the
    # detail, which pywinrm leaves in the response.
    said = [" ".join(unescape(text).split()) for text in _DETAIL.findall(error.response or "")]
    text = next((each for each in said if each), " ".join((error.reason or "").split())).rstrip(". ")
    for code in codes:
        if code in QUOTAS:
            return QuotaExceeded(host, f"{QUOTAS[code]}: {text}", QUOTA, codes=codes)
    if BUSY in codes:
        return HostBusy(host, f"the host is busy: {text}", "Try again in a minute.", codes=codes)
    if OPERATION_TIMED_OUT in codes:
        return _timed_out(host, error)
    if SHELL_NOT_FOUND in codes:
        return SessionLost(host, f"the shell is gone: {text}", "It ended by a reboot or by lying idle.", codes=codes)
    if ACCESS_DENIED in codes:
        return AuthenticationFailed(host, f"access is denied: {text}", FILTERED, codes=codes)
    return ProtocolBroken(host, f"WinRM refuses: {text}", "Look the code up (winrm helpmsg CODE).", codes=codes)


def _timed_out(host: str, _error: BaseException) -> HostError:
    return HostBusy(
        host,
        "the host did not finish a WinRM operation in time",
        "Try again when the host is less busy.",
        codes=(OPERATION_TIMED_OUT,),
    )


def _transport(host: str, error: WinRMTransportError) -> HostError:
    code = int(error.code)
    if code == _STALE:
        # What a keep-alive connection answers for ever after the host rebooted: the keys of the seal are gone.
        cause = "the host no longer knows this connection (HTTP 400)"
        return SessionLost(host, cause, "It was probably restarted.", codes=(code,))
    if code == _UNAVAILABLE:
        return HostUnreachable(host, "the WinRM service is not running (HTTP 503)", REACH, codes=(code,))
    fix = {
        404: "Something other than WinRM listens there: check address, port and scheme.",
        413: "The message is larger than the host's MaxEnvelopeSizekb.",
        407: "A proxy wants a login: WinRM is spoken directly here.",
    }.get(code, "WinRM on the host may refuse this kind of login (winrm get winrm/config/service).")
    return ProtocolBroken(host, f"WinRM answers with HTTP status {code}", fix, codes=(code,))


def _login(host: str, error: BaseException) -> HostError:
    codes = (401,) if isinstance(error, AuthenticationError) else ()
    return AuthenticationFailed(host, "the host refuses these credentials", LOGIN, codes=codes)


def _tls(host: str, error: BaseException) -> HostError:
    for cause in chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            fix = "Set ca_trust_path to the CA that signed it, or give the host a certificate for this address."
            return CertificateRejected(host, f"its certificate is not trusted: {cause.verify_message}", fix)
        if isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER":
            return ProtocolBroken(host, "no TLS is spoken at this port", "Check scheme and port (5986 for https).")
    return ConnectionDropped(host, "the connection was closed during the TLS handshake", REACH)


def _no_connection(host: str, error: BaseException) -> HostError:
    for cause in chain(error):
        if isinstance(cause, ConnectionRefusedError):
            return HostUnreachable(host, "the connection is refused", REACH)
        if isinstance(cause, socket.gaierror):
            return HostUnreachable(host, "its address cannot be resolved", "Check the address in the estate, and DNS.")
        if isinstance(cause, OSError) and cause.errno in _NO_WAY:
            return HostUnreachable(host, f"there is no way to it ({os.strerror(cause.errno)})", REACH)
    return ConnectionDropped(host, "the connection was dropped", REACH)


def _silent(host: str, error: BaseException) -> HostError:
    connecting = isinstance(error, requests.exceptions.ConnectTimeout)
    return HostUnreachable(host, "no connection in time" if connecting else "connected, but nothing answers", REACH)


def _os(host: str, error: BaseException) -> HostError:
    if "CA certificate bundle" in str(error):
        return CertificateRejected(host, "the file of ca_trust_path is not there", "Set ca_trust_path to a PEM file.")
    return _no_connection(host, error)


def _redirected(host: str, _error: BaseException) -> HostError:
    cause = "it redirects elsewhere, which no WinRM service does"
    return ProtocolBroken(host, cause, "Check address, port and scheme.")


def _tampered(host: str, _error: BaseException) -> HostError:
    return ProtocolBroken(host, "the sealed answer cannot be opened", "Something between us may change the traffic.")


# Order matters: requests' errors are OSErrors, its SSLError and ConnectTimeout are ConnectionErrors, and the
# PermissionError that requests_ntlm raises for the second leg of NTLM is an OSError too.
_TELLERS: tuple[tuple[type[BaseException], Callable[[str, BaseException], HostError]], ...] = (
    (WSManFaultError, _fault),
    (WinRMOperationTimeoutError, _timed_out),
    (WinRMTransportError, _transport),
    (AuthenticationError, _login),
    (PermissionError, _login),
    (spnego.exceptions.SpnegoError, _login),
    (WinRMError, _tampered),
    (requests.exceptions.TooManyRedirects, _redirected),
    (requests.exceptions.SSLError, _tls),
    (requests.exceptions.Timeout, _silent),
    (requests.exceptions.ConnectionError, _no_connection),
    (requests.exceptions.ChunkedEncodingError, _no_connection),
    (OSError, _os),
)
