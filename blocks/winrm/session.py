"""One authenticated connection to a host, with one remote shell in it.

A session is used by one thread at a time, and never again after an exception: pywinrm keeps an HTTP session whose
message encryption was never set up, and would send the next call in plain text.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from winrm.exceptions import WinRMOperationTimeoutError, WSManFaultError

from blocks.winrm.deadline import Deadline
from blocks.winrm.errors import (
    AuthenticationFailed,
    ConnectionDropped,
    DeadlineExceeded,
    HostError,
    ProtocolBroken,
    SessionLost,
)
from blocks.winrm.faults import SHELL_NOT_FOUND, explain, never_arrived
from blocks.winrm.transports import READ_SLACK, Target, connect, ends, protocol_for, release, was_replaced

T = TypeVar("T")

CHUNK = 100 * 1024
"""Bytes per Send: fits the 150 KiB envelope of older Windows after base64, as it fits the 500 KiB of newer ones."""
ANSWER_LIMIT = 64 * 1024 * 1024
"""Bytes of output after which an answer is not an answer any more."""
IDLE = "PT900S"
"""How long the host keeps a shell that nobody uses; one that we lose with its connection goes away by itself."""
REATTACHMENTS = 10
"""How often one exchange goes on over a new connection after its own broke."""
_CONNECT = 10.0


@dataclass(frozen=True)
class Output:
    """What a command wrote, and its exit code."""

    stdout: bytes
    stderr: bytes
    exit_code: int


class Session:
    """A connection with a shell; ``broken`` once anything went wrong, ``used`` once it has served a command."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.shell: str | None = None
        self.broken = False
        self.used = False
        self._secure = False
        self._protocol: Any = None

    def open(self, deadline: Deadline) -> None:
        """Log in and open the shell; raises HostError."""
        self.login(deadline)
        self.shell = self._call(
            deadline, lambda wire: wire.open_shell(codepage=65001, noprofile=True, idle_timeout=IDLE)
        )

    def login(self, deadline: Deadline) -> None:
        """Connect and, without TLS, agree on the keys of the seal; raises HostError."""
        target = self.target

        def log_in(_wire: Any) -> None:
            self._protocol = protocol_for(target)
            self._limit(deadline)
            self._secure = connect(target, self._protocol)

        self._guarded(deadline, log_in)

    @property
    def ageing(self) -> bool:
        """Whether the login ends so soon that nothing more should be begun with it (a Kerberos ticket's last minutes)."""
        return self._protocol is not None and ends(self._protocol) <= time.time()

    def execute(self, command: str, arguments: tuple[str, ...], stdin: bytes, deadline: Deadline) -> Output:
        """Run ``command`` in the shell, feed it ``stdin``, and collect its output until it ends.

        Raises HostError; its ``outcome_unknown`` is true from the moment the last piece of stdin went out, because a
        command that reads to the end of its stdin does nothing before it. From then on a connection that breaks is
        replaced: the command goes on in its shell, and what it says is kept there.
        """
        self.used = True
        command_id = self._call(
            deadline,
            lambda wire: wire.run_command(self.shell, command, arguments, console_mode_stdin=False),
        )
        pieces = [stdin[at : at + CHUNK] for at in range(0, len(stdin), CHUNK)] or [b""]
        for piece in pieces[:-1]:
            self._call(deadline, partial(_send, self.shell, command_id, piece))
        self._send_last(deadline, partial(_send, self.shell, command_id, pieces[-1], end=True))
        output = self._collect(command_id, deadline)
        # The answer is here; a failure to clean up costs the session, not the answer.
        with contextlib.suppress(HostError):
            self._call(Deadline(5, "the end of a command"), lambda wire: wire.cleanup_command(self.shell, command_id))
        return output

    def close(self, deadline: Deadline) -> bool:
        """Delete the shell and hang up, best effort; true when the host keeps nothing of us."""
        gone = self.shell is None or self.delete(self.shell, deadline)
        if gone:
            self.shell = None
        self.broken = True
        self._hang_up()
        return gone

    def delete(self, shell: str, deadline: Deadline) -> bool:
        """Delete a shell of this user, also one that another session opened; true when it is not there any more."""
        if not self._secure or deadline.passed:
            return False  # nothing is ever sent on a connection that was not secured
        self._limit(deadline)
        try:
            self._protocol.close_shell(shell, close_session=False)
        except Exception as error:  # noqa: BLE001 - pywinrm raises anything, and this is an attempt
            return SHELL_NOT_FOUND in explain(self.target.host, error, self.target.transport).codes
        return True

    def _collect(self, command_id: str, deadline: Deadline) -> Output:
        stdout, stderr, size = [], [], 0
        while True:
            if deadline.passed:
                self.broken = True
                raise DeadlineExceeded(self.target.host, deadline.waiting_for, deadline.seconds, outcome_unknown=True)
            piece = self._attached(deadline, lambda wire: _receive(wire, self.shell, command_id), running=True)
            if piece is None:
                continue  # the host had nothing to say for one operation timeout
            out, err, exit_code, done = piece
            stdout.append(out)
            stderr.append(err)
            size += len(out) + len(err)
            if size > ANSWER_LIMIT:
                self.broken = True
                raise ProtocolBroken(
                    self.target.host, f"more than {ANSWER_LIMIT} bytes of output", outcome_unknown=True
                )
            if done:
                return Output(b"".join(stdout), b"".join(stderr), exit_code)

    def _send_last(self, deadline: Deadline, request: Callable[[Any], None]) -> None:
        """Send what makes the script run. Where the answer was lost it is sent again: a stdin that has ended takes no more.

        The host then refuses it, and what it goes on to say tells whether the script runs.
        """
        again = False

        def send(wire: Any) -> None:
            nonlocal again
            first, again = not again, True
            try:
                request(wire)
            except WSManFaultError:
                if first:
                    raise

        self._attached(deadline, send, acts=True)

    def _attached(
        self, deadline: Deadline, request: Callable[[Any], T], *, acts: bool = False, running: bool = False
    ) -> T:
        """One exchange with what runs in the shell, over a new connection where the old one breaks."""
        unknown = running
        left = REATTACHMENTS
        while True:
            try:
                if self.broken:
                    self._reconnect(deadline)
                return self._call(deadline, request, acts=acts, running=running)
            except HostError as error:
                lost = error
            unknown = unknown or lost.outcome_unknown
            left -= 1
            if left < 0 or SHELL_NOT_FOUND in lost.codes or not isinstance(lost, ConnectionDropped | SessionLost):
                break
        raise self._problem(lost, unknown=unknown)

    def _reconnect(self, deadline: Deadline) -> None:
        """A new connection to the same shell, as secured as the first: nothing of the broken one is used again."""
        self._hang_up()
        self.broken = False
        self.login(deadline)

    def _call(self, deadline: Deadline, request: Callable[[Any], T], *, acts: bool = False, running: bool = False) -> T:
        """One exchange; ``acts``: it makes the script run, ``running``: the script runs already."""
        if self.broken or not self._secure:
            raise ProtocolBroken(self.target.host, "the session was not secured, nothing was sent")
        return self._guarded(deadline, request, acts=acts, running=running)

    def _guarded(
        self, deadline: Deadline, request: Callable[[Any], T], *, acts: bool = False, running: bool = False
    ) -> T:
        if deadline.passed:
            self.broken = True
            raise DeadlineExceeded(self.target.host, deadline.waiting_for, deadline.seconds, outcome_unknown=running)
        if self._protocol is not None:
            self._limit(deadline)
        try:
            return request(self._protocol)
        except Exception as error:  # noqa: BLE001 - pywinrm and its layers raise anything
            self.broken = True
            problem = self._problem(error, unknown=running or (acts and not never_arrived(error)))
        except BaseException:  # a cancellation: whatever was under way, this session is not to be used again
            self.broken = True
            raise
        # Outside of the handler, so that the original, with its request and headers, is not even its context.
        raise problem

    def _problem(self, error: Exception, *, unknown: bool) -> HostError:
        found = explain(self.target.host, error, self.target.transport)
        if isinstance(found, AuthenticationFailed) and was_replaced(self._protocol):
            found = ConnectionDropped(self.target.host, "the connection broke during the login", codes=found.codes)
        if found.outcome_unknown or not unknown:
            return found.with_traceback(None)
        if isinstance(found, DeadlineExceeded):
            return DeadlineExceeded(found.host, found.waited_for, found.seconds, outcome_unknown=True)
        return type(found)(found.host, found.cause, found.fix, codes=found.codes, outcome_unknown=True)

    def _limit(self, deadline: Deadline) -> None:
        """Give the next exchange no more time than is left.

        The host is asked to answer a little before we stop listening: the other way round, every quiet minute of a
        script would look like a dead host.
        """
        left = deadline.left
        operation = max(1, min(self.target.operation_timeout, int(left)))
        self._protocol.operation_timeout_sec = operation
        read = min(operation + READ_SLACK, max(left, operation + 1.0))
        self._protocol.transport.read_timeout_sec = (min(_CONNECT, max(left, 0.1)), read)

    def _hang_up(self) -> None:
        if self._protocol is not None:
            with contextlib.suppress(Exception):
                release(self._protocol)
        self._secure = False


def _send(shell: str | None, command_id: str, piece: bytes, wire: Any, *, end: bool = False) -> None:
    wire.send_command_input(shell, command_id, piece, end=end)


def _receive(wire: Any, shell: str | None, command_id: str) -> tuple[bytes, bytes, int, bool] | None:
    try:
        answer: tuple[bytes, bytes, int, bool] = wire.get_command_output_raw(shell, command_id)
    except WinRMOperationTimeoutError:
        return None
    return answer
