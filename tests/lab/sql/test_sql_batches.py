"""The lab knows a batch, or answers with the server's error: nothing succeeds in silence."""

from __future__ import annotations

from datetime import datetime, time
from decimal import Decimal
from typing import Any

import pytest

from lab.sql import SqlError
from lab.sql.parser import parse


@pytest.mark.parametrize(
    ("batch", "number"),
    [
        ("SELECT 1 FROM", 102),
        ("SELECT 1 bla bla", 102),
        ("MERGE dbo.Payment USING dbo.Invoice", 102),
        ("SELECT * FROM dbo.Payment FOR XML AUTO", 102),
        ("SELECT t.text FROM sys.dm_exec_requests AS r CROSS APPLY sys.dm_exec_sql_text(r.sql_handle) AS t", 102),
        ("CREATE LOGIN x WITH PASSWORD = N'y'", 102),
        ("BACKUP LOG EngageIP TO DISK = N'E:\\x.trn'", 102),
        ("BACKUP DATABASE EngageIP TO DISK = N'E:\\x.bak' WITH MIRROR", 155),
        ("ALTER DATABASE EngageIP SET RECOVERY SIMPLE", 102),
        ("DBCC SHRINKDATABASE (EngageIP)", 102),
        ("SELECT 'open", 105),
        ("SELECT 1 /* open", 113),
        ("SELECT @missing", 137),
        ("SELECT @@missing", 137),
        ("SELECT FORMAT(GETDATE(), 'd')", 195),
        ("SELECT nope(1)", 195),
        ("SELECT nope FROM dbo.Payment", 207),
        ("SELECT [nope] FROM dbo.Payment", 207),
        ("SELECT owner_sid FROM sys.databases", 207),
        ("UPDATE dbo.Payment SET nope = 1", 207),
        ("INSERT INTO dbo.Payment (nope) VALUES (1)", 207),
        ("SELECT 1 FROM nope", 208),
        ("SELECT 1 FROM sys.nope", 208),
        ("SELECT 1 FROM sales.Payment", 208),
        ("SELECT PaymentID FROM dbo.Payment AS a JOIN dbo.Payment AS b ON a.PaymentID = b.PaymentID", 209),
        ("INSERT INTO dbo.Payment (UserID, Amount) VALUES (1)", 109),
        ("INSERT INTO dbo.Payment (UserID) VALUES (1, 2)", 110),
        ("SELECT CAST(N'x' AS int)", 245),
        ("SELECT CAST(N'x' AS datetime)", 241),
        ("SELECT CAST(1 AS nonsense)", 243),
        ("SELECT N'x' + 1", 245),
        ("SELECT N'x' / 1", 245),
        ("DECLARE @x int = N'x'", 245),
        ("SELECT CAST(N'x' AS time)", 241),
        ("SELECT 1 / 0", 8134),
        ("SELECT 1 % 0.0", 8134),
        ("SELECT LEN(N'a', N'b')", 174),
        ("INSERT INTO dbo.[User] (Username) VALUES (NULL)", 515),
        ("INSERT INTO dbo.EngageIPOption VALUES (N'Version', N'9')", 2627),
        ("SELECT 1 FROM elsewhere.master.dbo.x", 7202),
        ("USE Nowhere", 911),
        ("EXEC sp_nonsense", 2812),
        ("Nonsense", 2812),
        ("SELEC 1", 2812),
        ("EXEC msdb.dbo.sp_update_job @job_name = N'nope', @enabled = 0", 14262),
        ("EXEC msdb.dbo.sp_update_job @job_name = N'EngageIP Billing Run', @owner = N'x'", 8145),
        ("COMMIT", 3902),
        ("ROLLBACK TRANSACTION", 3903),
        ("KILL 32000", 6106),
        ("RAISERROR (N'no', 16, 1)", 50000),
        ("WAITFOR DELAY 'soon'", 148),
        ("ALTER DATABASE Nowhere SET OFFLINE", 5011),
        ("CREATE TABLE dbo.Payment (id int)", 2714),
        ("CREATE TABLE dbo.T (id nonsense)", 2715),
    ],
)
def test_unknown_is_an_error(machine: Any, batch: str, number: int) -> None:
    """What is wrong, or only unknown to the lab, answers with a number of SQL Server's."""
    with pytest.raises(SqlError) as refused:
        machine.sql.run(batch, "EngageIP")
    assert refused.value.number == number, refused.value


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        ("SELECT 1 SELECT 2", [1, 2]),
        ("SELECT 1; -- x\nSELECT /* y */ 2;;", [1, 2]),
        ("DECLARE @x int = 3, @y nvarchar(10); SET @y = N'a' + N'''b'; SELECT @x; SELECT @y", [3, "a'b"]),
        ("DECLARE @n int; SELECT @n = COUNT(*) FROM dbo.Payment; SELECT @n", [20]),
        ("IF EXISTS (SELECT 1 FROM dbo.Payment) SELECT N'yes' ELSE SELECT N'no'", ["yes"]),
        ("IF 1 = 2 BEGIN SELECT 1 SELECT 2 END ELSE BEGIN SELECT 3 END SELECT 4", [3, 4]),
        ("SELECT CASE WHEN 1 = 1 THEN N'a' ELSE N'b' END SELECT 2", ["a", 2]),
        ("SET NOCOUNT ON UPDATE dbo.Payment SET Status = N'x' WHERE PaymentID <= 3 SELECT @@ROWCOUNT", [3]),
        (
            "INSERT INTO dbo.Payment (UserID) SELECT UserID FROM dbo.[User] WHERE UserID < 3 SELECT COUNT(*) FROM dbo.Payment",
            [22],
        ),
        ("WITH q AS (SELECT 5 AS a) SELECT a FROM q", [5]),
        ("SELECT 1 UNION ALL SELECT 1", [1]),
        ("SELECT TOP (1) name FROM master.sys.databases ORDER BY name DESC", ["tempdb"]),
        ("SELECT COUNT(*) FROM dbo.[User] WHERE Username LIKE N'CUSTOMER00[1-3]'", [3]),
        ("SELECT COUNT(*) FROM dbo.[user] WHERE username = N'Customer001'", [1]),
        ("SELECT DATEDIFF(HOUR, '2024-01-01T10:59:59', '2024-01-01T11:00:00')", [1]),
        ("SELECT DATEADD(MONTH, 1, CAST('2024-01-31' AS datetime))", [datetime(2024, 2, 29)]),  # noqa: DTZ001
        ("SELECT ISNULL(NULL, N'x') + QUOTENAME(N'a]b') + LEFT(N'abc', 2)", ["x[a]]b]ab"]),
        ("SELECT LEN(N'ab  '), 0", [2]),
        ("SELECT -7 / 2 SELECT -7 % 3 SELECT 7.0 / 2 SELECT 10 / CAST(4 AS decimal(9, 2))", [-3, -1, 3.5, 2.5]),
        ("DECLARE @x int = 1.7, @t time = N'10:11:12' SELECT @x SELECT @t", [1, time(10, 11, 12)]),
        ("DECLARE @d decimal(9, 2) = 12.345 SELECT @d", [Decimal("12.35")]),
        ("SELECT COUNT(*) FROM msdb..sysjobs WHERE enabled = 1", [3]),
        (
            "CREATE TABLE #t (id int IDENTITY(1,1), n nvarchar(5)) INSERT INTO #t (n) VALUES (N'x'), (N'y') SELECT MAX(id) FROM #t",
            [2],
        ),
        ("INSERT INTO dbo.BillingRun (Status) VALUES (N'x'); SELECT CAST(SCOPE_IDENTITY() AS int)", [4]),
        ("BEGIN TRAN DELETE FROM dbo.Payment ROLLBACK SELECT COUNT(*) FROM dbo.Payment", [20]),
        ("USE Reporting; SELECT DB_NAME(); SELECT COUNT(*) FROM MonthlyRevenue", ["Reporting", 12]),
    ],
)
def test_known_batches_run(machine: Any, batch: str, expected: list[Any]) -> None:
    """Batches as people write them, with and without semicolons, run over the real tables."""
    result = machine.sql.run(batch, "EngageIP")
    assert [rows[0][0] for _, rows in result.sets] == expected


def test_whole_batch_is_read_before_any_of_it_runs(machine: Any) -> None:
    """A syntax error at the end keeps the DELETE before it from running, as on the real server."""
    with pytest.raises(SqlError, match="102"):
        machine.sql.run("DELETE FROM dbo.Payment; MERGE x", "EngageIP")
    assert machine.sql.run("SELECT COUNT(*) FROM dbo.Payment", "EngageIP").rows == [(20,)]


def test_statements_may_stand_without_semicolons() -> None:
    """A batch is cut where the next statement begins, not where one inside an expression would."""
    batch = "SELECT 1 WHERE 1 IN (SELECT 2) UPDATE t SET a = CASE WHEN b = 1 THEN 2 END WHERE c = 3 PRINT N'x' EXEC p @a = 1"
    assert [type(statement).__name__ for statement in parse(batch)] == ["Query", "Query", "Print", "Execute"]


def test_moments_are_local_and_can_be_turned_into_utc(machine: Any) -> None:
    """GETDATE() is the server's local time: who takes it for UTC is wrong by hours, as in life."""
    row = machine.sql.run("SELECT DATEDIFF(MINUTE, GETDATE(), GETUTCDATE()), SYSDATETIMEOFFSET()").rows[0]
    assert row[0] in (240, 300)  # Toronto
    assert -row[1].utcoffset().total_seconds() / 60 == row[0]


def test_application_may_use_but_not_administer(machine: Any) -> None:
    """A login without sysadmin reads and writes; BACKUP answers 262."""
    login = {"user": "engageip", "password": machine.application_password}
    version = "SELECT [Value] FROM [dbo].[EngageIPOption] WHERE [Name] = N'Version'"
    assert machine.sql.run(version, "EngageIP", **login).rows == [("8.5.23",)]
    with pytest.raises(SqlError, match="300: VIEW SERVER STATE"):
        machine.sql.run("SELECT sqlserver_start_time FROM sys.dm_os_sys_info", **login)
    with pytest.raises(SqlError) as refused:
        machine.sql.run(r"BACKUP DATABASE EngageIP TO DISK = N'E:\x.bak'", "EngageIP", **login)
    assert [message.number for message in refused.value.messages] == [262, 3013]
