"""What http.sys does with a request before WinRM or IIS hear of it: both listen through it, and so do their doubles."""

from __future__ import annotations

from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from typing import Any

from lab.web.messages import HTTPAPI, Answer, by_httpsys, invalid_request


class HttpSysHandler(BaseHTTPRequestHandler):
    """One connection. Requests that cannot be read are answered with http.sys's own pages, never the library's."""

    protocol_version = "HTTP/1.1"
    raw_requestline: bytes

    def serve(self) -> None:
        """Answer one request, whatever its verb."""
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        """Stand for ``do_GET``, ``do_POST`` and every other verb's method: http.sys passes them all on."""
        if name.startswith("do_"):
            return self.serve
        raise AttributeError(name)

    def version_string(self) -> str:
        """The ``Server`` header of answers that no site gave."""
        return HTTPAPI

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """The audit trail says what matters."""

    def parse_request(self) -> bool:
        """Read the head of a request; false when it has been refused already."""
        if not super().parse_request():
            return False
        refusal = self._refusal()
        if refusal is not None:
            self.refuse(refusal)
        return refusal is None

    def _refusal(self) -> Answer | None:
        if self.request_version == "HTTP/1.1" and "Host" not in self.headers:
            return invalid_request("Hostname")
        if self.headers.get("Transfer-Encoding"):  # http.sys takes chunks; the lab does not, and says so
            return by_httpsys(411, "Length Required", "Length Required", "The request must have a content length.")
        if not (self.headers.get("Content-Length") or "0").isdecimal():
            sentence = "There is an invalid content length or chunk length in the request."
            return by_httpsys(400, "Bad Request", "Bad Request - Invalid Content Length", sentence)
        return None

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what the standard library cannot read as http.sys would."""
        del message, explain
        if code == 431:
            sentence = "The size of the request headers is too long."
            self.refuse(by_httpsys(400, "Bad Request", "Bad Request - Request Too Long", sentence))
        else:
            readable = self.raw_requestline.split(b" ", 1)[0].isalpha() and b" " in self.raw_requestline
            self.refuse(invalid_request("URL" if readable else "Verb"))

    def refuse(self, answer: Answer) -> None:
        """Send an answer and hang up."""
        self.close_connection = True
        self.request_version = "HTTP/1.1"  # the library writes no head to whoever it takes for a client of HTTP/0.9
        self.send_response_only(answer.status)
        headers = {**answer.headers, "Date": formatdate(usegmt=True), "Connection": "close"}
        for name, value in {**headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if getattr(self, "command", None) != "HEAD":
            self.wfile.write(answer.body)
