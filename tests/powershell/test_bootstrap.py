"""The bootstrap and the library: what every script relies on, run for real in the PowerShell engine."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.lookalike

AWKWARD = "\\\"‹&€\\u0022{}[]'\n\t/" + "é"
HEAD = "[CmdletBinding()]\nparam($a, $secrets)\n"


def _ask(engine: Any, folder: Path, script: str, parameters: dict[str, Any], **more: Any) -> tuple[Any, int]:
    answer = engine.call(folder, "Test-It", parameters, script, **more)
    return answer, 0 if answer["ok"] else 1


@pytest.fixture
def folder(twin: Callable[..., Any]) -> Path:
    path: Path = twin().engine
    return path


def test_the_bootstrap_fits_a_command_line(bootstrap_arguments: list[str]) -> None:
    """The cmd.exe through which WinRS starts commands, takes 8,191 characters."""
    assert len(" ".join(["powershell.exe", *bootstrap_arguments])) < 8191


@pytest.mark.parametrize("codepage", [65001, 437])
def test_text_survives_the_way_there_and_back(engine: Any, folder: Path, codepage: int) -> None:
    """Both streams are UTF-8 whatever the console's code page is."""
    answer, code = _ask(engine, folder, HEAD + "[ordered]@{ a = $a }", {"a": AWKWARD}, codepage=codepage)
    assert (answer, code) == ({"ok": True, "value": {"a": AWKWARD}}, 0)


def test_values_keep_their_shape(engine: Any, folder: Path) -> None:
    """Numbers, nulls, empty lists, lists of one and nested objects come back as they went."""
    value = {"one": [1], "none": [], "null": None, "deep": [{"x": [{"y": [True, 2**40]}]}], "empty": {}}
    answer, _ = _ask(engine, folder, HEAD + "[ordered]@{ a = $a }", {"a": value})
    assert answer["value"]["a"] == value


def test_an_error_is_told_with_its_cause(engine: Any, folder: Path) -> None:
    """What a script throws comes back with type, message, HRESULT, script, line and id, and exit code 1."""
    answer, code = _ask(engine, folder, HEAD + "throw (New-Failure -Id 'Why' -Message 'because')", {})
    assert code == 1
    assert answer["ok"] is False
    assert answer["error"] == {
        "type": "System.InvalidOperationException",
        "message": "because",
        "hresult": -2146233079,
        "script": "Test-It",
        "line": 3,
        "id": "Why",
    }


@pytest.mark.parametrize("body", ["1; 2", "$null = 1", "@(1, 2)"])
def test_a_script_that_returns_not_one_object_is_an_error(engine: Any, folder: Path, body: str) -> None:
    """A stray line of output must not silently become part of the answer."""
    answer, code = _ask(engine, folder, HEAD + body, {})
    assert (answer["ok"], code) == (False, 1)
    assert "not one" in answer["error"]["message"]


def test_warnings_do_not_reach_the_answer(engine: Any, folder: Path) -> None:
    """powershell.exe prints warnings on stdout, where the answer goes."""
    answer, _ = _ask(engine, folder, HEAD + "Write-Warning 'w'; Write-Verbose 'v'; 7", {})
    assert answer == {"ok": True, "value": 7}


def test_an_unreadable_document_is_told(engine: Any, folder: Path, bootstrap_arguments: list[str]) -> None:
    """Half a document is an error that says so, not silence."""
    said = engine.run(folder, bootstrap_arguments, '{"name": "X", ')
    assert json.loads(said["stdout"])["ok"] is False
    assert said["exit_code"] == 1


SPY = """
$global:real = Get-Command -Name ConvertFrom-Json -CommandType Cmdlet
function ConvertFrom-Json {
    param([string]$InputObject)
    [IO.File]::AppendAllText('C:\\seen.txt', $InputObject)
    & $global:real -InputObject $InputObject
}
"""


def test_no_cmdlet_is_given_a_secret(engine: Any, folder: Path, tmp_path: Path) -> None:
    """Module logging records what cmdlets are given: secrets are cut out of the document before it is parsed."""
    spy = tmp_path / "spy.ps1"
    spy.write_text(SPY)
    mark = secrets.token_hex(8)
    sent = {"one": mark + AWKWARD, "two": "", "é": f"{{{mark}}}"}
    script = HEAD + "[ordered]@{ s = $secrets; a = $a }"
    answer, _ = _ask(engine, folder, script, {"a": "kept", "secrets": sent, "b": 1}, stubs=[str(spy)])
    assert answer["error"]["id"] == "NamedParameterNotFound", "b is no parameter; what stands after secrets is read too"
    answer, _ = _ask(engine, folder, script, {"a": "kept", "secrets": sent}, stubs=[str(spy)])
    assert answer["value"] == {"s": sent, "a": "kept"}
    seen = (folder / "C" / "seen.txt").read_text()
    assert "kept" in seen, "the spy was asked"
    assert mark not in seen


def test_secrets_that_are_not_flat_are_not_taken_apart(engine: Any, folder: Path) -> None:
    """Only a flat object of texts is a secrets object; anything else arrives as what it was."""
    odd = {"a": {"b": "c"}}
    answer, _ = _ask(engine, folder, HEAD + "[ordered]@{ s = $secrets }", {"secrets": odd})
    assert answer["value"]["s"] == odd
    answer, _ = _ask(engine, folder, HEAD + "[ordered]@{ s = $secrets; a = $a }", {"a": '{"secrets": {"x": "y"}}'})
    assert answer["value"] == {"s": None, "a": '{"secrets": {"x": "y"}}'}


# The library ----------------------------------------------------------------------------------------------------------


def test_secrets_are_sealed_by_the_machine(engine: Any, folder: Path) -> None:
    """What Protect-Secret writes opens again on this machine, and shows nothing of the texts."""
    script = (
        HEAD + "$b = Protect-Secret -Secrets $secrets; Write-File -Path 'C:\\s.bin' -Bytes $b;"
        " Unprotect-Secret -Bytes ([IO.File]::ReadAllBytes('C:\\s.bin'))"
    )
    sent = {"password": secrets.token_hex(8) + AWKWARD, "empty": ""}
    answer, _ = _ask(engine, folder, script, {"secrets": sent})
    assert answer["value"] == sent
    sealed = (folder / "C" / "s.bin").read_bytes()
    assert sent["password"].encode() not in sealed
    assert base64.b64encode(sent["password"].encode()) not in sealed


def test_a_state_file_is_replaced_as_a_whole(engine: Any, folder: Path) -> None:
    """Writing leaves the new object and no other file, the first time and every later one."""
    script = HEAD + "Write-JsonFile -Path 'C:\\x.json' -Value $a; Read-JsonFile -Path 'C:\\x.json'"
    for value in ({"n": 1, "t": AWKWARD}, {"n": 2, "list": [1]}):
        answer, _ = _ask(engine, folder, script, {"a": value})
        assert answer["value"] == value
    assert [p.name for p in (folder / "C").iterdir() if p.is_file()] == ["x.json"]
    assert (folder / "C" / "x.json").read_bytes()[:1] == b"{", "no byte-order mark"


def test_who_reads_a_state_file_meanwhile_reads_the_old_one(engine: Any, folder: Path) -> None:
    """The new bytes are another file, put in its place: never half of them in the one that somebody has open."""
    file = folder / "C" / "x.json"
    file.write_bytes(b'"before"')
    with file.open("rb") as reader:
        answer, _ = _ask(engine, folder, HEAD + "Write-JsonFile -Path 'C:\\x.json' -Value $a; 'done'", {"a": "after"})
        assert answer["ok"], answer
        assert reader.read() == b'"before"'
    assert file.read_bytes() == b'"after"'


def test_a_busy_file_is_waited_for(engine: Any, folder: Path) -> None:
    """A sharing violation passes; an absent folder does not, and is told at once."""
    busy = (
        "$n = @(0); $r = Invoke-Retry -Work { $n[0]++; if ($n[0] -lt 3) { throw (New-Object IO.IOException('busy')) }; 'done' };"
        " [ordered]@{ n = $n[0]; r = $r }"
    )
    answer, _ = _ask(engine, folder, HEAD + busy, {})
    assert answer["value"] == {"n": 3, "r": "done"}
    answer, _ = _ask(engine, folder, HEAD + "Write-JsonFile -Path 'C:\\none\\x.json' -Value 1", {})
    assert answer["error"]["type"] == "System.IO.DirectoryNotFoundException"


def test_one_boot_id_for_one_boot(engine: Any, folder: Path) -> None:
    """The id is made once, read by everyone, and gone after a boot."""
    make = (
        HEAD + "Initialize-PatchingRoot; [ordered]@{ before = Get-BootId; id = Initialize-BootId; after = Get-BootId }"
    )
    first, _ = _ask(engine, folder, make, {})
    assert first["value"]["before"] is None
    assert first["value"]["id"] == first["value"]["after"]
    second, _ = _ask(engine, folder, make, {})
    assert second["value"]["id"] == first["value"]["id"]
    engine.boot(folder)
    third, _ = _ask(engine, folder, make, {})
    assert third["value"]["before"] is None
    assert third["value"]["id"] != first["value"]["id"]


def test_iso_dates_are_utc(engine: Any, folder: Path) -> None:
    """A local time is told in UTC, with milliseconds, and read back the same."""
    script = (
        HEAD
        + "$d = ConvertFrom-IsoDate -Text $a; [ordered]@{ text = ConvertTo-IsoDate -Date $d.ToLocalTime(); kind = [string]$d.Kind }"
    )
    answer, _ = _ask(engine, folder, script, {"a": "2026-03-08T07:00:01.234Z"})
    assert answer["value"] == {"text": "2026-03-08T07:00:01.234Z", "kind": "Utc"}


def test_a_program_that_complains_is_no_error(engine: Any, folder: Path) -> None:
    """Invoke-Native answers the exit code and the text, on whatever stream it came."""
    stub = "function chatty.exe { 'out'; Write-Error 'err' -ErrorAction Continue; $global:LASTEXITCODE = 7 }"
    answer, _ = _ask(engine, folder, HEAD + stub + "; Invoke-Native -File 'chatty.exe' -Arguments @('x y')", {})
    assert answer["value"]["code"] == 7
    assert "out" in answer["value"]["text"]
    assert "err" in answer["value"]["text"]
