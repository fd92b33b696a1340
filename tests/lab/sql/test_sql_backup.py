"""Backups are files: what a naive client loses, what a flipped byte does, and how the rows come back."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Callable
from typing import Any

import pyodbc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.sql import Database, SqlError

FILE = r"E:\EngageIP.bak"
BACKUP = f"BACKUP DATABASE [EngageIP] TO DISK = N'{FILE}' WITH COPY_ONLY, CHECKSUM, FORMAT, INIT, STATS = 10"
VERIFY = f"RESTORE VERIFYONLY FROM DISK = N'{FILE}' WITH CHECKSUM"


def numbers(failure: SqlError) -> list[int]:
    return [message.number for message in failure.messages]


def drain(cursor: pyodbc.Cursor) -> list[str]:
    told = list(cursor.messages or [])
    while cursor.nextset():
        told += cursor.messages or []
    return [f"{code} {text}" for code, text in told]


# The traps -------------------------------------------------------------------------------------------------------------


def test_backup_says_what_the_real_one_says(machine: Any) -> None:
    """3211 ten times, 4035 for each file, 3014 at the end, and the row and the file are there."""
    result = machine.sql.run(BACKUP)
    assert [m.number for m in result.messages] == [3211] * 10 + [4035, 4035, 3014]
    event = machine.events("backup.database")[0]
    assert event["database"] == "EngageIP"
    assert machine.file(FILE).stat().st_size == event["size"]
    row = machine.sql.run(
        "SELECT b.database_name, b.is_copy_only, b.has_backup_checksums, b.is_snapshot, b.first_lsn FROM msdb.dbo.backupset AS b "
        "JOIN msdb.dbo.backupmediafamily AS m ON m.media_set_id = b.media_set_id WHERE m.physical_device_name = N'E:\\EngageIP.bak'"
    ).records()[0]
    assert (row["database_name"], row["is_copy_only"], row["has_backup_checksums"], row["is_snapshot"]) == (
        "EngageIP",
        True,
        True,
        False,
    )
    assert row["first_lsn"] > 2**53


@pytest.mark.parametrize("way", ["closes the cursor", "closes the connection", "drops everything"])
def test_result_that_is_not_drained_cancels_the_backup_in_silence(make_machine: Any, until: Any, way: str) -> None:
    """The naive client executes, sees no error, goes on: and there is no backup, and nobody has said so."""
    machine = make_machine(speed=20.0)
    machine.sql.start()
    connection = machine.connect()
    cursor = connection.cursor()
    cursor.execute(BACKUP)  # returns at the first '10 percent processed'
    if way == "closes the cursor":
        cursor.close()
    elif way == "closes the connection":
        connection.close()
    else:
        del cursor, connection
        gc.collect()
    until(lambda: machine.events("backup.cancelled"), what="the cancelled backup in the audit trail")
    assert machine.events("backup.cancelled")[0]["percent"] < 50
    assert not machine.events("backup.database")
    assert not machine.file(FILE).exists()


def test_drained_backup_is_complete(machine: Any) -> None:
    """The same client with a loop over nextset() has its backup."""
    told = drain(machine.connect().cursor().execute(BACKUP))
    assert "3014" in told[-1]
    assert len(machine.events("backup.database")) == 1


def test_backup_in_the_drivers_transaction_is_refused(machine: Any) -> None:
    """The default of pyodbc, autocommit off, is a transaction: 3021, then 3013."""
    with pytest.raises(pyodbc.Error, match="3021"):
        machine.connect(autocommit=False).cursor().execute(BACKUP)


def test_driver_on_linux_tells_only_the_first_error(machine: Any) -> None:
    """3013 never reaches a client that looks for it: the cause does."""
    with pytest.raises(pyodbc.Error) as failed:
        drain(machine.connect().cursor().execute("BACKUP DATABASE [Nowhere] TO DISK = N'E:\\x.bak'"))
    assert "911" in str(failed.value)


def test_percent_complete_is_seen_from_a_second_connection(make_machine: Any, until: Any) -> None:
    """While one connection waits for its backup, sys.dm_exec_requests tells the other how far it is."""
    machine = make_machine(speed=10.0)
    machine.sql.start()
    worker = threading.Thread(target=lambda: drain(machine.connect().cursor().execute(BACKUP)))
    worker.start()
    second = machine.connect().cursor()
    seen: list[float] = []

    def look() -> bool:
        row = second.execute(
            "SELECT percent_complete FROM sys.dm_exec_requests WHERE command = N'BACKUP DATABASE'"
        ).fetchone()
        seen.extend([row[0]] if row else [])
        return bool(seen) and row is None

    until(look, what="the backup to come and go")
    worker.join()
    assert seen == sorted(seen)
    assert len({value for value in seen if 0 < value < 100}) > 3


# Failures --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (r"Z:\nowhere\x.bak", 3),
        (r"E:\no folder\x.bak", 3),
        (r"\\nas99\billing\x.bak", 53),
        (r"\\nas01\other\x.bak", 67),
        ("x.bak", 123),
    ],
)
def test_unreachable_path(machine: Any, path: str, code: int) -> None:
    """3201 with the operating system's number, then 3013."""
    (machine.host.folder / "unc" / "nas01" / "billing").mkdir(parents=True)
    with pytest.raises(SqlError, match=f"Operating system error {code}\\(") as failed:
        machine.sql.run(f"BACKUP DATABASE [EngageIP] TO DISK = N'{path}'")
    assert numbers(failed.value) == [3201, 3013]


def test_share_is_written_with_the_service_accounts_rights(machine: Any) -> None:
    """A UNC path works, until the share denies the service account (5) or goes away (53)."""
    (machine.host.folder / "unc" / "nas01" / "billing").mkdir(parents=True)
    backup = r"BACKUP DATABASE [EngageIP] TO DISK = N'\\nas01\billing\x.bak' WITH INIT"
    assert machine.sql.run(backup).messages[-1].number == 3014
    for fault, code in (("store.denied", 5), ("store.unreachable", 53)):
        machine.fault(fault, r"\\nas01\billing", times=1)
        with pytest.raises(SqlError, match=f"system error {code}\\("):
            machine.sql.run(backup)


def test_disk_that_fills_up_on_the_way(machine: Any) -> None:
    """Progress is told, then 3202 with OS error 112, then 3013: and the ERRORLOG has 18210."""
    size = machine.file(r"D:\Data\EngageIP.mdf").stat().st_size
    (machine.host.folder / "drives.json").write_text(json.dumps({"E": {"size": size, "free": size // 2}}))
    with pytest.raises(SqlError) as failed:
        machine.sql.run(BACKUP)
    assert numbers(failed.value) == [3202, 3013]
    assert "112(There is not enough space on the disk.)" in str(failed.value)
    assert 3211 in [m.number for m in failed.value.result.messages]
    assert not machine.events("backup.database")
    log = machine.file(r"C:\Program Files\Microsoft SQL Server\MSSQL15.MSSQLSERVER\MSSQL\Log\ERRORLOG")
    assert "Error: 18210" in log.read_bytes().decode("utf-16")


@pytest.mark.parametrize(
    ("statement", "number"),
    [
        ("BACKUP DATABASE [tempdb] TO DISK = N'E:\\x.bak'", 3147),
        ("BACKUP DATABASE [Offline] TO DISK = N'E:\\x.bak'", 942),
        ("BEGIN TRAN BACKUP DATABASE [EngageIP] TO DISK = N'E:\\x.bak'", 3021),
        ("BACKUP DATABASE [EngageIP] TO DISK = N'E:\\x.bak' WITH COMPRESSION", 1844),
        ("RESTORE VERIFYONLY FROM DISK = N'E:\\nothing.bak'", 3201),
    ],
)
def test_statements_that_cannot_be(make_machine: Any, statement: str, number: int) -> None:
    """Each refusal has its own number, and 3013 after it."""
    machine = make_machine(edition="Express Edition (64-bit)")
    machine.sql.databases._open(Database("Offline", state="OFFLINE"), 9)
    machine.sql.start()
    with pytest.raises(SqlError) as failed:
        machine.sql.run(statement)
    assert numbers(failed.value) == [number, 3013]


# Verification and restore ----------------------------------------------------------------------------------------------


def test_every_flipped_byte_is_found(machine: Any) -> None:
    """Wherever a byte of the file is wrong, RESTORE VERIFYONLY WITH CHECKSUM fails."""
    machine.sql.run(BACKUP)
    path = machine.file(FILE)
    good = path.read_bytes()
    assert machine.sql.run(VERIFY).messages[0].number == 3262

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, len(good) - 1), st.integers(1, 255))
    def flip(at: int, bits: int) -> None:
        path.write_bytes(good[:at] + bytes([good[at] ^ bits]) + good[at + 1 :])
        with pytest.raises(SqlError) as failed:
            machine.sql.run(VERIFY)
        assert numbers(failed.value)[0] in (3189, 3203, 3241, 3242)
        assert numbers(failed.value)[-1] == 3013

    flip()


@pytest.mark.parametrize("kept", [0, 3, 100, 20_000])
def test_cut_file_is_found(machine: Any, kept: int) -> None:
    """A file that is shorter than it was fails verification too."""
    machine.sql.run(BACKUP)
    machine.file(FILE).write_bytes(machine.file(FILE).read_bytes()[:kept])
    with pytest.raises(SqlError):
        machine.sql.run(VERIFY)


def test_verifyonly_passes_damage_in_a_file_without_checksums(machine: Any) -> None:
    """Without checksums a flipped byte passes; WITH CHECKSUM such a file is refused by 3187."""
    machine.sql.run(f"BACKUP DATABASE [EngageIP] TO DISK = N'{FILE}' WITH INIT")
    data = bytearray(machine.file(FILE).read_bytes())
    data[-9000] ^= 1
    machine.file(FILE).write_bytes(data)
    assert machine.sql.run(f"RESTORE VERIFYONLY FROM DISK = N'{FILE}'").messages[0].number == 3262
    with pytest.raises(SqlError, match="3187"):
        machine.sql.run(VERIFY)


def test_damage_by_fault(machine: Any) -> None:
    """The declared fault spoils the file after SQL Server has called it complete."""
    machine.fault("backup.flip_byte", "EngageIP", times=1)
    assert machine.sql.run(BACKUP).messages[-1].number == 3014
    with pytest.raises(SqlError, match="3189"):
        machine.sql.run(VERIFY)
    machine.sql.run(BACKUP)
    machine.sql.run(VERIFY)


def test_restore_brings_the_rows_back(machine: Any) -> None:
    """What was deleted after the backup is there again, and CHECKDB finds nothing wrong."""
    machine.sql.run(BACKUP)
    machine.sql.run("DELETE FROM dbo.Payment", "EngageIP")
    machine.sql.run(f"RESTORE DATABASE [EngageIP] FROM DISK = N'{FILE}' WITH REPLACE")
    assert machine.sql.run("SELECT COUNT(*) FROM dbo.Payment", "EngageIP").rows == [(20,)]
    assert machine.sql.run("DBCC CHECKDB (N'EngageIP') WITH NO_INFOMSGS").messages[0].number == 8989


def test_restore_under_another_name(machine: Any) -> None:
    """MOVE gives the copy files of its own; without it the original's are in the way (1834)."""
    machine.sql.run(BACKUP)
    with pytest.raises(SqlError, match="1834"):
        machine.sql.run(f"RESTORE DATABASE [Proof] FROM DISK = N'{FILE}'")
    machine.sql.run(f"RESTORE DATABASE [Proof] FROM DISK = N'{FILE}' WITH MOVE N'EngageIP' TO N'D:\\Data\\Proof.mdf'")
    assert machine.sql.run("SELECT COUNT(*) FROM Proof.dbo.Payment").rows == [(20,)]


@pytest.mark.parametrize(
    ("statement", "prepare", "number"),
    [
        ("RESTORE DATABASE [EngageIP] FROM DISK = N'E:\\EngageIP.bak'", "", 3159),
        ("RESTORE DATABASE [Reporting] FROM DISK = N'E:\\EngageIP.bak'", "", 3154),
        ("RESTORE DATABASE [EngageIP] FROM DISK = N'E:\\EngageIP.bak' WITH REPLACE", "in use", 3101),
        ("RESTORE DATABASE [EngageIP] FROM DISK = N'E:\\EngageIP.bak' WITH FILE = 2, REPLACE", "", 3287),
        ("RESTORE DATABASE [msdb] FROM DISK = N'E:\\msdb.bak' WITH REPLACE", "another build", 3168),
        ("RESTORE DATABASE [EngageIP] FROM DISK = N'E:\\EngageIP.bak' WITH REPLACE", "older server", 3169),
        ("RESTORE DATABASE [EngageIP] FROM DISK = N'E:\\EngageIP.bak' WITH REPLACE", "damage", 3183),
    ],
)
def test_restore_is_refused_sensibly(machine: Any, statement: str, prepare: str, number: int) -> None:
    """Each refusal by its number; master, model and msdb do not go onto another build (3168)."""
    machine.sql.run(BACKUP + "; BACKUP DATABASE [msdb] TO DISK = N'E:\\msdb.bak'")
    connection = machine.connect("EngageIP") if prepare == "in use" else None
    if prepare == "another build":
        machine.sql.build = "15.0.4430.1"
    if prepare == "older server":
        machine.sql.build = "14.0.3456.2"
    if prepare == "damage":
        data = bytearray(machine.file(FILE).read_bytes())
        data[len(data) // 2] ^= 1
        machine.file(FILE).write_bytes(data)
    with pytest.raises(SqlError) as failed:
        machine.sql.run(statement)
    assert numbers(failed.value) == [number, 3013]
    if connection:
        connection.close()


def test_several_backups_in_one_file(machine: Any) -> None:
    """Without INIT a backup is appended; HEADERONLY lists both, and each can be restored."""
    plain = f"BACKUP DATABASE [EngageIP] TO DISK = N'{FILE}' WITH CHECKSUM"
    for statement in (plain, "DELETE FROM EngageIP.dbo.Payment", plain):
        machine.sql.run(statement)
    header = machine.sql.run(f"RESTORE HEADERONLY FROM DISK = N'{FILE}'").records()
    assert [row["Position"] for row in header] == [1, 2]
    files = machine.sql.run(f"RESTORE FILELISTONLY FROM DISK = N'{FILE}'").records()
    assert [row["Type"] for row in files] == ["D", "L"]
    machine.sql.run(f"RESTORE DATABASE [EngageIP] FROM DISK = N'{FILE}' WITH FILE = 1, REPLACE")
    assert machine.sql.run("SELECT COUNT(*) FROM EngageIP.dbo.Payment").rows == [(20,)]


def test_backup_within_the_lab_can_be_stopped(make_machine: Callable[..., Any]) -> None:
    """A job of the lab that is stopped cancels its backup as a driver would, and the result says so."""
    machine = make_machine(speed=20.0)
    machine.sql.start()
    stop = threading.Event()
    result = machine.sql.run(BACKUP, on_message=lambda _: stop.set(), stop=stop)
    assert result.cancelled
    assert machine.events("backup.cancelled")
    assert not machine.events("backup.database")
