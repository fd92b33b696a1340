"""Scripts of the operator's own: only the approved bytes run, what they write last is the answer, and failures have a line."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.operations import AnswerLost

pytestmark = [pytest.mark.lookalike, pytest.mark.telling("Invoke-HookScript")]

POWERSHELL = Path(__file__).resolve().parent.parent.parent / "powershell"
SCRIPT = POWERSHELL / "Invoke-HookScript.ps1"
NAMES = ("Invoke-Bootstrap", "Invoke-HookScript")
AUTOMATIC = {"_", "true", "false", "null", "hookScript", "hookArguments"} | {
    f"{what}Preference" for what in ("ErrorAction", "Progress", "Warning", "Information")
}
HERE, SHARE = r"C:\Ops\Set-Node.ps1", r"\\nas01\ops\Set-Node.ps1"


@pytest.fixture
def hosts(twin: Callable[..., Any]) -> Any:
    """A web server with a folder for the operator's scripts."""
    return twin(name="web01")


def put(hosts: Any, *lines: str | bytes, path: str = HERE, **told: Any) -> dict[str, Any]:
    """Put a script where hosts find it; ``told`` is its last line, what the lab goes by. The parameters of a call of it."""
    text = [line.encode() if isinstance(line, str) else line for line in lines]
    data = b"\r\n".join([*text, b"# " + json.dumps(told).encode(), b""])
    hosts.put("C/Ops/Set-Node.ps1" if path == HERE else "unc/nas01/ops/Set-Node.ps1", data)
    return {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "arguments": None}


def run(hosts: Any, parameters: dict[str, Any], **arguments: str) -> Any:
    """The answer, or the error, of both."""
    given = parameters | ({"arguments": arguments} if arguments else {})
    return hosts.run("Invoke-HookScript", given).agree("line")


def ran(hosts: Any) -> int:
    """How often the lab has run one."""
    trail: Path = hosts.lab.audit.path
    return trail.read_text().count('"hook.run"') if trail.exists() else 0


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("'drained'", "drained"),
        ("'first'; 'last'", "last"),
        ("7", 7),
        ("$true", True),
        ("1.5", 1.5),
        ("$null", None),
        ("@{ state = 'drained'; nodes = @(1, 'two', $null); deeper = @{ yes = $true } }",
         {"state": "drained", "nodes": [1, "two", None], "deeper": {"yes": True}}),
        ("[pscustomobject]@{ id = 'snapshot-17'; taken = [datetime]::SpecifyKind('2026-01-31T02:03:04.005', 'Utc') }",
         {"id": "snapshot-17", "taken": "2026-01-31T02:03:04.005Z"}),
        (", @('a list', 'as one object')", ["a list", "as one object"]),
        (", @()", []),
        (", @('one')", ["one"]),
        ("[version]'1.2'", "1.2"),
        ("[DayOfWeek]::Monday", "Monday"),
        ("'umlauts \u00fc, euros \u20ac, <&>'", "umlauts \u00fc, euros \u20ac, <&>"),
    ],
)  # fmt: skip
def test_the_last_object_is_the_answer(hosts: Any, line: str, answer: Any) -> None:
    """As JSON where JSON can say it, else as its text."""
    told = run(hosts, put(hosts, "$null = 'said nowhere'", line, answers=answer))
    if isinstance(answer, dict):  # a hashtable of the script has no order
        assert json.loads(json.dumps(told["answer"])) == answer
    else:
        assert told == {"answer": answer}
    assert ran(hosts) == 1


@pytest.mark.parametrize("path", [HERE, SHARE])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_arguments_go_by_name(hosts: Any, path: str, mark: bytes) -> None:
    """From a disk and from a share, with a byte-order mark and without one; a text stays a text."""
    parameters = put(
        hosts,
        mark + b"param([string]$Node, [string]$State = 'drained')",
        '"$Node is $State"',
        path=path,
        answers="{node} is drained",
    )
    assert run(hosts, parameters, node="web01; $(exit)") == {"answer": "web01; $(exit) is drained"}


@pytest.mark.parametrize("arguments", [None, {}])
def test_what_writes_nothing(hosts: Any, arguments: Any) -> None:
    """Warnings and the like are no answer, and do not get into it."""
    streams = [
        "Write-Warning -Message 'w'",
        "Write-Verbose -Message 'v' -Verbose",
        "Write-Information -MessageData 'i'",
    ]
    parameters = put(hosts, *streams, answers=None) | {"arguments": arguments}
    assert run(hosts, parameters) == {"answer": None}


def test_what_a_script_shows_does_not_reach_stdout() -> None:
    """In 5.1 Write-Host goes through stream 6 and else to stdout, as Write-Warning does; the engine of these tests has it otherwise."""
    (call,) = (line for line in SCRIPT.read_text().splitlines() if "do { & $hookScript @hookArguments" in line)
    assert "3>$null 4>$null 5>$null 6>$null" in call
    assert " 2>" not in call, "5.1 makes an error of what a program says on a stderr that is redirected"


def test_it_is_alone(hosts: Any) -> None:
    """No strict mode, no variable of ours seen or changed, and a break outside of a loop ends the script alone."""
    own = set(re.findall(r"\$(\w+)", "".join((POWERSHELL / f"{name}.ps1").read_text() for name in NAMES)))
    seen = "".join(f"${name}" for name in sorted(own - AUTOMATIC))
    lines = [
        "$script:name = 'overwritten'; $script:utf8 = $null",
        "function Step { $script:count++ }",
        "Step; Step",
        f'"{seen}-$script:count-$($undefined.property)-$ErrorActionPreference"',
        "break",
        "'never'",
    ]
    assert run(hosts, put(hosts, *lines, answers="-2--Stop")) == {"answer": "-2--Stop"}


# What is not run ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [HERE, SHARE, r"C:\Ops"])
def test_a_script_that_is_missing(hosts: Any, path: str) -> None:
    """Named with the host and where to look; a folder is no script."""
    hosts.put("C/Ops/other.txt", "")
    failure = run(hosts, {"path": path, "sha256": "0" * 64})
    assert failure["id"] == "HookMissing"
    assert failure["message"].startswith(f"WEB01 finds no file {path}. Nothing was run.")


def test_a_script_that_has_changed(hosts: Any) -> None:
    """One byte is enough; the message shows both hashes, and what to do where the change is meant."""
    before = put(hosts, "'drained'", answers="drained")
    after = put(hosts, "'Drained'", answers="Drained")
    failure = run(hosts, before)
    assert failure["id"] == "HookChanged"
    assert f"begins with {after['sha256'][:12]}, approved is {before['sha256'][:12]}." in failure["message"]
    assert ran(hosts) == 0
    assert run(hosts, after | {"sha256": after["sha256"].upper()}) == {"answer": "Drained"}


@pytest.mark.parametrize(
    ("lines", "arguments", "why"),
    [
        ([b"'f\xfcr'"], {}, "is not UTF-8. Nothing was run."),
        (["$code = 0", "  exit $code"], {}, "says exit in line 2, which would end the whole session"),
        (["param($Node)"], {"node": "web01", "state": "x"}, "has no parameter state. Nothing was run."),
        (["'no param block'"], {"node": "web01"}, "has no parameter node. Nothing was run."),
    ],
)
def test_scripts_that_are_not_run(hosts: Any, lines: list[Any], arguments: dict[str, str], why: str) -> None:
    """What would arrive garbled, what would take our answer along, and what would be told and not listen."""
    failure = run(hosts, put(hosts, *lines, answers=None), **arguments)
    assert failure["id"] == "HookFailed"
    assert failure["message"].startswith(f"{HERE} {why}")
    assert ran(hosts) == 0


def test_what_is_not_powershell(hosts: Any) -> None:
    """The parser's own words, and the line. The lab has no parser."""
    failure = hosts.run("Invoke-HookScript", put(hosts, "", "if (", answers=None)).engine["error"]
    assert failure["id"] == "HookFailed"
    assert failure["message"].startswith(f"{HERE} is not PowerShell in line 2, and nothing was run: Missing condition")


# What fails -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('throw "no node $Node"', "no node {Node}"),
        ("Write-Error -Message 'refused'; 'never'", "refused"),
        ("Remove-Item -LiteralPath 'C:\\nope'", "Cannot find path 'C:\\nope' because it does not exist."),
    ],
)  # fmt: skip
def test_an_error_ends_it(hosts: Any, line: str, why: str) -> None:
    """With its own words and the line where it happened, not one of ours; also what would otherwise only be shown."""
    parameters = put(hosts, "param($Node)", "'half'", line, throws=why, line=3)
    failure = run(hosts, parameters, Node="web09")
    assert failure["id"] == "HookFailed"
    said = why.replace("{Node}", "web09")
    assert failure["message"] == f"{HERE} failed in line 3, and what it did before that stays done: {said}"


def test_an_argument_that_does_not_fit_has_no_line(hosts: Any) -> None:
    """There is none in the script. The lab does not convert."""
    failure = hosts.run("Invoke-HookScript", put(hosts, "param([int]$N)", answers=1) | {"arguments": {"n": "x"}}).engine
    assert failure["error"]["message"].startswith(f"{HERE} failed, and what it did before that stays done: Cannot")


# The lab alone --------------------------------------------------------------------------------------------------------


def test_a_script_asks_the_systems_around(hosts: Any) -> None:
    """In the lab its request goes to the lab's own systems, and what they refuse is an error of the script."""
    asked: list[Any] = []
    answers: list[Any] = [(200, {"state": "draining"}), (503, {"error": "down"}), AnswerLost("gone")]

    def ask(*what: Any) -> Any:
        asked.append(what)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    hosts.lab.parts["operations"] = ask
    asks = {"method": "PUT", "path": "/balancer/nodes/{node}", "body": {"state": "drained"}}
    parameters = put(hosts, "param($Node)", asks=asks) | {"arguments": {"node": "web01"}}
    text = SCRIPT.read_text(encoding="utf-8")
    told = [hosts.call_lab("Invoke-HookScript", parameters, text) for _ in range(3)]
    assert asked == [("PUT", "/balancer/nodes/web01", {"state": "drained"})] * 3
    assert told[0]["value"] == {"answer": {"state": "draining"}}
    assert [each["error"]["id"] for each in told[1:]] == ["HookFailed"] * 2
    assert told[1]["error"]["message"].endswith("The remote server returned an error: (503) Service Unavailable.")
