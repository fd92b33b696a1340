"""SOAP envelopes of WS-Management: what a client asked, and the shape of an answer."""

from __future__ import annotations

import re
import uuid
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

WSMAN = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
RSP = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
FAULT_ACTION = "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault"
IDENTITY = "http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"

NS = {
    "s": "http://www.w3.org/2003/05/soap-envelope",
    "a": ADDRESSING,
    "w": WSMAN,
    "p": "http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd",
    "rsp": RSP,
    "x": "http://schemas.xmlsoap.org/ws/2004/09/transfer",
}
_DECLARED = "".join(f" xmlns:{prefix}={quoteattr(uri)}" for prefix, uri in NS.items())


class Malformed(ValueError):  # noqa: N818 - named as the condition is called
    """The body is not a WS-Management request."""


@dataclass(frozen=True)
class Request:
    """One request; ``kind`` is the last word of its action (``Create``, ``Receive`` …), or ``Identify``."""

    kind: str
    action: str
    message_id: str
    resource: str
    shell_id: str
    timeout: float
    """OperationTimeout in seconds."""
    max_envelope: int
    """The largest answer that the client takes, in bytes."""
    options: dict[str, str]
    body: ET.Element

    def option(self, name: str) -> bool:
        """Whether a yes-or-no option is set; clients differ in its casing."""
        return self.options.get(name, "").lower() in ("true", "1")


def parse(data: bytes) -> Request:
    """Read a request; raises Malformed."""
    try:
        root = ET.fromstring(data)  # noqa: S314 - the peer is a client of this machine, and reading it is the point
    except ET.ParseError as error:
        raise Malformed(str(error)) from None
    header, body = root.find("s:Header", NS), root.find("s:Body", NS)
    if body is None:
        raise Malformed("no s:Body")
    if len(body) and body[0].tag.endswith("}Identify"):
        return Request("Identify", "", "", "", "", 0, 0, {}, body)
    if header is None:
        raise Malformed("no s:Header")
    action = header.findtext("a:Action", "", NS)
    seconds = re.fullmatch(r"PT(?:(\d+)M)?(?:([\d.]+)S)?", header.findtext("w:OperationTimeout", "PT60S", NS))
    return Request(
        kind=action.rsplit("/", 1)[-1],
        action=action,
        message_id=header.findtext("a:MessageID", "", NS),
        resource=header.findtext("w:ResourceURI", "", NS),
        shell_id=_shell_id(header),
        timeout=60 * int(seconds[1] or 0) + float(seconds[2] or 0) if seconds else 60.0,
        max_envelope=int(header.findtext("w:MaxEnvelopeSize", "153600", NS)),
        options={str(o.get("Name")): o.text or "" for o in header.findall("w:OptionSet/w:Option", NS)},
        body=body,
    )


def _shell_id(header: ET.Element) -> str:
    for selector in header.findall("w:SelectorSet/w:Selector", NS):
        if str(selector.get("Name")).lower() == "shellid":
            return (selector.text or "").upper()
    return ""


def reply(action: str, relates_to: str, body: str) -> bytes:
    """An answer's envelope; ``body`` is XML, with the prefixes of ``NS``."""
    return (
        f'<s:Envelope xml:lang="en-US"{_DECLARED}><s:Header><a:Action>{escape(action)}</a:Action>'
        f"<a:MessageID>uuid:{str(uuid.uuid4()).upper()}</a:MessageID><a:To>{ADDRESSING}/role/anonymous</a:To>"
        f"<a:RelatesTo>{escape(relates_to)}</a:RelatesTo></s:Header><s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def identified(version: str) -> bytes:
    """The answer to Identify; to a stranger ``version`` is all zeros."""
    return (
        f'<s:Envelope xml:lang="en-US" xmlns:s="{NS["s"]}"><s:Header/><s:Body>'
        f'<wsmid:IdentifyResponse xmlns:wsmid="{IDENTITY}"><wsmid:ProtocolVersion>{WSMAN}</wsmid:ProtocolVersion>'
        f"<wsmid:ProductVendor>Microsoft Corporation</wsmid:ProductVendor>"
        f"<wsmid:ProductVersion>OS: {version} SP: 0.0 Stack: 3.0</wsmid:ProductVersion>"
        f"</wsmid:IdentifyResponse></s:Body></s:Envelope>"
    ).encode()
