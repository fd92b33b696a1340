"""What the codes of Windows Update, installers and the task scheduler mean, and what to do next.

A code is a hint, never a proof: what was installed is judged afterwards by rescan, build and Summary.txt. The numbers
are Microsoft's (Windows Update error reference, Msi error codes, SQL Server setup's facility 0x4BE, winerror.h).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Do = Literal[
    "done",  # it says that it is installed
    "done-reboot",  # installed once the host has restarted
    "done-rebooting",  # installed, and the installer restarts the host by itself
    "not-needed",  # there already, or not for this host
    "wait",  # something else is at work; then once more
    "wait-for-boot",  # the host is going down
    "keep-waiting",  # the host has restarted, and is still at work for it
    "retry",  # bounded
    "reboot",  # restart first, then once more
    "install-alone",  # apart from all others
    "install-ssu-first",  # the servicing stack, then once more
    "fail-update",  # this update cannot go in; others can
    "fail",  # nothing will go in like this
    "unknown",  # look at the evidence
]


@dataclass(frozen=True)
class Meaning:
    """What a code means: the code unsigned, a sentence with the fix, and what to do next."""

    code: int
    text: str
    do: Do

    @property
    def hex(self) -> str:
        """The code as Microsoft writes it: ``0x80240022``."""
        return hresult_text(self.code)

    def __str__(self) -> str:
        return f"{self.hex}: {self.text}"


def unsigned(code: int | str) -> int:
    """A 32-bit code however it was told: -2145124329, 2149842967, '0x80240017' and '80240017' are one.

    ValueError for what is no such number.
    """
    if isinstance(code, str):
        text = code.strip()
        if re.fullmatch(r"0[xX][0-9a-fA-F]{1,8}", text):
            code = int(text, 16)
        elif re.fullmatch(r"-?[0-9]{1,7}|-[0-9]{1,10}|[0-9]{9,10}|[1-79][0-9]{7}", text, re.ASCII):
            code = int(text)
        elif re.fullmatch(r"[0-9a-fA-F]{8}", text):
            # Logs cut the 0x off: eight digits from 8 or 0 on are no decimal code that exists.
            code = int(text, 16)
        else:
            raise ValueError(f"{text[:40]!r} is not a result code")
    if not -(2**31) <= code < 2**32:
        raise ValueError(f"{code} is not a 32-bit result code")
    return code & 0xFFFFFFFF


def hresult_text(code: int | str) -> str:
    """A code as Microsoft writes it: ``0x80240022``."""
    return f"0x{unsigned(code):08X}"


RESTART_PENDING = 0x80240016
"""What the agent throws before it installs anything, where another installation runs or the machine waits for a restart."""
_WINDOWS_UPDATE: dict[int, tuple[str, Do]] = {
    0x00000000: ("succeeded", "done"),
    0x00240001: ("the Windows Update service stopped before it had ended: not a success", "retry"),
    0x00240005: ("installed; a restart completes it", "done-reboot"),
    0x00240006: ("is installed already", "not-needed"),
    0x80070005: ("access denied: Windows Update refuses a network logon; run it from a scheduled task", "fail"),
    0x8007000E: ("out of memory; restart the host", "reboot"),
    0x80070020: ("a file is in use by another process; look for antivirus", "retry"),
    0x80070070: ("the disk is full; free space on the system drive", "fail"),
    0x800700A1: ("the path is bad: of several .msu on a share; copy them to the host first", "fail-update"),
    0x8007045B: ("the host is shutting down", "wait-for-boot"),
    0x80070643: ("the package's own installer failed fatally; look at the KB's known issues", "fail-update"),
    0x80070BC2: ("installed; a restart completes it", "done-reboot"),
    0x80072EE2: ("the connection timed out; check WSUS and proxy", "retry"),
    0x80072EE7: ("the update service's name was not found; check WSUS, proxy and DNS", "retry"),
    0x80072EFD: ("no connection to the update service; check WSUS, proxy and firewall", "retry"),
    0x80072EFE: ("the connection was cut; check WSUS and proxy", "retry"),
    0x80072F8F: ("the certificate of the update service is not valid here; check the clock, WSUS and proxy", "retry"),
    0x80070422: ("the Windows Update service is disabled; set wuauserv to Manual", "fail"),
    0x800705B4: ("timed out", "retry"),
    0x80073712: ("the component store is damaged; run dism /Online /Cleanup-Image /RestoreHealth", "fail-update"),
    0x80240009: ("another operation is running", "wait"),
    RESTART_PENDING: ("another install is running, or a restart is pending", "wait"),
    0x80240017: ("is not for this host, or superseded", "not-needed"),
    0x80240019: ("must be installed apart from all others", "install-alone"),
    0x8024001E: ("the Windows Update service is stopping", "wait-for-boot"),
    0x8024201D: ("the update's handler is disabled until the host restarts", "reboot"),
    0x80240022: ("every update failed; look at each one's own code", "fail"),
    0x80240023: ("its license terms were not accepted; read them, then say updates.accept_eulas: true", "fail-update"),
    0x80240024: ("there are no updates", "not-needed"),
    0x8024002E: ("policy lets this host ask its WSUS server only; say updates.source: wsus", "fail"),
    0x80240034: ("the download failed", "retry"),
    0x80240044: ("only an administrator may do this; run it as SYSTEM", "fail"),
    0x80240438: ("no route to the update service; check WSUS and proxy", "retry"),
    0x80242006: ("the update's metadata is invalid", "fail-update"),
    0x80242007: ("the installer hung past its limit", "reboot"),
    0x80242017: ("a newer servicing stack must be installed first", "install-ssu-first"),
    0x80244010: ("the update service wants more round trips than one search makes; a next one goes on", "retry"),
    0x80244018: ("the update service refuses (HTTP 403); check WSUS and proxy", "retry"),
    0x80244019: ("the update service does not have it (HTTP 404); check WSUS, and its content", "retry"),
    0x8024401B: ("the proxy wants a login (HTTP 407); check WSUS and proxy", "retry"),
    0x8024401C: ("the update service timed out; check WSUS and proxy", "retry"),
    0x80244022: ("the update service is overloaded (HTTP 503); check WSUS and proxy", "retry"),
    0x8024402C: ("the update service's name was not found; check WSUS, proxy and DNS", "retry"),
    0x80248001: ("the update datastore is in use", "retry"),
    0x8024A007: ("the automatic-updates service is shutting down", "wait-for-boot"),
    0x800F0922: ("a boot-time part failed; look at the system-reserved partition's free space", "fail-update"),
    0x800F0831: ("a package it builds upon is missing; repair the component store", "fail-update"),
    0x80246002: ("what was downloaded is not what was asked for; check WSUS and proxy", "retry"),
    0x80246007: ("it is not downloaded", "retry"),
    0x80248014: ("the host does not know this update service; look at its registration", "fail"),
    0x8024500C: ("policy lets this host ask its WSUS server only; say updates.source: wsus", "fail"),
    0x800F081E: ("is not for this host", "not-needed"),
    0x800F0823: ("a newer servicing stack must be installed first", "install-ssu-first"),
    0x800F081F: ("files that it needs are missing; run dism /Online /Cleanup-Image /RestoreHealth", "fail-update"),
    0x80246013: ("the download was refused; look at the store's licensing", "fail-update"),
}

_POST_REBOOT_WORK = 0x80242014


def windows_update_meaning(code: int | str, *, after_reboot: bool = False) -> Meaning:
    """What an HRESULT of the Windows Update Agent means; ``after_reboot``: the restart for it has happened."""
    number = unsigned(code)
    if number == _POST_REBOOT_WORK:
        if after_reboot:
            return Meaning(number, "work after the restart is still going on", "keep-waiting")
        return Meaning(number, "installed; a restart completes it", "done-reboot")
    text, do = _WINDOWS_UPDATE.get(number, ("not a code that we know; look it up and judge by a rescan", "unknown"))
    return Meaning(number, text, do)


def of_agent(code: int | str) -> bool:
    """Whether a code is one of the Windows Update Agent (facility 0x24), of its connections, or of shutting down."""
    number = unsigned(code)
    return number >> 16 == 0x8024 or number >> 12 == 0x80072 or number in {0x8007045B, 0x800705B4, 0x80070422}


_KNOWN_KBS = {
    "KB5034439": "it cannot go in where the recovery partition is too small: enlarge that, or put it under updates.kb_reject",
    "KB5034440": "it cannot go in where the recovery partition is too small: enlarge that, or put it under updates.kb_reject",
    "KB5034441": "it cannot go in where the recovery partition is too small: enlarge that, or put it under updates.kb_reject",
}


def kb_advice(kb: str | None) -> str | None:
    """What is known of a KB that fails again and again, and what to do; None where nothing is."""
    return _KNOWN_KBS.get(kb or "")


_MSI: dict[int, tuple[str, Do]] = {
    0: ("succeeded", "done"),
    1602: ("cancelled by a user or policy", "fail-update"),
    1603: ("fatal error in the package; look at its log for 'return value 3'", "fail-update"),
    1605: ("the product it changes is not installed", "not-needed"),
    1612: ("the installation source is not there", "fail-update"),
    1618: ("another installation is running", "wait"),
    1619: ("the package cannot be opened; check its path and hash", "fail-update"),
    1638: ("another version of this product is installed", "fail-update"),
    1641: ("installed; it restarts the host by itself", "done-rebooting"),
    1642: ("the patch is not for the installed product", "fail-update"),
    3010: ("installed; a restart completes it", "done-reboot"),
}


def msi_meaning(code: int | str) -> Meaning:
    """What an exit code of Windows Installer means (also wrapped as 0x8007....)."""
    number = unsigned(code)
    bare = number & 0xFFFF if number >> 16 == 0x8007 else number
    text, do = _MSI.get(bare, ("not a code that we know; judge by the installed version", "unknown"))
    return Meaning(number, text, do)


def msu_meaning(code: int | str) -> Meaning:
    """What an exit code of wusa.exe or dism.exe means: Windows Update's codes, those of servicing, and 3010."""
    number = unsigned(code)
    if number == 3010:
        return Meaning(number, "installed; a restart completes it", "done-reboot")
    return windows_update_meaning(number)


_SQL_SETUP: dict[int, tuple[str, Do]] = {
    0: ("succeeded", "done"),
    3010: ("installed; a restart completes it", "done-reboot"),
    0x84BE0BC2: ("a restart is pending, and setup wants it first", "reboot"),
    0x86430003: ("is applied already", "not-needed"),
    0x851A001A: ("the engine did not start again; look at ERRORLOG", "fail"),
}


def sql_setup_meaning(code: int | str) -> Meaning:
    """What an exit code of SQL Server setup means; the truth is Summary.txt and the build afterwards."""
    number = unsigned(code)
    known = _SQL_SETUP.get(number)
    if known is None and number & 0xFFFF == 0x0BC2:
        # The low word is 3010's, whatever facility stands before it.
        known = ("a restart is wanted; Summary.txt tells whether before setup or after", "reboot")
    text, do = known or ("not a code that we know; Summary.txt has the reason", "unknown")
    return Meaning(number, text, do)


_TASK_RESULTS = {
    0x00000000: "ended with exit code 0",
    0x00000001: "ended with exit code 1",
    0x00041301: "is running",
    0x00041303: "has not run yet",
    0x00041306: "was ended from outside",
    0x0004131C: "the account of the task may lack the right to log on as a batch job; look at the group policies 'Log on as a batch job' and 'Deny log on as a batch job'",
    0x00041325: "is queued",
    0x80070002: "the file to run is not there",
    0x80070005: "access denied",
    0x80070569: "the account of the task has no right to log on as a batch job; look at the group policies 'Log on as a batch job' and 'Deny log on as a batch job' (SYSTEM, as which patching runs, must not be denied)",
    0x80041315: "the Task Scheduler service does not run; start Schedule",
    0x80041326: "the task is disabled; enable it, or look who disables tasks",
    0x8004131F: "an instance of it is running already",
    0x800710E0: "the task scheduler refused the request; look at the task's conditions",
    0xC000013A: "its process was ended from outside",
    0xFFFD0000: "PowerShell could not run the script; look at execution policy and AppLocker",
}


def task_result_meaning(code: int | str) -> str:
    """What a scheduled task's LastTaskResult means."""
    return _TASK_RESULTS.get(unsigned(code), "not a result that we know; look at the task's history on the host")


OPERATION_RESULTS = ("NotStarted", "InProgress", "Succeeded", "SucceededWithErrors", "Failed", "Aborted")
"""OperationResultCode of the Windows Update Agent, by number."""
