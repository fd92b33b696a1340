"""What is in the billing database, and the work that must not be cut: billing runs and payment batches."""

from __future__ import annotations

import secrets
import sqlite3
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from lab.sql.databases import Seed
from lab.sql.ddl import create
from lab.sql.errors import SqlError
from lab.sql.values import store

if TYPE_CHECKING:
    from lab.sql.instance import SqlInstance

BILLING_JOB, PAYMENT_JOB = "EngageIP Billing Run", "EngageIP eCheck Batch"

TABLES = {
    "EngageIPOption": {"Name": "nvarchar(128) NOT NULL PRIMARY KEY", "Value": "nvarchar(400)"},
    "Login": {"LoginID": "int identity", "Username": "nvarchar(64) NOT NULL", "Password": "nvarchar(128)", "Enabled": "bit DEFAULT 1"},
    "User": {
        "UserID": "int identity", "Username": "nvarchar(64) NOT NULL", "Password": "nvarchar(128)", "FullName": "nvarchar(128)",
        "Balance": "decimal(12,2) DEFAULT 0",
    },
    "Customer": {"CustomerID": "int identity", "UserID": "int", "Company": "nvarchar(128)", "Status": "nvarchar(20) DEFAULT 'Active'"},
    "Invoice": {
        "InvoiceID": "int identity", "CustomerID": "int", "BillingRunID": "int", "Amount": "decimal(12,2)", "Charged": "bit DEFAULT 0",
        "Posted": "bit DEFAULT 0", "Created": "datetime",
    },
    "Payment": {
        "PaymentID": "int identity", "UserID": "int", "Amount": "decimal(12,2)", "Status": "nvarchar(20)", "Method": "nvarchar(20) DEFAULT 'Card'",
        "BatchID": "int",
    },
    "BillingRun": {"ID": "int identity", "Status": "nvarchar(20)", "Started": "datetime", "Ended": "datetime", "Invoices": "int DEFAULT 0"},
    "PaymentBatch": {
        "ID": "int identity", "Kind": "nvarchar(20)", "Status": "nvarchar(20)", "Started": "datetime", "Ended": "datetime", "Payments": "int DEFAULT 0",
    },
}  # fmt: skip

_NAMES = ("Anna O'Neil", "Müller & Söhne GmbH", "Café “Zoë” <web>", "Łukasz Żak", "Ελένη Παππά", "株式会社テスト")


def seeder(
    staff: dict[str, str] | None = None,
    customers: dict[str, str] | None = None,
    version: str = "8.5.23",
    users: int = 60,
) -> Seed:
    """A billing database; ``staff`` and ``customers`` are logins with their passwords (random ones where not given)."""

    def seed(connection: sqlite3.Connection) -> None:
        for table, columns in TABLES.items():
            create(connection, "main", table, columns)
        options = {
            "Version": version,
            "CompanyName": "Acme Telecom",
            "LastRatingRun": "2024-01-31T23:10:00Z",
            "Currency": "CAD",
        }
        connection.executemany("INSERT INTO EngageIPOption VALUES (?, ?)", options.items())
        for name, password in (staff or {"admin": secrets.token_urlsafe(12)}).items():
            connection.execute("INSERT INTO Login (Username, Password, Enabled) VALUES (?, ?, 1)", (name, password))
        known = dict(customers or {})
        known |= {f"customer{n:03}": secrets.token_urlsafe(9) for n in range(1, users + 1 - len(known))}
        begun = datetime(2024, 1, 1, 6, 30)  # noqa: DTZ001 - the application keeps local time
        for number, (name, password) in enumerate(known.items(), 1):
            full, balance = _NAMES[number % len(_NAMES)], round(number * 17.35 % 400, 2)
            connection.execute(
                "INSERT INTO User (Username, Password, FullName, Balance) VALUES (?, ?, ?, ?)",
                (name, password, full, balance),
            )
            connection.execute("INSERT INTO Customer (UserID, Company) VALUES (?, ?)", (number, full))
            for month in range(3):
                at = store(begun + timedelta(days=31 * month))
                names = "CustomerID, BillingRunID, Amount, Charged, Posted, Created"
                connection.execute(
                    f"INSERT INTO Invoice ({names}) VALUES (?, ?, ?, 1, 1, ?)",
                    (number, month + 1, round(20 + balance / 7, 2), at),
                )
            connection.execute(
                "INSERT INTO Payment (UserID, Amount, Status) VALUES (?, ?, 'approved')",
                (number, round(10 + balance / 3, 2)),
            )
        for month in range(3):
            begin = begun + timedelta(days=31 * month)
            row = ("Completed", store(begin), store(begin + timedelta(minutes=41)), users)
            connection.execute("INSERT INTO BillingRun (Status, Started, Ended, Invoices) VALUES (?, ?, ?, ?)", row)
            connection.execute(
                "INSERT INTO PaymentBatch (Kind, Status, Started, Ended, Payments) VALUES ('eCheck', ?, ?, ?, ?)", row
            )

    return seed


def reporting(connection: sqlite3.Connection) -> None:
    """A second database: monthly figures."""
    create(
        connection,
        "main",
        "MonthlyRevenue",
        {"Month": "date NOT NULL PRIMARY KEY", "Amount": "money", "Invoices": "int"},
    )
    for month in range(1, 13):
        connection.execute(
            "INSERT INTO MonthlyRevenue VALUES (?, ?, ?)", (f"2023-{month:02}-01", 182_000 + month * 731.25, 60 + month)
        )


@dataclass(frozen=True)
class Kind:
    """A kind of work: where its row is, what that says meanwhile, its Agent job, and what it writes."""

    event: str
    table: str
    status: str
    job: str
    begin: str
    charge: str
    post: str


BILLING = Kind(
    "billing",
    "BillingRun",
    "Running",
    BILLING_JOB,
    "INSERT INTO dbo.BillingRun (Status, Started) VALUES (N'Running', GETDATE())",
    "INSERT INTO dbo.Invoice (CustomerID, BillingRunID, Amount, Charged, Posted, Created) "
    "SELECT CustomerID, {0}, 25.00, 1, 0, GETDATE() FROM dbo.Customer",
    "UPDATE dbo.Invoice SET Posted = 1 WHERE BillingRunID = {0}",
)
PAYMENTS = Kind(
    "payments",
    "PaymentBatch",
    "Submitting",
    PAYMENT_JOB,
    "INSERT INTO dbo.PaymentBatch (Kind, Status, Started) VALUES (N'eCheck', N'Submitting', GETDATE())",
    "INSERT INTO dbo.Payment (UserID, Amount, Status, Method, BatchID) "
    "SELECT UserID, 25.00, N'submitted', N'eCheck', {0} FROM dbo.Customer",
    "UPDATE dbo.Payment SET Status = N'approved' WHERE BatchID = {0}",
)


class Work:
    """Billing runs and eCheck batches: rows that say so while they last, an Agent job beside them, real invoices behind."""

    def __init__(self, instance: SqlInstance, database: str = "EngageIP") -> None:
        self._instance, self._database = instance, database
        self._hurry = threading.Event()

    def billing_run(self, seconds: float) -> int | None:
        """Start a billing run of ``seconds`` lab time; its number, or None where its Agent job is held or cannot run."""
        return self._start(BILLING, seconds)

    def payment_batch(self, seconds: float) -> int | None:
        """Start an eCheck batch of ``seconds`` lab time; its number, or None where its Agent job is held or cannot run."""
        return self._start(PAYMENTS, seconds)

    def finish(self) -> None:
        """Let what runs come to its end now, instead of at its time."""
        self._hurry.set()

    def _start(self, kind: Kind, seconds: float) -> int | None:
        instance = self._instance
        self._hurry.clear()
        if not instance.agent.may_run(kind.job):
            instance.host.event(f"{kind.event}.skipped", effect=False, job=kind.job)
            return None
        number = int(instance.run(f"{kind.begin}; SELECT CAST(SCOPE_IDENTITY() AS int)", self._database).rows[0][0])
        instance.agent.start_job(kind.job)
        instance.host.event(f"{kind.event}.started", number=number)
        work = threading.Thread(
            target=self._finish, args=(kind, seconds, number, instance.epoch), name=kind.event, daemon=True
        )
        work.start()
        return number

    def _finish(self, kind: Kind, seconds: float, number: int, epoch: int) -> None:
        """Charge first, post at the end: what is cut in between has charged customers without posting."""
        instance = self._instance
        ended = f"UPDATE dbo.{kind.table} SET Status = N'Completed', Ended = GETDATE() WHERE ID = {number}"
        try:
            instance.run(kind.charge.format(number), self._database)
            if self._works(seconds, epoch):
                instance.run(f"{kind.post.format(number)}; {ended}", self._database)
                instance.agent.stop_job(kind.job)
                instance.host.event(f"{kind.event}.finished", number=number)
                return
        except SqlError:
            pass  # the server went down between two statements: cut, like below
        if not instance.host.clock.stopping.is_set():  # a lab that ends cuts nobody's work
            instance.host.event(f"{kind.event}.cut", number=number)

    def _works(self, seconds: float, epoch: int) -> bool:
        """Spend ``seconds`` of lab time, or less in a hurry; False when the server was stopped meanwhile."""
        step = 0.1 * self._instance.host.clock.speed
        while seconds > 0 and not self._hurry.is_set():
            if not self._instance.sleep(min(step, seconds), epoch):
                return False
            seconds -= step
        return True
