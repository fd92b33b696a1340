"""What a command line does on a lab host: a little of cmd.exe, and PowerShell for the shipped scripts alone."""

from __future__ import annotations

import base64
import binascii
import json
import re
import traceback
from collections.abc import Callable, Mapping
from typing import Any
from xml.sax.saxutils import escape

from lab.host import Host
from lab.scripts import SCRIPTS, ScriptFailure
from lab.shipped import Script, Shipped
from lab.winrm.processes import Killed, Process

ScriptFunction = Callable[[Host, dict[str, Any]], dict[str, Any]]

SECURITY = "System.Management.Automation.PSSecurityException"
BINDING = "System.Management.Automation.ParameterBindingException"
INVALID_JSON = "System.ArgumentException,Microsoft.PowerShell.Commands.ConvertFromJsonCommand"
# One call of a program, without anything that PowerShell would interpret: what Ansible's raw module sends.
_NATIVE = re.compile(r"(hostname|whoami|ping)(?:\.exe)?( [\w.\- ]*)?", re.IGNORECASE)

OUT_OF_MEMORY = (
    "The paging file is too small for this operation to complete",
    "System.ComponentModel.Win32Exception",
    "System.ComponentModel.Win32Exception",
    -2147023441,
)
"""What a process is told whose shell has used up MaxMemoryPerShellMB."""
COR_E_SYSTEM = -2146233087
E_INVALIDARG = -2147024809


class CommandShell:
    """Runs the command lines of ``host``: pass it to WinRM as its program.

    ``scripts`` are the functions that act for the scripts, by name; left out, they are those of ``lab.scripts``.
    """

    def __init__(
        self, host: Host, *, scripts: Mapping[str, ScriptFunction] = SCRIPTS, shipped: Shipped | None = None
    ) -> None:
        self._host = host
        self._scripts = scripts
        self._shipped = shipped or Shipped()

    def __call__(self, process: Process) -> int:
        line = process.line.strip()
        word, _, rest = line.partition(" ")
        name = word.strip('"').rsplit("\\", 1)[-1].lower().removesuffix(".exe")
        if name == "powershell":
            return self._powershell(process, rest)
        builtin = _BUILTINS.get(name)
        if builtin is not None:
            return builtin(self._host, process, rest.strip())
        message = (
            f"'{word}' is not recognized as an internal or external command,\r\noperable program or batch file.\r\n"
        )
        process.write(message.encode(), "stderr")
        return 1

    # PowerShell ------------------------------------------------------------------------------------------------------

    def _powershell(self, process: Process, arguments: str) -> int:
        text = _encoded_command(arguments)
        native = re.fullmatch(_NATIVE, text.strip()) if text else None
        if native is not None:  # application control allows Windows' own programs, from PowerShell too
            return _BUILTINS[native[1].lower()](self._host, process, (native[2] or "").strip())
        if text is None or not self._shipped.is_bootstrap(text):
            self._host.event("powershell.refused", effect=False, text=text if text is not None else arguments)
            message = "The command is not one that this host's application control policy allows."
            process.write(clixml_error(message), "stderr")
            return 1
        answer, code = self._run(process.read())
        process.write(_to_json(answer))
        return code

    def _run(self, stdin: bytes) -> tuple[dict[str, Any], int]:
        name = None
        try:
            request = _read_request(stdin)
            name = request.get("name")
            self._need_memory()
            script = self._recognise(request)
            parameters = bind(script, request.get("parameters") or {})
            self._host.event("script.run", effect=False, script=script.name)
            return {"ok": True, "value": self._scripts[script.name](self._host, parameters)}, 0
        except Killed:
            raise
        except ScriptFailure as failure:
            return {"ok": False, "error": failure.error(name)}, 1
        except Exception as failure:  # noqa: BLE001 - a bug of the lab must show in the answer and in the audit trail
            self._host.event("lab.bug", effect=False, script=name, traceback=traceback.format_exc())
            bug = ScriptFailure(f"a bug of the lab: {failure!r}", "LabBug", f"Lab.{type(failure).__name__}")
            return {"ok": False, "error": bug.error(name)}, 1

    def _need_memory(self) -> None:
        if self._host.faults.strike("winrm.out_of_memory", self._host.name) is not None:
            raise ScriptFailure(*OUT_OF_MEMORY)

    def _recognise(self, request: dict[str, Any]) -> Script:
        name = request.get("name")
        script = self._shipped.script(str(request.get("script", "")))
        if script is None or script.name not in self._scripts:
            raise self._refusal(f"The script {name}", str(name))
        if not self._shipped.is_library(str(request.get("library", ""))):
            raise self._refusal(f"The library that came with {name}", f"{name} (library)")
        return script

    def _refusal(self, what: str, told: str) -> ScriptFailure:
        self._host.event("script.refused", effect=False, script=told)
        message = f"{what} is not the shipped one: this host's application control policy refuses it."
        return ScriptFailure(message, "UnauthorizedAccess", SECURITY, COR_E_SYSTEM)


def bind(script: Script, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Bind as PowerShell does: names fold case, unknown and missing mandatory parameters raise ScriptFailure."""
    declared = {parameter.name.casefold(): parameter.name for parameter in script.parameters}
    bound = {}
    for name, value in parameters.items():
        if name.casefold() not in declared:
            message = f"A parameter cannot be found that matches parameter name '{name}'."
            raise ScriptFailure(message, "NamedParameterNotFound", BINDING, COR_E_SYSTEM)
        bound[declared[name.casefold()]] = value
    missing = [p.name for p in script.parameters if p.mandatory and p.name not in bound]
    if missing:
        message = f"Cannot process command because of one or more missing mandatory parameters: {' '.join(missing)}."
        raise ScriptFailure(message, "MissingMandatoryParameter", BINDING, COR_E_SYSTEM)
    return bound


def _read_request(stdin: bytes) -> dict[str, Any]:
    try:
        request = json.loads(stdin.decode("utf-8-sig"))
        if isinstance(request, dict):
            return request
        problem = "not an object"
    except ValueError as error:
        problem = str(error)
    raise ScriptFailure(f"Invalid JSON primitive: {problem}.", INVALID_JSON, "System.ArgumentException", E_INVALIDARG)


def clixml_error(message: str) -> bytes:
    """Write an error as powershell.exe does to a stderr that is not a console."""
    body = escape(message)
    return (
        "#< CLIXML\r\n"
        '<Objs Version="1.1.0.1" xmlns="http://schemas.microsoft.com/powershell/2004/04">'
        f'<S S="Error">{body}_x000D__x000A_</S></Objs>'
    ).encode()


def _encoded_command(arguments: str) -> str | None:
    match = re.search(r"-e(?:c|nc|ncodedcommand)?\s+(\S+)", arguments, re.IGNORECASE)
    if match is None:
        return None
    try:
        return base64.b64decode(match[1], validate=True).decode("utf-16-le")
    except (binascii.Error, UnicodeDecodeError):
        return None


def _to_json(answer: dict[str, Any]) -> bytes:
    text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
    # ConvertTo-Json of 5.1 escapes these four; none of them can stand outside a string.
    for character in "<>&'":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()


# cmd.exe -------------------------------------------------------------------------------------------------------------


def _print(process: Process, text: str) -> int:
    process.write(f"{text}\r\n".encode())
    return 0


def _hostname(host: Host, process: Process, _: str) -> int:
    return _print(process, host.name)


def _whoami(host: Host, process: Process, _: str) -> int:
    return _print(process, f"{host.name}\\{process.user}".lower())


def _ver(_: Host, process: Process, __: str) -> int:
    return _print(process, "\r\nMicrosoft Windows [Version 10.0.17763.5206]")


def _echo(_: Host, process: Process, arguments: str) -> int:
    return _print(process, arguments or "ECHO is on.")


def _exit(_: Host, __: Process, arguments: str) -> int:
    code = arguments.removeprefix("/b").strip()
    return int(code) if code.lstrip("-").isdigit() else 0


def _more(_: Host, process: Process, __: str) -> int:
    process.write(process.read())
    return 0


def _ping(host: Host, process: Process, arguments: str) -> int:
    """``ping -n 6 127.0.0.1`` waits five seconds: the way to sleep without a console."""
    count = re.search(r"-n\s+(\d+)", arguments)
    for number in range(int(count[1]) if count else 4):
        if number and (host.clock.sleep(1.0, process.killed) or process.killed.is_set()):
            raise Killed
        _print(process, "Reply from 127.0.0.1: bytes=32 time<1ms TTL=128")
    return 0


_BUILTINS: dict[str, Callable[[Host, Process, str], int]] = {
    "echo": _echo,
    "exit": _exit,
    "hostname": _hostname,
    "more": _more,
    "ping": _ping,
    "ver": _ver,
    "whoami": _whoami,
}
