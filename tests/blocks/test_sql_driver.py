"""Which driver is chosen, and how its connection strings are written."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from blocks.sql_driver import Driver, braced, choose, connection_string, from_wheel, load_pyodbc
from blocks.sql_errors import (
    SqlCertificateRejected,
    SqlDriverMissing,
    SqlLoginRefused,
    SqlNotReady,
    SqlUnreachable,
    connecting,
    message_of,
    running,
)

EIGHTEEN, SEVENTEEN = "ODBC Driver 18 for SQL Server", "ODBC Driver 17 for SQL Server"


@pytest.mark.parametrize(
    ("named", "installed", "chosen"),
    [
        (None, ["FreeTDS", SEVENTEEN, EIGHTEEN], EIGHTEEN),
        (None, ["SQL Server", SEVENTEEN], SEVENTEEN),
        (SEVENTEEN, [EIGHTEEN, SEVENTEEN], SEVENTEEN),
        ("FreeTDS", ["FreeTDS", EIGHTEEN], "FreeTDS"),
    ],
)
def test_order_of_drivers(named: str | None, installed: list[str], chosen: str) -> None:
    """The named one, else 18, else 17."""
    assert choose("sql01", named, installed) == Driver(chosen)


def test_wheel_comes_before_freetds() -> None:
    """Without an installed Microsoft driver the wheel's library is used, by its absolute path."""
    if importlib.util.find_spec("mssql_python_odbc") is None:
        pytest.skip("mssql-python-odbc is not installed")
    driver = choose("sql01", None, ["FreeTDS", "SQL Server"])
    assert Path(driver.name).is_absolute()
    assert "libmsodbcsql" in driver.name
    assert driver == Driver(str(from_wheel()))


@pytest.mark.parametrize("named", ["SQL Server", "ODBC Driver 99", "/no/such/library.so"])
def test_named_driver_that_cannot_be_used(named: str) -> None:
    """The legacy driver and one that is not there are refused by name."""
    with pytest.raises(SqlDriverMissing, match="sql01"):
        choose("sql01", named, ["SQL Server", EIGHTEEN])


@pytest.mark.parametrize(
    ("value", "written"), [("plain", "{plain}"), ('"‹&€;{}', '{"‹&€;{}}}'), ("}", "{}}}"), ("", "{}"), (" x ", "{ x }")]
)
def test_values_are_braced(value: str, written: str) -> None:
    """Whatever a password holds, it ends where it ends."""
    assert braced(value) == written


def test_connection_string_braces_everything() -> None:
    """No value can add a field of its own."""
    text = connection_string(Driver("/x/lib.so"), {"UID": "a;b", "PWD": "x};TrustServerCertificate=yes;{"})
    assert text == "DRIVER={/x/lib.so};UID={a;b};PWD={x}};TrustServerCertificate=yes;{}"


MS = "[Microsoft][ODBC Driver 18 for SQL Server]"


@pytest.mark.parametrize(
    ("text", "number", "words"),
    [
        (
            f"[42000] {MS}[SQL Server]Database 'x' does not exist. (911) (SQLExecDirectW)",
            911,
            "Database 'x' does not exist",
        ),
        (f"{MS}[SQL Server]10 percent processed.", 0, "10 percent processed"),
        (
            f"[42000] {MS}[SQL Server]No (really). (3187) (SQLExecDirectW); [42000] {MS}[SQL Server]VERIFY DATABASE is terminating abnormally. (3013)",
            3187,
            "No (really)",
        ),
        (f"[HYT00] {MS}Login timeout expired (0) (SQLDriverConnect)", 0, "Login timeout expired"),
    ],
)
def test_messages_are_read(text: str, number: int, words: str) -> None:
    """The driver's frames fall off, the first error's number and text remain."""
    assert message_of(text) == (number, words)


@pytest.mark.parametrize(
    ("state", "text", "kind", "number"),
    [
        (
            "28000",
            f"[28000] {MS}[SQL Server]Login failed for user 'x'. (18456) (SQLDriverConnect)",
            SqlLoginRefused,
            18456,
        ),
        (
            "42000",
            f"[42000] {MS}[SQL Server]Login failed for user 'x'. Reason: Server is in script upgrade mode. (18401) (SQLDriverConnect)",
            SqlNotReady,
            18401,
        ),
        (
            "42000",
            f"[42000] {MS}[SQL Server]SQL Server service has been paused. (17142) (SQLDriverConnect)",
            SqlNotReady,
            17142,
        ),
        (
            "08001",
            f"[08001] {MS}SSL Provider: [error:0A000086:SSL routines::certificate verify failed:self-signed certificate] (-1) (SQLDriverConnect)",
            SqlCertificateRejected,
            0,
        ),
        ("HYT00", f"[HYT00] {MS}Login timeout expired (0) (SQLDriverConnect)", SqlUnreachable, 0),
        ("08S01", f"[08S01] {MS}TCP Provider: Error code 0x68 (104) (SQLDriverConnect)", SqlUnreachable, 104),
        (
            "01000",
            "[01000] [unixODBC][Driver Manager]Can't open lib '/x.so' : file not found (0) (SQLDriverConnect)",
            SqlDriverMissing,
            0,
        ),
    ],
)
def test_refused_connections_have_their_kind(state: str, text: str, kind: type, number: int) -> None:
    """What passes by waiting is told apart from what does not."""
    error = connecting("sql01", "10.0.0.5:1433", state, text)
    assert type(error) is kind
    assert error.number == number
    assert str(error).startswith("sql01: ")


@pytest.mark.parametrize("number", [904, 922, 4060, 6005, 17142, 18401])
def test_every_refusal_of_a_start_passes_by_waiting(number: int) -> None:
    """Recovering, shutting down, paused, in script upgrade: retried, whether met at the door or by a statement."""
    text = f"[42000] {MS}[SQL Server]Not now. ({number}) (SQLDriverConnect)"
    for error in (connecting("sql01", "10.0.0.5:1433", "42000", text), running("sql01", "42000", text)):
        assert (type(error), error.number, error.retryable) == (SqlNotReady, number, True)


def test_no_connection_comes_from_a_pool() -> None:
    """A pooled 'connect' succeeds on a session whose server is gone: every probe opens a connection of its own."""
    assert load_pyodbc("sql01").pooling is False
