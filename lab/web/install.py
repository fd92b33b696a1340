"""Puts EngageIP's web side on a host: files, web.config, sites, pools and services, as an installer leaves them."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import quoteattr

from lab.host import Host
from lab.web.config import connection_string

FOLDER = r"C:\Program Files\LogiSense\EngageIP"
SITES = {"AdminPortal": "admin-portal", "Portal": "customer-portal"}


def binding(port: int, host: str = "") -> dict[str, Any]:
    """One HTTP binding, as Get-WebBinding shows it."""
    return {
        "protocol": "http",
        "bindingInformation": f"*:{port}:{host}",
        "certificateHash": "",
        "certificateStoreName": "",
        "sslFlags": 0,
    }


def install_site(
    host: Host,
    name: str,
    ports: dict[int, str],
    *,
    server: str,
    user: str,
    password: str,
    database: str = "EngageIP",
    start_mode: str = "AlwaysRunning",
) -> None:
    """Install the site ``name`` of SITES with a pool of the same name and one binding a port (port → host header).

    ``user`` and ``password`` are the application's own SQL login; they lie in its web.config, as in life.
    """
    folder = f"{FOLDER}\\{name}"
    string = quoteattr(connection_string(server, database, user, password))
    config = (
        '<?xml version="1.0" encoding="utf-8"?>\n<configuration>\n  <connectionStrings>\n'
        f'    <add name="EngageIP" connectionString={string} providerName="System.Data.SqlClient" />\n'
        '  </connectionStrings>\n  <system.web><compilation targetFramework="4.8" /></system.web>\n</configuration>\n'
    )
    host.disk.write(folder + r"\web.config", config.encode())
    host.disk.write(folder + r"\Login.aspx", b'<%@ Page Language="C#" Inherits="LogiSense.EngageIP.Login" %>\n')
    host.disk.write(folder + r"\bin\LogiSense.EngageIP.dll", b"MZ" + bytes(range(256)) * 16)
    with host.edit("services.json") as services:
        services.setdefault("WAS", {"status": "Running", "start": "Manual", "depends": []})
        services.setdefault("W3SVC", {"status": "Running", "start": "Automatic", "depends": ["WAS"]})
    with host.edit("iis.json") as state:
        sites, pools = state.setdefault("sites", {}), state.setdefault("pools", {})
        pools[name] = {"state": "Started", "startMode": start_mode}
        sites[name] = {
            "id": 1 + max((site["id"] for site in sites.values()), default=0),
            "state": "Started",
            "path": folder,
            "pool": name,
            "app": SITES[name],
            "bindings": [binding(port, header) for port, header in ports.items()],
        }
