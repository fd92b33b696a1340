"""The lab judged by clients that nobody here wrote: pypsrp, Ansible, mssql-python, python-tds, bare sockets.

The lab runs in a process of its own: mssql-python keeps Python's lock while it fetches, and would wait for itself.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import foreign_call
import OpenSSL.SSL
import pypsrp.client
import pypsrp.exceptions
import pypsrp.shell
import pypsrp.wsman
import pytds
import pytest
from ansible_raw import raw

if sys.platform == "linux":  # the driver's wheel is for Linux here, as mssql-python-odbc is
    import mssql_python

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Estate:
    """A running lab as its papers describe it."""

    state: dict[str, Any]
    credentials: dict[str, dict[str, Any]]

    def address(self, host: str) -> str:
        return str(self.state["hosts"][host]["address"])

    @property
    def ca(self) -> str:
        return str(Path(self.state["estate"]).parent / "ca" / "ca.pem")

    @property
    def winrm(self) -> dict[str, str]:
        return {name: self.credentials["winrm-acme"][name] for name in ("username", "password")}

    @property
    def sql(self) -> dict[str, str]:
        return {name: self.credentials["sql-acme"][name] for name in ("username", "password")}


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """``python -m lab``: sql01 and web01. Afterwards its audit trail must not speak of a bug of the lab."""
    folder = tmp_path_factory.mktemp("foreign") / "lab"
    command = [sys.executable, "-m", "lab", "--dir", str(folder), "--speed", "100"]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    state = json.loads(process.stdout.readline())
    yield Estate(state, json.loads(Path(state["credentials"]).read_text()))
    process.terminate()
    process.wait(20)
    bugs = [line for line in Path(state["audit"]).read_text().splitlines() if "lab.bug" in line]
    assert not bugs, bugs


# pypsrp --------------------------------------------------------------------------------------------------------------


def _wsman(estate: Estate, scheme: str, **settings: Any) -> pypsrp.wsman.WSMan:
    secure = {"ssl": True, "port": 5986, "cert_validation": estate.ca} if scheme == "https" else {"ssl": False}
    return pypsrp.wsman.WSMan(
        estate.address("web01"), **{"auth": "ntlm", "no_proxy": True, **secure, **estate.winrm, **settings}
    )


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_pypsrp_runs_commands_and_a_shipped_script(estate: Estate, scheme: str) -> None:
    """WinRS over sealed NTLM and over TLS that the lab's authority vouches for: output, exit codes, standard input."""
    wsman = _wsman(estate, scheme)
    with wsman, pypsrp.shell.WinRS(wsman, codepage=65001, no_profile=True, environment={"A": "ü"}) as shell:
        hostname = pypsrp.shell.Process(shell, "hostname")
        hostname.invoke()
        hostname.signal(pypsrp.shell.SignalCode.CTRL_C)
        assert (hostname.rc, hostname.stdout, hostname.stderr) == (0, b"web01\r\n", b"")
        unknown = pypsrp.shell.Process(shell, "nosuch", ["/x"])
        unknown.invoke()
        assert unknown.rc == 1
        powershell = pypsrp.shell.Process(shell, "powershell.exe", foreign_call.arguments())
        powershell.begin_invoke()
        powershell.send(foreign_call.stdin("Get-HostFacts", services=["W3SVC"]), end=True)
        powershell.end_invoke()
        answer = json.loads(powershell.stdout)
        assert (powershell.rc, powershell.stderr, answer["ok"]) == (0, b"", True)
        assert answer["value"]["computer"].lower() == "web01"


def test_pypsrp_is_refused_as_windows_refuses(estate: Estate) -> None:
    """A wrong password, a program that is not there, and PowerShell remoting, which a lab host does not have."""
    with pytest.raises(pypsrp.exceptions.AuthenticationError), _wsman(estate, "http", password="wrong") as wrong:
        pypsrp.shell.WinRS(wrong).open()
    with _wsman(estate, "http") as wsman, pypsrp.shell.WinRS(wsman) as shell:
        with pytest.raises(pypsrp.exceptions.WSManFaultError) as absent:
            pypsrp.shell.Process(shell, "hostname", no_shell=True).invoke()
        assert absent.value.code == 2147942402
    with pypsrp.client.Client(estate.address("web01"), ssl=False, no_proxy=True, auth="ntlm", **estate.winrm) as client:
        assert client.execute_cmd("whoami")[0].split("\\")[0] == "web01"
        with pytest.raises(pypsrp.exceptions.WSManFaultError) as remoting:
            client.execute_ps("hostname")
        assert remoting.value.code == 2150858811


# Ansible -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_ansible_runs_a_raw_command(estate: Estate, tmp_path: Path, scheme: str) -> None:
    """``ansible -m raw`` over connection winrm: on both hosts at once, and the exit code of a refusal is passed on."""
    variables = {
        "ansible_user": estate.winrm["username"],
        "ansible_password": estate.winrm["password"],
        "ansible_winrm_transport": "ntlm",
        "ansible_winrm_scheme": scheme,
        "ansible_port": 5985 if scheme == "http" else 5986,
        "ansible_winrm_ca_trust_path": estate.ca,
    }
    hosts = {name: estate.address(name) for name in estate.state["hosts"]}
    ended = raw(tmp_path, hosts, variables, "hostname")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for name in hosts:
        assert f"{name} | CHANGED | rc=0 >>\n{name}" in ended.stdout
    assert estate.winrm["password"] not in ended.stdout + ended.stderr
    if scheme == "http":
        refused = raw(tmp_path, hosts, variables, "Get-Process")
        assert "web01 | FAILED | rc=1" in refused.stdout
        assert "application control policy" in refused.stdout


# python-tds ----------------------------------------------------------------------------------------------------------


def _tds(estate: Estate, **settings: Any) -> Any:
    # Its check of the host's name uses what pyOpenSSL no longer has; the authority is checked all the same.
    tls = {"cafile": estate.ca, "validate_host": False}
    known = {"user": estate.sql["username"], "password": estate.sql["password"], **tls}
    more = {"database": "EngageIP", "autocommit": True, "login_timeout": 10, "timeout": 20}
    return pytds.connect(estate.address("sql01"), **{**known, **more, **settings})


def _fetch(cursor: Any, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    cursor.execute(statement, *parameters)
    return [tuple(row) for row in cursor.fetchall()]


VALUES = [
    "ü€‹", "x" * 5000, 1, -7, 1 << 40, 1.5, Decimal("12.345"), None, True, date(2024, 2, 29), time(1, 2, 3, 500000),
    datetime.fromisoformat("2024-01-02T03:04:05.678"), uuid.UUID("6F9619FF-8B86-D011-B42D-00C04FC964FF"),
]  # fmt: skip


@pytest.mark.parametrize("version", [pytds.tds_base.TDS72, pytds.tds_base.TDS73B, pytds.tds_base.TDS74])
def test_python_tds_logs_in_under_tls_that_it_checks(estate: Estate, version: int) -> None:
    """Every version of the protocol since SQL Server 2005, all of the talk encrypted, the certificate the lab's own."""
    with closing(_tds(estate, tds_version=version)) as connection, connection.cursor() as cursor:
        row = _fetch(cursor, "SELECT DB_NAME(), SUSER_SNAME(), @@SERVERNAME")
        assert row == [("EngageIP", estate.sql["username"], "SQL01")]


def test_python_tds_does_not_trust_another_authority(estate: Estate, tmp_path: Path) -> None:
    """The lab's certificate is its authority's alone."""
    from lab.winrm.certificates import Authority

    with pytest.raises(OpenSSL.SSL.Error, match="certificate verify failed"):
        _tds(estate, cafile=str(Authority(tmp_path / "ca").file))


def test_python_tds_gets_back_the_values_that_it_sends(estate: Estate) -> None:
    """A parameter is of the type that the client declared: what comes back is equal, and of the same Python type."""
    with closing(_tds(estate)) as connection, connection.cursor() as cursor:
        for value in VALUES:
            (back,) = _fetch(cursor, "SELECT %s", (value,))[0]
            assert (back, type(back)) == (value, type(value))
        assert _fetch(cursor, "SELECT %s", (pytds.Binary(b"\x00\xff" * 5000),)) == [(b"\x00\xff" * 5000,)]
        assert _fetch(cursor, "SELECT COUNT(*) FROM dbo.[User] WHERE Username = %s", ("x'; --",)) == [(0,)]


def test_python_tds_reads_result_sets_messages_and_errors(estate: Estate) -> None:
    """One batch with several results; errors by number, after which the connection is still good."""
    with closing(_tds(estate)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 AS a PRINT N'hallo' SELECT N'b' AS b, 2 AS c")
        assert cursor.fetchall() == [(1,)]
        assert cursor.nextset()
        assert [column[0] for column in cursor.description] == ["b", "c"]
        assert cursor.fetchall() == [("b", 2)]
        assert not cursor.nextset()
        for statement, number in ERRORS.items():
            with pytest.raises(pytds.Error) as refused:
                _fetch(cursor, statement)
            assert refused.value.number == number, statement  # type: ignore[attr-defined]
        assert _fetch(cursor, "SELECT 7 / 2") == [(3,)]
    for text, wrong in {"Login failed": {"password": "wrong"}, "Cannot open database": {"database": "Nowhere"}}.items():
        with pytest.raises(pytds.Error, match=text) as refused:
            _tds(estate, **wrong)
        assert refused.value.number == 18456  # the last of the messages


ERRORS = {
    "SELEC 1": 2812, "SELECT 1 FROM nope": 208, "SELECT nope FROM dbo.Payment": 207, "MERGE x": 102, "USE Nowhere": 911,
    "SELECT 1 / 0": 8134, "SELECT CAST(N'x' AS int)": 245, "RAISERROR (N'no', 16, 1)": 50000, "SELECT @missing": 137,
}  # fmt: skip


def test_python_tds_transactions(estate: Estate) -> None:
    """What is rolled back is gone, what is committed others see."""
    with closing(_tds(estate, autocommit=False)) as writer, closing(_tds(estate)) as reader:
        cursor = writer.cursor()
        before = _fetch(reader.cursor(), "SELECT COUNT(*) FROM dbo.Payment")[0][0]
        cursor.execute("DELETE FROM dbo.Payment")
        writer.rollback()
        assert _fetch(reader.cursor(), "SELECT COUNT(*) FROM dbo.Payment") == [(before,)]
        cursor.execute(
            "INSERT INTO dbo.Payment (UserID, Amount, Status) VALUES (%s, %s, %s)", (1, Decimal("1.25"), "t")
        )
        writer.commit()
        assert _fetch(reader.cursor(), "SELECT Amount FROM dbo.Payment WHERE Status = N't'") == [(Decimal("1.25"),)]


# mssql-python --------------------------------------------------------------------------------------------------------

linux = pytest.mark.skipif(sys.platform != "linux", reason="mssql-python is a dependency on Linux only")


def _mssql(estate: Estate, database: str = "EngageIP", password: str | None = None, **settings: Any) -> Any:
    secret = (estate.sql["password"] if password is None else password).replace("}", "}}")
    fields = (
        f"SERVER=tcp:{estate.address('sql01')},1433;UID={estate.sql['username']};PWD={{{secret}}};DATABASE={database}"
    )
    return mssql_python.connect(f"{fields};Encrypt=yes;TrustServerCertificate=yes", **{"autocommit": True, **settings})


@linux
def test_mssql_python_queries_and_parameters(estate: Estate) -> None:
    """Microsoft's own Python driver: TLS, typed parameters both ways, prepared statements used again."""
    with closing(_mssql(estate)) as connection, closing(connection.cursor()) as cursor:
        assert _fetch(cursor, "SELECT DB_NAME(), @@SERVERNAME") == [("EngageIP", "SQL01")]
        for value in [*VALUES, b"\x00\xff" * 5000]:
            (back,) = _fetch(cursor, "SELECT ?", (value,))[0]
            assert (back, type(back)) == (value, type(value))
        counts = [_fetch(cursor, "SELECT COUNT(*) FROM dbo.[User] WHERE UserID < ?", (n,))[0][0] for n in (1, 3, 5)]
        assert counts == [0, 2, 4]


@linux
def test_mssql_python_sends_arrays_of_parameters(estate: Estate) -> None:
    """``executemany`` is one request with a procedure call for each row: every row arrives, each error is told."""
    with closing(_mssql(estate)) as connection, closing(connection.cursor()) as cursor:
        rows = [(1, Decimal("10.50"), "m"), (2, Decimal("20.25"), "m"), (3, Decimal("30.00"), "m")]
        cursor.executemany("INSERT INTO dbo.Payment (UserID, Amount, Status) VALUES (?, ?, ?)", rows)
        assert _fetch(cursor, "SELECT COUNT(*), SUM(Amount) FROM dbo.Payment WHERE Status = N'm'") == [
            (3, Decimal("60.75"))
        ]
        with pytest.raises(mssql_python.Error, match="UNIQUE KEY"):
            cursor.executemany("INSERT INTO dbo.EngageIPOption VALUES (?, ?)", [("a", "1"), ("a", "2"), ("b", "3")])
        assert _fetch(cursor, "SELECT COUNT(*) FROM dbo.EngageIPOption WHERE Name IN (N'a', N'b')") == [(2,)]


@linux
def test_mssql_python_result_sets_errors_and_transactions(estate: Estate) -> None:
    """Several results of a batch, a failed login, an error in the middle, a statement that is cancelled, a rollback."""
    with closing(_mssql(estate, autocommit=False)) as connection, closing(connection.cursor()) as cursor:
        cursor.execute("SELECT 1 AS a UPDATE dbo.Payment SET Status = Status WHERE PaymentID < 4 SELECT N'z' AS z")
        assert [tuple(row) for row in cursor.fetchall()] == [(1,)]
        assert cursor.nextset()
        assert cursor.description is None  # the UPDATE
        assert cursor.nextset()
        assert [tuple(row) for row in cursor.fetchall()] == [("z",)]
        assert not cursor.nextset()
        with pytest.raises(mssql_python.ProgrammingError, match="Invalid object name 'nope'"):
            cursor.execute("SELECT 1 FROM nope")
        count = _fetch(cursor, "SELECT COUNT(*) FROM dbo.Payment")
        cursor.execute("DELETE FROM dbo.Payment")
        assert [(cursor.rowcount,)] == count
        connection.rollback()
        assert _fetch(cursor, "SELECT COUNT(*) FROM dbo.Payment") == count
        connection.rollback()
        connection.timeout = 1
        with (
            closing(connection.cursor()) as slow,
            pytest.raises(mssql_python.OperationalError, match="Timeout expired"),
        ):
            slow.execute("WAITFOR DELAY '01:00:00'")
    with pytest.raises(mssql_python.OperationalError, match="Login failed"):
        _mssql(estate, password="wrong")


# Probes --------------------------------------------------------------------------------------------------------------


def _talk(address: str, port: int, request: bytes) -> bytes:
    """What a server says to these bytes until it hangs up."""
    answer = b""
    with socket.create_connection((address, port), 10) as connection:
        connection.sendall(request)
        try:
            while data := connection.recv(65536):
                answer += data
        except ConnectionResetError:
            pass
    return answer


def _http(line: str, *headers: str, host: str | None = "web01") -> bytes:
    named = [f"Host: {host}"] if host else []
    return "\r\n".join([f"{line} HTTP/1.1", *named, *headers, "Connection: close", "", ""]).encode()


HTTPAPI = b"\r\nServer: Microsoft-HTTPAPI/2.0\r\n"


@pytest.mark.parametrize(
    ("port", "request_", "status", "contains"),
    [
        (5985, _http("POST /wsman", "Content-Length: 0"), 401, b"\r\nWWW-Authenticate: Negotiate\r\n"),
        (5985, _http("POST /wsman", "Authorization: Basic eDp5", "Content-Length: 0"), 401, b"Authenticate: Negotiate"),
        (5985, _http("GET /wsman"), 405, b"\r\nAllow: POST\r\n"),
        (5985, _http("GET /"), 404, b"<p>HTTP Error 404. The requested resource is not found.</p>"),
        (5985, _http("PROPFIND /"), 404, b"\r\nContent-Length: 315\r\n"),
        (5985, b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400, b"Bad Request - Invalid Verb"),
        (8080, _http("GET /", host=None), 400, b"Bad Request - Invalid Hostname"),
        (8080, b"nonsense\r\n\r\n", 400, b"Bad Request - Invalid Verb"),
        (8080, _http("POST /", "Content-Length: x"), 400, b"Bad Request - Invalid Content Length"),
        (8080, _http("GET /elsewhere"), 404, b"\r\nServer: Microsoft-IIS/10.0\r\n"),
    ],
)
def test_http_probes_meet_windows(estate: Estate, port: int, request_: bytes, status: int, contains: bytes) -> None:
    """A scanner, a load balancer or curl sees http.sys and IIS: status, headers and pages, and nothing of Python."""
    answer = _talk(estate.address("web01"), port, request_)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert contains in answer
    assert b"Python" not in answer
    assert HTTPAPI in answer or b"Server: Microsoft-IIS/10.0" in answer


@pytest.mark.parametrize(
    ("host", "port", "probe"),
    [
        ("sql01", 1433, _http("GET /")),
        ("sql01", 1433, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64)),
        ("sql01", 1433, b"\x12\x01\x00\x02\x00\x00\x01\x00"),
        ("web01", 5986, _http("GET /wsman")),
    ],
)
def test_the_wrong_protocol_is_cut_off(estate: Estate, host: str, port: int, probe: bytes) -> None:
    """HTTP to SQL Server, TLS that begins without TDS, a packet shorter than its head, clear text to HTTPS: no answer, no waiting."""
    assert _talk(estate.address(host), port, probe) == b""


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop's proxy must not see the lab."""
    monkeypatch.setenv("NO_PROXY", "*")
