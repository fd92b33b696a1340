"""EngageIP's SOAP API, as far as checks read it: cheap reads only, passwords redacted before anybody sees them.

SoapError (a WebError)
  SoapFault      EngageIP answered with a fault
  SoapBadAnswer  what answered is not the API: a login page, an error page, the maintenance page
"""

# ruff: noqa: N818 - the names say what happened; 'Error' on each would only repeat the base class
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from pydantic import SecretStr

from blocks.web import WebClient, WebError, plain
from model.maintenance import is_maintenance_page

NAMESPACE = "Logisense_EngageIP"
ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
READS = ("GetUsername", "GetUserDetail", "GetPayments", "GetUserServices")
"""Operations that change nothing. MakePayment and its like charge somebody: never by this way."""
_SECRET = re.compile(r"password|pwd|pin$|cvv|cardnumber|accountnumber|token|secret", re.IGNORECASE)
REDACTED = "(redacted)"


class SoapError(WebError):
    """The API did not answer as it should."""


class SoapFault(SoapError):
    """EngageIP answered with a fault."""


class SoapBadAnswer(SoapError):
    """What answered is not the API."""


class EngageIPApi:
    """The API at ``url`` (``.../AdminPortal/webservice.asmx``), with a login of EngageIP's staff."""

    def __init__(self, web: WebClient, url: str, username: str, password: SecretStr) -> None:
        self._web = web
        self._url = url
        self._username = username
        self._password = password

    def read(self, operation: str, fields: Mapping[str, str | int]) -> Any:
        """The result of one of READS: text, a dict, or a list of dicts; secrets in it are redacted.

        Raises SoapError, or another WebError; ValueError for an operation that is not known to be a read.
        """
        if operation not in READS:
            raise ValueError(f"{operation[:40]} is not one of the reads that a check may use: {', '.join(READS)}")
        headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{NAMESPACE}/{operation}"'}
        answer = self._web.post(self._url, self._envelope(operation, fields), headers)
        place = f"{plain(self._url)} {operation}"
        if is_maintenance_page(answer.text):
            raise SoapBadAnswer(f"{place}: the maintenance page answers ({answer.status}), not the API.")
        body = _body(answer.text)
        if body is None:
            raise SoapBadAnswer(f"{place}: answers {answer.status}, and not in SOAP. Is it the address of the API?")
        fault = body.find(f"{{{ENVELOPE}}}Fault")
        if fault is not None:
            said = " ".join((fault.findtext("faultstring") or "a fault without a text").split())
            raise SoapFault(f"{place}: {self._safe(said)[:300]}")
        result = next((node for node in body.iter() if _name(node) == f"{operation}Result"), None)
        return None if result is None else _value(result)

    def _envelope(self, operation: str, fields: Mapping[str, str | int]) -> bytes:
        inner = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in fields.items())
        return (
            f'<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="{ENVELOPE}"><soap:Header>'
            f'<AuthHeader xmlns="{NAMESPACE}"><Username>{escape(self._username)}</Username>'
            f"<Password>{escape(self._password.get_secret_value())}</Password></AuthHeader></soap:Header>"
            f'<soap:Body><{operation} xmlns="{NAMESPACE}">{inner}</{operation}></soap:Body></soap:Envelope>'
        ).encode()

    def _safe(self, text: str) -> str:
        return text.replace(self._password.get_secret_value(), REDACTED)


def _body(text: str) -> ET.Element | None:
    try:
        root = ET.fromstring(text)  # noqa: S314 - expat since 2.4.1 refuses to expand entities without bound
    except ET.ParseError:
        return None
    return root.find(f"{{{ENVELOPE}}}Body")


def _name(node: ET.Element) -> str:
    return node.tag.rpartition("}")[2]


def _value(node: ET.Element) -> Any:
    if _SECRET.search(_name(node)):
        return REDACTED
    children = list(node)
    if not children:
        return node.text or ""
    names = [_name(child) for child in children]
    if len(set(names)) == 1 and any(len(child) for child in children):
        return [_value(child) for child in children]
    return {_name(child): _value(child) for child in children}
