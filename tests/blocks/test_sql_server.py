"""SqlServer against the lab: what it answers, and what its errors say."""

from __future__ import annotations

import inspect
import itertools
import json
import os
import pickle
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from blocks.sql_server import (
    SqlCertificateRejected,
    SqlDeadlineExceeded,
    SqlDriverMissing,
    SqlLoginRefused,
    SqlNotReady,
    SqlServer,
    SqlServerCredentials,
    SqlServerError,
    SqlSessionLost,
    SqlStatementFailed,
    SqlUnreachable,
)
from lab.audit import Audit
from lab.clock import Clock
from lab.faults import Fault, Faults
from lab.host import Host
from lab.paper import awkward_secret
from lab.sql import Database, Durations, Login, SqlInstance
from lab.sql.billing import reporting, seeder
from lab.sql.phases import Phase
from model.sql import readiness as rules
from model.sql.backup import judge
from model.sql.statements import backup_statement, verify_statement

_addresses = (
    f"127.{71 + os.getpid() % 90}.{high}.{low}" for high, low in itertools.product(range(1, 255), range(1, 255))
)
_FILE = r"E:\EngageIP ]'.bak"


@dataclass(frozen=True)
class Busy:
    name: str
    database: str
    sql: str


class Bench:
    """sql01 of the lab, and the block that speaks to it."""

    def __init__(self, folder: Path, **more: Any) -> None:
        speed = more.pop("speed", 100.0)
        self.password = awkward_secret() + "};{=]"
        self.audit = Audit(folder / "audit.jsonl")
        self.clock = Clock(speed)
        host = Host("sql01", folder / "sql01", next(_addresses), frozenset({"mssql"}), self.audit, self.clock, Faults())
        databases = [Database("EngageIP", seed=seeder(users=20)), Database("Reporting", seed=reporting)]
        logins = [Login("billpatch", self.password), Login("engageip", self.password, sysadmin=False)]
        self.host, self.sql = host, SqlInstance(host, databases, logins=logins, **more)
        host.parts["sql"] = self.sql
        (host.folder / "E").mkdir()
        self.server = self.of()

    def of(self, **fields: Any) -> SqlServer:
        given = {
            "username": "billpatch",
            "password": SecretStr(self.password),
            "trust_server_certificate": True,
            **fields,
        }
        return SqlServer("sql01", self.host.address, 1433, "MSSQLSERVER", SqlServerCredentials(**given))

    def fault(self, name: str, on: str = "*", times: int | None = None, **settings: Any) -> None:
        self.host.faults.declare(Fault(name, on, times, settings))


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**more: Any) -> Bench:
        made.append(Bench(tmp_path / str(len(made)), **more))
        return made[-1]

    yield make
    for bench in made:
        bench.clock.stopping.set()
        bench.sql.stop()


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    bench = make_bench()
    bench.sql.start()
    return bench


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "gave up waiting"
        time.sleep(0.01)


# What it answers -------------------------------------------------------------------------------------------------------


def test_query_returns_rows_by_name(bench: Bench) -> None:
    """Rows are dictionaries, parameters are bound, the database is the one asked for."""
    rows = bench.server.query(
        "SELECT Name, Value FROM dbo.EngageIPOption WHERE Name = ?", "Version", database="EngageIP"
    )
    assert rows == [{"Name": "Version", "Value": "8.5.23"}]


def test_execute_drains_everything(bench: Bench) -> None:
    """All result sets and messages, of a batch and of a backup: nothing is cancelled by not listening."""
    answer = bench.server.execute("SELECT 1 AS a; PRINT N'hello'; SELECT 2 AS b")
    assert answer.sets == [[{"a": 1}], [{"b": 2}]]
    assert answer.messages == [(0, "hello")]
    told = bench.server.execute(backup_statement("EngageIP", _FILE)).messages
    assert [number for number, _ in told] == [3211] * 20 + [4035, 4035, 3014]


def test_facts_are_the_instances(make_bench: Callable[..., Bench]) -> None:
    """Build, edition, start, Agent, databases; and by name what preflight refuses."""
    bench = make_bench(features=["availability_groups", "replication", "mirroring", "cluster"])
    bench.sql.start()
    facts = bench.server.facts()
    assert (facts.build, facts.edition, facts.agent, facts.sysadmin) == (
        "15.0.4123.1",
        "Standard Edition (64-bit)",
        "running",
        True,
    )
    assert abs(facts.started - bench.sql.started_at).total_seconds() < 1
    assert [d.name for d in facts.databases] == ["master", "tempdb", "model", "msdb", "EngageIP", "Reporting"]
    assert facts.state_of("engageip") == "ONLINE"
    assert (facts.clustered, facts.availability_groups, facts.replication, facts.mirroring) == (
        True,
        ("BillingAG",),
        ("EngageIP", "Reporting"),
        ("EngageIP", "Reporting"),
    )


def test_facts_of_a_plain_express(make_bench: Callable[..., Bench]) -> None:
    """Express has no Agent, and nothing of what preflight refuses."""
    bench = make_bench(edition="Express Edition (64-bit)")
    bench.sql.start()
    facts = bench.server.facts()
    assert (facts.express, facts.agent, facts.clustered, facts.availability_groups, facts.replication) == (
        True,
        "absent",
        False,
        (),
        (),
    )


def test_encrypted_database_without_a_saved_certificate_is_named(tmp_path: Path) -> None:
    """A TDE certificate that was never backed up makes every backup useless elsewhere."""
    bench = Bench(tmp_path)
    bench.sql = SqlInstance(
        bench.host, [Database("Secret", encrypted=True)], logins=[Login("billpatch", bench.password)]
    ).start()
    assert bench.server.facts().tde_certificates_without_backup == ("BillingTde",)
    bench.sql.stop()


def test_jobs_are_held_and_released(bench: Bench) -> None:
    """set_job_enabled changes exactly the job that is named; an unknown one is an error."""
    before = bench.server.enabled_jobs()
    bench.server.set_job_enabled("EngageIP Billing Run", enabled=False)
    assert set(before) - set(bench.server.enabled_jobs()) == {"EngageIP Billing Run"}
    bench.server.set_job_enabled("EngageIP Billing Run", enabled=True)
    assert bench.server.enabled_jobs() == before
    with pytest.raises(SqlStatementFailed, match="14262"):
        bench.server.set_job_enabled("nope", enabled=False)


def test_running_work_is_named_while_it_runs(make_bench: Callable[..., Bench]) -> None:
    """A billing run shows by the declared query and by its Agent job, a backup by its progress; then it is quiet."""
    bench = make_bench(speed=10.0, durations=Durations(backup=100))
    bench.sql.start()
    busy = [Busy("billing run", "EngageIP", "SELECT COUNT(*) FROM dbo.BillingRun WHERE Status = 'Running'")]
    assert bench.server.running_work(busy) == ()
    bench.sql.work.billing_run(3000)
    worker = threading.Thread(target=lambda: bench.server.execute(backup_statement("EngageIP", _FILE)))
    worker.start()
    until(bench.server.progress)
    named = " | ".join(bench.server.running_work(busy))
    for part in ("billing run (1)", "Agent job EngageIP Billing Run", "BACKUP DATABASE of EngageIP"):
        assert part in named
    bench.clock.speed = 10_000
    bench.sql.work.finish()
    worker.join()
    until(lambda: bench.server.running_work(busy) == ())


def test_long_transaction_is_running_work(bench: Bench) -> None:
    """A session that has held a transaction open for a minute is named, with its login."""
    session = bench.sql.doors.admit("engageip", bench.password, "EngageIP", remote=True)
    from lab.sql.engine import Engine

    Engine(session).transaction("BEGIN")
    assert bench.server.running_work() == ()
    from datetime import timedelta

    session.transaction_began = session.transaction_began - timedelta(seconds=90)  # type: ignore[operator]
    assert bench.server.running_work()[0].startswith("transaction of engageip in session")
    bench.sql.doors.leave(session)


def test_busy_query_that_counts_nothing_is_an_error(bench: Bench) -> None:
    """Quiet is never guessed: a query whose first column is no number is named."""
    with pytest.raises(SqlStatementFailed, match="busy query 'odd'"):
        bench.server.running_work([Busy("odd", "EngageIP", "SELECT N'x' AS x")])


def test_backup_is_judged_by_what_the_server_says(bench: Bench) -> None:
    """The real answers make a good verdict, and a flipped byte the exact one-line reason."""

    def answer(statement: str) -> dict[str, Any]:
        try:
            told, errors = bench.server.execute(statement).messages, []
        except SqlStatementFailed as failed:
            told, errors = list(failed.messages), [{"number": failed.number, "message": failed.cause}]
        return {"messages": [{"number": n, "message": text} for n, text in told], "errors": errors}

    def verdict() -> Any:
        made, verified = answer(backup_statement("EngageIP", _FILE)), answer(verify_statement(_FILE))
        size = bench.host.disk.path(_FILE).stat().st_size
        rows = bench.server.backup_rows(_FILE)
        return judge("sql01", "EngageIP", path=_FILE, backup=made, verify=verified, file={"size": size}, history=rows)

    assert verdict().good
    assert len(bench.server.backup_rows(_FILE)) == 1
    assert bench.server.backup_rows(r"E:\of somebody else.bak") == []
    bench.fault("backup.flip_byte", "EngageIP", times=1)
    assert (
        "the backup of EngageIP is not usable: RESTORE VERIFYONLY says: Damage to the backup set was detected"
        in verdict().reason
    )


# What its errors say ---------------------------------------------------------------------------------------------------


def test_each_refusal_is_its_own_error(bench: Bench) -> None:
    """Wrong password, untrusted certificate, nothing there, unknown database, bad statement: type, number and fix."""
    with pytest.raises(SqlLoginRefused, match=r"sql01: .*18456.*credentials block"):
        bench.of(password=SecretStr("wrong")).query("SELECT 1 AS x")
    with pytest.raises(SqlCertificateRejected, match="trust_server_certificate"):
        bench.of(trust_server_certificate=False).query("SELECT 1 AS x")
    with pytest.raises(SqlNotReady) as missing:
        bench.server.query("SELECT 1 AS x", database="Nowhere")
    assert missing.value.number == 4060
    with pytest.raises(SqlStatementFailed) as failed:
        bench.server.query("SELECT 1 AS x FROM nope")
    assert failed.value.number == 208
    elsewhere = SqlServer("sql01", bench.host.address, 1, "MSSQLSERVER", bench.server._credentials)
    started = time.monotonic()
    with pytest.raises(SqlUnreachable, match=r"nothing listens on .*:1"):
        elsewhere.query("SELECT 1 AS x")
    assert time.monotonic() - started < 2, "the driver's login timeout must not be waited for"


def test_deadline_cancels_the_statement(bench: Bench) -> None:
    """Past its deadline a call ends with SqlDeadlineExceeded, and the server runs the statement no longer."""
    with pytest.raises(SqlDeadlineExceeded, match="outcome is not known"):
        bench.server.query("WAITFOR DELAY '01:00:00'", deadline=0.5)
    until(
        lambda: (
            bench.server.query("SELECT COUNT(*) AS n FROM sys.dm_exec_requests WHERE command = N'WAITFOR'")[0]["n"] == 0
        )
    )


def test_connection_that_breaks_leaves_the_outcome_open(bench: Bench) -> None:
    """The service stops under a statement: SqlSessionLost, outcome unknown, a new call may succeed."""
    failures: list[SqlServerError] = []

    def wait() -> None:
        try:
            bench.server.query("WAITFOR DELAY '00:10:00'")
        except SqlServerError as failure:
            failures.append(failure)

    worker = threading.Thread(target=wait)
    worker.start()
    until(lambda: any(s.request for s in bench.sql.sessions()))
    bench.host.service("MSSQLSERVER", started=False)
    worker.join()
    assert isinstance(failures[0], SqlSessionLost)
    assert failures[0].outcome_unknown
    assert failures[0].retryable


def test_no_error_holds_a_secret_and_all_can_be_pickled(bench: Bench) -> None:
    """Whatever goes wrong, the password is in no message, argument, cause or pickle of it."""
    wrong = awkward_secret()
    calls: list[Callable[[], Any]] = [
        lambda: bench.of(password=SecretStr(wrong)).query("SELECT 1 AS x"),
        lambda: bench.of(trust_server_certificate=False).query("SELECT 1 AS x"),
        lambda: bench.of(driver="No Such Driver").query("SELECT 1 AS x"),
        lambda: bench.of(driver="SQL Server").query("SELECT 1 AS x"),
        lambda: bench.server.query("SELECT 1 AS x", database="Nowhere"),
        lambda: bench.server.query("SELEC 1"),
    ]
    for call in calls:
        with pytest.raises(SqlServerError) as failed:
            call()
        error = failed.value
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
        assert (str(copy), copy.number, type(copy)) == (str(error), error.number, type(error))
        assert error.__cause__ is None
        assert error.__context__ is None or error.__suppress_context__
        for secret in (bench.password, wrong):
            assert secret not in f"{error}{error.args}{vars(error)}"


def test_missing_driver_manager_names_its_package(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pyodbc cannot be loaded for want of libodbc.so.2 the error says what to install."""
    import sys

    class Refuse:
        def find_spec(self, name: str, *_: Any) -> None:
            if name == "pyodbc":
                raise ImportError("libodbc.so.2: cannot open shared object file: No such file or directory")

    monkeypatch.delitem(sys.modules, "pyodbc", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Refuse(), *sys.meta_path])
    with pytest.raises(SqlDriverMissing, match="apt install unixodbc"):
        bench.server.query("SELECT 1 AS x")


def connection_text(driver: str, **fields: Any) -> str:
    """What a driver of that name would be told; nothing is connected."""
    login = SqlServerCredentials(username="billpatch", password=SecretStr("x"), driver=driver, **fields)
    server = SqlServer("sql01", "192.0.2.7", 1433, "MSSQLSERVER", login)
    return server._connection_string(SimpleNamespace(drivers=lambda: [driver]), "master")


def test_freetds_is_used_only_where_no_certificate_is_to_be_trusted() -> None:
    """It never validates one: with it a certificate of somebody else would pass in silence."""
    with pytest.raises(SqlDriverMissing, match="FreeTDS cannot validate certificates"):
        connection_text("FreeTDS")
    told = connection_text("FreeTDS", trust_server_certificate=True)
    assert "SERVER={192.0.2.7};PORT={1433};TDS_Version={7.4};Encryption={require}" in told
    assert "Encryption={off}" in connection_text("FreeTDS", trust_server_certificate=True, encrypt="no")


def test_microsofts_driver_encrypts_and_validates_unless_it_is_told_otherwise() -> None:
    """And mends no broken session behind our back."""
    name = "ODBC Driver 18 for SQL Server"
    told = connection_text(name)
    assert "SERVER={tcp:192.0.2.7,1433};Encrypt={yes};TrustServerCertificate={no};ConnectRetryCount={0}" in told
    assert "TrustServerCertificate={yes}" in connection_text(name, trust_server_certificate=True)


# Readiness -------------------------------------------------------------------------------------------------------------


def test_probe_sees_a_restart_through_to_ready(make_bench: Callable[..., Bench]) -> None:
    """Samples by fresh connections: never ready before the last database and the Agent are, then ready with the new build."""
    # What must be seen lasts a second at least, and Agent comes once it has been missed: a busy machine looks seldom.
    bench = make_bench(durations=Durations(listen=100, stall=20, upgrade=60, recover=100, agent=3000))
    bench.sql.start()
    before = bench.server.facts()
    bench.sql.patch("15.0.4430.1")
    samples: list[rules.Sample] = []
    waited: list[str] = []
    deadline = time.monotonic() + 30
    while True:
        assert time.monotonic() < deadline, waited
        samples.append(bench.server.probe())
        verdict = rules.readiness(
            samples, databases=["EngageIP", "Reporting"], build="15.0.4430.1", start_before=before.start, agent=True
        )
        if isinstance(verdict, rules.Ready):
            break
        assert not verdict.hopeless
        waited.append(verdict.waiting_for)
        if "Agent" in verdict.waiting_for:
            bench.clock.speed = 10_000
    assert verdict.build == "15.0.4430.1"
    assert bench.sql.phase is Phase.ONLINE
    told = " | ".join(waited)
    for part in ("nothing listens", "database EngageIP (RECOVERING)", "SQL Server Agent (stopped)", "3 times in a row"):
        assert part in told, told


def test_probe_reads_msdb(monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance whose msdb cannot be read is not ready, whatever else it answers."""
    asked: list[str] = []

    def execute(_: SqlServer, sql: str, **__: Any) -> None:
        asked.append(sql)
        raise SqlNotReady("sql01", "msdb is being recovered (922)", "Wait.")

    monkeypatch.setattr(SqlServer, "execute", execute)
    sample = SqlServer("sql01", "192.0.2.7").probe()
    assert sample.waiting == "msdb is being recovered (922)"
    assert ["FROM msdb.dbo.sysjobs" in sql for sql in asked] == [True]


def test_probe_tells_a_persisting_refusal_apart(bench: Bench) -> None:
    """A wrong password is not waited for for ever: three refusals in a row are hopeless."""
    wrong = bench.of(password=SecretStr("wrong"))
    verdict = rules.readiness([wrong.probe() for _ in range(3)], databases=["EngageIP"])
    assert isinstance(verdict, rules.NotReady)
    assert verdict.hopeless
    assert "18456" in verdict.waiting_for


# All of it is T-SQL ----------------------------------------------------------------------------------------------------


def test_every_batch_it_sends_is_tsql_since_2012(bench: Bench, sqlcheck: Path) -> None:
    """What the lab was sent by every method parses under Microsoft's grammar, 2012 to 2025."""
    server = bench.server
    server.facts()
    server.probe()
    server.running_work(
        [Busy("billing run", "EngageIP", "SELECT COUNT(*) FROM dbo.BillingRun WHERE Status = 'Running'")]
    )
    server.execute(backup_statement("EngageIP", _FILE, compression=True))
    server.execute(verify_statement(_FILE))
    server.backup_rows(_FILE)
    assert (
        server.data_bytes("engageip") == bench.sql.databases.path(bench.sql.databases.find("EngageIP")).stat().st_size
    )
    assert server.data_bytes("Gone") is None
    assert server.backup_bytes("EngageIP") == server.data_bytes("EngageIP")
    server.enabled_jobs()
    server.set_job_enabled("EngageIP Billing Run", enabled=True)
    public = {name for name, _ in inspect.getmembers(SqlServer, inspect.isfunction) if not name.startswith("_")}
    assert public == {
        "query",
        "execute",
        "facts",
        "probe",
        "running_work",
        "progress",
        "backup_rows",
        "data_bytes",
        "backup_bytes",
        "enabled_jobs",
        "set_job_enabled",
    }
    lines = (bench.audit.path.parent / "sql-batches.jsonl").read_text(encoding="utf-8").splitlines()
    asked = "".join(json.dumps({"sql": json.loads(line)["sql"]}) + "\n" for line in lines)
    told = subprocess.run([sqlcheck, "--serve"], input=asked, capture_output=True, text=True, check=True, timeout=100)
    answers = [json.loads(line) for line in told.stdout.splitlines()]
    assert len(answers) == len(lines)
    assert [answer["errors"] for answer in answers if answer["errors"]] == []
