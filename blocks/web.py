"""Pages, asked for as a check does it: one deadline for everything, certificates verified, no other host followed.

WebError
  WebUnreachable           no such name, refused, reset, or no route
  WebTimeout               no whole answer within the deadline
  WebCertificateRejected   the certificate is not trusted, or not for this name
  WebBadAnswer             something answered that is not HTTP, or redirects in a circle
"""

# ruff: noqa: N818 - the names say what happened; 'Error' on each would only repeat the base class
from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar
from urllib.parse import urlsplit

import httpx

from model.web import WebAnswer

T = TypeVar("T")

MOST_TEXT = 256 * 1024
"""Bytes of a body that are read; what checks look for stands near the top."""
MOST_REDIRECTS = 5
KEPT_HEADERS = ("server", "content-type", "retry-after")


class WebError(Exception):
    """What went wrong with a page, in one line, without query, user or headers."""


class WebUnreachable(WebError):
    """No such name, refused, reset, or no route."""


class WebTimeout(WebError):
    """No whole answer within the deadline."""


class WebCertificateRejected(WebError):
    """The certificate is not trusted, or not for this name."""


class WebBadAnswer(WebError):
    """Something answered that is not HTTP, or redirects in a circle."""


class WebClient:
    """Asks for pages; every request has a connection of its own, so an answer never comes from an older one.

    ``deadline`` is in seconds, for name look-up, connection, redirects and body together. ``ca_file`` is trusted
    besides the system's authorities. Checks ask the servers themselves; ``proxies`` lets the environment's be used.
    """

    def __init__(self, *, deadline: float = 30.0, ca_file: str | None = None, proxies: bool = False) -> None:
        self._deadline = deadline
        self._proxies = proxies
        self._tls = ssl.create_default_context()
        if ca_file is not None:
            self._tls.load_verify_locations(ca_file)

    def close(self) -> None:
        """Nothing stays open between requests; here so that it can be treated like the other connections."""

    def get(self, url: str, *, address: str | None = None, deadline: float | None = None) -> WebAnswer:
        """The answer to GET ``url``; with ``address``, of that node, by the URL's own name and certificate.

        Any status is an answer. Raises WebError.
        """
        return self._bounded(_Question("GET", url, address), deadline)

    def post(
        self,
        url: str,
        content: bytes,
        headers: Mapping[str, str],
        *,
        deadline: float | None = None,
    ) -> WebAnswer:
        """The answer to POST; redirects are not followed. Raises WebError."""
        return self.send("POST", url, content, headers, deadline=deadline)

    def send(
        self,
        method: str,
        url: str,
        content: bytes | None,
        headers: Mapping[str, str],
        *,
        deadline: float | None = None,
    ) -> WebAnswer:
        """The answer to a request of any method; redirects are followed for GET only. Raises WebError."""
        return self._bounded(_Question(method, url, None, content, headers), deadline)

    def _bounded(self, question: _Question, deadline: float | None) -> WebAnswer:
        seconds = self._deadline if deadline is None else deadline
        place = plain(question.url)
        until = time.monotonic() + seconds
        answer = within(seconds, lambda: _ask(place, lambda: self._follow(question, until)))
        if answer is None:
            raise WebTimeout(
                f"{place}: no whole answer within {seconds:g} s. Look at the server, or raise the deadline."
            )
        return answer

    def _follow(self, question: _Question, until: float) -> WebAnswer:
        started = time.monotonic()
        url = httpx.URL(question.url)
        for _ in range(MOST_REDIRECTS + 1):
            answer, location = self._once(question, url, until)
            elsewhere = None
            if location is not None and question.method == "GET":
                target = url.join(location)
                same = target.host == url.host
                if same and not (url.scheme == "https" and target.scheme == "http"):
                    url = target
                    continue
                elsewhere = f"{target.scheme}://{target.host}" if same else target.host or target.scheme
            seconds = time.monotonic() - started
            return answer.model_copy(update={"seconds": seconds, "elsewhere": elsewhere})
        raise WebBadAnswer(f"{plain(question.url)}: more than {MOST_REDIRECTS} redirects. Correct the site's address.")

    def _once(self, question: _Question, url: httpx.URL, until: float) -> tuple[WebAnswer, str | None]:
        left = max(until - time.monotonic(), 0.1)
        asked = url.copy_with(host=question.address) if question.address else url
        headers = {"User-Agent": "engageip-patching", "Host": url.netloc.decode("ascii"), **question.headers}
        named = {"sni_hostname": url.host} if url.scheme == "https" else {}
        with (
            httpx.Client(verify=self._tls, trust_env=self._proxies, timeout=left, follow_redirects=False) as client,
            client.stream(
                question.method, asked, content=question.content, headers=headers, extensions=named
            ) as response,
        ):
            body, cut = _beginning(response.iter_bytes(), until)
            encoding = response.charset_encoding or "utf-8"
            try:
                text = body.decode(encoding, "replace")
            except LookupError:
                text = body.decode("utf-8", "replace")
            answer = WebAnswer(
                url=plain(str(url)),
                status=response.status_code,
                seconds=0,
                text=text,
                cut=cut,
                headers={name: response.headers[name] for name in KEPT_HEADERS if name in response.headers},
            )
            moved = response.has_redirect_location and response.status_code in (301, 302, 303, 307, 308)
            return answer, response.headers["location"] if moved else None


class _Question:
    """One request; its parts never show in a message."""

    def __init__(
        self,
        method: str,
        url: str,
        address: str | None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.method, self.url, self.address = method, url, address
        self.content, self.headers = content, dict(headers or {})


def plain(url: str) -> str:
    """A URL as messages may show it: without user, query and fragment."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def within(seconds: float, call: Callable[[], T]) -> T | None:
    """What ``call`` answers or raises, None after ``seconds``: httpx bounds each read, and look-ups of names not at all.

    A call that is given up ends by itself in its own thread, at its own timeouts.
    """
    box: list[T] = []
    failures: list[Exception] = []

    def run() -> None:
        try:
            box.append(call())
        except Exception as error:  # noqa: BLE001 - carried over to the caller's thread
            failures.append(error)

    thread = threading.Thread(target=run, name="web", daemon=True)
    thread.start()
    thread.join(seconds)
    if failures:
        raise failures[0]
    return box[0] if box else None


def _beginning(chunks: Iterator[bytes], until: float) -> tuple[bytes, bool]:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > MOST_TEXT:
            return bytes(body[:MOST_TEXT]), True
        if time.monotonic() > until:
            return bytes(body), True
    return bytes(body), False


def _ask(place: str, call: Callable[[], T]) -> T | None:
    """What ``call`` answers, None for a timeout; our own errors are raised outside the handlers, with no context."""
    try:
        return call()
    except httpx.TimeoutException:
        return None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError, ValueError) as error:
        problem = _problem(place, error)
    raise problem


def _problem(place: str, error: Exception) -> WebError:
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return WebCertificateRejected(
                f"{place}: the certificate is refused ({cause.verify_message}). Renew it, or name its authority in ca_file."
            )
        if isinstance(cause, socket.gaierror):
            return WebUnreachable(f"{place}: the name is not known. Correct it, or the DNS of this machine.")
    if isinstance(error, httpx.ProtocolError | httpx.DecodingError | httpx.StreamError):
        return WebBadAnswer(f"{place}: what answers does not speak HTTP properly, or hung up ({type(error).__name__}).")
    if isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol):
        reason = next((each.strerror for each in chain if isinstance(each, OSError) and each.strerror), "no connection")
        return WebUnreachable(f"{place}: {reason}. Is the site started, and the port open?")
    return WebBadAnswer(f"{place}: cannot be asked ({type(error).__name__}). Correct the URL.")


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
