"""A small HTTP API by which another process looks at the lab, declares faults, restarts hosts and ends it.

``GET /state``, ``POST /faults`` (``{"name", "on", "times", "with", "chance"}``), ``DELETE /faults`` (``?name=`` for one kind),
``POST /hosts/<name>/restart`` (``{"seconds_down"}``), ``POST /hosts/<name>/work`` (``{"kind": "billing" or "payments",
"seconds"}`` of lab time: a billing run or an eCheck batch begins; kind "finish" lets all of them end), ``POST /stop``.
Answers are JSON. Loopback only.
"""

from __future__ import annotations

import http.server
import json
import threading
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from lab.faults import Fault

PORT = 8700


class Controlled(Protocol):
    """What the API acts on."""

    def state(self) -> dict[str, Any]: ...
    def declare(self, fault: Fault) -> None: ...
    def clear_faults(self, name: str | None) -> None: ...
    def restart(self, host: str, seconds_down: float) -> None: ...
    def work(self, host: str, kind: str, seconds: float) -> int | None: ...
    def request_stop(self) -> None: ...


class Control(http.server.ThreadingHTTPServer):
    """Serves the API on ``address``, at once; raises OSError where another lab is there already."""

    daemon_threads = True

    def __init__(self, address: str, lab: Controlled) -> None:
        self.lab = lab
        super().__init__((address, PORT), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), name="lab-control", daemon=True).start()

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Control

    def do_GET(self) -> None:
        if self.path == "/state":
            self._reply(200, self.server.lab.state())
        else:
            self._reply(404, {"error": f"no {self.path}"})

    def do_DELETE(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/faults":
            self.server.lab.clear_faults(next(iter(parse_qs(url.query).get("name", [])), None))
            self._reply(200, {})
        else:
            self._reply(404, {"error": f"no {self.path}"})

    def do_POST(self) -> None:
        lab = self.server.lab
        try:
            asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            match self.path.strip("/").split("/"):
                case ["faults"]:
                    more = (asked.get("times"), asked.get("with", {}), float(asked.get("chance", 1)))
                    lab.declare(Fault(asked["name"], asked.get("on", "*"), *more))
                case ["hosts", name, "restart"]:
                    lab.restart(name, float(asked.get("seconds_down", 20.0)))
                case ["hosts", name, "work"]:
                    self._reply(200, {"number": lab.work(name, asked["kind"], float(asked.get("seconds", 60)))})
                    return
                case ["stop"]:
                    self._reply(200, {})
                    lab.request_stop()
                    return
                case _:
                    self._reply(404, {"error": f"no {self.path}"})
                    return
        except (ValueError, KeyError, TypeError) as error:
            self._reply(400, {"error": f"{type(error).__name__}: {error}"})
            return
        self._reply(200, {})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Nothing: the audit trail says what happened."""

    def _reply(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
