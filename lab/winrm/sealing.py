"""The multipart form in which sealed WS-Management messages travel ([MS-WSMV] 2.2.9.1)."""

from __future__ import annotations

import struct

from lab.winrm.accounts import Handshake, Refused

PROTOCOL = "application/HTTP-SPNEGO-session-encrypted"
CONTENT_TYPE = f'multipart/encrypted;protocol="{PROTOCOL}";boundary="Encrypted Boundary"'
_BOUNDARY = b"--Encrypted Boundary"
_PAYLOAD = b"application/octet-stream\r\n"


def unseal(handshake: Handshake, body: bytes) -> bytes:
    """The message in ``body``; raises Refused.

    The payload is cut out by its length: being binary, it may contain the boundary.
    """
    try:
        start = body.index(b"Length=") + len(b"Length=")
        length = int(body[start : body.index(b"\r\n", start)])
        start = body.index(_PAYLOAD, start) + len(_PAYLOAD)
        (signature,) = struct.unpack_from("<i", body, start)
    except (ValueError, struct.error):
        raise Refused from None
    start += 4
    message = handshake.unseal(body[start : start + signature], body[start + signature : start + signature + length])
    if len(message) != length:
        raise Refused
    return message


def seal(handshake: Handshake, message: bytes) -> bytes:
    """The body that carries ``message``."""
    header, data, padding = handshake.seal(message)
    return b"".join(
        (
            _BOUNDARY,
            b"\r\n\tContent-Type: " + PROTOCOL.encode(),
            b"\r\n\tOriginalContent: type=application/soap+xml;charset=UTF-8;Length=%d\r\n" % (len(message) + padding),
            _BOUNDARY,
            b"\r\n\tContent-Type: " + _PAYLOAD,
            struct.pack("<i", len(header)),
            header,
            data,
            _BOUNDARY,
            b"--\r\n",
        )
    )
