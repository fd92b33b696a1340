"""What an installer's answer means, and what became of the package: judged by its version, never by an exit code alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from model.hresults import Do, Meaning, msi_meaning, msu_meaning, unsigned
from model.packages import EngageIPUpgrade, FileBorne, MsuPackage, Outcome, PowerShellStep, wanted_of
from model.versions import reached
from model.words import exit_code, file_name

Result = Literal["installed", "reboot-pending", "not-needed", "failed", "unknown"]

_DECLARED: dict[Outcome, tuple[str, Do]] = {
    "succeeded": ("succeeded, as the estate says", "done"),
    "reboot": ("installed, as the estate says; a restart completes it", "done-reboot"),
    "wait": ("it has to wait, as the estate says", "wait"),
    "not-needed": ("not needed, as the estate says", "not-needed"),
    "failed": ("failed, as the estate says", "fail-update"),
}
_BUSY = 1618
_NOT_APPLICABLE = 0x800F081E


def file_kind(package: FileBorne) -> str:
    """How its file is run: ``msi``, ``msp``, ``exe``, ``msu``, ``cab`` or ``ps1``."""
    return file_name(package.source).rpartition(".")[2].casefold()


def package_meaning(package: FileBorne, code: int) -> Meaning:
    """What an exit code of this package means: as the estate says, else as its kind's do."""
    declared = package.exit_codes.get(exit_code(code))
    number = unsigned(code)
    if declared is not None:
        return Meaning(number, *_DECLARED[declared])
    if isinstance(package, MsuPackage):
        gone = Meaning(number, "is not for this host, or superseded", "not-needed")
        return gone if number == _NOT_APPLICABLE else msu_meaning(code)
    if isinstance(package, PowerShellStep):
        failed = Meaning(number, "the script ended with an error", "fail-update")
        return failed if number else Meaning(number, "succeeded", "done")
    meaning = msi_meaning(code)
    if file_kind(package) == "exe" and meaning.do == "fail-update":
        # Many programs hand up Windows Installer's codes; a 1603 of one that does not may mean anything.
        return Meaning(number, f"if it is Windows Installer's: {meaning.text}", meaning.do)
    return meaning


def codes_to_wait_for(package: FileBorne) -> tuple[int, ...]:
    """The codes after which the installer is run once more, signed as a process answers them."""
    declared = {code for code, outcome in package.exit_codes.items() if outcome == "wait"}
    own = set() if isinstance(package, MsuPackage | PowerShellStep) or _BUSY in package.exit_codes else {_BUSY}
    return tuple(sorted(declared | own))


def installed_version(package: FileBorne, found: Sequence[str]) -> str | None:
    """Of what a probe has found, the one that counts: what the package brings where it is there, else the first."""
    return next((one for one in found if is_there(package, one)), found[0] if found else None)


def is_there(package: FileBorne, found: str | None) -> bool:
    """Whether what was found is what the package brings, or newer."""
    if isinstance(package, MsuPackage):
        return found is not None and found.casefold() == package.kb.casefold()
    return reached(found, package.version)


@dataclass(frozen=True)
class Ran:
    """How a package's run ended: its exit code, None where it was cut off or still runs; the version found since."""

    code: int | None
    found: str | None
    running: tuple[Mapping[str, Any], ...] = ()
    """The processes that were left running: {id, name, started}."""
    trouble: str | None = None
    """Why its job could not watch it to its end; None where it could."""
    log: str | None = None
    log_errors: tuple[str, ...] = ()

    @property
    def open(self) -> bool:
        """Whether nobody has seen it end: what is there now may not be all of it, whatever version is told."""
        return self.code is None and (bool(self.running) or self.trouble is not None)

    @classmethod
    def of(cls, answer: Mapping[str, Any], found: str | None) -> Ran:
        """From the answer of Install-Package."""
        running, errors = tuple(answer.get("running") or ()), tuple(answer.get("log_errors") or ())
        return cls(answer.get("exit_code"), found, running, answer.get("trouble"), answer.get("log"), errors)


@dataclass(frozen=True)
class Judgement:
    """What became of a package; ``proof`` is the evidence that it is installed."""

    result: Result
    restart: bool
    remark: str | None = None
    proof: str | None = None
    code: str | None = None
    restarting: bool = False
    """Whether the installer has set its host to restart, which nobody can call back."""


def judged_package(package: FileBorne, ran: Ran) -> Judgement:
    """What became of a package that was run.

    The version decides. Before a restart that the installer asked for, a version that is not there yet proves nothing:
    it is asked for again afterwards, unless a part of it still runs. Nor does it prove anything before its installer has
    ended. What is not for its host, and says so, is no failure. Where its job was cut off, also by a restart that nobody
    asked for, there is to be one that is waited for.
    """
    if ran.open:
        return Judgement("unknown", restart=False, remark=f"{_said(ran, None)}, and {state(package, ran.found)}")
    meaning = None if ran.code is None else package_meaning(package, ran.code)
    asks = meaning is not None and meaning.do in {"done-reboot", "done-rebooting"}
    rebooting = meaning is not None and meaning.do == "done-rebooting"
    # What restarts by itself is waited for, whatever the estate says of it.
    over = not ran.running and ran.trouble is None
    cut_off = meaning is None and over
    restart = {"auto": asks or cut_off, "always": True, "never": rebooting}[package.restart]
    code = meaning.hex if meaning is not None and meaning.do != "done" and not asks else None
    if is_there(package, ran.found):
        odd = (
            ran.running
            or ran.trouble is not None
            or meaning is None
            or meaning.do not in {"done", "done-reboot", "done-rebooting"}
        )
        remark = _said(ran, meaning) if odd else None
        if asks and not restart:
            remark = "it asks for a restart, and restart: never says no"
        result: Result = "reboot-pending" if asks else "installed"
        return Judgement(result, restart, remark, proof(package, ran.found), code, rebooting)
    if over and asks and restart:
        return Judgement("reboot-pending", restart=True, restarting=rebooting)
    remark = f"{_said(ran, meaning)}, and {state(package, ran.found)}"
    if over and meaning is not None and meaning.do == "not-needed" and _may_be_needless(package, meaning.code):
        return Judgement("not-needed", restart=False, remark=remark, code=code)
    return Judgement("failed", restart=cut_off and restart, remark=f"{remark}{_log(ran)}", code=code)


def _may_be_needless(package: FileBorne, code: int) -> bool:
    """Whether a package that says so may be none that its host needs, although what it brings is not there.

    An update of Windows or a patch may not be for this host; any other package may where the estate says so. An upgrade
    of EngageIP never: all that follows rests on its version.
    """
    if isinstance(package, EngageIPUpgrade):
        return False
    declared = package.exit_codes.get(exit_code(code)) == "not-needed"
    return declared or isinstance(package, MsuPackage) or file_kind(package) == "msp"


def after_restart(package: FileBorne, found: str | None) -> Judgement:
    """What became of a package whose restart has happened."""
    if is_there(package, found):
        return Judgement("installed", restart=False, proof=proof(package, found))
    remark = f"it went in, and after the restart {state(package, found)}: rolled back, or never there"
    return Judgement("failed", restart=False, remark=remark)


def _said(ran: Ran, meaning: Meaning | None) -> str:
    if ran.trouble is not None:
        return f"its job lost sight of it ({ran.trouble.rstrip('.')})"
    if ran.running:
        return f"past its deadline {', '.join(each['name'] for each in ran.running)} still ran, and was left alone"
    if meaning is None:
        return "its job was cut off"
    return f"the installer answered {number_text(meaning.code)}: {meaning.text}"


def number_text(code: int) -> str:
    """An exit code as people look it up: 1603, and 0x80070643."""
    return str(code) if code < 0x10000 else f"0x{code:08X}"


def _log(ran: Ran) -> str:
    why = (
        f". Its log says: {' / '.join(line.strip().rstrip('.') for line in ran.log_errors[:2])}"
        if ran.log_errors
        else ""
    )
    return why + (f". See {ran.log}" if ran.log else "")


def proof(package: FileBorne, found: str | None) -> str:
    """The evidence, in words."""
    return f"{found} is installed" if isinstance(package, MsuPackage) else f"version {found}"


def proof_name(package: FileBorne) -> str:
    """What the estate has declared as the proof, in words."""
    return package.kb if isinstance(package, MsuPackage) else f"version {package.version}"


def state(package: FileBorne, found: str | None) -> str:
    """What is there, or is instead of what should be."""
    if isinstance(package, MsuPackage):
        return f"{package.kb} is {'' if is_there(package, found) else 'not '}among the installed updates"
    if is_there(package, found):
        return f"version {found} is there"
    return f"{'no version is' if found is None else f'version {found} is'} there instead of {wanted_of(package)}"
