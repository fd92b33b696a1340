"""The lab's IIS over the lab's SQL Server: the order in which the two machines come up decides whether pages work."""

from __future__ import annotations

import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from lab.audit import Audit
from lab.clock import Clock
from lab.faults import Fault, Faults
from lab.host import Host
from lab.sql import Login, SqlInstance
from lab.web.iis import Iis
from lab.web.install import install_site

PASSWORD = secrets.token_hex(4) + "\"\u2039&€;'"


@dataclass
class Pair:
    """Two machines: SQL Server, and the web server that depends on it."""

    sql_host: Host
    web_host: Host
    sql: SqlInstance
    iis: Iis
    client: httpx.Client

    def status(self) -> int:
        return self.client.get(f"http://{self.web_host.address}:8081/AdminPortal/").status_code

    def trail(self) -> list[tuple[str, str]]:
        """(event, where) so far, which keeps what is over before anybody looks; where is a site, else a host."""
        whole, _, _ = self.web_host.audit.path.read_text(encoding="utf-8").rpartition("\n")
        return [(each["event"], each.get("site", each["host"])) for each in map(json.loads, whole.splitlines())]

    def broken_since_its_boot(self) -> bool:
        """Whether the portal of staff has been started without its database, by the boot of the web server."""
        trail = self.trail()
        booted = trail.index(("host.boot", "web01")) if ("host.boot", "web01") in trail else len(trail)
        return ("iis.worker_broken", "AdminPortal") in trail[booted:]

    def listens(self) -> bool:
        """Whether IIS has come up since the last boot: it does a moment after the machine."""
        try:
            socket.create_connection((self.web_host.address, 8081), 5).close()
        except OSError:
            return False
        return True


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.01)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    block = "127." + ".".join(str(1 + secrets.randbelow(254)) for _ in range(2))
    audit, clock, faults = Audit(tmp_path / "audit.jsonl"), Clock(speed=200), Faults()
    sql_host, web_host = (
        Host(name, tmp_path / name, f"{block}.{number}", frozenset({role}), audit, clock, faults)
        for number, (name, role) in enumerate((("sql01", "mssql"), ("web01", "iis")), 11)
    )
    sql = SqlInstance(sql_host, logins=[Login("engageip", PASSWORD, sysadmin=False)])
    sql_host.parts["sql"] = sql
    sql.start()
    install_site(web_host, "AdminPortal", {8081: ""}, server="sql01", user="engageip", password=PASSWORD)
    install_site(web_host, "Portal", {8091: ""}, server="sql01", user="engageip", password=PASSWORD)
    iis = Iis(web_host, lambda: sql)
    web_host.parts["iis"] = iis
    iis.boot()
    with httpx.Client(timeout=20, trust_env=False) as client:
        yield Pair(sql_host, web_host, sql, iis, client)
    clock.stopping.set()
    iis.shutdown()
    sql.stop()


def test_pages_read_the_real_tables(pair: Pair) -> None:
    """The login page shows the version in EngageIPOption; the customers' page a balance out of User."""
    assert "EngageIP 8.5.23" in pair.client.get(f"http://{pair.web_host.address}:8081/AdminPortal/").text
    page = pair.client.get(f"http://{pair.web_host.address}:8091/Portal/?account=customer002").text
    balance = pair.sql.run("SELECT Balance FROM dbo.[User] WHERE Username = 'customer002'", "EngageIP").rows[0][0]
    assert f'<span id="balance">{balance}</span>' in page, page[-800:]


def test_web_server_that_boots_before_sql_server_is_ready_needs_a_recycle(pair: Pair) -> None:
    """Both restart at once and SQL Server is the slower: pages stay broken after it is ready, until a recycle."""
    pair.sql_host.faults.declare(Fault("sql.slow_start", on="sql01", with_={"seconds": 600}))
    pair.sql_host.restart(seconds_down=20)
    until(lambda: ("sql.down", "sql01") in pair.trail())
    pair.web_host.restart(seconds_down=5)
    until(pair.broken_since_its_boot)
    until(lambda: pair.sql_host.boot_number == 2 and pair.sql.wait_until_ready(1))
    assert pair.status() == 500
    pair.iis.recycle("AdminPortal")
    assert pair.status() == 200


def test_web_server_that_boots_after_sql_server_is_ready_works(pair: Pair) -> None:
    """In the right order nothing has to be recycled."""
    pair.sql_host.restart(seconds_down=5)
    until(lambda: pair.sql_host.boot_number == 2 and pair.sql.wait_until_ready(1))
    pair.web_host.restart(seconds_down=5)
    until(lambda: pair.web_host.boot_number == 2 and pair.listens())
    assert pair.status() == 200


def test_portal_is_back_by_itself_after_a_restart_of_sql_server_alone(pair: Pair) -> None:
    """A worker that started well fails while SQL Server is away, and recovers with it."""
    assert pair.status() == 200
    pair.sql_host.service(pair.sql.engine_service, started=False)
    assert pair.status() == 500
    pair.sql_host.service(pair.sql.engine_service, started=True)
    until(lambda: pair.sql.wait_until_ready(1))
    assert pair.status() == 200


def test_soap_payment_lands_in_the_payment_table(pair: Pair) -> None:
    """MakePayment is a row of Payment that GetPayments reads back."""
    pair.sql.run("INSERT INTO dbo.Login (Username, Password, Enabled) VALUES ('check', 'k&1', 1)", "EngageIP")
    header = (
        '<AuthHeader xmlns="Logisense_EngageIP"><Username>check</Username><Password>k&amp;1</Password></AuthHeader>'
    )
    answers = []
    for operation, fields in (("MakePayment", "<amount>1.25</amount>"), ("GetPayments", ""), ("GetUserDetail", "")):
        body = f"<{operation} xmlns='Logisense_EngageIP'><username>customer003</username>{fields}</{operation}>"
        space = "http://schemas.xmlsoap.org/soap/envelope/"
        envelope = f"<s:Envelope xmlns:s='{space}'><s:Header>{header}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
        url = f"http://{pair.web_host.address}:8081/AdminPortal/webservice.asmx"
        answers.append(pair.client.post(url, content=envelope, headers={"Content-Type": "text/xml"}).text)
    assert "<MakePaymentResult>approved</MakePaymentResult>" in answers[0]
    assert "<Amount>1.25</Amount><Status>approved</Status>" in answers[1]
    assert "<Username>customer003</Username>" in answers[2]
