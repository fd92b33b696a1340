"""EngageIP's pages: the AdminPortal with its SOAP service, and the customer portal. Every page reads the database."""

from __future__ import annotations

from html import escape
from typing import Any
from urllib.parse import parse_qs

from lab.files import VERSION_FILE
from lab.host import Host
from lab.web.config import ConfigurationError
from lab.web.database import Database, literal
from lab.web.messages import Answer, Request, not_found
from lab.web.soap import SoapService

VERSION = "SELECT [Value] FROM [dbo].[EngageIPOption] WHERE [Name] = N'Version'"


def _check_schema(host: Host, database: Database) -> None:
    """Start only on a schema of the application's own version; where no version is installed, on any."""
    schema = _first(database.query(VERSION), "unknown")
    file = host.disk.path(VERSION_FILE)
    installed = file.read_text(encoding="utf-8").split()[-1] if file.is_file() else schema
    if installed != schema:
        raise ConfigurationError(f"The database is at version {schema}, this application needs {installed}.")


class AdminPortal:
    """The staff's site, at /AdminPortal: a login page, and the SOAP API."""

    mount = "/AdminPortal"

    def __init__(self, host: Host, database: Database) -> None:
        self._host = host
        self._database = database
        self._soap = SoapService(host, database)

    def open(self) -> None:
        """Read the installed version, as the application does when it starts."""
        _check_schema(self._host, self._database)

    def answer(self, request: Request) -> Answer:
        page = request.path[len(self.mount) :].strip("/").casefold()
        if page == "webservice.asmx":
            return self._soap.answer(request)
        if page in ("", "login.aspx"):
            return self._log_in(request) if request.method == "POST" else self._login_page()
        return not_found()

    def _login_page(self, said: str = "") -> Answer:
        version = _first(self._database.query(VERSION), "unknown")
        return Answer.html(
            200,
            "<!DOCTYPE html><html><head><title>EngageIP AdminPortal - Login</title></head><body>"
            '<form method="post" action="/AdminPortal/Login.aspx"><input name="Username"><input name="Password" '
            f'type="password"><input type="submit" value="Login"></form><p>{escape(said)}</p>'
            f'<div id="version">EngageIP {escape(version)}</div></body></html>',
        )

    def _log_in(self, request: Request) -> Answer:
        form = parse_qs(request.body.decode("utf-8", "replace"))
        user, password = form.get("Username", [""])[0], form.get("Password", [""])[0]
        if not self._soap.known(user, password):
            return self._login_page("Your login attempt was not successful. Please try again.")
        return Answer.html(
            200,
            "<!DOCTYPE html><html><head><title>EngageIP AdminPortal - Home</title></head><body>"
            f"<p>Welcome, {escape(user)}</p></body></html>",
        )


class CustomerPortal:
    """The customers' site, at /Portal: what they owe, as the database has it."""

    mount = "/Portal"

    def __init__(self, host: Host, database: Database) -> None:
        self._host = host
        self._database = database

    def open(self) -> None:
        """Read the installed version, as the application does when it starts."""
        _check_schema(self._host, self._database)

    def answer(self, request: Request) -> Answer:
        page = request.path[len(self.mount) :].strip("/")
        if page.casefold() not in ("", "default.aspx"):
            return not_found()
        account = parse_qs(request.query).get("account", [""])[0]
        whose = f"[Username] = {literal(account)}" if account else "[UserID] = (SELECT MIN([UserID]) FROM [dbo].[User])"
        rows = self._database.query(f"SELECT [Balance] FROM [dbo].[User] WHERE {whose}")
        balance = _first(rows, "no such account")
        return Answer.html(
            200,
            "<!DOCTYPE html><html><head><title>My account</title></head><body><h1>My account</h1>"
            f'<p>Balance: <span id="balance">{escape(balance)}</span></p></body></html>',
        )


def _first(rows: list[list[Any]], otherwise: str) -> str:
    return str(rows[0][0]) if rows and rows[0] else otherwise
