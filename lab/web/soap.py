"""EngageIP's SOAP service (``webservice.asmx``, SOAP 1.1 and 1.2) as far as checks use it.

Requests carry ``<AuthHeader xmlns="Logisense_EngageIP"><Username/><Password/>``; the action is
``Logisense_EngageIP/<Operation>``. GetUserDetail answers with the customer's password, as the real one does.
MakePayment charges the sandbox gateway, which takes test cards only and declines the others, and writes a Payment row.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from xml.etree import ElementTree as ET

from lab.host import Host
from lab.web.database import Database, SqlException, literal
from lab.web.messages import IIS, Answer, Request, detailed_error

NAMESPACE = "Logisense_EngageIP"
SOAP_11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP_12 = "http://www.w3.org/2003/05/soap-envelope"


class _FaultError(Exception):
    """A SOAP fault; ``client`` says whose mistake it is."""

    def __init__(self, text: str, *, client: bool = False) -> None:
        super().__init__(text)
        self.client = client


class SoapService:
    """Answers the operations over the site's database."""

    def __init__(self, host: Host, database: Database) -> None:
        self._host = host
        self._database = database
        self._operations: dict[str, Callable[[dict[str, str]], str]] = {
            "GetUsername": self._get_username,
            "GetUserDetail": self._get_user_detail,
            "GetPayments": self._get_payments,
            "MakePayment": self._make_payment,
        }

    def known(self, user: str, password: str) -> bool:
        """Whether this login of the staff exists."""
        rows = self._database.query(
            f"SELECT [Password] FROM [dbo].[Login] WHERE [Username] = {literal(user)} AND [Enabled] = 1"
        )
        return bool(rows) and rows[0][0] == password

    def answer(self, request: Request) -> Answer:
        """One call, or the page that lists the operations."""
        if request.method in ("GET", "HEAD"):
            names = "".join(f"<li>{name}</li>" for name in self._operations)
            return Answer.html(200, f"<html><head><title>WebService Web Service</title></head><ul>{names}</ul></html>")
        kind = request.headers.get("content-type", "").split(";")[0].strip().casefold()
        if kind not in ("text/xml", "application/soap+xml"):
            return detailed_error(415, 0, f"Cannot process the message because the content type '{kind}' was wrong.")
        envelope = SOAP_11 if kind == "text/xml" else SOAP_12
        try:
            return _envelope(200, envelope, self._call(request, envelope))
        except _FaultError as fault:
            return _envelope(500, envelope, _fault(envelope, str(fault), client=fault.client))
        except SqlException as error:  # ASP.NET turns what a web method throws into a fault
            return _envelope(500, envelope, _fault(envelope, _thrown(str(error)), client=False))

    def _call(self, request: Request, envelope: str) -> str:
        action = request.headers.get("soapaction", "").strip('"')
        if envelope == SOAP_12:
            named = re.search(r'action="?([^";]+)', request.headers.get("content-type", ""))
            action = named.group(1) if named else ""
        try:
            document = ET.fromstring(request.body)  # noqa: S314 - on loopback; expat bounds entities
        except ET.ParseError as error:
            raise _FaultError(
                f"Server was unable to read request. ---> There is an error in XML document: {error}", client=True
            ) from None
        body = document.find(f"{{{envelope}}}Body")
        call = body[0] if body is not None and len(body) else None
        operation = call.tag.rpartition("}")[2] if call is not None else ""
        action = action or f"{NAMESPACE}/{operation}"
        known = self._operations.get(action.removeprefix(NAMESPACE + "/"))
        if call is None or known is None or not action.endswith("/" + operation):
            raise _FaultError(f"Server did not recognize the value of HTTP Header SOAPAction: {action}.", client=True)
        header = document.find(f"{{{envelope}}}Header/{{{NAMESPACE}}}AuthHeader")
        user, password = (
            (header.findtext(f"{{{NAMESPACE}}}{part}", "") if header is not None else "")
            for part in ("Username", "Password")
        )
        if not self.known(user, password):
            raise _FaultError(_thrown("Authentication failed: invalid username or password."))
        fields = {child.tag.rpartition("}")[2]: child.text or "" for child in call}
        result = known(fields)
        return (
            f'<{operation}Response xmlns="{NAMESPACE}"><{operation}Result>{result}</{operation}Result>'
            f"</{operation}Response>"
        )

    def _get_username(self, fields: dict[str, str]) -> str:
        user = _whole_number(fields.get("userID", ""))
        rows = self._database.query(f"SELECT [Username] FROM [dbo].[User] WHERE [UserID] = {user}")
        return escape(str(rows[0][0])) if rows else ""

    def _get_user_detail(self, fields: dict[str, str]) -> str:
        name = fields.get("username", "")
        rows = self._database.query(
            "SELECT [UserID], [Username], [Password], [FullName], [Balance] FROM [dbo].[User] "
            f"WHERE [Username] = {literal(name)}"
        )
        if not rows:
            raise _FaultError(_thrown(f"User '{name}' does not exist."))
        names = ("UserID", "Username", "Password", "FullName", "Balance")
        return "".join(f"<{key}>{escape(str(value))}</{key}>" for key, value in zip(names, rows[0], strict=True))

    def _get_payments(self, fields: dict[str, str]) -> str:
        rows = self._database.query(
            "SELECT [PaymentID], [Amount], [Status] FROM [dbo].[Payment] "
            f"WHERE [UserID] = {self._user(fields.get('username', ''))} ORDER BY [PaymentID]"
        )
        return "".join(
            f"<Payment><PaymentID>{row[0]}</PaymentID><Amount>{row[1]}</Amount><Status>{escape(str(row[2]))}</Status></Payment>"
            for row in rows
        )

    def _make_payment(self, fields: dict[str, str]) -> str:
        amount = fields.get("amount", "")
        if not re.fullmatch(r"\d{1,9}(\.\d{1,2})?", amount):
            raise _FaultError(_thrown("Input string was not in a correct format."))
        user = self._user(fields.get("username", ""))
        status = "declined" if self._host.faults.strike("gateway.declines", self._host.name) is not None else "approved"
        self._database.query(
            f"INSERT INTO [dbo].[Payment] ([UserID], [Amount], [Status]) VALUES ({user}, {amount}, {literal(status)})"
        )
        self._host.event("payment.made", user=user, amount=amount, status=status)
        return status

    def _user(self, name: str) -> int:
        rows = self._database.query(f"SELECT [UserID] FROM [dbo].[User] WHERE [Username] = {literal(name)}")
        if not rows:
            raise _FaultError(_thrown(f"User '{name}' does not exist."))
        return int(rows[0][0])


def _whole_number(text: str) -> int:
    if not re.fullmatch(r"-?\d{1,9}", text.strip()):
        raise _FaultError(
            "Server was unable to read request. ---> Input string was not in a correct format.", client=True
        )
    return int(text)


def _thrown(text: str) -> str:
    return f"Server was unable to process request. ---> {text}"


def _fault(envelope: str, text: str, *, client: bool) -> str:
    if envelope == SOAP_11:
        code = "Client" if client else "Server"
        return f"<soap:Fault><faultcode>soap:{code}</faultcode><faultstring>{escape(text)}</faultstring><detail /></soap:Fault>"
    code = "Sender" if client else "Receiver"
    return (
        f"<soap:Fault><soap:Code><soap:Value>soap:{code}</soap:Value></soap:Code><soap:Reason>"
        f'<soap:Text xml:lang="en">{escape(text)}</soap:Text></soap:Reason><soap:Detail /></soap:Fault>'
    )


def _envelope(status: int, envelope: str, inner: str) -> Answer:
    text = f'<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="{envelope}"><soap:Body>{inner}</soap:Body></soap:Envelope>'
    kind = "text/xml" if envelope == SOAP_11 else "application/soap+xml"
    return Answer(status, text.encode(), {"Content-Type": f"{kind}; charset=utf-8", "Server": IIS})
