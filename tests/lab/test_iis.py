"""The lab's IIS: what http.sys says by itself, workers that stay as they started, pages that truly need the database."""

from __future__ import annotations

import json
import secrets
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab.audit import Audit
from lab.clock import Clock
from lab.faults import Fault, Faults
from lab.host import Host
from lab.web.iis import Iis
from lab.web.install import binding, install_site

PASSWORD = secrets.token_hex(4) + "\"\u2039&€;'"  # what breaks quoting and encodings
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"


@dataclass
class Result:
    rows: list[list[Any]]


class TablesOnly:
    """A SQL Server as far as the pages see it: real tables, one login, and it can be away."""

    def __init__(self) -> None:
        self.ready = True
        self._lock = threading.Lock()
        self._tables = sqlite3.connect(":memory:", check_same_thread=False)
        self._tables.execute("ATTACH ':memory:' AS dbo")
        for statement in (
            "CREATE TABLE dbo.EngageIPOption (Name, Value)",
            "CREATE TABLE dbo.Login (Username, Password, Enabled)",
            "CREATE TABLE dbo.User (UserID, Username, Password, FullName, Balance)",
            "CREATE TABLE dbo.Payment (PaymentID INTEGER PRIMARY KEY, UserID, Amount, Status)",
            "INSERT INTO dbo.EngageIPOption VALUES ('Version', '8.6.12')",
            "INSERT INTO dbo.Login VALUES ('admin', 'gate<&€', 1)",
            "INSERT INTO dbo.User VALUES (7, 'anna', 'se<cret', 'Anna O''Neil', 41.5)",
        ):
            self._tables.execute(statement)

    def run(self, statement: str, database: str, user: str, password: str) -> Result:
        if not self.ready:
            raise ConnectionError("SQL Server is in script upgrade mode")
        if (database, user, password) != ("EngageIP", "engageip", PASSWORD):
            raise PermissionError(f"Login failed for user '{user}'.")
        with self._lock:
            return Result([list(row) for row in self._tables.execute(statement.replace("N'", "'"))])


@dataclass
class Bench:
    """One web host with its IIS, and the SQL Server behind it."""

    host: Host
    iis: Iis
    sql: TablesOnly
    client: httpx.Client
    trail: Path
    events: list[dict[str, Any]] = field(default_factory=list)

    def get(self, path: str = "/AdminPortal/", port: int = 8080, **more: Any) -> httpx.Response:
        return self.client.get(f"http://{self.host.address}:{port}{path}", **more)

    def audited(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.trail.read_text(encoding="utf-8").splitlines()]
        return [line for line in lines if line["event"] == event]

    def logged(self, number: int) -> list[dict[str, Any]]:
        path = self.host.folder / "events.json"
        return [e for e in (json.loads(path.read_text(encoding="utf-8")) if path.exists() else []) if e["id"] == number]

    def configure(self, change: Callable[[dict[str, Any]], None]) -> None:
        with self.host.edit("iis.json") as state:
            change(state)
        self.iis.reload()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    trail = tmp_path / "audit.jsonl"
    address = "127." + ".".join(str(1 + secrets.randbelow(254)) for _ in range(3))
    host = Host(
        "web01", tmp_path / "web01", address, frozenset({"iis"}), Audit(trail), Clock(speed=1000), Faults(seed=1)
    )
    install_site(host, "AdminPortal", {8080: "", 8081: ""}, server="sql01", user="engageip", password=PASSWORD)
    sql = TablesOnly()
    iis = Iis(host, lambda: sql)
    host.parts["iis"] = iis
    iis.boot()
    with httpx.Client(timeout=10, trust_env=False) as client:
        yield Bench(host, iis, sql, client, trail)
    iis.shutdown()
    host.clock.stopping.set()


def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.005)


def refused(bench: Bench, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((bench.host.address, port)) != 0


# What http.sys answers -----------------------------------------------------------------------------------------------


def test_portal_page_shows_the_version_that_the_database_holds(bench: Bench) -> None:
    """The login page comes by a courtesy redirect and reads its version from the database."""
    assert bench.get("/AdminPortal").headers["Location"] == "/AdminPortal/"
    page = bench.get(port=8081)
    assert (page.status_code, "EngageIP 8.6.12" in page.text) == (200, True)
    assert bench.get("/elsewhere").status_code == 404


def test_stopped_pool_answers_503_by_httpsys_itself(bench: Bench) -> None:
    """A stopped pool is the 503 of http.sys, and not an error of the application."""
    bench.configure(lambda state: state["pools"]["AdminPortal"].update(state="Stopped"))
    answer = bench.get()
    assert answer.status_code == 503
    assert "HTTP Error 503. The service is unavailable." in answer.text
    assert answer.headers["Server"] == "Microsoft-HTTPAPI/2.0"


def test_ports_close_with_the_site_and_with_its_services(bench: Bench) -> None:
    """Nothing listens for a stopped site, nor while W3SVC or WAS is stopped."""
    for service in ("W3SVC", "WAS"):
        bench.host.service(service, started=False)
        assert refused(bench, 8080)
        bench.host.service(service, started=True)
        assert bench.get().status_code == 200
    bench.configure(lambda state: state["sites"]["AdminPortal"].update(state="Stopped"))
    assert refused(bench, 8080)


def test_unknown_host_header_is_refused_where_every_site_has_one(bench: Bench) -> None:
    """With host headers on all bindings, http.sys answers 400 Invalid Hostname for any other name."""
    bench.configure(
        lambda state: state["sites"]["AdminPortal"].update(bindings=[binding(8080, "billing.acme.example")])
    )
    assert "Invalid Hostname" in bench.get().text
    assert bench.get(headers={"Host": "BILLING.acme.example:8080"}).status_code == 200


def test_second_site_on_a_taken_binding_does_not_start(bench: Bench) -> None:
    """The site that held the binding keeps it; the other one is stopped, with event 1007 of W3SVC."""
    path = r"C:\inetpub\other"
    bench.host.disk.write(path + r"\index.html", b"other")
    other = {"id": 0, "state": "Started", "path": path, "pool": "AdminPortal", "bindings": [binding(8080)]}
    bench.configure(lambda state: state["sites"].update(Other=other))
    assert bench.host.read("iis.json")["sites"]["Other"]["state"] == "Stopped"
    assert "http://*:8080/" in bench.logged(1007)[0]["message"]
    assert "EngageIP" in bench.get().text


def test_live_connections_die_with_the_machine(bench: Bench) -> None:
    """A kept-alive connection is cut by a shutdown, and the machine's next boot serves again."""
    with socket.create_connection((bench.host.address, 8080), timeout=5) as line:
        line.sendall(b"GET /AdminPortal HTTP/1.1\r\nHost: x\r\n\r\n")
        assert line.recv(4096).startswith(b"HTTP/1.1 301")
        bench.host.restart(seconds_down=5)
        rest = b"."
        while rest:
            try:
                rest = line.recv(4096)
            except ConnectionResetError:
                rest = b""
    until(lambda: bench.host.up.is_set() and not refused(bench, 8080))
    assert bench.get().status_code == 200


# Workers and their database ------------------------------------------------------------------------------------------


def test_iis_that_boots_while_sql_server_is_not_ready_stays_broken_until_recycled(bench: Bench) -> None:
    """A worker that started without its database answers 500 for ever; only a recycle gives a working one."""
    bench.sql.ready = False
    bench.iis.boot()
    until(lambda: bench.audited("iis.worker_broken"))
    bench.sql.ready = True
    for _ in range(3):
        page = bench.get()
        assert page.status_code == 500
        assert "SqlException" in page.text
        assert "Server Error in '/AdminPortal' Application" in page.text
    assert bench.logged(1309)[0]["provider"] == "ASP.NET 4.0.30319.0"
    bench.iis.recycle("AdminPortal")
    assert bench.get().status_code == 200


def test_worker_on_demand_starts_with_the_first_request(bench: Bench) -> None:
    """Without AlwaysRunning no worker starts at boot, so a database that is late does no harm before a customer comes."""
    bench.configure(lambda state: state["pools"]["AdminPortal"].update(startMode="OnDemand"))
    until(lambda: len(bench.audited("iis.worker_start")) == 1)
    bench.sql.ready = False
    bench.iis.boot()
    bench.sql.ready = True
    assert bench.get().status_code == 200
    assert len(bench.audited("iis.worker_start")) == 2


def test_database_that_goes_away_later_is_found_again(bench: Bench) -> None:
    """A worker that started well fails while the database is away, and recovers by itself."""
    assert bench.get().status_code == 200
    bench.sql.ready = False
    assert bench.get().status_code == 500
    bench.sql.ready = True
    assert bench.get().status_code == 200


def test_damaged_web_config_is_500_19_and_touching_it_gives_a_fresh_worker(bench: Bench) -> None:
    """IIS watches web.config: a damaged one breaks the site, a good one mends it without a recycle."""
    file = bench.host.disk.path(r"C:\Program Files\LogiSense\EngageIP\AdminPortal\web.config")
    good = file.read_bytes()
    file.write_bytes(b"<configuration>")
    assert "500.19" in bench.get().text
    file.write_bytes(good)
    assert bench.get().status_code == 200


def test_app_offline_answers_503_for_the_application(bench: Bench) -> None:
    """app_offline.htm takes an ASP.NET application away while it lies there."""
    page = bench.host.disk.write(
        r"C:\Program Files\LogiSense\EngageIP\AdminPortal\app_offline.htm", "Zurück um 5".encode()
    )
    assert (bench.get().status_code, bench.get().text) == (503, "Zurück um 5")
    page.unlink()
    assert bench.get().status_code == 200


def test_hung_worker_is_replaced_by_was(bench: Bench) -> None:
    """A worker that does not answer its ping is ended by WAS (event 5010), and its successor serves."""
    bench.host.faults.declare(Fault("pool.stuck", on="AdminPortal", times=1))
    bench.iis.recycle("AdminPortal")
    assert bench.get().status_code == 503
    assert bench.get().status_code == 200
    assert bench.logged(5010)


def test_declared_web_errors_strike_one_node_only(bench: Bench) -> None:
    """web.error names a site or host/site."""
    bench.host.faults.declare(Fault("web.error", on="web02/AdminPortal", with_={"status": 502}))
    assert bench.get().status_code == 200
    bench.host.faults.declare(Fault("web.error", on="web01/AdminPortal", times=1, with_={"status": 502}))
    assert [bench.get().status_code, bench.get().status_code] == [502, 200]


# Maintenance ---------------------------------------------------------------------------------------------------------

FOLDER = r"C:\ProgramData\EngageIPPatching\maintenance"
ALL_MANAGED = """<configuration><system.webServer><modules runAllManagedModulesForAllRequests="true"/>
<httpErrors existingResponse="PassThrough"/><httpProtocol><customHeaders><add name="Retry-After" value="600"/>
</customHeaders></httpProtocol></system.webServer></configuration>"""
REWRITE = '<c><rewrite><action type="CustomResponse" statusCode="503" statusDescription="back soon"/></rewrite></c>'
EXECUTE = '<c><httpErrors><error statusCode="404" path="/page.aspx" responseMode="ExecuteURL"/></httpErrors></c>'
PAGE = '<%@ Page %><% Response.StatusCode = 503; Response.AddHeader("Retry-After", "600"); %><h1>back soon</h1>'


@pytest.mark.parametrize(
    ("files", "extra", "status"),
    [
        ({"app_offline.htm": "back soon", "index.html": "back soon", "web.config": ALL_MANAGED}, {}, 503),
        ({"app_offline.htm": "back soon", "index.html": "back soon", "web.config": ALL_MANAGED}, {"runtime": ""}, 404),
        (
            {"app_offline.htm": "back soon", "web.config": ALL_MANAGED.replace("PassThrough", "Replace")},
            {},
            "The service is unavailable.",
        ),
        ({"index.html": "back soon"}, {}, 404),
        ({"page.aspx": PAGE, "web.config": EXECUTE}, {}, 503),
        ({"web.config": REWRITE}, {"modules": ["RewriteModule"]}, 503),
        ({"web.config": REWRITE}, {}, 500),
    ],
)
def test_maintenance_site_takes_the_public_binding(
    bench: Bench, files: dict[str, str], extra: dict[str, Any], status: int | str
) -> None:
    """Customers see the maintenance page on the public port while the check binding still shows the application."""
    for name, text in files.items():
        bench.host.disk.write(f"{FOLDER}\\{name}", text.encode())

    def enter(state: dict[str, Any]) -> None:
        state["modules"] = extra.get("modules", [])
        public = state["sites"]["AdminPortal"]["bindings"].pop(0)
        state["pools"]["EngageIPMaintenance"] = {"state": "Started", "runtime": extra.get("runtime", "v4.0")}
        state["sites"]["EngageIPMaintenance"] = {
            "id": 9, "state": "Started", "path": FOLDER, "pool": "EngageIPMaintenance", "app": "static",
            "bindings": [public],
        }  # fmt: skip

    bench.configure(enter)
    page = bench.get("/AdminPortal/pay")
    assert status in (page.status_code, page.text)
    if status == 503:
        assert "back soon" in page.text
        assert "<%" not in page.text
        assert bench.client.post(str(page.url), content=b"paid").status_code == 503
    assert "EngageIP 8.6.12" in bench.get(port=8081).text

    def leave(state: dict[str, Any]) -> None:
        del state["sites"]["EngageIPMaintenance"]
        state["sites"]["AdminPortal"]["bindings"].insert(0, binding(8080))

    bench.configure(leave)
    assert "EngageIP 8.6.12" in bench.get().text


# SOAP ----------------------------------------------------------------------------------------------------------------


def call(bench: Bench, operation: str, fields: str, key: str = "gate&lt;&amp;€", action: str = "") -> httpx.Response:
    envelope = (
        f'<s:Envelope xmlns:s="{SOAP}"><s:Header><AuthHeader xmlns="Logisense_EngageIP"><Username>admin</Username>'
        f"<Password>{key}</Password></AuthHeader></s:Header>"
        f'<s:Body><{operation} xmlns="Logisense_EngageIP">{fields}</{operation}></s:Body></s:Envelope>'
    )
    headers = {
        "Content-Type": "text/xml; charset=utf-8",
        "SOAPAction": f'"{action or f"Logisense_EngageIP/{operation}"}"',
    }
    url = f"http://{bench.host.address}:8081/AdminPortal/webservice.asmx"
    return bench.client.post(url, content=envelope.encode(), headers=headers)


def test_soap_reads_answer_from_the_database(bench: Bench) -> None:
    """GetUsername and GetUserDetail answer what the tables hold, the password included."""
    assert "<GetUsernameResult>anna</GetUsernameResult>" in call(bench, "GetUsername", "<userID>7</userID>").text
    detail = call(bench, "GetUserDetail", "<username>anna</username>").text
    assert "<Password>se&lt;cret</Password>" in detail
    assert "<FullName>Anna O&#x27;Neil</FullName>" in detail


def test_soap_payment_is_written_and_read_back(bench: Bench) -> None:
    """MakePayment against the sandbox gateway leaves a row; a declined one says so."""
    assert "approved" in call(bench, "MakePayment", "<username>anna</username><amount>1.50</amount>").text
    bench.host.faults.declare(Fault("gateway.declines", times=1))
    assert "declined" in call(bench, "MakePayment", "<username>anna</username><amount>2</amount>").text
    payments = call(bench, "GetPayments", "<username>anna</username>").text
    assert payments.count("<Payment>") == 2
    assert [event["status"] for event in bench.audited("payment.made")] == ["approved", "declined"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"key": "wrong"}, "Authentication failed"),
        ({"operation": "DropEverything"}, "did not recognize the value of HTTP Header SOAPAction"),
        ({"fields": "<userID>x</userID>"}, "Input string was not in a correct format"),
        ({"fields": "<userID>"}, "error in XML document"),
    ],
)
def test_soap_faults_come_as_500_with_a_fault(bench: Bench, change: dict[str, str], says: str) -> None:
    """Every refusal is a SOAP fault with status 500."""
    answer = call(bench, **{"operation": "GetUsername", "fields": "<userID>7</userID>", **change})
    assert answer.status_code == 500
    assert "<soap:Fault>" in answer.text
    assert says in answer.text


def test_soap_12_is_understood(bench: Bench) -> None:
    """The action of SOAP 1.2 travels in the content type, and its faults have codes of their own."""
    url = f"http://{bench.host.address}:8081/AdminPortal/webservice.asmx"
    envelope = (
        '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>'
        '<GetUsername xmlns="Logisense_EngageIP"><userID>7</userID></GetUsername></s:Body></s:Envelope>'
    )
    kind = 'application/soap+xml; charset=utf-8; action="Logisense_EngageIP/GetUsername"'
    answer = bench.client.post(url, content=envelope, headers={"Content-Type": kind})
    assert "<soap:Value>soap:Receiver</soap:Value>" in answer.text


def test_customer_portal_shows_the_balance_in_the_database(bench: Bench) -> None:
    """The customers' page reads the account's row."""
    install_site(bench.host, "Portal", {8082: ""}, server="sql01", user="engageip", password=PASSWORD)
    bench.iis.reload()
    assert '<span id="balance">41.5</span>' in bench.get("/Portal/?account=anna", port=8082).text


def test_no_password_reaches_the_audit_trail_or_the_event_log(bench: Bench) -> None:
    """Neither the application's SQL password nor a caller's appears in what the lab writes down."""
    call(bench, "GetUserDetail", "<username>anna</username>", key="wrong€")
    bench.sql.ready = False
    bench.get()
    written = bench.trail.read_text(encoding="utf-8") + (bench.host.folder / "events.json").read_text(encoding="utf-8")
    assert "wrong€" not in written
    assert json.dumps(PASSWORD, ensure_ascii=False)[1:-1] not in written
