"""What a canary says about a night: fresh or stale, and each thing in the way by name, with its fix."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from model.canary import Policies, Shipped, not_run, problems, stale
from model.jobs import JobFacts

NOW = datetime(2026, 3, 15, 3, 0, tzinfo=UTC)
OURS = Shipped("1a", "1b", "5c")
STORES = [r"\\nas01\billing\acme\canary-web01.txt", "s3://acme/canary-web01.txt"]
FORTNIGHT = timedelta(days=14)
FULL = Policies(language_mode="FullLanguage")


def result(**changes: Any) -> dict[str, Any]:
    """What Test-PatchHost answers where nothing is in the way."""
    fine: dict[str, Any] = {
        "language_mode": "FullLanguage",
        "powershell": "5.1.17763.6414",
        "system": True,
        "elevated": True,
        "system_free": 9 << 30,
        "sleep_seconds": 0,
        "update_agent": {"error": None, "hresult": None},
        "staging": {"path": r"D:\Staging", "free": 1 << 40, "error": None},
        "targets": [{"name": f"store{n}", "kind": "x", "path": path, "error": None} for n, path in enumerate(STORES)],
    }
    return fine | changes


def facts(
    state: str | None = "succeeded", *, days: float = 1, task: dict[str, Any] | None = None, **job: Any
) -> JobFacts:
    """Facts of a canary that ended so many days before NOW."""
    made = None
    if state is not None:
        ended = None if state in {"created", "running"} else (NOW - timedelta(days=days)).isoformat()
        made = {
            "id": "canary.acme",
            "script": "Test-PatchHost",
            "state": state,
            "launcher_sha256": "1a",
            "library_sha256": "1b",
            "sha256": "5c",
            "ended": ended,
            "result": result() if state == "succeeded" else None,
            **job,
        }
    return JobFacts.model_validate({"id": "canary.acme", "exists": made is not None, "job": made, **(task or {})})


def why(known: JobFacts, stores: list[str] = STORES, staging: str = r"D:\Staging") -> str | None:
    return stale(known, OURS, stores, staging, FORTNIGHT, NOW)


def test_a_fresh_one_proves_the_host() -> None:
    """Of the last fourteen days, by the same files, to every store: nothing to say."""
    assert why(facts(days=13.9)) is None
    assert problems(facts()) == []


def test_none() -> None:
    assert why(facts(None)) == "no canary has run here, so nobody knows whether its policies let a job do its work"


def test_an_old_one() -> None:
    assert why(facts(days=20)) == "its canary ran 20 days ago, and canary.max_age is 14 days"


@pytest.mark.parametrize("changed", ["launcher_sha256", "library_sha256", "sha256"])
def test_one_of_other_scripts(changed: str) -> None:
    """An update of billpatch proves nothing: AppLocker may know the old files by their hashes."""
    told = why(facts(**{changed: "0"}))
    assert told == "its canary ran with other scripts than these: billpatch was changed since"


@pytest.mark.parametrize("state", ["created", "running"])
def test_one_that_has_not_ended(state: str) -> None:
    assert why(facts(state)) == "its canary has not come to an end"


def test_one_that_did_not_try_a_store() -> None:
    """A store that was added to the estate since is unproven; names fold case, as on Windows."""
    assert why(facts(), [STORES[0].upper()]) is None
    assert why(facts(), [*STORES, r"\\nas02\b\acme\canary-web01.txt"]) == (
        r"its canary did not try \\nas02\b\acme\canary-web01.txt"
    )


def test_one_that_tried_another_staging_folder() -> None:
    """Backups moved to another drive since are unproven there; a name is the same however it is written."""
    assert why(facts(), staging="d:\\staging\\") is None
    assert why(facts(), staging=r"E:\Staging") == (
        r"its canary tried to write to D:\Staging, and backups are made in E:\Staging now"
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"language_mode": "ConstrainedLanguage"},
            ["ConstrainedLanguage", "needs? FullLanguage", "Allow scripts below"],
        ),
        ({"powershell": "4.0"}, ["has Windows PowerShell 4.0", "WMF 5.1"]),
        ({"system": False}, ["do not run as SYSTEM"]),
        ({"elevated": False}, ["do not run as SYSTEM with all its rights"]),
        ({"sleep_seconds": 1800}, ["goes to sleep after 30 minutes", "powercfg /change standby-timeout-ac 0"]),
        (
            {"update_agent": {"error": "x", "hresult": "80070422"}},
            ["Windows Update refuses SYSTEM", "0x80070422", "wuauserv"],
        ),
        (
            {"staging": {"path": r"E:\Staging", "free": 0, "error": "There is not enough space on the disk."}},
            [r"cannot write to E:\\Staging: There is not enough space on the disk\. Mend it", "backup.staging"],
        ),
    ],
)
def test_what_it_found_in_the_way(changes: dict[str, Any], told: list[str]) -> None:
    """The thing, the cause, and what to do, in one line each."""
    import re

    [problem] = problems(facts(result=result(**changes)))
    for each in told:
        assert re.search(each, problem), problem
    assert problem.endswith((".", "powercfg"))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("Access is denied", "Access is denied."),
        ("https://s3 does not answer (SecureChannelFailure). Check it.", "enable TLS 1.2 for .NET"),
        ("https://s3 does not answer (TrustFailure). Check it.", "import the authority"),
        ("https://s3 does not answer (NameResolutionFailure). Check it.", "jobs use no proxy"),
    ],
)
def test_a_store_that_it_could_not_reach(error: str, told: str) -> None:
    """Each store for itself, with what TLS and proxies do to a host."""
    targets = [{"name": "store1", "kind": "s3", "path": "s3://acme/x", "error": error}]
    [problem] = problems(facts(result=result(targets=targets)))
    assert problem.startswith("a job cannot store at s3://acme/x: ")
    assert told in problem


def test_an_answer_that_nobody_understands_is_an_error() -> None:
    with pytest.raises(ValueError, match="nobody understands"):
        problems(facts(result={"language_mode": "FullLanguage"}))


# What kept it from running --------------------------------------------------------------------------------------------

ENDED = {"task_state": "Ready", "task_result": 1}
LOST = facts("running", boot="b", task={"boot_id": "b", **ENDED})


@pytest.mark.parametrize(
    ("policies", "guards", "powershell", "told"),
    [
        ({"execution_policy": "AllSigned"}, [], "5.1", "sets PowerShell's script execution to AllSigned"),
        ({"execution_policy": "Restricted"}, [], "5.1", "overrides the Bypass"),
        ({"scripts_enabled": 0}, [], "5.1", "script execution to disabled"),
        ({"execution_policy": "RemoteSigned"}, [], "4.0", "has Windows PowerShell 4.0"),
        ({"app_locker": 1}, [], "5.1", "AppLocker runs scripts of SYSTEM's tasks in ConstrainedLanguage or not at all"),
        ({"code_integrity": 2}, [], "5.1", "App Control (Device Guard) runs scripts"),
        (
            {"app_locker": 0, "code_integrity": 1},
            ["CSFalconService", "Sense"],
            "5.1",
            "CrowdStrike Falcon and Microsoft",
        ),
        ({}, ["Sense"], "5.1", "endpoint protection ends PowerShell that SYSTEM's tasks start"),
        ({}, [], "5.1", "was ended before it could do its work"),
    ],
)
@pytest.mark.parametrize("known", [facts("created", task=ENDED), LOST], ids=["never began", "killed"])
def test_a_powershell_that_was_ended(
    known: JobFacts, policies: dict[str, Any], guards: list[str], powershell: str, told: str
) -> None:
    """What is known of the host's policies says which of them it was."""
    assert told in not_run(known, Policies(language_mode="FullLanguage", **policies), guards, powershell)


def test_what_the_launcher_said_of_its_language() -> None:
    """It names who constrains it where that is known."""
    error = {"id": "LanguageMode", "message": "m", "type": "LanguageMode"}
    known = facts("failed", error=error)
    assert not_run(known).startswith("AppLocker or App Control runs scripts")
    assert not_run(known, Policies(language_mode="x", code_integrity=2)).startswith("App Control (Device Guard) runs")


@pytest.mark.parametrize("code", [0x80070569, 0x80070569 - 2**32, 0x0004131C])
def test_no_right_to_log_on_as_a_batch_job(code: int) -> None:
    """The scheduler's own code is evidence enough, whatever else is set."""
    known = facts("created", task={"task_state": "Ready", "task_result": code})
    told = not_run(known, Policies(language_mode="x", execution_policy="AllSigned"))
    assert "log on as a batch job" in told
    assert "Deny log on as a batch job" in told


def test_one_that_stays_queued() -> None:
    known = facts("created", task={"task_state": "Queued", "task_result": 0x41325})
    assert not_run(known, FULL) == (
        "its Task Scheduler did not begin the canary: its scheduled task is queued. Look at EngageIPPatching there."
    )


def test_one_that_failed_by_itself() -> None:
    """Its own words."""
    known = facts("failed", error={"message": "no space", "type": "System.IO.IOException", "hresult": -1})
    assert not_run(known, FULL) == "the canary failed: no space."
    assert problems(known) == ["the canary failed: no space."]
