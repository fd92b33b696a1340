"""The WS-Management service of one host: what each action does to shells and commands."""

from __future__ import annotations

import base64
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from xml.sax.saxutils import escape

from lab.host import Host
from lab.winrm import envelopes, faults
from lab.winrm.envelopes import NS, RSP, Request
from lab.winrm.processes import Process, Program
from lab.winrm.shells import Shell, Shells

OS_VERSION = "10.0.17763"
CMD_SHELL = f"{RSP}/cmd"
"""The one kind of shell that a lab host opens; PowerShell's own (PSRP) is another plug-in."""
CMD_LIMIT = 8191
CREATE_PROCESS_LIMIT = 32766


Settle = Callable[[bool], None]


@dataclass(frozen=True)
class Caller:
    """Who asks, and from where: ``server`` is the ``Host`` header, the address that the client used."""

    user: str
    address: str
    server: str


@dataclass(frozen=True)
class Answer:
    """An HTTP status and body; ``settle`` is to be called once, with whether the answer could be delivered."""

    status: int
    body: bytes
    settle: Settle = lambda _delivered: None


class Service:
    """Answers requests; thread-safe."""

    def __init__(self, host: Host, shells: Shells, program: Program) -> None:
        self._host = host
        self._shells = shells
        self._program = program

    @property
    def envelope(self) -> int:
        """The largest request that is taken, in bytes."""
        return self._shells.quotas.envelope

    def answer(self, request: Request, caller: Caller) -> Answer:
        """Do what is asked; faults become answers."""
        if request.kind == "Identify":
            return Answer(200, envelopes.identified(OS_VERSION))
        try:
            self._strike_fault(request)
            body, settle = self._handle(request, caller)
        except faults.WsmanFault as fault:
            machine = caller.server.rsplit(":", 1)[0]
            return Answer(500, envelopes.reply(envelopes.FAULT_ACTION, request.message_id, fault.body(machine)))
        return Answer(200, envelopes.reply(f"{request.action}Response", request.message_id, body), settle)

    def _strike_fault(self, request: Request) -> None:
        settings = self._host.faults.strike("winrm.fault", self._host.name, action=request.kind)
        if settings is not None:
            text = settings.get("text", "The WS-Management service cannot process the request. ")
            raise faults.WsmanFault(
                int(settings["code"]), "w:InternalError", text, value="s:Receiver", wmi=bool(settings.get("wmi"))
            )

    def _handle(self, request: Request, caller: Caller) -> tuple[str, Settle]:
        if request.kind == "Create":
            if request.resource.casefold() != CMD_SHELL:
                raise faults.unknown_resource(request.resource)
            return self._create(request, caller), _nothing
        if request.kind == "Get" and request.resource.endswith("/winrm/config"):
            return self._config(), _nothing
        shell = self._shells.find(caller.user, request.shell_id)
        shell.busy += 1
        try:
            return self._in_shell(request, shell)
        finally:
            shell.busy -= 1

    def _in_shell(self, request: Request, shell: Shell) -> tuple[str, Settle]:
        match request.kind:
            case "Delete":
                self._shells.close(shell)
                return "", _nothing
            case "Command":
                return self._command(request, shell), _nothing
            case "Send" | "Receive" | "Signal":
                command_id, element = _addressed(request)
                process = shell.commands.get(command_id)
                if process is None:
                    raise faults.command_not_found()
                if request.kind == "Send":
                    return _send(process, element), _nothing
                if request.kind == "Receive":
                    return self._receive(request, process, command_id)
                process.kill()
                if element.findtext("rsp:Code", "", NS).endswith("/terminate"):
                    shell.commands.pop(command_id, None)
                return "<rsp:SignalResponse/>", _nothing
            case _:
                raise faults.action_not_supported()

    def _create(self, request: Request, caller: Caller) -> str:
        asked = request.body.find("rsp:Shell", NS)
        if asked is None:
            raise faults.invalid_parameter()
        environment = {str(v.get("Name")): v.text or "" for v in asked.findall("rsp:Environment/rsp:Variable", NS)}
        idle = asked.findtext("rsp:IdleTimeOut", "", NS)
        seconds = (
            float(idle[2:-1]) if idle.startswith("PT") and idle.endswith("S") else self._shells.quotas.idle_timeout
        )
        shell = self._shells.open(caller.user, asked.get("ShellId") or "", environment, seconds)
        variables = "".join(
            f'<rsp:Variable Name="{escape(k)}">{escape(v)}</rsp:Variable>' for k, v in environment.items()
        )
        folder = asked.findtext("rsp:WorkingDirectory", "", NS)
        uri = escape(request.resource)
        return (
            f"<x:ResourceCreated><a:Address>http://{escape(caller.server)}/wsman</a:Address><a:ReferenceParameters>"
            f'<w:ResourceURI>{uri}</w:ResourceURI><w:SelectorSet><w:Selector Name="ShellId">{shell.id}</w:Selector>'
            f"</w:SelectorSet></a:ReferenceParameters></x:ResourceCreated>"
            f"<rsp:Shell><rsp:ShellId>{shell.id}</rsp:ShellId><rsp:ResourceUri>{uri}</rsp:ResourceUri>"
            f"<rsp:Owner>{escape(caller.user)}</rsp:Owner><rsp:ClientIP>{caller.address}</rsp:ClientIP>"
            + (f"<rsp:Environment>{variables}</rsp:Environment>" if variables else "")
            + (f"<rsp:WorkingDirectory>{escape(folder)}</rsp:WorkingDirectory>" if folder else "")
            + f"<rsp:IdleTimeOut>PT{seconds:.3f}S</rsp:IdleTimeOut>"
            f"<rsp:InputStreams>{escape(asked.findtext('rsp:InputStreams', 'stdin', NS))}</rsp:InputStreams>"
            f"<rsp:OutputStreams>{escape(asked.findtext('rsp:OutputStreams', 'stdout stderr', NS))}</rsp:OutputStreams>"
            f"<rsp:ShellRunTime>P0DT0H0M0S</rsp:ShellRunTime><rsp:ShellInactivity>P0DT0H0M0S</rsp:ShellInactivity></rsp:Shell>"
        )

    def _command(self, request: Request, shell: Shell) -> str:
        asked = request.body.find("rsp:CommandLine", NS)
        if asked is None:
            raise faults.invalid_parameter()
        words = [asked.findtext("rsp:Command", "", NS), *(a.text or "" for a in asked.findall("rsp:Arguments", NS))]
        line = " ".join(words)
        skip_cmd = request.option("WINRS_SKIP_CMD_SHELL")
        if skip_cmd and "\\" not in words[0]:
            raise faults.file_not_found()
        self._shells.check_processes(shell)
        program = self._program if len(line) <= (CREATE_PROCESS_LIMIT if skip_cmd else CMD_LIMIT) else _line_too_long
        process = Process(line, shell.user, shell.environment, program)
        command_id = (asked.get("CommandId") or str(uuid.uuid4())).upper()
        shell.commands[command_id] = process
        short = (
            line
            if len(line) <= 256
            else f"{line[:80]}… ({len(line)} characters, {sha256(line.encode()).hexdigest()[:16]})"
        )
        self._host.event("winrm.command", effect=False, user=shell.user, line=short, shell=shell.id)
        process.start()
        return f"<rsp:CommandResponse><rsp:CommandId>{command_id}</rsp:CommandId></rsp:CommandResponse>"

    def _receive(self, request: Request, process: Process, command_id: str) -> tuple[str, Settle]:
        room = (min(request.max_envelope, self._shells.quotas.envelope) - 4096) * 3 // 4
        taken = process.take(room, request.timeout / self._host.clock.speed)
        if taken is None:
            raise faults.timed_out()
        chunks, exit_code = taken
        streams = "".join(
            f'<rsp:Stream Name="{name}" CommandId="{command_id}">{base64.b64encode(data).decode()}</rsp:Stream>'
            for name, data in chunks
        )
        state, code = "Running", ""
        if exit_code is not None:
            state, code = "Done", f"<rsp:ExitCode>{exit_code}</rsp:ExitCode>"
            streams += "".join(
                f'<rsp:Stream Name="{name}" CommandId="{command_id}" End="true"></rsp:Stream>'
                for name in ("stdout", "stderr")
            )
        body = (
            f'<rsp:ReceiveResponse>{streams}<rsp:CommandState CommandId="{command_id}" State="{RSP}/CommandState/{state}">'
            f"{code}</rsp:CommandState></rsp:ReceiveResponse>"
        )
        return body, lambda delivered: process.settle(chunks, delivered=delivered)

    def _config(self) -> str:
        quotas = self._shells.quotas
        return (
            '<cfg:Config xmlns:cfg="http://schemas.microsoft.com/wbem/wsman/1/config">'
            f"<cfg:MaxEnvelopeSizekb>{quotas.envelope // 1024}</cfg:MaxEnvelopeSizekb><cfg:MaxTimeoutms>60000</cfg:MaxTimeoutms>"
            f"<cfg:Winrs><cfg:AllowRemoteShellAccess>true</cfg:AllowRemoteShellAccess>"
            f"<cfg:IdleTimeout>{int(quotas.idle_timeout * 1000)}</cfg:IdleTimeout>"
            f"<cfg:MaxConcurrentUsers>{quotas.shell_users}</cfg:MaxConcurrentUsers>"
            f"<cfg:MaxProcessesPerShell>{quotas.processes_per_shell}</cfg:MaxProcessesPerShell>"
            f"<cfg:MaxShellsPerUser>{quotas.shells_per_user}</cfg:MaxShellsPerUser></cfg:Winrs></cfg:Config>"
        )


def _nothing(_delivered: bool) -> None:
    """Nothing to take back."""


def _addressed(request: Request) -> tuple[str, ET.Element]:
    """The command that a request is for, and the element that names it: itself, or (Send, Receive) its first child."""
    if not len(request.body):
        raise faults.invalid_parameter()
    element = request.body[0]
    command_id = element.get("CommandId") or (element[0].get("CommandId") if len(element) else None)
    if command_id is None:
        raise faults.invalid_parameter()
    return command_id.upper(), element


def _send(process: Process, element: ET.Element) -> str:
    for stream in element.findall("rsp:Stream", NS):
        data = base64.b64decode(stream.text or "")
        if not process.send(data, end=stream.get("End", "").lower() == "true"):
            raise faults.pipe_closed()
    return "<rsp:SendResponse/>"


def _line_too_long(process: Process) -> int:
    process.write(b"The command line is too long.\r\n", "stderr")
    return 1
