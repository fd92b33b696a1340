"""A site without an application: files from its folder, and what web.config says of statuses and headers.

Known of web.config: ``httpProtocol/customHeaders``, ``httpErrors`` (responseMode File and ExecuteURL), URL Rewrite's
``CustomResponse`` where ``iis.json`` lists the module ``RewriteModule`` (IIS does not bring it), and
``runAllManagedModulesForAllRequests``: with it ASP.NET sees every request, so that ``app_offline.htm`` answers all of
them, and without it only those for pages of its own. A pool with ``"runtime": ""`` runs no managed code. Of a page in
.aspx, only the lines that set status and headers are executed.
"""

from __future__ import annotations

import mimetypes
import re
from pathlib import Path, PureWindowsPath
from typing import Any
from xml.etree import ElementTree as ET

from lab.host import Host
from lab.web.config import ConfigurationError, web_config
from lab.web.messages import IIS, Answer, Request, detailed_error

DEFAULT_DOCUMENTS = ("Default.htm", "Default.asp", "index.htm", "index.html", "iisstart.htm", "default.aspx")


def serve_static(host: Host, site: dict[str, Any], pool: dict[str, Any], request: Request) -> Answer:
    """The answer of a site of files."""
    folder = site["path"]
    try:
        config = web_config(host, folder)
    except ConfigurationError as error:
        return detailed_error(500, 19, str(error))
    if config is None:
        config = ET.Element("configuration")
    if config.find(".//rewrite") is not None and "RewriteModule" not in host.read("iis.json").get("modules", []):
        return detailed_error(500, 19, "The configuration section 'rewrite' cannot be read: no such section.")
    answer = _offline(host, folder, pool, config, request) or _rewritten(config) or _file(host, folder, request)
    if answer.status >= 400:
        answer = _own_error_page(host, folder, config, answer)
    added = {entry.get("name", ""): entry.get("value", "") for entry in config.iterfind(".//customHeaders/add")}
    return Answer(answer.status, answer.body, {**answer.headers, **added})


def _offline(host: Host, folder: str, pool: dict[str, Any], config: ET.Element, request: Request) -> Answer | None:
    every = config.find(".//modules[@runAllManagedModulesForAllRequests='true']") is not None
    managed = every or request.path.casefold().endswith((".aspx", ".asmx", ".ashx", ".axd"))
    return offline_page(host, folder) if managed and pool.get("runtime", "v4.0") else None


def _rewritten(config: ET.Element) -> Answer | None:
    rewrite = config.find(".//rewrite//action[@type='CustomResponse']")
    if rewrite is None:
        return None
    return Answer.html(int(rewrite.get("statusCode", "500")), rewrite.get("statusDescription", ""))


def offline_page(host: Host, folder: str) -> Answer | None:
    """What ASP.NET 4 answers to everything while ``app_offline.htm`` lies in the application's folder."""
    page = host.disk.path(folder + "\\app_offline.htm")
    if not page.is_file():
        return None
    return Answer(503, page.read_bytes(), {"Content-Type": "text/html; charset=utf-8", "Server": IIS})


def _own_error_page(host: Host, folder: str, config: ET.Element, answer: Answer) -> Answer:
    for entry in config.iterfind(f".//httpErrors/error[@statusCode='{answer.status}']"):
        page = _inside(host, folder, entry.get("path", "").lstrip("/"))
        if page is not None and page.is_file():
            if entry.get("responseMode") == "ExecuteURL":
                return _page(page)
            return Answer(answer.status, page.read_bytes(), {"Content-Type": "text/html", "Server": IIS})
    if config.find(".//httpErrors[@existingResponse='Replace']") is not None:
        return Answer.html(answer.status, "The service is unavailable.")
    return answer


def _file(host: Host, folder: str, request: Request) -> Answer:
    wanted = request.path.lstrip("/")
    candidates = [wanted] if wanted and not wanted.endswith("/") else [wanted + name for name in DEFAULT_DOCUMENTS]
    for candidate in candidates:
        path = _inside(host, folder, candidate)
        if path is not None and path.is_file() and path.name.casefold() != "web.config":
            if path.suffix.casefold() == ".aspx":
                return _page(path)
            if request.method not in ("GET", "HEAD", "OPTIONS"):
                return detailed_error(405, 0, "The page you are looking for cannot be displayed: invalid method.")
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            return Answer(200, path.read_bytes(), {"Content-Type": kind, "Server": IIS})
    return detailed_error(404, 0, "The resource you are looking for has been removed or is temporarily unavailable.")


def _inside(host: Host, folder: str, relative: str) -> Path | None:
    parts = PureWindowsPath(relative.replace("/", "\\")).parts
    if ".." in parts or PureWindowsPath(relative).drive:
        return None
    return host.disk.path("\\".join([folder, *parts])) if parts else None


def _page(path: Path) -> Answer:
    text = path.read_text(encoding="utf-8-sig")
    status = re.search(r"Response\.StatusCode\s*=\s*(\d{3})", text)
    headers = dict(re.findall(r'Response\.(?:AddHeader|AppendHeader)\("([^"]+)",\s*"([^"]*)"\)', text))
    body = re.sub(r"<%.*?%>", "", text, flags=re.DOTALL)
    return Answer(
        int(status.group(1)) if status else 200,
        body.encode(),
        {"Content-Type": "text/html; charset=utf-8", "Server": IIS, **headers},
    )
