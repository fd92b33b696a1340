"""What goes into a script's stdin and what comes out of its stdout: one JSON document each way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from blocks.winrm import clixml
from blocks.winrm.errors import ScriptFailed, ScriptRefused
from blocks.winrm.scripts import library, script_text
from blocks.winrm.session import Output

_HIDDEN = "***"
_SHORTEST_SECRET = 4
"""Characters below which a secret is not looked for in error texts: replacing 'a' would leave nothing to read."""
_EXCERPT = 300

_REFUSALS = {
    "ConstrainedLanguage": (
        "PowerShell runs in ConstrainedLanguage mode",
        "Let AppLocker or WDAC allow full language mode for this user on the host.",
    ),
    "language mode": (
        "PowerShell runs in a restricted language mode",
        "Let AppLocker or WDAC allow full language mode for this user on the host.",
    ),
    "ScriptContainedMaliciousContent": (
        "the host's antivirus blocks the script",
        "Except these scripts there; they are the files of the folder powershell.",
    ),
    "malicious content": (
        "the host's antivirus blocks the script",
        "Except these scripts there; they are the files of the folder powershell.",
    ),
    "is not recognized as an internal or external command": (
        "there is no powershell.exe in its path",
        "Windows PowerShell 5.1 belongs there.",
    ),
    "command line is too long": ("the command line is too long", "The bootstrap must fit 8,191 characters."),
}


class _Failure(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: str | None = None
    message: str | None = None
    hresult: int | None = None
    script: str | None = None
    line: int | None = None
    id: str | None = None


class _Answer(BaseModel):
    model_config = ConfigDict(extra="allow")

    ok: bool
    value: Any = None
    error: _Failure | None = None


def question(script: str, parameters: Mapping[str, Any]) -> bytes:
    """The stdin document that runs ``script`` with ``parameters`` (SecretStr values are revealed in it).

    It is plain ASCII, with everything else escaped: no code page on the way can then change a character.
    Raises LookupError for a script that is not shipped and TypeError for a value that is not JSON.
    """
    document = {"name": script, "library": library(), "script": script_text(script), "parameters": parameters}
    return json.dumps(document, ensure_ascii=True, allow_nan=False, default=_reveal).encode("ascii")


def answer(host: str, script: str, output: Output, secrets: tuple[str, ...] = ()) -> dict[str, Any]:
    """The value that ``script`` returned.

    Raises ScriptFailed with the script's own error, or ScriptRefused where the output is not the bootstrap's: then
    PowerShell did not get as far as our script. ``secrets`` are struck out of what an error repeats.
    """
    try:
        parsed = _Answer.model_validate_json(output.stdout.decode("utf-8-sig").strip())
    except (ValidationError, UnicodeDecodeError):
        parsed = None
    if parsed is None:
        refusal = _refusal(host, script, output, secrets)
        raise refusal
    if not parsed.ok:
        failure = parsed.error or _Failure()
        raise ScriptFailed(
            host,
            failure.script or script,
            redacted(failure.message or "it gave no reason", secrets),
            type=failure.type or "",
            hresult=failure.hresult,
            line=failure.line,
            id=redacted(failure.id or "", secrets),
        )
    if not isinstance(parsed.value, dict):
        raise ScriptRefused(
            host, f"{script} returned {type(parsed.value).__name__} where one object is agreed", "Update billpatch."
        )
    return parsed.value


def _refusal(host: str, script: str, output: Output, secrets: tuple[str, ...]) -> ScriptRefused:
    said = clixml.parse(output.stderr)
    text = said.complaint or output.stdout.decode("utf-8", "replace").strip()
    for mark, (cause, fix) in _REFUSALS.items():
        # PowerShell breaks its error lines at the width of a console that is not there.
        if mark.replace(" ", "") in "".join(text.split()):
            return ScriptRefused(host, f"{script} was not run: {cause}", fix, codes=(output.exit_code,))
    excerpt = redacted(" ".join(text.split())[:_EXCERPT].rstrip(". "), secrets)
    told = f": {excerpt}" if excerpt else ""
    cause = f"{script} gave no answer that we understand (exit code {output.exit_code}){told}"
    # Nobody can say how far a script came that ended like this.
    return ScriptRefused(host, cause, "", codes=(output.exit_code,), outcome_unknown=True)


def secrets_in(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """The values to strike out of error texts: SecretStr anywhere, and every text below a name ``secrets``."""
    return tuple(_walk(parameters, secret=False))


def redacted(text: str, secrets: tuple[str, ...]) -> str:
    """``text`` without any of ``secrets``, as they are or as JSON writes them."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            for form in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
                text = text.replace(form, _HIDDEN)
    return text


def _walk(value: Any, *, secret: bool) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, str):
        if secret:
            yield value
    elif isinstance(value, Mapping):
        for name, below in value.items():
            yield from _walk(below, secret=secret or name == "secrets")
    elif isinstance(value, list | tuple):
        for below in value:
            yield from _walk(below, secret=secret)


def _reveal(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    raise TypeError(f"a parameter of type {type(value).__name__} is not JSON")
