"""What a host answers of each update becomes one word, its code and its meaning; a code alone proves nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.update_source import nth, said_of

OK = {"result_code": 2, "hresult": "00000000"}


def agent(skipped: str | None = None, download: Any = OK, install: Any = None) -> dict[str, Any]:
    """The answer of Install-WindowsUpdate about one update."""
    one = {"id": "U-1", "revision": 200, "title": "x", "offered": True, "skipped": skipped}
    return {"updates": [{**one, "download": download, "install": install}]}


def installed(result: int | None = 2, code: str = "00000000", *, reboot: bool = False) -> dict[str, Any]:
    return {"result_code": result, "hresult": code, "reboot_required": reboot}


@pytest.mark.parametrize(
    ("answer", "result", "code"),
    [
        (agent(install=installed()), "installed", None),
        (agent(install=installed(3)), "installed", None),  # succeeded with errors: the rescan decides
        (agent(install=installed(reboot=True)), "reboot-pending", None),
        (agent(install=installed(4, "80242014")), "reboot-pending", "0x80242014"),
        (agent(install=installed(4, "80240017")), "not-needed", "0x80240017"),
        (agent(install=installed(4, "80070643")), "failed", "0x80070643"),
        (agent(install=installed(None, "80240016")), "failed", "0x80240016"),  # Install() threw
        (agent(download={"result_code": 4, "hresult": "80240034"}), "failed", "0x80240034"),
        (agent(), "unknown", None),  # downloaded, and nothing is told of an installation
        (agent("installed already", None), "not-needed", None),
        (agent("not offered", None), "not-tried", None),
        (agent("reboot first", None), "not-tried", None),
        (agent("waits for a reboot", None), "reboot-pending", None),
        (agent("license terms", None), "failed", None),
    ],
)
def test_what_the_agent_says(answer: dict[str, Any], result: str, code: str | None) -> None:
    """By UpdateID, folded, and revision."""
    ((identity, said),) = said_of(answer).items()
    assert identity == ("u-1", 200)
    assert said[:2] == (result, code)
    if code:
        assert said[2] is not None
        assert said[2].startswith(f"{code}: ")


def test_an_agent_that_wants_a_restart_before_anything_says_so_by_a_code() -> None:
    """One that wants it in the middle of the job has another update to tell of it."""
    before = agent("reboot first", None) | {"reboot_required_before": True}
    assert said_of(before)["u-1", 200][:2] == ("not-tried", "0x80240016")
    assert said_of(before | {"reboot_required_before": False})["u-1", 200][:2] == ("not-tried", None)
    waiting = agent("waits for a reboot", None) | {"reboot_required_before": True}
    assert said_of(waiting)["u-1", 200][:2] == ("reboot-pending", None)


@pytest.mark.parametrize(
    ("code", "result", "told"),
    [
        (0, "installed", None),
        (3010, "reboot-pending", "0x00000BC2"),
        (2359301, "reboot-pending", "0x00240005"),
        (2359302, "not-needed", "0x00240006"),
        (-2145124329, "not-needed", "0x80240017"),
        (-2146498530, "not-needed", "0x800F081E"),
        (2359297, "failed", "0x00240001"),  # the agent stopped: success-class, and no success
        (-2147024735, "failed", "0x800700A1"),
    ],
)
def test_what_wusa_and_dism_say(code: int, result: str, told: str | None) -> None:
    """Exit codes as they come, signed or not; a file has revision 0."""
    answer = {"files": [{"name": "KB1.msu", "skipped": None, "tool": "wusa", "exit_code": code}]}
    assert said_of(answer)["kb1.msu", 0][:2] == (result, told)


def test_each_try_is_a_job_of_its_own() -> None:
    """The first has the name that it always had: runs that were begun are found again."""
    assert [nth("windows-update", number) for number in (1, 2)] == ["windows-update", "windows-update-try2"]
