"""The message with which a host refuses a Kerberos ticket (KRB-ERROR, RFC 4120 5.9.1), as a GSS-API token (RFC 4121)."""

from __future__ import annotations

from datetime import UTC, datetime

_KRB5_OID = bytes.fromhex("06092a864886f712010202")
KRB_AP_ERR_SKEW, KRB_AP_ERR_MODIFIED = 37, 41
_TOKEN_ERROR = b"\x03\x00"


def is_ticket(token: bytes) -> bool:
    """Whether a client's token is Kerberos' own (not NTLM's, nor SPNEGO's)."""
    return token.startswith(b"\x60") and _KRB5_OID in token[:40]


def krb_error(code: int, realm: str = "ACME.TEST", service: str = "HTTP/host") -> bytes:
    """The token that carries error ``code``."""
    now = datetime.now(UTC).strftime("%Y%m%d%H%M%SZ").encode()
    names = b"".join(_der(0x1B, part.encode()) for part in service.split("/"))
    principal = _der(0x30, _der(0xA0, _integer(1)) + _der(0xA1, _der(0x30, names)))
    fields = {
        0: _integer(5),
        1: _integer(30),
        4: _der(0x18, now),
        5: _integer(0),
        6: _integer(code),
        9: _der(0x1B, realm.encode()),
        10: principal,
    }
    body = _der(0x30, b"".join(_der(0xA0 + tag, value) for tag, value in fields.items()))
    return _der(0x60, _KRB5_OID + _TOKEN_ERROR + _der(0x7E, body))


def _integer(value: int) -> bytes:
    return _der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _der(tag: int, value: bytes) -> bytes:
    length = len(value)
    size = (
        bytes([length])
        if length < 128
        else bytes([0x80 + (length.bit_length() + 7) // 8]) + length.to_bytes((length.bit_length() + 7) // 8, "big")
    )
    return bytes([tag]) + size + value
