"""What it means when a host refuses a login, for each transport that has refusals of its own."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from requests_credssp.exceptions import AuthenticationException, InvalidConfigurationException, NTStatusException
from winrm.exceptions import AuthenticationError, WinRMTransportError

from blocks.winrm.errors import AuthenticationFailed, HostError, SessionLost

REFUSALS = (AuthenticationException, NTStatusException)
"""What requests-credssp raises; both end a login before any message went out."""
LOGIN = "Check user name and password, and that the user is in Administrators or Remote Management Users on the host."
MAPPING = (
    "Map it on the host: New-Item WSMan:\\localhost\\ClientCertificate -Subject UPN -URI * -Issuer THUMBPRINT -Credential USER; "
    'and winrm set winrm/config/service/auth @{Certificate="true"}. A changed password of that user needs the mapping anew.'
)
TRUST = (
    "Its authority belongs into LocalMachine\\Root on the host, itself into LocalMachine\\TrustedPeople; it needs the "
    "purpose client authentication."
)
CREDSSP = (
    "Enable it on the host: Enable-WSManCredSSP -Role Server -Force; or use ntlm or kerberos, which need nothing there."
)
_STATUS = {
    0xC000006D: ("the user name or password is wrong", "Check it in the credentials."),
    0x8009030C: ("the user name or password is wrong", "Check it in the credentials."),  # SEC_E_LOGON_DENIED
    0xC0000064: ("there is no such user", "Check the user name in the credentials."),
    0xC000006A: ("the password is wrong", "Check it in the credentials."),
    0xC000006E: ("an account restriction forbids it", "An empty password, or a policy for this account."),
    0xC000006F: ("it is outside the account's logon hours", "Widen them, or use another account."),
    0xC0000070: ("the account may not log on to this host", "Check its 'Log On To' list."),
    0xC0000071: ("the password has expired", "Set a new one, and save it in the credentials."),
    0xC0000224: ("the password must be changed first", "Set a new one, and save it in the credentials."),
    0xC0000072: ("the account is disabled", "Enable it."),
    0xC0000193: ("the account has expired", "Extend it."),
    0xC0000234: ("the account is locked", "Unlock it, and find out who has tried wrong passwords."),
}
_NOT_OFFERED = "being an available authentication method"
_BEFORE_CREDENTIALS = "after step TLS Handshake"
_ALERTS = {
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "it is revoked",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it is not acceptable",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it is not acceptable",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "its purpose is not client authentication",
    "TLSV1_ALERT_UNKNOWN_CA": "its authority is not trusted there",
    "TLSV1_ALERT_ACCESS_DENIED": "access is denied",
}


def refusal(host: str, error: BaseException, transport: str) -> HostError | None:
    """The error that says why ``host`` refuses this login; None where ``error`` is no refusal of such a kind."""
    if isinstance(error, AuthenticationException):
        if _NOT_OFFERED in str(error):
            return AuthenticationFailed(host, "CredSSP is not enabled on the host", CREDSSP, codes=(401,))
        if _BEFORE_CREDENTIALS in str(error):
            return SessionLost(
                host, "the host broke the login off half-way", "It was probably restarted.", codes=(401,)
            )
        return AuthenticationFailed(host, "the host refuses these credentials (CredSSP)", LOGIN, codes=(401,))
    if isinstance(error, NTStatusException):
        status = int(error.status) & 0xFFFFFFFF
        cause, fix = _STATUS.get(status, (f"status 0x{status:08X}", LOGIN))
        return AuthenticationFailed(host, f"the host refuses these credentials: {cause}", fix, codes=(status,))
    if isinstance(error, InvalidConfigurationException):
        return AuthenticationFailed(host, "CredSSP cannot be used with these credentials", LOGIN)
    return _certificate(host, error) if transport == "certificate" else None


def _certificate(host: str, error: BaseException) -> HostError | None:
    if isinstance(error, AuthenticationError):
        return AuthenticationFailed(host, "the host maps our certificate to no user", MAPPING, codes=(401,))
    if isinstance(error, WinRMTransportError) and int(error.code) == 403:
        return AuthenticationFailed(
            host, "the host does not trust our certificate, or it is revoked", TRUST, codes=(403,)
        )
    for cause in chain(error):
        if isinstance(cause, ssl.SSLError) and cause.reason in _ALERTS:
            return AuthenticationFailed(host, f"the host refuses our certificate: {_ALERTS[cause.reason]}", TRUST)
    return None


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """``error`` and what lies beneath it; urllib3 wraps in ``args`` and ``reason`` as well as in causes."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        here = waiting.pop()
        if isinstance(here, BaseException) and not any(here is other for other in seen):
            seen.append(here)
            yield here
            waiting += [here.__cause__, here.__context__, getattr(here, "reason", None), *here.args]
