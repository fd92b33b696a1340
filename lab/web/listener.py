"""One open port of the web server: real sockets, one thread a connection, all of them cut when it closes."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable
from email.utils import formatdate
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from lab.httpsys import HttpSysHandler
from lab.web.messages import Answer, Request, by_httpsys

LARGEST_BODY = 30_000_000
"""Bytes: IIS's own default for maxAllowedContentLength."""


class Listener(ThreadingHTTPServer):
    """Listens on ``address``:``port`` from the moment it is made; ``answer`` is asked for every request.

    With ``tls`` it speaks HTTPS.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self, address: str, port: int, answer: Callable[[Request], Answer], *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.answer = answer
        self.tls = tls
        self._live: set[socket.socket] = set()
        self._live_lock = threading.Lock()
        super().__init__((address, port), _Connection)
        self.port = self.server_address[1]
        serve = {"poll_interval": 0.02}
        threading.Thread(target=self.serve_forever, kwargs=serve, name=f"iis-{self.port}", daemon=True).start()

    def server_bind(self) -> None:
        """Bind without the standard library's look-up of the host's name, which can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept; a TLS handshake is left to the connection's own thread, so that a silent client blocks nobody."""
        connection, address = super().get_request()
        if self.tls is not None:
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._live_lock:
            self._live.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._live_lock:
            self._live.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that hang up are a part of the lab's life."""

    def close(self) -> None:
        """Stop listening and cut every connection, as a machine that goes down does."""
        self.shutdown()
        self.server_close()
        with self._live_lock:
            live = list(self._live)
        for connection in live:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Connection(HttpSysHandler):
    server: Listener
    timeout = 120

    def serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        target = urlsplit(self.path)
        if length > LARGEST_BODY:
            self.refuse(by_httpsys(413, "Request Too Large", "Request Too Large", "The request is too large."))
            return
        headers = {name.casefold(): value for name, value in self.headers.items()}
        body = self.rfile.read(length) if length else b""
        answer = self.server.answer(
            Request(self.command, unquote(target.path), target.query, headers, body, self.server.port)
        )
        self.send_response_only(answer.status)
        for name, value in {**answer.headers, "Date": formatdate(usegmt=True)}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
