"""Microsoft's driver logs in to the lab's SQL Server, or is told why not."""

from __future__ import annotations

import socket
import struct
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pyodbc
import pytest

from lab.clock import Clock
from lab.sql import wire
from lab.sql.server import Connection

if TYPE_CHECKING:
    import ssl


def test_driver_logs_in_under_tls(machine: Any) -> None:
    """A password with every character that connection strings trip over is one that the driver can use."""
    connection = machine.connect("EngageIP")
    row = (
        connection.cursor().execute("SELECT DB_NAME() AS db, SUSER_SNAME() AS login, @@SERVERNAME AS server").fetchone()
    )
    assert list(row) == ["EngageIP", "svc-patching", "SQL01"]
    connection.close()


@pytest.mark.parametrize("encrypt", ["yes", "no"])
def test_driver_logs_in_with_each_encryption(machine: Any, encrypt: str) -> None:
    """Encrypt=no still seals the login, as the protocol has it, and goes on in clear text."""
    connection = machine.connect(fields={"Encrypt": encrypt})
    assert connection.cursor().execute("SELECT 1 AS one").fetchval() == 1
    connection.close()


def test_self_signed_certificate_is_refused_by_default(machine: Any) -> None:
    """Driver 18 validates: without TrustServerCertificate the lab's own certificate fails 08001."""
    with pytest.raises(pyodbc.Error) as refused:
        machine.connect(fields={"TrustServerCertificate": "no"})
    assert refused.value.args[0] == "08001"
    assert "certificate verify failed" in refused.value.args[1]


@pytest.mark.parametrize(
    ("user", "password", "database", "number"),
    [
        ("svc-patching", "wrong", "master", "18456"),
        ("nobody", "wrong", "master", "18456"),
        ("svc-patching", None, "Nowhere", "4060"),
    ],
)
def test_login_is_refused_by_number(machine: Any, user: str, password: str | None, database: str, number: str) -> None:
    """A wrong password, an unknown login and an unknown database each answer with SQL Server's number."""
    with pytest.raises(pyodbc.Error, match=number):
        machine.connect(database, user=user, password=password)


def test_values_come_over_the_wire_as_they_are(machine: Any) -> None:
    """Every type that the tables have arrives as Python's type for it; NULL stays None."""
    cursor = machine.connect("EngageIP").cursor()
    cursor.execute(
        "SELECT CAST(1 AS bit), 7, CAST(9007199254740993 AS bigint), CAST(1.5 AS float), CAST(12.345 AS decimal(9, 3)), N'ü€‹',"
        " CAST('2024-02-29T23:59:59.997' AS datetime), CAST('2024-02-29' AS date), 0x01FF, CAST(NULL AS int),"
        " CAST('6F9619FF-8B86-D011-B42D-00C04FC964FF' AS uniqueidentifier), REPLICATE(N'x', 5000)"
    )
    row = [str(value) for value in cursor.fetchone()]
    assert row[:6] == ["True", "7", "9007199254740993", "1.5", "12.345", "ü€‹"]
    assert row[6:11] == [
        "2024-02-29 23:59:59.997000",
        "2024-02-29",
        "b'\\x01\\xff'",
        "None",
        "6F9619FF-8B86-D011-B42D-00C04FC964FF",
    ]
    assert row[11] == "x" * 5000


def test_parameters_and_prepared_statements(machine: Any) -> None:
    """The driver's RPCs (sp_prepexec, sp_execute, sp_unprepare) run over the same tables."""
    cursor = machine.connect("EngageIP").cursor()
    for name, count in (("customer001", 1), ("nobody'; --", 0)):
        assert cursor.execute("SELECT COUNT(*) FROM dbo.[User] WHERE Username = ?", name).fetchval() == count
    cursor.fast_executemany = False
    cursor.executemany(
        "INSERT INTO dbo.Payment (UserID, Amount, Status) VALUES (?, ?, ?)", [(1, 10.5, "a"), (2, 20.25, "b")]
    )
    assert cursor.execute(
        "SELECT SUM(Amount) FROM dbo.Payment WHERE Status IN (N'a', N'b')"
    ).fetchval() == pytest.approx(30.75)  # type: ignore[arg-type]


def test_transactions_commit_and_roll_back(machine: Any) -> None:
    """autocommit=False is the driver's transaction: what is not committed is gone, also for others."""
    writer = machine.connect("EngageIP", autocommit=False)
    writer.cursor().execute("DELETE FROM dbo.Payment")
    writer.rollback()
    reader = machine.connect("EngageIP").cursor()
    assert reader.execute("SELECT COUNT(*) FROM dbo.Payment").fetchval() == 20
    writer.cursor().execute("DELETE FROM dbo.Payment WHERE PaymentID = 1")
    writer.commit()
    assert reader.execute("SELECT COUNT(*) FROM dbo.Payment").fetchval() == 19


def test_kill_ends_another_session(machine: Any) -> None:
    """KILL resets the other's connection, and a batch that it runs ends there."""
    victim, killer = machine.connect(), machine.connect().cursor()
    spid = victim.cursor().execute("SELECT @@SPID").fetchval()
    killer.execute(f"KILL {spid}")
    with pytest.raises(pyodbc.Error):
        victim.cursor().execute("SELECT 1")


def test_no_password_is_written_down(machine: Any) -> None:
    """Neither the audit trail nor the list of batches holds a password, whatever a batch contains."""
    quoted = machine.password.replace("'", "''")
    machine.connect().cursor().execute(f"PRINT N'{quoted}'")
    written = "".join(path.read_text(encoding="utf-8") for path in machine.audit.path.parent.glob("*.jsonl"))
    assert "PRINT N'***'" in written
    assert machine.password not in written
    assert quoted not in written


class Line:
    """A server's connection whose client is this test, logged in by hand with packets of 8000 bytes."""

    def __init__(self) -> None:
        ours, self.client = socket.socketpair()
        self.wire = wire.Wire(ours)
        host = SimpleNamespace(clock=Clock(speed=100))
        doors = SimpleNamespace(admit=lambda *_, **__: self.session)
        instance: Any = SimpleNamespace(host=host, doors=doors, server_name="SQL01", build_numbers=(15, 0, 4355))
        self.session: Any = SimpleNamespace(spid=51, database="master", instance=instance)
        self.connection = Connection(instance, self.wire, cast("ssl.SSLContext", None))

    def log_in(self) -> None:
        fields = 9 * struct.pack("<HH", 36, 0)
        self.connection._login7(struct.pack("<III", 0, 0x74000004, 8000).ljust(36, b"\0") + fields)
        self.connection._session = self.session

    def packets(self) -> list[bytes]:
        """What the client was sent since the last look."""
        data, found = self.client.recv(1 << 20), []
        while data:
            (length,) = struct.unpack_from(">H", data, 2)
            found.append(data[:length])
            data = data[length:]
        return found


def test_packets_are_of_4096_bytes_until_the_login_is_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client asks for 8000, and is told so; what it is sent before it has read that is cut as it was."""
    line = Line()
    line.wire.send(wire.REPLY, bytes(9000))
    assert [len(packet) for packet in line.packets()] == [4096, 4096, 832]
    send = line.wire.send

    def and_more(kind: int, data: bytes) -> None:
        assert data[0] == 0xE3  # ENVCHANGE
        send(kind, data + bytes(9000))

    monkeypatch.setattr(line.wire, "send", and_more)
    line.log_in()
    assert {len(packet) for packet in line.packets()[:-1]} == {4096}
    send(wire.REPLY, bytes(9000))
    assert [len(packet) for packet in line.packets()] == [8000, 1016]


def test_attention_is_answered_by_a_done_of_its_own() -> None:
    """0x20 (DONE_ATTN) in a message that ends: without it a client that has cancelled waits for ever."""
    line = Line()
    line.log_in()
    line.packets()
    line.connection._answer(wire.ATTENTION, b"")
    (packet,) = line.packets()
    assert (packet[0], packet[1] & 1) == (wire.REPLY, 1)
    assert packet[8:] == bytes([0xFD, 0x20, 0x00]).ljust(13, b"\0")
