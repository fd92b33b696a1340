"""Furnishes a host's folder: Windows' own state files, drives, services and working files, as found on a first day."""

from __future__ import annotations

import hashlib
import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from lab.boot import NOT_STARTED
from lab.host import Host
from lab.scripts.setup_files import write_instance
from lab.spec import HostSpec, LabSpec

GIB = 1 << 30
OS_VERSION = "10.0.17763"


def furnish(host: Host, machine: HostSpec, spec: LabSpec, chance: random.Random) -> None:
    """Write every state file and folder that ``machine`` needs, before any of its servers starts."""
    booted = (datetime.now(UTC) - timedelta(days=31)).isoformat(timespec="seconds").replace("+00:00", "Z")
    drives = {"C": 80, "D": 200} | ({"E": 400} if "mssql" in machine.roles else {})
    for letter in drives:
        (host.folder / letter).mkdir(exist_ok=True)
    (host.folder / "C" / "ProgramData").mkdir(exist_ok=True)
    _write(
        host, "drives.json", {letter: {"size": size * GIB, "free": size * GIB // 2} for letter, size in drives.items()}
    )
    _write(host, "registry.json", {"HKLM": _registry(machine)})
    if "mssql" in machine.roles:
        write_instance(host, "MSSQLSERVER", spec.sql_version)
        for name, build in spec.other_instances.items():
            write_instance(host, name, build)
    _write(host, "cim.json", _cim(machine, booted))
    _write(host, "services.json", _services(machine, spec))
    _write(host, "updates.json", {"reboot_pending": False, "updates": [update.state() for update in machine.updates]})
    _write(host, "tasks.json", {})
    # The folder that the estate file names for backups: SQL Server makes no folder for a BACKUP by itself.
    (host.folder / ("E" if "mssql" in machine.roles else "D") / "Staging").mkdir(parents=True)
    if "iis" in machine.roles:
        configuration = r"C:\Windows\System32\inetsrv\config"
        host.disk.write(rf"{configuration}\applicationHost.config", b"<configuration></configuration>\r\n")
        host.disk.write(rf"{configuration}\administration.config", b"<configuration></configuration>\r\n")
    if "app" in machine.roles:
        _installation(host, spec)
    if "iis" in machine.roles or "app" in machine.roles:
        _working_files(host, spec.working_folder, chance)


def _write(host: Host, file: str, state: dict[str, Any]) -> None:
    (host.folder / file).write_text(json.dumps(state, indent=1, ensure_ascii=False), encoding="utf-8")


def _registry(machine: HostSpec) -> dict[str, Any]:
    version = {
        "ProductName": "Windows Server 2019 Standard",
        "CurrentBuild": OS_VERSION.rsplit(".", 1)[1],
        "CurrentBuildNumber": OS_VERSION.rsplit(".", 1)[1],
        "ReleaseId": "1809",
        "UBR": machine.ubr,
    }
    return {
        "SOFTWARE": {
            "Microsoft": {
                "Windows NT": {"CurrentVersion": {"@": version, "Winlogon": {"@": {}}}},
                "Windows": {
                    "CurrentVersion": {
                        "Component Based Servicing": {"Interface": {"@": {"ServicingInProgress": 0}}},
                        "WindowsUpdate": {"Auto Update": {"@": {}}},
                    }
                },
            }
        },
        "SYSTEM": {"CurrentControlSet": {"Control": {"Session Manager": {"@": {}}}}},
    }


def _cim(machine: HostSpec, booted: str) -> dict[str, Any]:
    return {
        "Win32_OperatingSystem": [
            {
                "Caption": "Microsoft Windows Server 2019 Standard",
                "Version": OS_VERSION,
                "BuildNumber": OS_VERSION.rsplit(".", 1)[1],
                "ProductType": 3,
                "CSName": machine.name.upper(),
                "LastBootUpTime": booted,
                "InstallDate": "2021-03-02T09:11:45Z",
                "OSLanguage": 1033,
            }
        ],
        "Win32_ComputerSystem": [
            {
                "Name": machine.name.upper(),
                "DomainRole": 2,
                "Domain": "WORKGROUP",
                "PartOfDomain": False,
                "TotalPhysicalMemory": 16 * GIB,
            }
        ],
    }


def _services(machine: HostSpec, spec: LabSpec) -> dict[str, Any]:
    def service(start: str = "Automatic", *depends: str, display: str = "", running: bool = True) -> dict[str, Any]:
        status = "Running" if running else "Stopped"
        ended = {} if running else {"exit": NOT_STARTED}
        shown = {"display": display} if display else {}
        return {"status": status, "start": start, "depends": list(depends), **ended, **shown}

    services = {
        "WinRM": service(display="Windows Remote Management (WS-Management)"),
        "Schedule": service(display="Task Scheduler"),
        "EventLog": service(display="Windows Event Log"),
        "LanmanServer": service(display="Server"),
        "wuauserv": service("Manual", display="Windows Update", running=False),
        "TrustedInstaller": service("Manual", display="Windows Modules Installer", running=False),
    }
    if "mssql" in machine.roles:
        services["MSSQLSERVER"] = service(display="SQL Server (MSSQLSERVER)")
        services["SQLSERVERAGENT"] = service("Automatic", "MSSQLSERVER", display="SQL Server Agent (MSSQLSERVER)")
        services["SQLWriter"] = service(display="SQL Server VSS Writer")
        # Started by hand, as some do: no boot starts it again.
        services["MsDtsServer150"] = service("Manual", display="SQL Server Integration Services 15.0")
        services["SQLServerReportingServices"] = service(display="SQL Server Reporting Services")
        services["SQLBrowser"] = service("Disabled", display="SQL Server Browser", running=False)
        services |= {f"MSSQL${name}": service(display=f"SQL Server ({name})") for name in spec.other_instances}
    if "iis" in machine.roles:
        services["WAS"] = service("Manual", display="Windows Process Activation Service")
        services["W3SVC"] = service("Automatic", "WAS", display="World Wide Web Publishing Service")
    if "app" in machine.roles:
        services |= {name: service(display=name) for name in spec.services}
        for file in spec.files:
            services |= {name: service(display=name) for name in file.more.get("services_to_stop", ())}
    return services


def _installation(host: Host, spec: LabSpec) -> None:
    folder = r"C:\Program Files\LogiSense\EngageIP"
    host.disk.write(rf"{folder}\Version.txt", b"EngageIP 8.5.23\r\n")
    for name in spec.services:
        host.disk.write(rf"{folder}\Services\{name}.exe", b"MZ" + hashlib.sha512(name.encode()).digest() * 64)
    host.disk.write(rf"{folder}\Reports\Rechnung für Müller & Söhne.rdl", "<Report>€</Report>\r\n".encode())


def _working_files(host: Host, folder: str, chance: random.Random) -> None:
    for month in range(1, 4):
        rows = (f"{chance.randrange(10**9)};{chance.randrange(10**4)};{chance.random():.4f}\r\n" for _ in range(2000))
        host.disk.write(rf"{folder}\CDR\2024-{month:02}.csv", "".join(rows).encode())
    host.disk.write(rf"{folder}\Scripts\rate.ps1", b"# custom rating\r\n")
    host.disk.write(rf"{folder}\Scripts\naïve café — notes.txt", "notes\r\n".encode("utf-16"))
    host.disk.write(rf"{folder}\Scripts\empty.log", b"")
