"""Test-SqlRoute: a real connection from this machine, as every lab host is on loopback.

Fault, on the host that asks: ``sql.no_route`` {error}, such as a firewall whose profile has changed with a boot.
"""

from __future__ import annotations

import socket
from typing import Any

from lab.host import Host
from lab.scripts import script

PRELOGIN = bytes([0x12, 1, 0, 26, 0, 0, 1, 0, 0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xFF, 9, 0, 0, 0, 0, 0, 0])
SERVERS_ANSWER = 4


@script("Test-SqlRoute")
def test_sql_route(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    server, port = parameters["server"], parameters["port"]
    answer: dict[str, Any] = {"server": server, "port": port, "addresses": [], "reached": False, "error": None}
    try:
        found = socket.getaddrinfo(server, port, type=socket.SOCK_STREAM)
    except socket.gaierror:
        return answer | {"error": "HostNotFound"}
    answer["addresses"] = [each[4][0] for each in found]
    blocked = host.faults.strike("sql.no_route", host.name)
    if blocked is not None:
        return answer | {"error": blocked.get("error", "TimedOut")}
    seconds = float(parameters.get("timeout_seconds", 10))
    try:
        connection = socket.create_connection((server, port), timeout=seconds)
    except TimeoutError:
        return answer | {"error": "TimedOut"}
    except OSError:
        return answer | {"error": "ConnectionRefused"}
    if parameters.get("tls_first"):
        connection.close()
        return answer | {"reached": True}
    return answer | _asked(connection)


def _asked(connection: socket.socket) -> dict[str, Any]:
    with connection:
        try:
            connection.sendall(PRELOGIN)
            first = connection.recv(1)
        except OSError:
            return {"error": "Silent"}
    reached = bool(first) and first[0] == SERVERS_ANSWER
    return {"reached": reached, "error": None if reached else "NotSqlServer"}
