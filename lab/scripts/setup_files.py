"""What SQL Server's setup leaves behind: instances in the registry, its process while it runs, Summary.txt as it writes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from lab.host import Host
from lab.scripts.library import machine_value, set_value

ROOT = r"SOFTWARE\Microsoft\Microsoft SQL Server"
KINDS = ("SQL", "OLAP", "RS")
PROCESS = 4242

RESULTS = {
    0: "Passed",
    3010: "Passed but reboot required, see logs for details",
    -2042429437: "The patch has already been applied.",
}
MESSAGES = {
    -2061893606: "Wait on the Database Engine recovery handle failed. Check the SQL Server error log for potential causes.",
    -2067919934: "A computer restart is required. You must restart this computer before installing SQL Server.",
    -2068774911: "Index (zero based) must be greater than or equal to zero and less than the size of the argument list.",
}
_SERVICE_PACKS = {11: (3000, 5058, 6020, 7001), 12: (4100, 5000, 6024), 13: (4001, 5026, 6300)}
"""The third number of the build that each service pack begins with, by the version; later versions have none."""
_YEARS = {11: "2012", 12: "2014", 13: "2016", 14: "2017", 15: "2019", 16: "2022", 17: "2025"}


def instances(host: Host, kind: str = "SQL") -> dict[str, str]:
    """Names of the instances of a kind, and their ids."""
    names: Any = host.read("registry.json").get("HKLM", {})
    for part in (*ROOT.split("\\"), "Instance Names", kind):
        names = names.get(part, {})
    return dict(names.get("@", {}))


def setup_value(host: Host, instance: str, name: str, kind: str = "SQL") -> str | None:
    """A value under the Setup key of an instance, in any case; None where there is none."""
    key = next((key for known, key in instances(host, kind).items() if known.casefold() == instance.casefold()), None)
    value: str | None = machine_value(host, rf"{ROOT}\{key}\Setup", name) if key else None
    return value


def build_by_setup(build: str) -> str:
    """A build as setup writes it: ``12.3.6024.0`` is 2014 SP3, of which the engine says 12.0.6024.0."""
    major, _, number, revision = build.split(".")
    packs = _SERVICE_PACKS.get(int(major))
    return f"{major}.{sum(int(number) >= first for first in packs)}.{number}.{revision}" if packs else build


def write_instance(host: Host, instance: str, build: str, edition: str = "Standard Edition") -> None:
    """An engine as setup writes it into the registry."""
    key = f"MSSQL{build.split('.', 1)[0]}.{instance}"
    set_value(host, rf"{ROOT}\Instance Names\SQL", instance, key)
    set_value(host, rf"{ROOT}\{key}\Setup", "PatchLevel", build_by_setup(build))
    set_value(host, rf"{ROOT}\{key}\Setup", "Edition", edition)
    log = rf"C:\Program Files\Microsoft SQL Server\{key}\MSSQL\Log\ERRORLOG"
    set_value(host, rf"{ROOT}\{key}\MSSQLServer\Parameters", "SQLArg1", f"-e{log}")


def write_build(host: Host, instance: str, build: str) -> None:
    """PatchLevel, once the binaries have been replaced."""
    key = next(key for known, key in instances(host).items() if known.casefold() == instance.casefold())
    set_value(host, rf"{ROOT}\{key}\Setup", "PatchLevel", build_by_setup(build))


def show_process(host: Host, path: str | None) -> None:
    """The process of setup in Win32_Process, or none any more."""
    with host.edit("cim.json") as cim:
        others = [each for each in cim.get("Win32_Process", []) if each["ProcessId"] != PROCESS]
        own = {"ProcessId": PROCESS, "Name": "setup.exe", "ExecutablePath": path}
        cim["Win32_Process"] = [*others, own] if path else others


def processes(host: Host) -> list[dict[str, Any]]:
    """Win32_Process."""
    found: list[dict[str, Any]] = host.read("cim.json").get("Win32_Process", [])
    return found


# Summary.txt ----------------------------------------------------------------------------------------------------------


def summary_text(
    codes: Mapping[str, int], package: Mapping[str, Any], before: Mapping[str, str], began: datetime, overall: int
) -> str:
    """Summary.txt of a patch: ``codes`` and ``before`` (the old build, which its table shows) by instance."""
    year = _YEARS.get(int(package["build"].split(".", 1)[0]), "2019")
    lines = ["Overall summary:", *_section(overall, began, "the shared features"), ""]
    for name, code in codes.items():
        named = f"the following instance: {name}"
        lines += [f"Instance {name} overall summary:", *_section(code, began, named), ""]
    lines += [
        "Machine Properties:",
        "  Machine name:                  SQL01",
        "  OS version:                    Microsoft Windows Server 2019 Standard (10.0.17763)",
        "",
        "Product features discovered:",
        "  Product              Instance             Instance ID                    Feature                                  Language             Edition              Version         Clustered  Configured",
    ]
    for name, build in before.items():
        key = f"MSSQL{build.split('.', 1)[0]}.{name}"
        row = f"  {f'SQL Server {year}':<20} {name:<20} {key:<30} {'Database Engine Services':<40} {'1033':<20} {'Standard Edition':<20} {build:<15} No         Yes"
        lines.append(row)
    lines += [
        "",
        "Package properties:",
        f"  Description:                   Microsoft SQL Server {year} ",
        f"  ProductName:                   SQL Server {year}",
        f"  KBArticle:                     {package.get('kb', '')}",
        "  PatchType:                     QFE",
        f"  PatchLevel:                    {build_by_setup(package['build'])}",
        "",
        "User Input Settings:",
        "  ACTION:                        Patch",
        "  QUIET:                         true",
        "",
        "Rules with failures or warnings:",
        *_rules(overall),
        "",
        r"Rules report file:               C:\Program Files\Microsoft SQL Server\150\Setup Bootstrap\Log\SystemConfigurationCheck_Report.htm",
        "",
        "Detailed results:",
    ]
    for code in codes.values():
        lines += _features(code)
    return "\r\n".join(lines) + "\r\n"


def _section(code: int, began: datetime, what: str) -> Iterable[str]:
    failed = (
        f"The patch installer has failed to update {what}. To determine the reason for failure, review the log files."
    )
    yield f"  Final result:                  {RESULTS.get(code, failed)}"
    yield f"  Exit code (Decimal):           {code}"
    if code not in RESULTS:
        yield f"  Exit message:                  {MESSAGES.get(code, failed)}"
    yield f"  Start time:                    {began:%Y-%m-%d %H:%M:%S}"
    yield "  Requested action:              Patch"


def _rules(code: int) -> Iterable[str]:
    if code & 0xFFFF == 0x0BC2 and code != 3010:
        yield "  RebootRequiredCheck: Failed"


def _features(code: int) -> Iterable[str]:
    yield "  Feature:                       Database Engine Services"
    if code in RESULTS:
        yield "  Status:                        Passed"
    else:
        yield "  Status:                        Failed"
        yield f"  Reason for failure:            {MESSAGES.get(code, 'An error occurred during the setup process of the feature.')}"
    yield ""
