"""What a listener on HTTPS needs."""

from __future__ import annotations

import ssl
from dataclasses import dataclass


@dataclass(frozen=True)
class Tls:
    """``bindings`` is the SHA-256 of the listener's certificate, ``authorities`` are those whose clients it trusts."""

    context: ssl.SSLContext
    bindings: bytes
    authorities: tuple[bytes, ...] = ()
