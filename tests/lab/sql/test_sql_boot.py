"""How the lab's SQL Server comes up: every phase in order, and what each of them does to a client."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from typing import Any

import pyodbc
import pytest

from lab.sql import Durations, SqlError
from lab.sql.phases import Phase

SLOW = Durations(listen=40, stall=110, paused=40, upgrade=60, recover=40, agent=40)


def look(machine: Any) -> str:
    """What a fresh connection meets, in a word: TCP first, as a probe must."""
    try:
        socket.create_connection((machine.host.address, 1433), timeout=1).close()
    except ConnectionRefusedError:
        return "refused"
    try:
        connection = machine.connect(timeout=1)
    except pyodbc.Error as error:
        text = str(error)
        return next((number for number in ("17142", "18401", "18456") if number in text), error.args[0])
    with connection:
        rows = connection.cursor().execute("SELECT name, state_desc FROM sys.databases").fetchall()
        states = dict(map(tuple, rows))
        agent = (
            connection.cursor()
            .execute("SELECT status FROM sys.dm_server_services WHERE filename LIKE N'%SQLAGENT%'")
            .fetchval()
        )
        recovering = [name for name in ("EngageIP", "Reporting") if states[name] != "ONLINE"]
        return f"recovering {' '.join(recovering)}" if recovering else "online" if agent != 4 else "agent"


def watch(machine: Any, last: str, seconds: float = 30) -> list[str]:
    """What fresh connections meet until ``last``, without repetitions."""
    seen = []
    deadline = time.monotonic() + seconds
    while not seen or seen[-1] != last:
        assert time.monotonic() < deadline, seen
        seen.append(look(machine))
    return [what for what, _ in itertools.groupby(seen)]


def test_boot_goes_through_its_phases(make_machine: Any, until: Any) -> None:
    """Refused, TCP without an answer, 17142, databases one by one, online, Agent: in this order, after a reset."""
    machine = make_machine(speed=40.0, durations=SLOW)
    machine.sql.start()
    living = machine.connect()
    before = machine.sql.started_at
    machine.host.restart(seconds_down=10)
    until(lambda: machine.events("sql.down"))
    with pytest.raises(pyodbc.Error):
        living.cursor().execute("SELECT 1")
    seen = watch(machine, "agent")
    stalls = [what for what in seen if what in ("HYT00", "08001", "08S01")]
    assert stalls, seen
    assert [what for what in seen if what not in stalls] == [
        "refused",
        "17142",
        "recovering EngageIP Reporting",
        "recovering Reporting",
        "online",
        "agent",
    ]
    assert machine.sql.started_at > before


def test_patch_runs_its_scripts_at_the_first_start(make_machine: Any, until: Any) -> None:
    """The build is new at once, but until the scripts have run 18401 keeps everybody but administrators out."""
    machine = make_machine(durations=Durations(upgrade=2000, recover=2000))
    machine.sql.start()
    machine.sql.patch("15.0.4430.1", level="CU32", kb="KB5054833")
    application = {"user": "engageip", "password": machine.application_password}
    until(lambda: machine.sql.phase is Phase.UPGRADING)
    with pytest.raises(SqlError, match="18401"):
        machine.sql.run("SELECT 1", **application)
    row = machine.sql.run(
        "SELECT CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(20)), (SELECT state_desc FROM sys.databases WHERE name = N'EngageIP')"
    ).rows[0]
    assert row == ("15.0.4430.1", "RECOVERING")
    with pytest.raises(SqlError, match="922"):
        machine.sql.run("SELECT 1", "EngageIP")
    machine.clock.speed = 10_000
    until(lambda: machine.sql.phase is Phase.ONLINE)
    assert [event["build"] for event in machine.events("sql.script_upgraded")] == ["15.0.4430.1"]
    assert machine.sql.run("SELECT 1", "EngageIP", **application).rows == [(1,)]


def test_databases_are_online_in_the_middle_of_the_scripts(make_machine: Any, until: Any) -> None:
    """As in life: an administrator sees everything ONLINE, the application is refused, and only the ERRORLOG tells why."""
    machine = make_machine(durations=Durations(upgrade=300, recover=1))
    machine.sql.start()
    machine.sql.patch("15.0.4430.1", level="CU32", kb="KB5054833")
    states = "SELECT state_desc FROM sys.databases WHERE name IN (N'EngageIP', N'Reporting')"
    until(lambda: machine.sql.phase is Phase.UPGRADING and machine.sql.databases.find("Reporting").state == "ONLINE")
    machine.clock.speed = 1  # the other half of the scripts takes as long as it takes to look
    assert machine.sql.run(states).rows == [("ONLINE",), ("ONLINE",)]
    with pytest.raises(SqlError, match="18401"):
        machine.sql.run("SELECT 1", user="engageip", password=machine.application_password)
    assert machine.events("sql.script_upgraded") == []
    machine.clock.speed = 10_000
    until(lambda: machine.sql.phase is Phase.ONLINE)
    log = machine.file(r"C:\Program Files\Microsoft SQL Server\MSSQL15.MSSQLSERVER\MSSQL\Log\ERRORLOG").read_bytes()
    assert log.startswith(b"\xff\xfe")
    told = [line for line in log.decode("utf-16").splitlines() if line[:1] == "2"]
    order = [
        "is upgrading script 'u_tables.sql' from level",
        "Error: 18401, ",
        "provision_ceipsvc_account.sql",
        "Recovery is complete",
    ]
    found = [next(n for n, line in enumerate(told) if words in line) for words in order]
    assert found == sorted(found)


def test_scripts_that_fail_stop_the_service(make_machine: Any, until: Any) -> None:
    """912, 3417, and the service is Stopped; a second start tries again."""
    machine = make_machine()
    machine.sql.start()
    machine.fault("sql.upgrade_fails", times=1)
    machine.sql.patch("15.0.4430.1")
    until(lambda: machine.events("sql.script_upgrade_failed"))
    until(lambda: machine.host.read("services.json")["MSSQLSERVER"]["status"] == "Stopped")
    log = (
        machine.file(r"C:\Program Files\Microsoft SQL Server\MSSQL15.MSSQLSERVER\MSSQL\Log\ERRORLOG")
        .read_bytes()
        .decode("utf-16")
    )
    assert "Error: 912" in log
    assert "Error: 3417" in log
    with pytest.raises(SqlError, match="actively refused"):
        machine.sql.run("SELECT 1")
    machine.host.service("MSSQLSERVER", started=True)
    assert machine.sql.wait_until_ready(600)


def test_slow_recovery_holds_one_database(make_machine: Any, until: Any) -> None:
    """The others are ONLINE, the port is open, logins work: and EngageIP is not there for a long time."""
    machine = make_machine()
    machine.sql.start()
    machine.fault("sql.slow_recovery", "Reporting", seconds=100, times=1)
    machine.host.service("MSSQLSERVER", started=False)
    machine.host.service("MSSQLSERVER", started=True)
    until(lambda: machine.sql.phase is Phase.RECOVERING and machine.sql.databases.find("EngageIP").state == "ONLINE")
    with pytest.raises(SqlError, match="922"):
        machine.sql.run("SELECT COUNT(*) FROM Reporting.dbo.MonthlyRevenue")
    assert machine.sql.wait_until_ready(600)


def test_database_that_does_not_recover_is_suspect(make_machine: Any) -> None:
    """It stays closed (926, 4060), whoever waits for it."""
    machine = make_machine()
    machine.sql.start()
    machine.fault("sql.recovery_fails", "EngageIP", times=1)
    machine.host.service("MSSQLSERVER", started=False)
    machine.host.service("MSSQLSERVER", started=True)
    assert machine.sql.wait_until_ready(600)
    with pytest.raises(SqlError, match="4060"):
        machine.sql.run("SELECT 1", "EngageIP")


def test_stop_cuts_what_runs(make_machine: Any, until: Any) -> None:
    """A backup in progress ends with the service: its client gets an error, the audit trail says cancelled."""
    machine = make_machine(speed=10.0)
    machine.sql.start()
    failures: list[SqlError] = []

    def back_up() -> None:
        try:
            machine.sql.run(r"BACKUP DATABASE EngageIP TO DISK = N'E:\x.bak' WITH INIT")
        except SqlError as failure:
            failures.append(failure)

    worker = threading.Thread(target=back_up)
    worker.start()
    until(lambda: machine.sql.backups)
    machine.host.service("MSSQLSERVER", started=False)
    worker.join()
    assert failures[0].number == 10054
    assert machine.events("backup.cancelled")


def test_engine_and_agent_are_two_services(make_machine: Any, until: Any) -> None:
    """Stopping the engine stops the Agent; starting it does not start the Agent."""
    machine = make_machine()
    machine.sql.start()
    status = lambda name: machine.host.read("services.json")[name]["status"]  # noqa: E731
    machine.host.service("MSSQLSERVER", started=False)
    assert (status("MSSQLSERVER"), status("SQLSERVERAGENT")) == ("Stopped", "Stopped")
    machine.host.service("MSSQLSERVER", started=True)
    assert machine.sql.wait_until_ready(600)
    assert status("MSSQLSERVER") == "Running"
    assert not machine.sql.agent_running
    machine.host.service("SQLSERVERAGENT", started=True)
    until(lambda: machine.sql.agent_running)


def test_state_survives_the_lab(make_machine: Any) -> None:
    """Rows, build and offline databases are on the disk: a lab over the same folder goes on where it was."""
    machine = make_machine()
    machine.sql.start()
    machine.sql.run("DELETE FROM EngageIP.dbo.Payment; ALTER DATABASE Reporting SET OFFLINE WITH ROLLBACK IMMEDIATE")
    machine.sql.patch("15.0.4430.1", start=False)
    machine.sql.stop()
    from lab.sql import Database, SqlInstance

    again = SqlInstance(machine.host, [Database("EngageIP"), Database("Reporting")])
    assert again.build == "15.0.4430.1"
    assert again.scripts_pending
    assert again.databases.find("Reporting").state == "OFFLINE"
    again.start()
    assert again.run("SELECT COUNT(*) FROM EngageIP.dbo.Payment").rows == [(0,)]
    again.stop()
