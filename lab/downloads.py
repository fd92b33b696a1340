"""A vendor's download server: files over HTTPS with a certificate of the lab's own authority.

Faults, on a file's name: ``download.status`` (``status``), ``download.cut`` (the connection ends half-way),
``download.flip_byte`` (in transit).
"""

from __future__ import annotations

import ssl
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lab.audit import Audit
from lab.faults import Faults

PORT = 8443


class Downloads:
    """Serves the files of ``folder`` at ``address``; ``tls`` holds the certificate and key files."""

    def __init__(self, address: str, folder: Path, *, tls: tuple[Path, Path], audit: Audit, faults: Faults) -> None:
        self._folder, self._audit, self._faults = folder, audit, faults
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(*tls)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer._answer(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
                """Say nothing: the audit trail does."""

        self._server = ThreadingHTTPServer((address, PORT), Handler)
        self._server.daemon_threads = True
        # The handshake belongs to the connection's own thread: a client that does not speak TLS must not stop the others.
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://{address}:{PORT}"

    def start(self) -> None:
        """Begin to answer."""
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="downloads", daemon=True).start()

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        name = request.path.lstrip("/")
        file = self._folder / name
        struck = self._faults.strike("download.status", name)
        status = int(struck.get("status", 503)) if struck else HTTPStatus.OK
        if "/" in name or not file.is_file():
            status = HTTPStatus.NOT_FOUND
        data = file.read_bytes() if status == HTTPStatus.OK else b"no such file"
        if status == HTTPStatus.OK and self._faults.strike("download.flip_byte", name) is not None:
            data = bytes([data[0] ^ 0x40]) + data[1:]
        self._audit.write("downloads", "download.request", effect=False, file=name, status=int(status))
        request.send_response(int(status))
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        cut = self._faults.strike("download.cut", name) is not None
        request.wfile.write(data[: len(data) // 2] if cut else data)
        request.close_connection = cut or request.close_connection
