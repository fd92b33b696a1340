"""What travels between the listener and the sites: one request in, one answer out, and the pages that IIS words itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

HTTPAPI = "Microsoft-HTTPAPI/2.0"
"""The ``Server`` header of what http.sys answers by itself: no site was asked."""
IIS = "Microsoft-IIS/10.0"


@dataclass(frozen=True)
class Request:
    """One HTTP request as a site sees it; header names are lower case, ``path`` is percent-decoded."""

    method: str
    path: str
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    port: int = 80

    @property
    def host(self) -> str:
        """The host header without its port, lower case."""
        return self.headers.get("host", "").rsplit(":", 1)[0].casefold()


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def html(status: int, text: str, **headers: str) -> Answer:
        """An HTML page in UTF-8; ``Retry_After="600"`` becomes the header Retry-After."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Answer(status, text.encode(), {"Content-Type": "text/html; charset=utf-8", "Server": IIS, **named})


def by_httpsys(status: int, title: str, heading: str, sentence: str) -> Answer:
    """A page of http.sys itself: the site's own code never ran."""
    page = (
        '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN""http://www.w3.org/TR/html4/strict.dtd">\r\n'
        f"<HTML><HEAD><TITLE>{title}</TITLE>\r\n"
        '<META HTTP-EQUIV="Content-Type" Content="text/html; charset=us-ascii"></HEAD>\r\n'
        f"<BODY><h2>{heading}</h2>\r\n<hr><p>HTTP Error {status}. {sentence}</p>\r\n</BODY></HTML>\r\n"
    )
    return Answer(status, page.encode("ascii"), {"Content-Type": "text/html; charset=us-ascii", "Server": HTTPAPI})


def no_such_url() -> Answer:
    """Nobody has registered this path with http.sys."""
    return by_httpsys(404, "Not Found", "Not Found", "The requested resource is not found.")


def invalid_request(what: str) -> Answer:
    """A request that http.sys cannot read: ``what`` is Verb, URL, Header …."""
    return by_httpsys(400, "Bad Request", f"Bad Request - Invalid {what}", f"The request {what.lower()} is invalid.")


def unavailable() -> Answer:
    """The pool is stopped, or its worker does not answer."""
    return by_httpsys(503, "Service Unavailable", "Service Unavailable", "The service is unavailable.")


def invalid_host() -> Answer:
    """The port is open, and no site on it has this host header."""
    return invalid_request("Hostname")


def not_found() -> Answer:
    """No application or file of the site has this path."""
    return Answer.html(
        404,
        "<html><head><title>404 - File or directory not found.</title></head><body><h1>Server Error</h1>"
        "<h2>404 - File or directory not found.</h2><h3>The resource you are looking for might have been removed, "
        "had its name changed, or is temporarily unavailable.</h3></body></html>",
    )


def detailed_error(status: int, sub_status: int, text: str) -> Answer:
    """A page of IIS's own modules, with the sub-status that its log would show."""
    return Answer.html(
        status,
        f"<html><head><title>IIS 10.0 Detailed Error - {status}.{sub_status}</title></head><body>"
        f"<h3>HTTP Error {status}.{sub_status}</h3><h4>{escape(text)}</h4></body></html>",
    )


def yellow_page(application: str, headline: str, trace: str) -> Answer:
    """ASP.NET's own page for an unhandled exception."""
    return Answer.html(
        500,
        f"<!DOCTYPE html><html><head><title>{escape(headline)}</title></head><body bgcolor='white'>"
        f"<span><h1>Server Error in '{escape(application)}' Application.<hr width=100% size=1 color=silver></h1>"
        f"<h2><i>{escape(headline)}</i></h2></span><b>Description: </b>An unhandled exception occurred during the "
        "execution of the current web request. Please review the stack trace for more information about the error and "
        f"where it originated in the code.<br><br><b>Stack Trace:</b><pre>{escape(trace)}</pre><hr>"
        "<b>Version Information:</b>&nbsp;Microsoft .NET Framework Version:4.0.30319; ASP.NET Version:4.8.4667.0"
        "</body></html>",
    )
