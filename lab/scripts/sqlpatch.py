"""Install-SqlPatch: a package as any other (``lab.scripts.package``), but for what its last line says ({"build", "kb", "signer"}).

Setup refuses to run while a restart is pending, as its RebootRequiredCheck does; files that wait to be renamed are enough.

Faults, on the instance or the host:
``sqlpatch.exit_code`` (``code``, signed; ``patches``: true, the binaries were replaced all the same, "registry", setup got
no further than to write its new build there; ``summary``: false, setup wrote none); ``sqlpatch.reboot_first`` (setup wants
a restart, for whatever reason); ``sqlpatch.already`` (setup says that it is applied already, and does nothing);
``sqlpatch.hangs`` (``said``: true, setup does its work and never ends; false, it does nothing and never ends);
``sqlpatch.another`` (somebody else's setup begins while the package is unpacked);
``sqlpatch.unwatched`` (its job loses sight of setup, which goes on to its end);
``sqlpatch.leaves_services`` (what setup stopped beside the engine stays stopped).
"""

from __future__ import annotations

import shutil
import threading
from contextlib import suppress
from datetime import datetime
from typing import Any

from lab.host import Host
from lab.scripts import JobCut, ScriptFailure, job
from lab.scripts.facts import reboot_wanted
from lab.scripts.library import ROOT, initialize_root
from lab.scripts.package import NOT_A_PROGRAM, UNWATCHED, checked, read_package, receive
from lab.scripts.setup_files import (
    build_by_setup,
    instances,
    setup_value,
    show_process,
    summary_text,
    write_build,
)
from lab.scripts.sqlsetup import LOGS, SERVICES, running_setup, setup_summaries
from lab.scripts.transfer import Progress, strike

UNPACK_SECONDS, SETUP_SECONDS = 10, 80
REBOOT_FIRST, ALREADY, NO_INSTANCE = -2067919934, -2042429437, -2068774911

# Setup ----------------------------------------------------------------------------------------------------------------


@job("Install-SqlPatch")
def install_sql_patch(
    host: Host, parameters: dict[str, Any], secrets: dict[str, str], progress: Progress, stop: threading.Event
) -> dict[str, Any]:
    initialize_root(host)
    _assert_no_setup(host)
    work = rf"{ROOT}\staging\sql-{parameters['sha256'][:16]}"
    staged = receive(host, parameters, secrets)
    ended = ""
    try:
        data, signer = checked(host, staged, parameters)
        package = read_package(data)
        if package is None or "build" not in package:
            raise ScriptFailure(
                NOT_A_PROGRAM, "InvalidOperationException,Microsoft.PowerShell.Commands.StartProcessCommand"
            )
        instance = parameters["instance"]
        before = setup_value(host, instance, "PatchLevel")
        began = datetime.now().astimezone()
        progress(5, f"unpacking {staged.rsplit(chr(92), 1)[-1]} for 0 s")
        if host.clock.sleep(UNPACK_SECONDS, stop):
            raise JobCut
        host.disk.write(rf"{work}\x\setup.exe", data)
        if strike(host, "sqlpatch.another", instance) is not None:
            show_process(host, rf"{LOGS}\150\Setup Bootstrap\SQL2019\x64\setup.exe")
        ended = "lost"
        _assert_no_setup(host)
        ended = ""
        if strike(host, "sqlpatch.unwatched", instance) is not None:
            ended, code = "lost", None
            unwatched = _Setup(host, parameters, package, began, host.clock.stopping)
            threading.Thread(target=unwatched.run_on, args=(rf"{work}\x\setup.exe",), daemon=True).start()
            unwatched.begun.wait()
        else:
            ended, code = _Setup(host, parameters, package, began, stop).run(rf"{work}\x\setup.exe", progress)
    finally:
        if ended not in {"late", "lost"}:
            _remove(host, work)
            host.disk.path(staged).unlink(missing_ok=True)
    progress(100, f"setup {ended} ({'' if code is None else code})")
    return {
        "ended": ended,
        "exit_code": code,
        "trouble": UNWATCHED if ended == "lost" else None,
        "build_before": before,
        "build_after": None if ended == "lost" else setup_value(host, instance, "PatchLevel"),
        "signer": signer,
        "summaries": [] if ended == "lost" else setup_summaries(host, began),
        "seconds": UNPACK_SECONDS + SETUP_SECONDS,
    }


def _assert_no_setup(host: Host) -> None:
    if running := running_setup(host):
        message = (
            f"{running[0]['name']} (process {running[0]['id']}) of SQL Server setup runs already on {host.name.upper()}. "
            "Wait for its end. Nothing was run."
        )
        raise ScriptFailure(message, "SetupRuns")


def _remove(host: Host, folder: str) -> None:
    shutil.rmtree(host.disk.path(folder), ignore_errors=True)


class _Setup:
    """One run of setup.exe."""

    def __init__(
        self, host: Host, parameters: dict[str, Any], package: dict[str, Any], began: datetime, stop: threading.Event
    ) -> None:
        self._host, self._parameters, self._package = host, parameters, package
        self._began, self._stop = began, stop
        self._instance: str = parameters["instance"]
        self.begun = threading.Event()

    def run_on(self, path: str) -> None:
        """As ``run``, with nobody who waits for it."""
        with suppress(JobCut):
            self.run(path, lambda *_: None)

    def run(self, path: str, progress: Progress) -> tuple[str, int | None]:
        """How it ended, and its exit code."""
        host = self._host
        hangs = strike(host, "sqlpatch.hangs", self._instance)
        show_process(host, path)
        self.begun.set()
        late = False
        host.event("sqlpatch.start", instance=self._instance, build=self._package["build"], kb=self._package.get("kb"))
        try:
            progress(6, f"setup has been patching {self._instance} for 0 s")
            if hangs is not None and not hangs.get("said"):
                self._spend(float(self._parameters.get("deadline_seconds") or 7200))
                late = True
                return "late", None
            self._spend(SETUP_SECONDS)
            code = self._work()
            if hangs is not None:
                self._spend(float(self._parameters.get("grace_seconds") or 300))
                return "said", None
            return "exited", code
        finally:
            if not late:
                show_process(host, None)

    def _spend(self, seconds: float) -> None:
        # A restart of its host ends it, whoever waits.
        if self._host.clock.sleep(seconds, self._stop) or not running_setup(self._host):
            raise JobCut

    def _targets(self) -> dict[str, str]:
        """The instances that this run of setup is for, and their builds; those of other versions it leaves alone."""
        major = self._package["build"].split(".", 1)[0]
        builds = {name: setup_value(self._host, name, "PatchLevel") for name in instances(self._host)}
        found = {name: build for name, build in builds.items() if build and build.split(".", 1)[0] == major}
        if self._parameters.get("all_instances"):
            return found
        return {name: build for name, build in found.items() if name.casefold() == self._instance.casefold()}

    def _work(self) -> int:
        host, build = self._host, self._package["build"]
        struck = self._struck()
        before = self._targets()
        own = {name: self._code(old) for name, old in before.items()}
        overall = int(struck["code"]) if "code" in struck else max(own.values(), key=abs, default=NO_INSTANCE)
        codes = {name: overall if "code" in struck else code for name, code in own.items()}
        for name, code in codes.items():
            if struck.get("patches") == "registry":
                write_build(host, name, build)
            elif code in (0, 3010) or struck.get("patches"):
                write_build(host, name, build)
                self._replace(name, code)
        if struck.get("summary", True):
            self._write_summary(summary_text(codes, self._package, before, self._began, overall))
        return overall

    def _struck(self) -> dict[str, Any]:
        for name, settings in (
            ("sqlpatch.exit_code", {}),
            ("sqlpatch.reboot_first", {"code": REBOOT_FIRST}),
            ("sqlpatch.already", {"code": ALREADY}),
        ):
            struck = strike(self._host, name, self._instance)
            if struck is not None:
                return {**settings, **struck}
        return {}

    def _code(self, before: str) -> int:
        """What setup ends with by itself: patched already, a restart wanted first, or well."""
        if before == build_by_setup(self._package["build"]):
            return ALREADY
        return REBOOT_FIRST if reboot_wanted(self._host) else 0

    def _replace(self, instance: str, code: int) -> None:
        host, package = self._host, self._package
        server = host.parts.get("sql")
        if server is not None and server.name.casefold() == instance.casefold():
            server.patch(package["build"], level=package.get("level", ""), kb=package.get("kb", ""))
            if strike(host, "sqlpatch.leaves_services", instance) is not None:
                ours = (server.engine_service.casefold(), server.agent_service.casefold())
                for name in [
                    n for n in host.read("services.json") if SERVICES.fullmatch(n) and n.casefold() not in ours
                ]:
                    host.service(name, started=False)
        host.event("sqlpatch.install", instance=instance, build=package["build"], kb=package.get("kb"), exit_code=code)

    def _write_summary(self, text: str) -> None:
        """As Summary.txt, and again in the folder of this run (UTF-16 with a mark)."""
        folder = rf"{LOGS}\{self._package['build'].split('.', 1)[0]}0\Setup Bootstrap\Log"
        stamp = f"{self._began:%Y%m%d_%H%M%S}"
        for path in (rf"{folder}\{stamp}\Summary_{self._host.name.upper()}_{stamp}.txt", rf"{folder}\Summary.txt"):
            self._host.disk.write(path, text.encode("utf-16"))
