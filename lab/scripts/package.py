"""Get-PackageVersion, Save-Package, Install-Package and Invoke-SqlScript.

A package is a file whose last line is JSON (behind ``# `` in a script)::

    {"installs": {"product", "key" (below Uninstall), "version", "files": {path: text}, "hotfix", "registry": {key: {name: value}}},
     "signer": subject of the certificate (Microsoft's where unsaid; null: not signed), "in_use": [pools]}

An installer that answers 1641 has asked for a restart of the host itself. One whose files are ``in_use`` by pools that run fails with 1603, as one does that finds them locked.

Faults, on the package's name, its product, or the host (the last two also on the file's name): ``package.exit_code`` (``codes``, one after the other;
``installs``: true, it goes in all the same), ``package.forks`` (the parent exits, its child works ``seconds`` longer; ``watched``: false, its job loses sight of it then),
``package.hangs`` (``seconds``: so long after its deadline it has done its work; without them it never ends. ``watched``:
false, its job loses sight of it at once), ``package.orphaned`` (the PowerShell of its job is ended, and it goes on for ``seconds``, or for
ever), ``package.lies`` (it says that all is well, and installs nothing), ``package.flip_byte`` (on its way to the host),
``package.signer`` (``signer``: another subject, null for none).
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import threading
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from lab.host import Host
from lab.power import power
from lab.scripts import JOB_FOLDER, JobCut, JobKilled, ScriptFailure, job, script
from lab.scripts.library import ROOT, initialize_folder, machine_value, set_value, write_json
from lab.scripts.processes import end_process, leave_process
from lab.scripts.sql import invoke_sql_batches
from lab.scripts.transfer import SECONDS_AT_LEAST, Progress, connection_status, digest, open_share, strike

INSTALL_SECONDS = 45.0
UNINSTALL = (
    r"SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall",
    r"SOFTWARE\WOW6432Node\Microsoft\Windows\CurrentVersion\Uninstall",
)
PROGRAMS = {"msi": "msiexec", "msp": "msiexec", "msu": "wusa", "cab": "dism", "ps1": "powershell"}
CHILD = "setup.tmp"
RESTARTS_ITSELF = 1641
MICROSOFT = "CN=Microsoft Corporation, O=Microsoft Corporation, L=Redmond, S=Washington, C=US"
NOT_A_PROGRAM = "This command cannot be run due to the error: The specified executable is not a valid application for this OS platform."
UNWATCHED = "No more handles are available."
LOG_TAIL = 3000


def read_package(data: bytes) -> dict[str, Any] | None:
    """What a package brings; None where the file is none."""
    try:
        told = json.loads(data.rstrip().rsplit(b"\n", 1)[-1].removeprefix(b"# "))
    except ValueError:
        return None
    return told if isinstance(told, dict) else None


# Which version is installed -------------------------------------------------------------------------------------------


def _keys(host: Host, key: str) -> list[str]:
    here: Any = host.read("registry.json").get("HKLM", {})
    for part in key.split("\\"):
        here = next((value for name, value in here.items() if name.casefold() == part.casefold()), {})
    return [name for name in here if not name.startswith("@")]


def versions(host: Host, probe: dict[str, Any]) -> list[str]:
    """Every version that a probe finds."""
    kind, name = probe["kind"], probe["name"]
    if kind == "product":
        found = []
        for root in UNINSTALL:
            for key in _keys(host, root):
                shown = machine_value(host, rf"{root}\{key}", "DisplayName")
                if name.casefold() in (key.casefold(), str(shown).casefold()):
                    found.append(machine_value(host, rf"{root}\{key}", "DisplayVersion"))
        return [str(version) for version in found if version is not None]
    if kind == "hotfix":
        known = host.read("cim.json").get("Win32_QuickFixEngineering", [])
        return [one["HotFixID"] for one in known if one["HotFixID"].casefold() == name.casefold()]
    if kind == "registry":
        value = machine_value(host, name, probe["value"])
        return [] if value is None else [str(value)]
    file = host.disk.path(name)
    if not file.is_file():
        return []
    if probe.get("pattern") is None:
        told = read_package(file.read_bytes()) or {}
        return [".".join(str(number) for number in told.get("file_version", [0, 0, 0, 0]))]
    match = re.search(probe["pattern"], file.read_text(encoding="utf-8-sig"))
    return [match[1]] if match else []


@script("Get-PackageVersion")
def get_package_version(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"versions": versions(host, parameters["probe"])}


# Bringing it to the host ----------------------------------------------------------------------------------------------


def _too_large(source: str, largest: int) -> ScriptFailure:
    message = (
        f"{source} has more than {_size_text(largest)}. Nothing was run. Check that it is the right file, or raise "
        "largest_mb of the package."
    )
    return ScriptFailure(message, "PackageTooLarge")


def _size_text(size: int) -> str:
    unit, names = 1, ["bytes", "KB", "MB", "GB", "TB"]
    level = 0
    while level < 4 and size >= unit * 1024:
        unit, level = unit * 1024, level + 1
    if level == 0:
        return f"{size} bytes"
    whole = size // unit
    return f"{whole}.{(size - whole * unit) * 10 // unit} {names[level]}"


def download(host: Host, url: str, source: str, largest: int) -> bytes:
    """GET a URL for real, over TLS as this host trusts it (``trusted.pem`` in its folder)."""
    parts = urlsplit(url)
    where = f"{parts.scheme}://{parts.netloc}"
    if parts.scheme == "https":
        trusted = host.folder / "trusted.pem"
        context = ssl.create_default_context(cafile=str(trusted) if trusted.exists() else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=30, context=context
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        try:
            connection.request("GET", parts.path + (f"?{parts.query}" if parts.query else ""))
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as fault:
            message = (
                f"{source}: {where} does not answer {host.name.upper()} ({connection_status(fault)}). Check the name, the "
                "route, the firewall, and that this host trusts its certificate."
            )
            raise ScriptFailure(message, "NoAnswer") from None
        if answer.status != http.client.OK:
            message = (
                f"{source}: {where} answered HTTP {answer.status}. Nothing was run. Check that the file is there and may "
                "be read."
            )
            raise ScriptFailure(message, "DownloadRefused")
        if int(answer.headers.get("Content-Length") or 0) > largest:
            raise _too_large(source, largest)
        try:
            return answer.read()
        except (OSError, http.client.HTTPException) as fault:
            message = f"{source}: the connection to {where} broke: {fault}"
            raise ScriptFailure(message, "DownloadFailed") from None
    finally:
        connection.close()


def receive(host: Host, parameters: dict[str, Any], secrets: dict[str, str]) -> str:
    """Bring a package into the protected folder; its path there."""
    source, wanted, largest = parameters["source"], parameters["sha256"], int(parameters.get("largest") or 4 << 30)
    name = re.split(r"[\\/]", source)[-1]
    folder = rf"{ROOT}\staging\packages\{wanted}"
    initialize_folder(host, folder)
    staged = rf"{folder}\{name}"
    there = host.disk.path(staged)
    if there.is_file() and digest(there.read_bytes()) == wanted:
        return staged
    if re.match(r"(https|s3)://", source):
        data = download(host, secrets.get("source.url", source), source, largest)
    else:
        open_share(host, source, secrets, "source")
        file = host.disk.path(source)
        if not file.is_file():
            message = f"{host.name.upper()} finds no file {source}. Nothing was run. Put it there, or correct source of the package."
            raise ScriptFailure(message, "PackageMissing")
        data = file.read_bytes()
    if len(data) > largest:
        raise _too_large(source, largest)
    if strike(host, "package.flip_byte", parameters.get("name", ""), name) is not None:
        middle = len(data) // 2
        data = data[:middle] + bytes([data[middle] ^ 0x40]) + data[middle + 1 :]
    host.disk.write(staged, data)
    return staged


def checked(host: Host, staged: str, parameters: dict[str, Any]) -> tuple[bytes, str | None]:
    """The bytes and the signer of a staged package, or ScriptFailure where it must not run."""
    source, wanted = parameters["source"], parameters["sha256"]
    data = host.disk.path(staged).read_bytes()
    if digest(data) != wanted:
        message = (
            f"{source} is not the file that was approved: its SHA-256 is {digest(data)}, approved is {wanted}. Nothing was "
            "run. Fetch the file anew from its publisher; if the new one is meant, approve its hash in updates.packages."
        )
        raise ScriptFailure(message, "PackageChanged")
    publisher = parameters.get("publisher")
    if not publisher:
        return data, None
    told = read_package(data)
    subject = None if told is None else told.get("signer", MICROSOFT)
    file = re.split(r"[\\/]", source)[-1]
    struck = strike(host, "package.signer", parameters.get("name", ""), file)
    if struck is not None:
        subject = struck.get("signer")
    status = "NotSigned" if subject is None else "Valid"
    name = re.search(r'(?:^|, )CN=(?:"([^"]*)"|([^,]*))', subject or "")
    signer = (name[1] or name[2]) if name else None
    if signer != publisher:
        by = f"'{signer}'" if signer else "nobody"
        message = (
            f"{source} is not signed by '{publisher}': its signature is {status}, its signer {by}. Nothing was run. Ask the "
            "publisher which certificate signs it; publisher of the package must be that certificate's CN."
        )
        raise ScriptFailure(message, "PackageSignature")
    return data, signer


# Running it -----------------------------------------------------------------------------------------------------------


def write_product(host: Host, installs: dict[str, Any]) -> None:
    """Leave behind what an installer leaves behind."""
    if "key" in installs:
        for name, value in (("DisplayName", installs["product"]), ("DisplayVersion", installs["version"])):
            set_value(host, rf"{UNINSTALL[0]}\{installs['key']}", name, value)
    for path, text in installs.get("files", {}).items():
        host.disk.write(path, text.encode())
    for key, values in installs.get("registry", {}).items():
        for name, value in values.items():
            set_value(host, key, name, value)
    if "hotfix" in installs:
        with host.edit("cim.json") as cim:
            cim.setdefault("Win32_QuickFixEngineering", []).append({"HotFixID": installs["hotfix"]})


def _write_log(host: Host, path: str, installs: dict[str, Any], code: int) -> None:
    lines = [
        "=== Verbose logging started ===",
        f"Property(S): ProductName = {installs.get('product', '')}",
        f"Property(S): ProductVersion = {installs.get('version', '')}",
    ]
    if code == 1603:
        lines += [
            f"Product: {installs.get('product', '')} -- Error 1306. Another application has exclusive access to a file.",
            "Action ended: InstallFinalize. Return value 3.",
        ]
    lines += [f"MainEngineThread is returning {code}", "=== Verbose logging stopped ===", ""]
    host.disk.write(path, "\r\n".join(lines).encode("utf-16"))


class _Unwatched(Exception):  # noqa: N818 - the name says what happened
    """A job has lost sight of the installer that it has started: this process of it still runs."""

    def __init__(self, left: dict[str, Any]) -> None:
        self.left = left
        super().__init__(UNWATCHED)


class _Installer:
    """One package on one host, which can be run several times."""

    def __init__(self, host: Host, parameters: dict[str, Any], package: dict[str, Any], log: str | None) -> None:
        self.host, self.log = host, log
        self.name, self.installs = parameters["name"], package.get("installs", {})
        self._in_use = package.get("in_use", [])
        self._subjects = (self.name, str(self.installs.get("product", "")))
        kind = parameters["kind"]
        stem = re.split(r"[\\/]", parameters["source"])[-1].rsplit(".", 1)[0]
        self.program = PROGRAMS.get(kind, stem)

    def run(self, seconds: float, stop: threading.Event) -> tuple[int | None, list[dict[str, Any]]]:
        """Its exit code, and what still runs when so many seconds have passed; Unwatched where nobody sees it end."""
        about = {"product": self.installs.get("product", self.name), "version": self.installs.get("version")}
        self.host.event("package.start", **about)
        left = leave_process(self.host, self.program)
        self._note(left)
        hangs = strike(self.host, "package.hangs", *self._subjects)
        if hangs is not None:
            if hangs.get("watched", True):
                self._spend(seconds, stop)
            self._go_on(left, hangs, about)
            if not hangs.get("watched", True):
                raise _Unwatched(left)
            return None, [left]
        orphaned = strike(self.host, "package.orphaned", *self._subjects)
        if orphaned is not None:
            self._go_on(left, orphaned, about)
            raise JobKilled
        try:
            return self._work(left, seconds, stop, about)
        finally:
            end_process(self.host, left)

    def _work(
        self, own: dict[str, Any], seconds: float, stop: threading.Event, about: dict[str, Any]
    ) -> tuple[int | None, list[dict[str, Any]]]:
        """What it does where nothing is in its way."""
        struck = strike(self.host, "package.exit_code", *self._subjects) or {}
        codes = struck.get("codes") or []
        code = int(codes.pop(0)) if codes else self._natural()
        self._spend(INSTALL_SECONDS, stop)
        if self.log is not None:
            _write_log(self.host, self.log, self.installs, code)
        works = (code in (0, 3010, 1641) or bool(struck.get("installs"))) and (
            strike(self.host, "package.lies", *self._subjects) is None
        )
        forks = strike(self.host, "package.forks", *self._subjects)
        if forks is not None:
            child = float(forks.get("seconds", 30))
            end_process(self.host, own)
            own = leave_process(self.host, CHILD)
            self._note(own)
            if not forks.get("watched", True):
                self._go_on(own, {"seconds": child}, about)
                raise _Unwatched(own)
            self._spend(min(child, seconds), stop)
            if child > seconds:
                return code, [own]
            end_process(self.host, own)
        if works:
            write_product(self.host, self.installs)
            self.host.event("package.install", **about, exit_code=code)
        self._note()
        if code == RESTARTS_ITSELF:
            power(self.host).shutdown_exe(["/r", "/t", "5"])
        return code, []

    def _note(self, *running: dict[str, Any]) -> None:
        """Note in the job's folder what of it runs."""
        folder = JOB_FOLDER.get()
        if folder is not None:
            with suppress(ScriptFailure):  # a full disk: it is watched all the same
                write_json(self.host, rf"{folder}\installer.json", {"processes": list(running)})

    def _go_on(self, left: dict[str, Any], fault: dict[str, Any], about: dict[str, Any]) -> None:
        """Have it come to its end after so many seconds, where the fault has any."""
        if "seconds" in fault:
            threading.Thread(target=self._end, args=(left, float(fault["seconds"]), about), daemon=True).start()

    def _end(self, left: dict[str, Any], seconds: float, about: dict[str, Any]) -> None:
        """What goes on when nobody waits any more: it does its work after all, unless its host was restarted."""
        if not self.host.clock.sleep(seconds) and end_process(self.host, left):
            write_product(self.host, self.installs)
            self.host.event("package.install", **about, exit_code=0)

    def _natural(self) -> int:
        pools = self.host.read("iis.json").get("pools", {})
        return 1603 if any(pools.get(pool, {}).get("state") == "Started" for pool in self._in_use) else 0

    def _spend(self, seconds: float, stop: threading.Event) -> None:
        if self.host.clock.sleep(seconds, stop):
            raise JobCut


def _log_errors(text: str) -> list[str]:
    lines, found = re.split(r"\r?\n", text), list[str]()
    for number, line in enumerate(lines):
        if re.search("return value 3", line, re.IGNORECASE):
            for one in (lines[max(0, number - 1)], line):
                if one and one not in found:
                    found.append(one[:300])
    return found


@job("Install-Package")
def install_package(
    host: Host, parameters: dict[str, Any], secrets: dict[str, str], progress: Progress, stop: threading.Event
) -> dict[str, Any]:
    name, probe = parameters["name"], parameters["probe"]
    progress(0, f"fetching {parameters['source']}")
    staged = receive(host, parameters, secrets)
    running: list[dict[str, Any]] = []
    trouble: str | None = None
    killed = False
    try:
        data, signer = checked(host, staged, parameters)
        before = versions(host, probe)
        package = read_package(data)
        if package is None:
            fault = "InvalidOperationException,Microsoft.PowerShell.Commands.StartProcessCommand"
            raise ScriptFailure(NOT_A_PROGRAM, fault)
        log = None
        if parameters["kind"] in ("msi", "msp"):
            folder = JOB_FOLDER.get() or staged.rpartition("\\")[0]
            log = rf"{folder}\msiexec.log"
        installer = _Installer(host, parameters, package, log)
        deadline, pause = int(parameters.get("deadline_seconds") or 3600), int(parameters.get("wait_seconds") or 30)
        codes = parameters.get("wait_codes") or []
        tries: list[dict[str, Any]] = []
        spent = 0.0
        while True:
            progress(1, f"installing {name}{f', try {len(tries) + 1}' if tries else ''}")
            try:
                code, running = installer.run(deadline - spent, stop)
            except _Unwatched as lost:
                code, running, trouble = None, [lost.left], str(lost)
                break
            spent += INSTALL_SECONDS
            tries.append({"code": code, "seconds": round(INSTALL_SECONDS)})
            if code not in codes or spent + pause >= deadline:
                break
            progress(1, f"{name} must wait (exit code {code}); once more in {pause} s")
            if host.clock.sleep(pause, stop):
                raise JobCut
            spent += pause
    except JobKilled:
        killed = True
        raise
    finally:
        if not running and not killed:
            host.disk.path(staged).unlink(missing_ok=True)
    text = host.disk.path(log).read_bytes().decode("utf-16") if log and host.disk.path(log).is_file() else None
    progress(100, f"{name} ended with {'' if code is None else code}")
    return {
        "exit_code": code,
        "tries": tries,
        "running": running,
        "trouble": trouble,
        "versions_before": before,
        "versions_after": versions(host, probe),
        "signer": signer,
        "log": log,
        "log_tail": None if text is None else text[-LOG_TAIL:],
        "log_errors": [] if text is None else _log_errors(text),
        "seconds": round(spent),
    }


@job("Save-Package")
def save_package(
    host: Host, parameters: dict[str, Any], secrets: dict[str, str], progress: Progress, stop: threading.Event
) -> dict[str, Any]:
    progress(0, f"fetching {parameters['source']}")
    if host.clock.sleep(SECONDS_AT_LEAST, stop):
        raise JobCut
    staged = receive(host, parameters, secrets)
    try:
        data, signer = checked(host, staged, parameters)
    except ScriptFailure:
        host.disk.path(staged).unlink()
        raise
    return {"path": staged, "size": len(data), "signer": signer}


@job("Invoke-SqlScript")
def invoke_sql_script(
    host: Host, parameters: dict[str, Any], secrets: dict[str, str], progress: Progress, stop: threading.Event
) -> dict[str, Any]:
    source = parameters["source"]
    staged = receive(host, parameters, secrets)
    try:
        data, _signer = checked(host, staged, parameters)
    finally:
        host.disk.path(staged).unlink(missing_ok=True)
    marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = data.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError:
        message = f"{source} is neither UTF-8 nor UTF-16. Nothing was run. Save it as UTF-8, and approve its new hash."
        raise ScriptFailure(message, "ScriptEncoding") from None
    odd = re.search(r"(?mi)^[ \t]*(:[a-z!]|GO[ \t]+\d)|\$\([A-Za-z_]", text)
    if odd:
        message = (
            f"{source} holds '{odd[0].strip()}', which only sqlcmd reads. Nothing was run. Write it as plain T-SQL, and "
            "approve its new hash."
        )
        raise ScriptFailure(message, "ScriptNeedsSqlcmd")
    batches = [one.strip() for one in re.split(r"(?mi)^[ \t]*GO[ \t]*;?[ \t]*\r?$", text) if one.strip()]
    if not batches:
        message = f"{source} holds no statement. Nothing was run. Check that it is the right file."
        raise ScriptFailure(message, "ScriptEmpty")
    told = invoke_sql_batches(host, parameters["server"], parameters["database"], batches, secrets, progress, stop)
    return {"batches": len(batches), **told}
