"""Get-SqlBuild and Install-SqlPatch: a package is a file whose last line is JSON ({"build", "kb", "product", "signer"}).

Setup refuses to run while a restart is pending, as its RebootRequiredCheck does; files that wait to be renamed are enough.

Fault, on the instance or the host: ``sqlpatch.exit_code`` (``code``, signed; ``patches``: true, the binaries were
replaced all the same, "registry", setup got no further than to write its new build there; ``summary``: false, setup
wrote none).
"""

from __future__ import annotations

import json
import threading
from datetime import datetime
from typing import Any

from lab.host import Host
from lab.scripts import JobCut, ScriptFailure, job, script
from lab.scripts.facts import reboot_wanted
from lab.scripts.library import machine_value, set_value
from lab.scripts.transfer import Progress, digest, open_share, share_root, strike

SETUP_SECONDS = 90
REBOOT_FIRST = -2067919934
"""0x84BE0BC2."""
NAMES = r"SOFTWARE\Microsoft\Microsoft SQL Server\Instance Names\SQL"
MICROSOFT = "CN=Microsoft Corporation, O=Microsoft Corporation, L=Redmond, S=Washington, C=US"
NOT_A_PROGRAM = "This command cannot be run due to the error: The specified executable is not a valid application for this OS platform."


def read_package(data: bytes) -> dict[str, Any] | None:
    """What a package brings; None where the file is none."""
    try:
        told = json.loads(data.rstrip().rsplit(b"\n", 1)[-1])
    except ValueError:
        return None
    return told if isinstance(told, dict) and "build" in told else None


def _build(host: Host, instance: str) -> str | None:
    """PatchLevel in the registry; before the first patch of a lab host, what its SQL Server says."""
    found: str | None = None
    name = machine_value(host, NAMES, instance)
    if name is not None:
        found = machine_value(host, rf"SOFTWARE\Microsoft\Microsoft SQL Server\{name}\Setup", "PatchLevel")
    server = host.parts.get("sql")
    if found is None and server is not None and server.name.casefold() == instance.casefold():
        found = server.build
    return found


@script("Get-SqlBuild")
def get_sql_build(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"instance": parameters["instance"], "build": _build(host, parameters["instance"])}


def _write_build(host: Host, instance: str, build: str) -> None:
    name = machine_value(host, NAMES, instance)
    if name is None:
        name = f"MSSQL{build.split('.', 1)[0]}.{instance}"
        set_value(host, NAMES, instance, name)
    set_value(host, rf"SOFTWARE\Microsoft\Microsoft SQL Server\{name}\Setup", "PatchLevel", build)


def _checked(host: Host, parameters: dict[str, Any], secrets: dict[str, str]) -> tuple[str, bytes, str | None]:
    """Bring the package to the host and check it: its path there, its bytes, its signer."""
    path, wanted = parameters["path"], parameters["sha256"]
    if share_root(path) is not None:
        open_share(host, path, secrets, "share")
    file = host.disk.path(path)
    if not file.is_file():
        raise ScriptFailure(f"{host.name.upper()} finds no package {path}. Nothing was run.", "PackageMissing")
    data = file.read_bytes()
    if share_root(path) is not None:
        path = rf"C:\ProgramData\EngageIPPatching\staging\{path.rsplit(chr(92), 1)[-1]}"
        data = host.disk.write(path, data).read_bytes()
    if digest(data) != wanted:
        message = (
            f"{path} is not the package that was approved (SHA-256 {digest(data)}, not {wanted}). Nothing was run."
        )
        raise ScriptFailure(message, "PackageChanged")
    signer = None
    if publisher := parameters.get("publisher"):
        told = read_package(data)
        signer = told.get("signer", MICROSOFT) if told else None
        if signer is None or publisher not in signer:
            status = "NotSigned" if signer is None else "Valid"
            message = (
                f"{path} is not signed by {publisher} (signature: {status}, signer: {signer or ''}). Nothing was run."
            )
            raise ScriptFailure(message, "PackageSignature")
    return path, data, signer


@job("Install-SqlPatch")
def install_sql_patch(
    host: Host, parameters: dict[str, Any], secrets: dict[str, str], progress: Progress, stop: threading.Event
) -> dict[str, Any]:
    instance = parameters["instance"]
    path, data, signer = _checked(host, parameters, secrets)
    before = _build(host, instance)
    package = read_package(data)
    progress(1, f"patching {instance} ({before or ''}) with {path.rsplit(chr(92), 1)[-1]}")
    if package is None:
        raise ScriptFailure(
            NOT_A_PROGRAM, "InvalidOperationException,Microsoft.PowerShell.Commands.StartProcessCommand"
        )
    struck = strike(host, "sqlpatch.exit_code", instance) or {}
    code = int(struck.get("code", _code(host, before, package["build"])))
    host.event("sqlpatch.start", instance=instance, build=package["build"], kb=package.get("kb"))
    began = datetime.now().astimezone()
    if host.clock.sleep(SETUP_SECONDS, stop):
        raise JobCut
    patched = code in (0, 3010) or bool(struck.get("patches"))
    if struck.get("patches") == "registry":
        _write_build(host, instance, package["build"])
    elif patched and before is not None:
        _write_build(host, instance, package["build"])
        server = host.parts.get("sql")
        if server is not None:
            server.patch(package["build"], level=package.get("level", ""), kb=package.get("kb", ""))
        host.event("sqlpatch.install", instance=instance, build=package["build"], kb=package.get("kb"), exit_code=code)
    summary = _summary(host, instance, package, code, began) if struck.get("summary", True) else None
    progress(100, f"setup ended with {code}")
    return {
        "exit_code": code,
        "build_before": before,
        "build_after": _build(host, instance),
        "signer": signer,
        "summary": summary,
        "seconds": SETUP_SECONDS,
    }


def _code(host: Host, before: str | None, build: str) -> int:
    """What setup ends with by itself: no such instance, patched already, a restart wanted first, or well."""
    if before is None:
        return -2068774911
    if before == build:
        return -2042429437
    return REBOOT_FIRST if reboot_wanted(host) else 0


RESULTS = {
    0: "Passed",
    3010: "Passed but reboot required, see logs for details",
    -2042429437: "The patch has already been applied.",
}


def _summary(host: Host, instance: str, package: dict[str, Any], code: int, began: datetime) -> dict[str, Any]:
    """Write Summary.txt as setup does (UTF-16 with a mark), and answer with it."""
    folder = f"{package['build'].split('.', 1)[0]}0"
    path = rf"C:\Program Files\Microsoft SQL Server\{folder}\Setup Bootstrap\Log\Summary.txt"
    result = RESULTS.get(code, "Failed: see details below")
    text = "\r\n".join(
        [
            "Overall summary:",
            f"  Final result:                  {result}",
            f"  Exit code (Decimal):           {code}",
            f"  Start time:                    {began:%Y-%m-%d %H:%M:%S}",
            "  Requested action:              Patch",
            "",
            f"Instance {instance} overall summary:",
            f"  Final result:                  {result}",
            f"  Exit code (Decimal):           {code}",
            "  Requested action:              Patch",
            "",
            "Package properties:",
            "  Description:                   Microsoft SQL Server",
            f"  KBArticle:                     {package.get('kb', '')}",
            f"  PatchLevel:                    {package['build']}",
            "",
        ]
    )
    host.disk.write(path, text.encode("utf-16"))
    return {"path": path, "text": text}
