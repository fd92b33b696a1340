"""Where Windows updates come from: a service that the agent asks, or a folder of files; one job and one answer for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from model.hresults import RESTART_PENDING, Meaning, msu_meaning, windows_update_meaning
from model.plan import PlanStep
from model.scan import Scan
from tasks.jobs import Job
from tasks.run import Run

SCANS: dict[str, Callable[[Any], Scan]] = {"Find-WindowsUpdate": Scan.model_validate, "Find-UpdateFile": Scan.of_folder}
"""The scripts that scan, and what reads the answer of each."""

_HOUR = 3600.0
_SUCCEEDED = {2, 3}

Result = Literal["installed", "reboot-pending", "not-needed", "not-tried", "failed", "unknown"]
Said = tuple[Result, str | None, str | None]
"""What was said of one update: result, HRESULT, remark."""
CUT_OFF: Said = ("unknown", None, "the job was cut off")


def nth(subject: str, number: int) -> str:
    """The subject of a job's ``number``-th try: each try has an id of its own, whoever resumes the run."""
    return subject if number == 1 else f"{subject}-try{number}"


# Scanning ------------------------------------------------------------------------------------------------------------


def scan_job(run: Run, host: str, round_number: int, number: int) -> Job:
    """The job that looks what there is; the files of a folder are hashed when the list is to be frozen."""
    policy, subject = run.estate.updates, nth("windows-update", number)
    if policy.folder is None:
        return Job(host, "scan", subject, "Find-WindowsUpdate", {"source": policy.asked}, deadline=_HOUR)
    parameters = {"folder": policy.folder, "hash": round_number == 0}
    return Job(host, "scan", subject, "Find-UpdateFile", parameters, _login(run), deadline=_HOUR)


def scan_of(run: Run, answer: Mapping[str, Any]) -> Scan:
    """What the job of ``scan_job`` has told."""
    return Scan.model_validate(answer) if run.estate.updates.folder is None else Scan.of_folder(answer)


def _login(run: Run) -> dict[str, Any]:
    policy = run.estate.updates
    return run.login_of(f"{policy.folder}\\", policy.credentials)


# Installing ----------------------------------------------------------------------------------------------------------


def asked_for(run: Run, steps: Sequence[PlanStep]) -> dict[str, Any]:
    """The parameters by which the agent is told which updates: exactly these, from the source that was scanned."""
    policy = run.estate.updates
    updates = [{"id": each.update, "revision": each.revision, "alone": each.alone} for each in steps]
    return {"updates": updates, "source": policy.asked, "accept_eulas": policy.accept_eulas}


def install_job(run: Run, host: str, steps: Sequence[PlanStep], number: int) -> Job:
    """The job that installs exactly these; ``number`` counts the tries of one round."""
    folder, subject = run.estate.updates.folder, nth("windows-update", number)
    if folder is None:
        return Job(host, "install", subject, "Install-WindowsUpdate", asked_for(run, steps), deadline=4 * _HOUR)
    files = [{"name": each.update, "sha256": each.sha256} for each in steps]
    parameters = {"folder": folder, "files": files}
    return Job(host, "install", subject, "Install-UpdateFile", parameters, _login(run), deadline=4 * _HOUR)


def said_of(answer: Mapping[str, Any]) -> dict[tuple[str, int], Said]:
    """What the answer of such a job says of each update, by its identity; nothing of what it did not come to."""
    return dict([*_said_by_the_agent(answer), *_said_of_files(answer)])


_SKIPPED: dict[str, Said] = {
    "installed already": ("not-needed", None, "installed already"),
    "not offered": ("not-tried", None, "not offered"),
    "waits for a reboot": ("reboot-pending", None, "waits for a reboot"),
    "reboot first": ("not-tried", None, "a restart comes first"),
    "license terms": (
        "failed",
        None,
        "its license terms are not accepted; read them, then say updates.accept_eulas: true",
    ),
}
_RESTART_FIRST: Said = (
    "not-tried",
    f"0x{RESTART_PENDING:08X}",
    "Windows Update wants a restart before it installs anything",
)
_RESULTS: dict[str, Result] = {"done": "installed", "done-reboot": "reboot-pending", "not-needed": "not-needed"}


def _said_by_the_agent(answer: Mapping[str, Any]) -> Iterator[tuple[tuple[str, int], Said]]:
    refused = bool(answer.get("reboot_required_before"))
    for each in answer.get("updates", ()):
        # Of a restart that another of the same job wants that one tells.
        said = _RESTART_FIRST if refused and each["skipped"] == "reboot first" else _of_agent(each)
        yield (each["id"].casefold(), each["revision"]), said


def _of_agent(each: Mapping[str, Any]) -> Said:
    if each["skipped"]:
        return _SKIPPED[each["skipped"]]
    if each["install"] is not None and each["install"]["result_code"] in _SUCCEEDED:
        return ("reboot-pending" if each["install"]["reboot_required"] else "installed"), None, None
    meaning = windows_update_meaning((each["install"] or each["download"])["hresult"])
    if meaning.do == "done":
        return "unknown", None, "it was downloaded, and nothing is told of an installation"
    return _with(_RESULTS.get(meaning.do, "failed"), meaning)


def _said_of_files(answer: Mapping[str, Any]) -> Iterator[tuple[tuple[str, int], Said]]:
    for each in answer.get("files", ()):
        if each["skipped"]:
            said = _SKIPPED[each["skipped"]]
        else:
            meaning = msu_meaning(each["exit_code"])
            said = _with(_RESULTS.get(meaning.do, "failed"), meaning)
        yield (each["name"].casefold(), 0), said


def _with(result: Result, meaning: Meaning) -> Said:
    """The result with its code and what that means; of a plain success there is nothing to say."""
    return (result, None, None) if meaning.do == "done" else (result, meaning.hex, str(meaning))
