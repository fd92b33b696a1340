"""A tap on the wire: what a client really sent, byte for byte."""

from __future__ import annotations

import base64
import io
import socket
import threading
from pathlib import Path


class WireTap:
    """Collects the bytes that a port received, in memory, or in ``path`` where another process is to read them."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._bytes = bytearray()

    def record(self, data: bytes) -> None:
        with self._lock:
            if self.path is None:
                self._bytes += data
            else:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("ab") as out:
                    out.write(data)

    def received(self) -> bytes:
        """Everything so far."""
        with self._lock:
            if self.path is not None:
                return self.path.read_bytes() if self.path.exists() else b""
            return bytes(self._bytes)

    def shows(self, text: str) -> bool:
        """Whether somebody listening could read ``text``: as UTF-8, UTF-16, or in base64 at any alignment."""
        seen = self.received()
        forms = [text.encode(), text.encode("utf-16-le")]
        for plain in list(forms):
            for shift in range(3):
                coded = base64.b64encode(b"\0" * shift + plain)
                # The first and last groups also hold neighbours' bits: what lies between is the text's own.
                forms.append(coded[4 if shift else 0 : -4])
        return any(len(form) > 3 and form in seen for form in forms)


class TappedSocket(io.RawIOBase):
    """A socket's reading side that copies what arrives to a tap."""

    def __init__(self, connection: socket.socket, tap: WireTap) -> None:
        self._connection = connection
        self._tap = tap

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self._connection.recv_into(buffer)
        self._tap.record(bytes(buffer[:count]))
        return count
