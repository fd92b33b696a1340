"""Get-SqlSetup and Get-SqlErrorLog: what SQL Server and its setup have left on a host, told without asking the engine."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab.host import Host
from lab.scripts import script
from lab.scripts.library import ROOT, iso, machine_value
from lab.scripts.setup_files import KINDS, instances, processes, setup_value
from lab.scripts.setup_files import ROOT as SQL_SERVER

LOGS = r"C:\Program Files\Microsoft SQL Server"
SERVICES = re.compile(
    r"(MSSQLSERVER|MSSQL\$.+|SQLSERVERAGENT|SQLAgent\$.+|SQLBrowser|SQLWriter|MSSQLFDLauncher(\$.+)?|MSSQLLaunchpad(\$.+)?|"
    r"MSSQLServerOLAPService|MSOLAP\$.+|ReportServer(\$.+)?|SQLServerReportingServices|PowerBIReportServer|MsDtsServer\d*|"
    r"SQLTELEMETRY(\$.+)?|SSISTELEMETRY\d*|SSASTELEMETRY(\$.+)?)",
    re.IGNORECASE,
)


@script("Get-SqlSetup")
def get_sql_setup(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    found = [
        {
            "name": name,
            "kind": kind,
            "id": key,
            "build": setup_value(host, name, "PatchLevel", kind),
            "edition": setup_value(host, name, "Edition", kind),
        }
        for kind in KINDS
        for name, key in sorted(instances(host, kind).items(), key=lambda pair: pair[0].casefold())
    ]
    services = [
        {"name": name, "status": state["status"].replace(" ", ""), "start_mode": _start_mode(state)}
        for name, state in sorted(host.read("services.json").items(), key=lambda pair: pair[0].casefold())
        if SERVICES.fullmatch(name)
    ]
    since = parameters.get("since")
    summaries = setup_summaries(host, datetime.fromisoformat(since)) if since else []
    return {"instances": found, "services": services, "running": running_setup(host), "summaries": summaries}


def _start_mode(state: dict[str, Any]) -> str:
    start: str = state.get("start", "Automatic")
    return "Auto" if start == "Automatic" else start


def running_setup(host: Host) -> list[dict[str, Any]]:
    """Processes of setup: from where we unpack it, or from setup's own folder."""
    found = [each for each in processes(host) if each.get("ExecutablePath")]
    return [
        {"id": each["ProcessId"], "name": each["Name"], "path": each["ExecutablePath"]}
        for each in found
        if each["ExecutablePath"].casefold().startswith(rf"{ROOT}\staging\sql-".casefold())
        or "\\setup bootstrap\\" in each["ExecutablePath"].casefold()
    ]


def setup_summaries(host: Host, since: datetime) -> list[dict[str, Any]]:
    """Every Summary.txt written since, the newest first."""
    root = host.disk.path(LOGS)
    files = [*root.glob("*/Setup Bootstrap/Log/Summary.txt"), *root.glob("*/Setup Bootstrap/Log/*/Summary_*.txt")]
    found = []
    for file in files:
        written = datetime.fromtimestamp(file.stat().st_mtime, UTC)
        if (since - written).total_seconds() <= 2:
            found.append((written, _windows(root, file), file.read_bytes().decode("utf-16")))
    found.sort(key=lambda each: each[1].casefold())
    found.sort(key=lambda each: each[0], reverse=True)
    return [{"path": path, "written": iso(written), "text": text[:30000]} for written, path, text in found[:6]]


def _windows(root: Path, file: Path) -> str:
    return rf"{LOGS}\{str(file.relative_to(root)).replace('/', chr(92))}"


@script("Get-SqlErrorLog")
def get_sql_error_log(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    key = next((k for name, k in instances(host).items() if name.casefold() == parameters["instance"].casefold()), None)
    argument = machine_value(host, rf"{SQL_SERVER}\{key}\MSSQLServer\Parameters", "SQLArg1") if key else None
    path = str(argument)[2:].strip() if argument else None
    if path is None or not host.disk.path(path).is_file():
        return {"path": None, "lines": [], "last": []}
    text = host.disk.path(path).read_bytes().decode("utf-16", "replace")
    lines = [line for line in text.splitlines() if line.strip()]
    tells = [re.search(parameters["pattern"], line) is not None for line in lines]
    kept = [line for number, line in enumerate(lines) if tells[number] or (number and tells[number - 1])]
    return {"path": path, "lines": kept[-400:], "last": lines[-3:]}
