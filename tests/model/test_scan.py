"""What a scan tells is read once, and a list that was frozen takes in nothing that appeared since, but by name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from model.estate import load_estate
from model.hresults import unsigned, windows_update_meaning
from model.plan import plan_of
from model.policy import FoundUpdate, admit
from model.rounds import newcomers
from model.scan import Build, Scan, source_problems
from model.wanted import Updates

SAMPLE = Path(__file__).parents[2] / "deployments" / "estates" / "acme-billing.yaml"
TEXT = SAMPLE.read_text(encoding="utf-8")
SECURITY = [{"name": "Security Updates"}]
FOLDER = {
    "files": [
        {"name": "windows10.0-kb5034127-x64_ab12.msu", "size": 7, "sha256": "ab" * 32},
        {"name": "Windows10.0-KB5033904-x64.CAB", "size": 8, "sha256": "cd" * 32},
        {"name": "driver.cab", "size": 9, "sha256": "ef" * 32},
    ],
    "hotfixes": ["KB5033904"],
    "build": {"number": 17763, "ubr": 5206},
}


def update(name: str, kb: str, **told: Any) -> FoundUpdate:
    return FoundUpdate.model_validate(
        {"id": name, "revision": 1, "title": name, "kb": [kb], "categories": SECURITY, **told}
    )


def test_a_folder_offers_the_files_whose_kb_is_not_installed() -> None:
    """By the KB in the file's name and Windows' own list; the hash is what is frozen."""
    scan = Scan.of_folder(FOLDER)
    assert [each.id for each in scan.updates] == ["windows10.0-kb5034127-x64_ab12.msu", "driver.cab"]
    assert scan.has("Windows10.0-KB5033904-x64.CAB", 0) is True
    assert not scan.offers("Windows10.0-KB5033904-x64.CAB", 0)
    judged = {each.update.id: each for each in admit(scan.updates, Updates(classifications=()))}
    assert judged["windows10.0-kb5034127-x64_ab12.msu"].reason == "lies in the folder of updates.source"
    assert not judged["driver.cab"].admitted


def test_files_go_in_by_the_order_of_their_names() -> None:
    """No name says which is a servicing stack: people put one first by its name."""
    names = ["windows10.0-kb5034127-x64.msu", "01-windows10.0-kb5043124-x64.msu", "windows10.0-kb5033904-x64.cab"]
    files = [{"name": name, "size": 1, "sha256": "ab" * 32} for name in names]
    scan = Scan.of_folder({**FOLDER, "files": files, "hotfixes": []})
    plan = plan_of(load_estate(TEXT, "acme.yaml"), {"web01": scan.updates})
    assert [step.update for step in plan.of("install", "web01") if step.is_windows_update] == [
        "01-windows10.0-kb5043124-x64.msu",
        "windows10.0-kb5033904-x64.cab",
        "windows10.0-kb5034127-x64.msu",
    ]


def test_the_hash_of_a_file_is_part_of_the_plan() -> None:
    """Another file under the same name is another plan."""
    estate = load_estate(TEXT, "acme.yaml")
    plan = plan_of(estate, {"web01": Scan.of_folder(FOLDER).updates})
    (step,) = (each for each in plan.of("install", "web01") if each.is_windows_update)
    assert (step.update, step.sha256) == ("windows10.0-kb5034127-x64_ab12.msu", "ab" * 32)
    other = {**FOLDER, "files": [{**FOLDER["files"][0], "sha256": "00" * 32}]}  # type: ignore[index]
    plans = [plan_of(estate, {"web01": Scan.of_folder(each).updates}).hash for each in (FOLDER, other)]
    assert plans[0] != plans[1]


def test_a_share_of_updates_wants_a_login() -> None:
    """That of the backup store it lies below, or its own."""
    text = TEXT.replace("source: wsus ", r"source: '\\tools01\patches' ")
    with pytest.raises(Exception, match=r"updates\.source: lies on a share without credentials"):
        load_estate(text, "acme.yaml")
    estate = load_estate(text.replace("kb_accept: []", "credentials: tools-acme"), "acme.yaml")
    assert estate.credentials_names()["tools-acme"] == "share"
    assert estate.updates.folder == r"\\tools01\patches"


def test_what_appeared_later_goes_in_only_by_a_name_of_the_frozen_plan() -> None:
    """Promise 10: the rest waits for the next review; what policy would not admit is not even mentioned."""
    estate = load_estate(TEXT, "acme.yaml")
    plan = plan_of(estate, {"web01": [update("old", "KB5000001")]})
    rescan = Scan(
        updates=(
            update("old", "KB5000001"),
            update("old", "KB5000001", revision=2),
            update("unlocked", "KB5034767", categories=[]),
            update("new", "KB5000002"),
            update("definitions", "KB2267602"),
            update("rejected", "KB5044284"),
        )
    )
    unlocked, later = newcomers(plan, "web01", rescan, estate.updates)
    assert [(step.host, step.update) for step in unlocked] == [("web01", "unlocked")]
    assert [(each.update.id, each.update.revision) for each in later] == [("old", 2), ("new", 1)]


def test_a_kb_that_was_named_after_the_freezing_waits_too() -> None:
    """The plan is what was approved, not what the file says by now."""
    estate = load_estate(TEXT, "acme.yaml")
    plan = plan_of(load_estate(TEXT.replace("[KB5034767] ", "[] "), "acme.yaml"), {"web01": []})
    unlocked, later = newcomers(plan, "web01", Scan(updates=(update("u", "KB5034767"),)), estate.updates)
    assert (unlocked, len(later)) == ((), 1)


def test_a_wsus_server_is_asked_or_passed_by_only_as_somebody_says() -> None:
    """Its approvals are somebody's decision: unsaid is refused, either word is taken."""
    scans = {"web01": Scan(wsus="http://wsus01:8530"), "sql01": Scan()}
    (problem,) = source_problems(Updates(), scans)
    assert "web01: policy sets it to the WSUS server http://wsus01:8530" in problem
    assert "updates.source: wsus" in problem
    for source in ("wsus", "windows-update"):
        assert not list(source_problems(Updates(source=source), scans))


@pytest.mark.parametrize(
    ("build", "tells"),
    [
        (Build(number=17763, ubr=1), True),
        (Build(number=9600, ubr=20000), False),
        (Build(number=17763), False),
        (Build(), False),
    ],
)
def test_which_builds_tell_of_cumulative_updates(build: Build, tells: bool) -> None:
    """Windows Server 2016 and later have a UBR that each of them raises."""
    assert build.tells is tells


@pytest.mark.parametrize(
    ("code", "failed", "said"), [(2, False, ""), (3, False, "SucceededWithErrors"), (4, True, "Failed")]
)
def test_a_search_that_has_not_seen_everything_says_so(code: int, failed: bool, said: str) -> None:
    """With errors it still tells what it saw; failed, it tells nothing that counts: an empty list is then no good news."""
    warnings = [{"hresult": "80240438", "message": ""}] if code == 3 else []
    scan = Scan.model_validate({"result_code": code, "warnings": warnings})
    assert scan.failed is failed
    assert said in " ".join(scan.doubts())
    assert bool(scan.doubts()) is (code != 2)
    assert ("check WSUS" in " ".join(scan.doubts())) is (code == 3)


# What real machines wrote --------------------------------------------------------------------------------------------


def found_in(capture: dict[str, Any]) -> FoundUpdate:
    """An update as win_updates of Ansible has recorded it: its words for our fields."""
    known = {name: capture[name] for name in ("id", "title", "kb", "type", "browse_only")}
    categories = [{"name": name} for name in capture["categories"]]
    return FoundUpdate.model_validate({**known, "revision": capture["revision_number"], "categories": categories})


def recorded(captures: Path, name: str) -> list[dict[str, Any]]:
    lines = (captures / "wua" / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def test_updates_of_a_real_server_are_judged(captures: Path) -> None:
    """A security update of Windows goes in; definitions, and what is only an 'Update', stay out."""
    (search,) = (
        each
        for each in recorded(captures, "win_updates-failed-install-80070643.jsonl")
        if each.get("task") == "search_result"
    )
    judged = {each.update.title: each for each in admit(map(found_in, search["result"]["updates"]), Updates())}
    flash = next(each for title, each in judged.items() if "KB4580325" in title)
    assert (flash.admitted, flash.reason) == (True, "classification security")
    assert not any(each.admitted for title, each in judged.items() if "KB2267602" in title)
    assert len(judged) == len({each["id"] for each in search["result"]["updates"]})


def test_a_preview_among_updates_is_known_by_its_class(captures: Path) -> None:
    """KB4512495 was one: in the class Updates, and its title does not say so."""
    text = (captures / "wua" / "win_updates-filtered-by-category.json").read_text(encoding="utf-8")
    kb = re.findall(r'"kb": \[\s*"(\d+)"', text)
    titles = re.findall(r'"title": "([^"]+)"', text)
    assert "4512495" in kb
    preview = next(title for title in titles if "KB4512495" in title)
    (admission,) = admit([FoundUpdate(id="u", title=preview, categories=({"name": "Updates"},))], Updates())  # type: ignore[arg-type]
    assert not admission.admitted


def test_codes_of_real_logs_are_read_however_they_are_written(captures: Path) -> None:
    """Negative, with 0x, in a JSON document or in a message: the same code, the same meaning, the same advice."""
    history = (captures / "wua" / "iupdatehistory-one-ok-one-failed-unmapped.txt").read_text(
        encoding="utf-8", errors="replace"
    )
    codes = [line.partition(":")[2].strip() for line in history.splitlines() if line.strip().startswith("HResult")]
    assert "-2145124300" in codes
    assert windows_update_meaning("-2145124300").hex == "0x80240034"
    assert windows_update_meaning("-2145124300").do == "retry"
    packer = (captures / "wua" / "packer-install-80240016-other-install-running.txt").read_text(encoding="utf-8")
    thrown = set(re.findall(r"HRESULT: (0x[0-9A-F]{8})", packer))
    assert {windows_update_meaning(code).do for code in thrown} == {"wait"}
    said = json.dumps(recorded(captures, "win_updates-failed-install-80070643.jsonl"))
    numbers = {unsigned(int(code)) for code in re.findall(r'"(?:hresult|HResult)": (-?\d+)', said)}
    assert 0x80070643 in numbers
    assert windows_update_meaning(0x80070643).do == "fail-update"


def test_the_row_that_is_pending_has_a_code_of_its_own(captures: Path) -> None:
    """240005 beside the word Success: installed, and a restart completes it."""
    text = (captures / "reportingevents" / "wsus-server2016-japanese-ok.log").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if "AGENT_INSTALLING_PENDING" in line)
    code = next(word for word in row.split() if word == "240005")
    assert windows_update_meaning(f"00{code}").do == "done-reboot"
