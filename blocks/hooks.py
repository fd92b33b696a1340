"""The systems around an estate: one call by HTTP, by a program of this machine, or by a script on a host.

HookFailed   no answer, or one that says no
"""

# ruff: noqa: N818 - as it is told: the call failed
from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property

import httpx

from blocks.command import CommandFailed, run_command
from blocks.credentials import ApiCredentials
from blocks.web import WebClient, WebError, plain
from blocks.windows_host import WindowsHost
from blocks.winrm.errors import HostError, ScriptFailed
from model.hooks import AnyCall, CommandCall, HttpCall, PowerShellCall, filled, filled_body

_LONGEST_SAID = 200
_LATER = (408, 409, 423, 425, 429)
"""Statuses that say: not now."""


class HookFailed(Exception):
    """A call without a good answer, in one line and without a secret.

    ``begun`` tells whether it may have done something, ``final`` that the same call will not be answered otherwise a
    little later, ``absent`` that what was asked for is not there.
    """

    def __init__(self, message: str, *, begun: bool = True, final: bool = False, absent: bool = False) -> None:
        super().__init__(message)
        self.begun, self.final, self.absent = begun, final, absent


class HookCaller:
    """Makes the calls of hooks; ``credentials`` are those that the estate names, ``hosts`` those it can run scripts on."""

    def __init__(self, credentials: Mapping[str, object], hosts: Mapping[str, WindowsHost]) -> None:
        self._credentials, self._hosts = credentials, hosts

    @cached_property
    def _web(self) -> WebClient:
        """Made when it is first needed: to read the authorities takes its time, and most estates have no hooks."""
        return WebClient(proxies=True)

    def make(self, call: AnyCall, words: Mapping[str, str], deadline: float) -> str:
        """The answer as text, within ``deadline`` seconds; raises HookFailed."""
        match call:
            case HttpCall():
                return self._http(call, words, deadline)
            case CommandCall():
                return self._command(call, words, deadline)
            case PowerShellCall():
                return self._powershell(call, words, deadline)

    def _secret(self, block: str | None) -> ApiCredentials | None:
        found = self._credentials[block] if block else None
        return found if isinstance(found, ApiCredentials) else None

    def _http(self, call: HttpCall, words: Mapping[str, str], deadline: float) -> str:
        url = filled(call.http, words, url=True)
        headers, login = {"Accept": "application/json"}, self._secret(call.credentials)
        if login is not None:
            headers[login.header] = login.authorization.get_secret_value()
        content = None
        if call.body is not None:
            content = json.dumps(filled_body(call.body, words)).encode()
            headers["Content-Type"] = "application/json"
        try:
            answer = self._web.send(call.method, url, content, headers, deadline=deadline)
        except WebError as error:
            failed = HookFailed(str(error), begun=call.method != "GET")
        else:
            if 200 <= answer.status < 300:
                return answer.text
            said = " ".join(answer.text.split())[:_LONGEST_SAID]
            if login is not None:
                said = said.replace(login.authorization.get_secret_value(), "***")
            told = f"{call.method} {plain(url)} answered {answer.status}{f': {said}' if said else ''}"
            failed = HookFailed(
                told,
                begun=answer.status >= 500,
                final=400 <= answer.status < 500 and answer.status not in _LATER,
                absent=answer.status == httpx.codes.NOT_FOUND,
            )
        raise failed

    def _command(self, call: CommandCall, words: Mapping[str, str], deadline: float) -> str:
        login = self._secret(call.credentials)
        secret = login.authorization.get_secret_value() if login else None
        try:
            return run_command([filled(part, words) for part in call.command], secret=secret, deadline=deadline)
        except CommandFailed as error:
            failed = HookFailed(str(error), begun=error.begun, final=not error.begun)
        raise failed

    def _powershell(self, call: PowerShellCall, words: Mapping[str, str], deadline: float) -> str:
        arguments = {name: filled(text, words) for name, text in call.arguments.items()}
        try:
            answer = self._hosts[call.on].run(
                "Invoke-HookScript",
                path=call.powershell,
                sha256=call.sha256,
                arguments=arguments,
                deadline=max(deadline, 1.0),
            )["answer"]
        except HostError as error:
            failed = HookFailed(str(error), begun=error.outcome_unknown, final=isinstance(error, ScriptFailed))
        else:
            return answer if isinstance(answer, str) else json.dumps(answer)
        raise failed
