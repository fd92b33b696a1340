"""The HTTP side of WinRM: one connection after another, each with its own logon."""

from __future__ import annotations

import contextlib
import http.server
import io
import socket
import threading
from dataclasses import dataclass
from typing import Any, cast

from lab.host import Host
from lab.httpsys import HttpSysHandler
from lab.web.messages import no_such_url
from lab.winrm import envelopes, sealing
from lab.winrm.accounts import Accounts, Handshake, Refused
from lab.winrm.envelopes import Malformed, Request
from lab.winrm.logon import Logon
from lab.winrm.service import Answer, Caller, Service
from lab.winrm.tap import TappedSocket, WireTap
from lab.winrm.tls import Tls

SOAP = "application/soap+xml;charset=UTF-8"


@dataclass(frozen=True)
class Endpoint:
    """What a listener needs to know: whose it is, who may come in, who answers; TLS and a tap where it has them."""

    host: Host
    accounts: Accounts
    service: Service
    tls: Tls | None = None
    tap: WireTap | None = None


class Listener(http.server.ThreadingHTTPServer):
    """One port of WinRM. ``close`` drops it and every connection that lives on it, as a machine's end does."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.ended = threading.Event()
        self._live: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__((endpoint.host.address, port), Connection)
        if endpoint.tls is not None:
            # The handshake is left to the connection's own thread: a client that never speaks must not block others.
            self.socket = endpoint.tls.context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        name = f"{endpoint.host.name}-winrm-{port}"
        threading.Thread(target=self.serve_forever, args=(0.05,), name=name, daemon=True).start()

    def close(self) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()
        self.cut_all()

    def cut_all(self) -> int:
        """End every connection that lives; answers how many."""
        with self._lock:
            live, self._live = set(self._live), set()
        for connection in live:
            cut(connection)
        return len(live)

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._live.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._live.discard(connection)

    def server_bind(self) -> None:
        # The base class asks DNS for this machine's name, which nobody needs here.
        socket_address = cast("tuple[str, int]", self.server_address)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(socket_address)
        self.server_name, self.server_port = socket_address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections break here on purpose; a traceback of each would drown what matters."""


def cut(connection: socket.socket) -> None:
    """End a connection at once, whoever is reading from it."""
    with contextlib.suppress(OSError):
        # Not the SSL object's own shutdown: it would wait for the peer's goodbye.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        connection.close()


class Connection(HttpSysHandler):
    """One TCP connection and its logon."""

    disable_nagle_algorithm = True
    server: Listener

    def setup(self) -> None:
        super().setup()
        self.server.opened(self.connection)
        self._endpoint = self.server.endpoint
        self._host = self._endpoint.host
        self._logon = Logon(self._host, self._endpoint.accounts, self._endpoint.tls, self.connection)
        if self._endpoint.tap is not None and self._endpoint.tls is None:
            tapped = io.BufferedReader(TappedSocket(self.connection, self._endpoint.tap))
            self.rfile = cast("io.BufferedIOBase", tapped)

    def finish(self) -> None:
        self.server.closed(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        anonymous = self.path == "/wsman-anon/identify"
        wsman = self.path.split("?")[0].rstrip("/").lower() == "/wsman"
        if self._gone():
            self._hang_up()
        elif not (anonymous or wsman):
            self.refuse(no_such_url())
        elif self.command != "POST":
            self._reply(405, headers=[("Allow", "POST")])
        elif anonymous or self.headers.get("WSMANIDENTIFY") == "unauthenticated":
            self._reply(200, envelopes.identified("0.0.0"))  # a stranger must not learn the version
        else:
            verdict = self._logon.judge(self.headers.get("Authorization", ""))
            headers = [("WWW-Authenticate", token) for token in verdict.tokens]
            if verdict.status == 200:
                self._answer(body, headers)
            elif verdict.status:
                self._reply(verdict.status, headers=headers)
                if self._logon.half_way and self._host.faults.strike("winrm.cut_logon", self._host.name) is not None:
                    self._hang_up()
            else:
                self._hang_up()

    # Answers ---------------------------------------------------------------------------------------------------------

    def _answer(self, body: bytes, headers: list[tuple[str, str]]) -> None:
        if not body:  # the empty request with which clients set their encryption up
            self._reply(200, headers=headers)
            return
        if len(body) > self._endpoint.service.envelope:
            self._reply(413)  # what a host's HTTP layer says, before WS-Management sees it
            return
        sealed = self.headers.get("Content-Type", "").startswith(sealing.KINDS)
        if not sealed and self._endpoint.tls is None:
            self._reply(500)  # AllowUnencrypted is false
            return
        sealed_by = self._logon.handshake if sealed else None
        try:
            request = envelopes.parse(sealing.unseal(sealed_by, body) if sealed_by else body)
        except (Refused, Malformed):
            self._reply(400)
            return
        self._carry_out(request, sealed_by, headers)

    def _carry_out(self, request: Request, sealed_by: Handshake | None, headers: list[tuple[str, str]]) -> None:
        stall = self._strike("winrm.stall", request)
        if stall is not None and self._host.clock.sleep(float(stall.get("seconds", 3600)), self.server.ended):
            return
        caller = Caller(self._logon.user or "", self.client_address[0], self.headers.get("Host", ""))
        answer = self._endpoint.service.answer(request, caller)
        delivered = False
        try:
            if self._gone() or self._strike("winrm.drop", request) is not None:
                self._hang_up()
                return
            self._deliver(answer, sealed_by, headers)
            delivered = True
        finally:
            answer.settle(delivered)
        if self._strike("winrm.close_connections", request) is not None:
            self._hang_up()

    def _strike(self, fault: str, request: Request) -> dict[str, Any] | None:
        return self._host.faults.strike(fault, self._host.name, action=request.kind)

    def _gone(self) -> bool:
        """Whether the machine, or the service, went away while this connection's thread was busy."""
        return self.server.ended.is_set() or not self._host.up.is_set()

    def _deliver(self, answer: Answer, sealed_by: Handshake | None, headers: list[tuple[str, str]]) -> None:
        if sealed_by is not None:
            self._reply(
                answer.status,
                sealing.seal(sealed_by, answer.body),
                sealing.content_type(sealed_by, answer.body),
                headers,
            )
        else:
            self._reply(answer.status, answer.body, headers=headers)

    def _hang_up(self) -> None:
        """End the connection without a word."""
        self.close_connection = True
        cut(self.connection)

    def _reply(
        self, status: int, body: bytes = b"", content_type: str = SOAP, headers: list[tuple[str, str]] | None = None
    ) -> None:
        self.send_response(status)
        if body:
            self.send_header("Content-Type", content_type)
        for name, value in headers or []:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
