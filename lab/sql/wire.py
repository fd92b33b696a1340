"""TDS packets over a socket, with TLS inside PRELOGIN packets as versions before 8 do it ([MS-TDS] 2.2.3, 3.2.5.1)."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
import time

from lab.sql.errors import ConnectionClosed

BATCH, RPC, REPLY, ATTENTION, TRANSACTION, LOGIN7, PRELOGIN = 1, 3, 4, 6, 14, 16, 18
_REQUESTS = (BATCH, RPC, ATTENTION, TRANSACTION, LOGIN7, PRELOGIN)
_SMALLEST, _USUAL, _LARGEST = 512, 4096, 32767


class Wire:
    """One connection: whole messages in and out, in clear text or under TLS."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.spid = 0
        self._packet = _USUAL
        self._buffer = b""
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._sending = threading.Lock()

    def use_packets_of(self, size: int) -> int:
        """Take the size that the client asked for, within bounds; call it after LOGINACK has gone out."""
        self._packet = min(max(size or _USUAL, _SMALLEST), _LARGEST)
        return self._packet

    # In --------------------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        while True:
            if self._tls:
                data: bytes | None = None
                with contextlib.suppress(ssl.SSLWantReadError):
                    data = self._tls.read(65536)
                if data:
                    self._buffer += data
                    return
                if data == b"":
                    raise ConnectionClosed
            raw = self.socket.recv(65536)
            if not raw:
                raise ConnectionClosed
            if not self._tls:
                self._buffer += raw
                return
            self._incoming.write(raw)

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def message(self) -> tuple[int, bytes]:
        """The next message: its type and its packets' bodies joined."""
        body = b""
        while True:
            kind, status, length = struct.unpack(">BBH", self._take(8)[:4])
            if kind not in _REQUESTS or length < 8:  # another protocol: its length would be waited for in vain
                raise ConnectionClosed
            body += self._take(length - 8)
            if status & 1:
                return kind, body

    def attention(self, seconds: float) -> bool:
        """Wait up to ``seconds`` for the client's ATTENTION; ConnectionClosed when it hangs up instead."""
        end = time.monotonic() + seconds
        while True:
            if not self._buffer:
                if not select.select([self.socket], [], [], max(0.0, end - time.monotonic()))[0]:
                    return False
                self._fill()
            if self.message()[0] == ATTENTION:
                return True

    # Out -------------------------------------------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        if self._tls:
            self._tls.write(data)
            data = self._outgoing.read()
        self.socket.sendall(data)

    def send(self, kind: int, data: bytes, *, last: bool = True) -> None:
        """Send ``data`` in packets; ``last`` closes the message."""
        room = self._packet - 8
        pieces = [data[i : i + room] for i in range(0, len(data), room)] or [b""]
        with self._sending:
            for number, piece in enumerate(pieces, 1):
                ends = last and number == len(pieces)
                self._write(struct.pack(">BBHHBB", kind, ends, len(piece) + 8, self.spid, number & 255, 0) + piece)

    # TLS -------------------------------------------------------------------------------------------------------------

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Shake hands inside PRELOGIN packets; everything after goes under TLS."""
        tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                finished = False
            else:
                finished = True
            if self._outgoing.pending:
                self.send(PRELOGIN, self._outgoing.read())
            if finished:
                break
            self._incoming.write(self.message()[1])
        self._tls = tls

    def stop_tls(self) -> None:
        """Back to clear text: what a client gets that asked for the login alone to be encrypted."""
        self._tls = None

    def reset(self) -> None:
        """Kill the connection with a TCP reset, as a dying server does."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self.socket.close()
