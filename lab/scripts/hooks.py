r"""Invoke-HookScript: a script of the operator's own, told by its last line.

It is JSON behind ``# ``, and names what the script does::

    # {"answers": {"state": "drained"}}             it writes this last; null: nothing
    # {"throws": "no node {node}", "line": 3}       it throws, in that line (1 where unsaid)
    # {"asks": {"method": "PUT", "path": "/balancer/nodes/{node}", "body": {"state": "drained"}}}
                                                    it asks lab.operations, and writes what that answers

``{name}`` is the argument of that name. ``asks`` goes to the part ``operations`` of the host; a refusal there, or no
answer, is what Invoke-RestMethod would throw.
"""

from __future__ import annotations

import hashlib
import json
import re
from http import HTTPStatus
from typing import Any

from lab.host import Host
from lab.scripts import ScriptFailure, script
from lab.shipped import Script

_SHOWN = 12
"""Characters of a hash that a message shows."""
_EXIT = re.compile(r"^[ \t]*exit\b", re.IGNORECASE | re.MULTILINE)


@script("Invoke-HookScript")
def invoke_hook_script(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    path, wanted, arguments = parameters["path"], parameters["sha256"].casefold(), parameters.get("arguments") or {}
    text = _approved(host, path, wanted)
    _check(path, text, arguments)
    told = _filled(json.loads(text.rstrip().rpartition("\n")[2].removeprefix("# ")), arguments)
    host.event("hook.run", path=path)
    line = told.get("line", 1)
    if "throws" in told:
        raise _failed(path, line, told["throws"])
    if "asks" in told:
        return {"answer": _ask(host, path, line, told["asks"])}
    return {"answer": told["answers"]}


def _approved(host: Host, path: str, wanted: str) -> str:
    """The text of the file, if it is the one with that hash."""
    file = host.disk.path(path)
    if not file.is_file():
        message = (
            f"{host.name.upper()} finds no file {path}. Nothing was run. Put it there, or correct its path in the estate "
            "file. One on a share must be readable to everybody: a logon over the network has no password to pass on."
        )
        raise ScriptFailure(message, "HookMissing")
    data = file.read_bytes()
    have = hashlib.sha256(data).hexdigest()
    if have != wanted:
        message = (
            f"{path} is not the script that was approved: its SHA-256 begins with {have[:_SHOWN]}, approved is "
            f"{wanted[:_SHOWN]}. Nothing was run. Look at what has changed; if that is meant, write its new hash into the "
            "estate file."
        )
        raise ScriptFailure(message, "HookChanged")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        message = (
            f"{path} is not UTF-8. Nothing was run. Save it as UTF-8, and write its new hash into the estate file."
        )
        raise ScriptFailure(message, "HookFailed") from None


def _check(path: str, text: str, arguments: dict[str, str]) -> None:
    leaves = _EXIT.search(text)
    if leaves is not None:
        line = text.count("\n", 0, leaves.start()) + 1
        message = (
            f"{path} says exit in line {line}, which would end the whole session without an answer. Nothing was run. "
            "Write return there, or throw where it is a failure."
        )
        raise ScriptFailure(message, "HookFailed")
    names = {parameter.name.casefold() for parameter in Script(path, text, job=False).parameters}
    for name in sorted(arguments, key=str.casefold):
        if name.casefold() not in names:
            message = f"{path} has no parameter {name}. Nothing was run. Correct its arguments in the estate file."
            raise ScriptFailure(message, "HookFailed")


def _ask(host: Host, path: str, line: int, asks: dict[str, Any]) -> Any:
    try:
        status, answer = host.parts["operations"](asks.get("method", "GET"), asks["path"], asks.get("body"))
    except ConnectionError:
        raise _failed(path, line, "The underlying connection was closed: A connection was closed.") from None
    if status >= HTTPStatus.BAD_REQUEST:
        phrase = HTTPStatus(status).phrase
        raise _failed(path, line, f"The remote server returned an error: ({status}) {phrase}.")
    return answer


def _failed(path: str, line: int, why: str) -> ScriptFailure:
    return ScriptFailure(f"{path} failed in line {line}, and what it did before that stays done: {why}", "HookFailed")


def _filled(told: Any, arguments: dict[str, str]) -> Any:
    """``told`` with the arguments put in wherever a text names one."""
    if isinstance(told, str):
        return re.sub(r"\{(\w+)\}", lambda found: arguments.get(found[1], found[0]), told)
    if isinstance(told, list):
        return [_filled(each, arguments) for each in told]
    if isinstance(told, dict):
        return {name: _filled(each, arguments) for name, each in told.items()}
    return told
