"""The web client: one deadline for everything, certificates verified, other hosts not followed, errors without secrets."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from blocks.credentials import WebhookCredentials
from blocks.soap import EngageIPApi, SoapBadAnswer, SoapFault
from blocks.web import WebBadAnswer, WebCertificateRejected, WebClient, WebError, WebTimeout, WebUnreachable, plain
from blocks.webhook import Webhook, WebhookFailed
from lab.web.listener import Listener
from lab.web.messages import Answer, Request
from lab.winrm.certificates import Authority
from model.maintenance import MAINTENANCE_MARKER

Serve = Callable[[Callable[[Request], Answer]], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server for the answers that a test gives; answers with its URL."""
    with contextlib.ExitStack() as stack:

        def start(answer: Callable[[Request], Answer]) -> str:
            listener = Listener("127.0.0.1", 0, answer)
            stack.callback(listener.close)
            return f"http://127.0.0.1:{listener.port}"

        yield start


@pytest.fixture
def raw() -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """Starts a server that does with each connection what a test says."""
    with contextlib.ExitStack() as stack:

        def start(act: Callable[[socket.socket], None]) -> str:
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def run() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        connection, _ = server.accept()
                        with connection, contextlib.suppress(OSError):
                            act(connection)

            threading.Thread(target=run, daemon=True).start()
            stack.callback(server.shutdown, socket.SHUT_RDWR)
            return f"http://127.0.0.1:{server.getsockname()[1]}"

        yield start


def test_answer_is_told_with_status_text_and_a_few_headers(serve: Serve) -> None:
    """Any status is an answer; the URL comes back without its query."""
    url = serve(lambda _: Answer.html(503, "zurück um 5 €", Retry_After="600"))
    answer = WebClient().get(f"{url}/x?token=1")
    assert (answer.status, answer.text, answer.url) == (503, "zurück um 5 €", f"{url}/x")
    assert answer.headers["retry-after"] == "600"
    assert answer.seconds > 0


def test_redirects_are_followed_on_the_same_host_only(serve: Serve) -> None:
    """IIS's courtesy redirect is followed; another host is named, not asked."""

    def answer(request: Request) -> Answer:
        if request.path == "/away":
            return Answer.html(302, "", Location="https://sso.acme.example/login?next=secret")
        if request.path == "/circle":
            return Answer.html(302, "", Location="/circle")
        return Answer.html(200, "here") if request.path == "/p/" else Answer.html(301, "", Location="/p/")

    url = serve(answer)
    assert WebClient().get(f"{url}/p").text == "here"
    away = WebClient().get(f"{url}/away")
    assert (away.status, away.elsewhere) == (302, "sso.acme.example")
    with pytest.raises(WebBadAnswer, match="redirects"):
        WebClient().get(f"{url}/circle")


def test_long_body_is_cut(serve: Serve) -> None:
    """Only the beginning of a page is read."""
    answer = WebClient().get(serve(lambda _: Answer.html(200, "x" * 1_000_000)))
    assert answer.cut
    assert len(answer.text) == 256 * 1024


@pytest.mark.parametrize("drip", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b""])
def test_deadline_holds_for_the_whole_answer(
    raw: Callable[[Callable[[socket.socket], None]], str], drip: bytes
) -> None:
    """A server that says nothing, or a little at a time for ever, in head or body, ends with the deadline."""
    stop = threading.Event()

    def act(connection: socket.socket) -> None:
        connection.sendall(drip)
        while not stop.wait(0.05):
            if drip:
                connection.sendall(b"x")

    url = raw(act)
    started = time.monotonic()
    try:
        with contextlib.suppress(WebTimeout):
            assert WebClient(deadline=0.5).get(url).cut
    finally:
        stop.set()
    assert time.monotonic() - started < 2


def test_nobody_there_is_unreachable() -> None:
    """A closed port and an unknown name each say what to look at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(WebUnreachable, match=f"http://127.0.0.1:{port}/AdminPortal: .*port open"):
        WebClient().get(f"http://127.0.0.1:{port}/AdminPortal?user=x")
    with pytest.raises(WebUnreachable, match="name is not known"):
        WebClient().get("http://nowhere.invalid/")


def test_what_is_not_http_is_a_bad_answer(raw: Callable[[Callable[[socket.socket], None]], str]) -> None:
    """A server of another protocol, and one that hangs up, are told apart from one that is not there."""
    with pytest.raises(WebBadAnswer, match="does not speak HTTP"):
        WebClient().get(raw(lambda line: line.recv(4096) and line.sendall(b"220 mail.acme.example ESMTP\r\n")))
    with pytest.raises(WebBadAnswer, match="hung up"):
        WebClient().get(raw(lambda line: line.recv(4096) and None))
    with pytest.raises(WebBadAnswer, match="Correct the URL"):
        WebClient().get("ftp://127.0.0.1/")


def test_certificates_are_verified_by_the_name_in_the_url(tmp_path: Path) -> None:
    """Unknown authorities and wrong names are refused; a node is asked by the public name and certificate."""
    authority = Authority(tmp_path / "ca")
    context = authority.tls("billing.acme.example", "127.0.0.1").context
    server = Listener("127.0.0.1", 0, lambda request: Answer.html(200, request.headers["host"]), tls=context)
    public = f"https://billing.acme.example:{server.port}/"
    trusting = WebClient(ca_file=str(authority.file))
    try:
        with pytest.raises(WebCertificateRejected, match="name its authority in ca_file"):
            WebClient().get(f"https://127.0.0.1:{server.port}/")
        assert trusting.get(public, address="127.0.0.1").text == f"billing.acme.example:{server.port}"
        with pytest.raises(WebCertificateRejected, match="Hostname mismatch"):
            trusting.get(f"https://other.acme.example:{server.port}/", address="127.0.0.1")
    finally:
        server.close()


def test_errors_hold_no_query_user_or_context() -> None:
    """Only a string leaves: no request, no response, not even as an error's context."""
    with pytest.raises(WebError) as caught:
        WebClient().get("http://user:pass@127.0.0.1:9/x?token=abc")
    assert caught.value.__context__ is None
    assert "pass" not in str(caught.value)
    assert "abc" not in str(caught.value)
    assert plain("https://u:p@h:1/p?q=1#f") == "https://h:1/p"


# SOAP ----------------------------------------------------------------------------------------------------------------

ENVELOPE = '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{}</s:Body></s:Envelope>'
PASSWORD = '<&"\u2039€'


def api(serve: Serve, text: str, status: int = 200, seen: list[Request] | None = None) -> EngageIPApi:
    def answer(request: Request) -> Answer:
        if seen is not None:
            seen.append(request)
        return Answer(status, text.encode(), {"Content-Type": "text/xml; charset=utf-8"})

    return EngageIPApi(WebClient(), f"{serve(answer)}/webservice.asmx", "check", SecretStr(PASSWORD))


def test_passwords_in_answers_are_redacted(serve: Serve) -> None:
    """GetUserDetail answers with the customer's password; nobody gets to see it."""
    detail = "<Username>anna</Username><Password>hunter2</Password><ACHAccountNumber>99</ACHAccountNumber>"
    text = ENVELOPE.format(f'<R xmlns="Logisense_EngageIP"><GetUserDetailResult>{detail}</GetUserDetailResult></R>')
    seen: list[Request] = []
    found = api(serve, text, seen=seen).read("GetUserDetail", {"username": "a<b"})
    assert found == {"Username": "anna", "Password": "(redacted)", "ACHAccountNumber": "(redacted)"}
    assert b"<username>a&lt;b</username>" in seen[0].body
    assert seen[0].headers["soapaction"] == '"Logisense_EngageIP/GetUserDetail"'


@pytest.mark.parametrize("count", [0, 1, 2])
def test_lists_are_lists_however_long(serve: Serve, count: int) -> None:
    """One payment is a list of one."""
    payments = "<Payment><ID>1</ID></Payment>" * count
    text = ENVELOPE.format(f"<R><GetPaymentsResult>{payments}</GetPaymentsResult></R>")
    found = api(serve, text).read("GetPayments", {"username": "anna"})
    assert found == ([{"ID": "1"}] * count or "")


def test_faults_and_other_pages_are_told_apart(serve: Serve) -> None:
    """A fault's text comes without our password; a page that is not SOAP, or the maintenance page, says so."""
    fault = "<s:Fault><faultcode>x</faultcode><faultstring>login {} failed</faultstring></s:Fault>"
    said = fault.format(PASSWORD.replace("&", "&amp;").replace("<", "&lt;"))
    with pytest.raises(SoapFault, match=r"login \(redacted\) failed"):
        api(serve, ENVELOPE.format(said), 500).read("GetUsername", {"userID": 1})
    with pytest.raises(SoapBadAnswer, match="answers 404, and not in SOAP"):
        api(serve, "<html>", 404).read("GetUsername", {"userID": 1})
    with pytest.raises(SoapBadAnswer, match="maintenance page"):
        api(serve, f"<html>{MAINTENANCE_MARKER}", 503).read("GetUsername", {"userID": 1})


def test_only_reads_are_sent(serve: Serve) -> None:
    """What charges somebody is refused before it is sent."""
    seen: list[Request] = []
    with pytest.raises(ValueError, match="not one of the reads"):
        api(serve, "", seen=seen).read("MakePayment", {"username": "anna", "amount": 1})
    assert seen == []


def test_proxies_are_used_by_webhooks_and_never_by_checks(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check asks the server itself; a webhook on the internet may only be reached by the proxy."""
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    seen: list[Request] = []
    monkeypatch.setenv("HTTP_PROXY", serve(lambda request: (seen.append(request), Answer(200, b""))[1]))
    hook("http://hooks.acme.invalid/T0").post({})
    assert len(seen) == 1
    assert WebClient().get(serve(lambda _: Answer.html(200, "direct"))).text == "direct"
    assert len(seen) == 1


# Webhook -------------------------------------------------------------------------------------------------------------


def hook(url: str, **more: SecretStr) -> Webhook:
    return Webhook(WebhookCredentials(url=SecretStr(url), **more), deadline=5)


def test_webhook_posts_json_with_its_authorization(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page arrives whole, umlauts included."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    seen: list[Request] = []
    url = serve(lambda request: (seen.append(request), Answer(204, b""))[1])
    hook(f"{url}/T0/secret", authorization=SecretStr("Bearer x")).post({"text": "Größe €"})
    assert seen[0].body.decode() == '{"text": "Größe €"}'
    assert (seen[0].method, seen[0].headers["authorization"]) == ("POST", "Bearer x")


@pytest.mark.parametrize(("statuses", "calls"), [([500, 200], 2), ([503, 503], 2), ([404], 1), ([302], 1)])
def test_webhook_tries_again_where_that_may_help(
    serve: Serve, statuses: list[int], calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server's trouble is tried once more, a refusal is not; the failure does not tell the address."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    left = list(statuses)
    seen: list[Request] = []
    url = serve(lambda request: (seen.append(request), Answer(left.pop(0), b"", {"Location": "/"}))[1])
    if statuses[-1] == 200:
        hook(url).post({})
    else:
        with pytest.raises(WebhookFailed, match=f"answered {statuses[-1]}") as caught:
            hook(f"{url}/T0/secret").post({})
        assert url not in str(caught.value)
        assert caught.value.__context__ is None
    assert len(seen) == calls
