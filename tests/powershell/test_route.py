"""From a web server to SQL Server by the application's own name for it; both tellings open real connections."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lab.faults import Fault

pytestmark = [pytest.mark.lookalike, pytest.mark.telling("Test-SqlRoute")]


@contextmanager
def listening(answer: bytes | None) -> Iterator[int]:
    """A port that answers every packet with these bytes and hangs up; None never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        open_ones: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                open_ones.append(client)
                if answer is not None:
                    asked.append(client.recv(100))
                    client.sendall(answer)
                    client.close()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        for one in open_ones:
            one.close()


asked: list[bytes] = []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (bytes([4, 1, 0, 26]), None),
        (b"HTTP/1.1 400 Bad Request", "NotSqlServer"),
        (b"", "NotSqlServer"),
        (None, "Silent"),
    ],
)
def test_what_answers(twin: Callable[..., Any], answer: bytes | None, error: str | None) -> None:
    """Only an answer of a SQL Server's kind counts: an open port proves nothing."""
    asked.clear()
    with listening(answer) as port:
        parameters = {"server": "127.0.0.1", "port": port, "timeout_seconds": 1}
        told = twin().run("Test-SqlRoute", parameters).agree()
    assert (told["reached"], told["error"], told["addresses"]) == (error is None, error, ["127.0.0.1"])
    assert len(set(asked)) == (0 if answer is None else 1)  # both send the same PRELOGIN


def test_a_server_that_speaks_tls_from_the_first_byte(twin: Callable[..., Any]) -> None:
    """It answers no PRELOGIN in clear: that it takes the connection is what can be asked."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        parameters = {"server": "127.0.0.1", "port": server.getsockname()[1], "tls_first": True}
        told = twin().run("Test-SqlRoute", parameters).agree()
    assert (told["reached"], told["error"]) == (True, None)


def test_what_does_not_answer(twin: Callable[..., Any]) -> None:
    """A name that nobody knows, and a port that nobody listens on."""
    hosts = twin()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    told = hosts.run("Test-SqlRoute", {"server": "127.0.0.1", "port": port}).agree()
    assert (told["reached"], told["error"]) == (False, "ConnectionRefused")
    told = hosts.run("Test-SqlRoute", {"server": "nobody.invalid", "port": 1433}).agree()
    assert (told["reached"], told["error"], told["addresses"]) == (False, "HostNotFound", [])


def test_the_lab_can_close_the_way(twin: Callable[..., Any]) -> None:
    """The fault sql.no_route, on the host that asks."""
    hosts = twin()
    hosts.lab.faults.declare(Fault("sql.no_route", on="web01"))
    told = hosts.run("Test-SqlRoute", {"server": "127.0.0.1", "port": 1}).lab["value"]
    assert (told["reached"], told["error"]) == (False, "TimedOut")
