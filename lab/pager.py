"""The pager: where a page for the person on call is posted, as a webhook of such a service takes it.

Fault, on ``pager``: ``pager.down`` (503 to everything).
"""

from __future__ import annotations

import http.server
import json
import threading
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from lab.audit import Audit
from lab.faults import Faults

PORT = 9100


class Pager(http.server.ThreadingHTTPServer):
    """Listens on ``address`` while started; the last part of its URL is the secret that lets a caller page."""

    daemon_threads = True

    def __init__(self, address: str, token: str, *, audit: Audit, faults: Faults) -> None:
        self.token, self.audit, self.faults = token, audit, faults
        self.url = f"http://{address}:{PORT}/page/{quote(token, safe='')}"
        self._thread: threading.Thread | None = None
        super().__init__((address, PORT), _Handler)

    def start(self) -> None:
        """Answer from now on."""
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="lab-pager", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port; safe to call where it was never started."""
        if self._thread is not None:
            self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Pager

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        if path.rpartition("/")[0] != "/page" or unquote(path.rpartition("/")[2]) != self.server.token:
            self._reply(404, "no such webhook")
        elif self.server.faults.strike("pager.down", "pager") is not None:
            self._reply(503, "try again later")
        else:
            page = _read(body)
            if page is None:
                self._reply(400, 'not a page: send {"text": ...}')
            else:
                outcome = page.get("outcome") or {}
                self.server.audit.write("pager", "pager.page", text=page["text"], verdict=outcome.get("verdict"))
                self._reply(200, "paged")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Nothing: the audit trail says what happened."""

    def _reply(self, status: int, said: str) -> None:
        body = said.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _read(body: bytes) -> dict[str, Any] | None:
    try:
        page = json.loads(body)
    except ValueError:
        return None
    return page if isinstance(page, dict) and isinstance(page.get("text"), str) else None
