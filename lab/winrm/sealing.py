"""The multipart form in which sealed WS-Management messages travel ([MS-WSMV] 2.2.9.1)."""

from __future__ import annotations

import struct

from lab.winrm.accounts import CredSsp, Handshake, Refused

KINDS = ("multipart/encrypted", "multipart/x-multi-encrypted")
"""How content types of sealed messages begin; the second is CredSSP's, for messages in several pieces."""
PIECE = 16 * 1024
"""What CredSSP seals at once: a TLS record holds no more."""
_BOUNDARY = b"--Encrypted Boundary"
_PAYLOAD = b"application/octet-stream\r\n"
_RECORD_HEADER = 5


def content_type(handshake: Handshake, message: bytes) -> str:
    """The content type of ``message`` when it is sealed."""
    kind = KINDS[len(_pieces(handshake, message)) > 1]
    return f'{kind};protocol="{_protocol(handshake)}";boundary="Encrypted Boundary"'


def unseal(handshake: Handshake, body: bytes) -> bytes:
    """The message in ``body``; raises Refused.

    Payloads are cut out by their length: being binary, they may contain the boundary.
    """
    message, at = b"", 0
    while True:
        piece, at = _unseal_one(handshake, body, at)
        message += piece
        if body[at : at + len(_BOUNDARY) + 2] != _BOUNDARY + b"\r\n":
            return message


def _unseal_one(handshake: Handshake, body: bytes, at: int) -> tuple[bytes, int]:
    try:
        start = body.index(b"Length=", at) + len(b"Length=")
        length = int(body[start : body.index(b"\r\n", start)])
        start = body.index(_PAYLOAD, start) + len(_PAYLOAD)
        (signature,) = struct.unpack_from("<i", body, start)
    except (ValueError, struct.error):
        raise Refused from None
    start += 4
    if isinstance(handshake, CredSsp):
        # Clients differ in what they call the signature; the records say themselves how long they are.
        end, signature = _end_of_records(body, start), 0
    else:
        end = start + signature + length
    piece = handshake.unseal(body[start : start + signature], body[start + signature : end])
    if len(piece) != length:
        raise Refused
    return piece, end


def _end_of_records(body: bytes, at: int) -> int:
    while len(body) >= at + _RECORD_HEADER and body[at : at + len(_BOUNDARY)] != _BOUNDARY:
        at += _RECORD_HEADER + int.from_bytes(body[at + 3 : at + _RECORD_HEADER], "big")
    return at


def seal(handshake: Handshake, message: bytes) -> bytes:
    """The body that carries ``message``."""
    return b"".join(_seal_one(handshake, piece) for piece in _pieces(handshake, message)) + _BOUNDARY + b"--\r\n"


def _seal_one(handshake: Handshake, message: bytes) -> bytes:
    header, data, padding = handshake.seal(message)
    return b"".join(
        (
            _BOUNDARY,
            b"\r\n\tContent-Type: " + _protocol(handshake).encode(),
            b"\r\n\tOriginalContent: type=application/soap+xml;charset=UTF-8;Length=%d\r\n" % (len(message) + padding),
            _BOUNDARY,
            b"\r\n\tContent-Type: " + _PAYLOAD,
            struct.pack("<i", len(header)),
            header,
            data,
        )
    )


def _pieces(handshake: Handshake, message: bytes) -> list[bytes]:
    if not isinstance(handshake, CredSsp):
        return [message]
    return [message[at : at + PIECE] for at in range(0, len(message), PIECE)] or [message]


def _protocol(handshake: Handshake) -> str:
    return f"application/HTTP-{handshake.sealed_as}-session-encrypted"
