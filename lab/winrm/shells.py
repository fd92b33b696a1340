"""The shells that are open on one host, and what a user may have of them."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import dataclass, field

from lab.clock import Clock
from lab.winrm import faults
from lab.winrm.processes import Process


@dataclass(frozen=True)
class Quotas:
    """The limits of ``winrm/config``, with the values of newer Windows; times are seconds of lab time."""

    shells_per_user: int = 30
    shell_users: int = 10
    processes_per_shell: int = 25
    operations_per_user: int = 1500
    envelope: int = 500 * 1024
    idle_timeout: float = 7200.0


@dataclass
class Shell:
    """One open shell; ``idle_timeout`` in seconds of lab time."""

    id: str
    user: str
    environment: dict[str, str]
    idle_timeout: float
    commands: dict[str, Process] = field(default_factory=dict)
    used: float = field(default_factory=time.monotonic)
    busy: int = 0
    """Requests being answered at this moment; a shell with one is not idle."""

    def end(self) -> None:
        for process in self.commands.values():
            process.kill()


class Shells:
    """Opens, finds and ends shells; raises WsmanFault where a quota or a wrong id stands in the way."""

    def __init__(self, quotas: Quotas, clock: Clock) -> None:
        self.quotas = quotas
        self.accepting = True
        self._clock = clock
        self._lock = threading.Lock()
        self._shells: dict[str, Shell] = {}

    def open(self, user: str, shell_id: str, environment: dict[str, str], idle_timeout: float) -> Shell:
        with self._lock:
            if not self.accepting:
                raise faults.shell_not_found(shell_id)
            self._end_idle()
            users = {shell.user for shell in self._shells.values()}
            if user not in users and len(users) >= self.quotas.shell_users:
                raise faults.too_many_users(self.quotas.shell_users)
            if sum(shell.user == user for shell in self._shells.values()) >= self.quotas.shells_per_user:
                raise faults.too_many_shells(self.quotas.shells_per_user)
            shell = Shell((shell_id or str(uuid.uuid4())).upper(), user, environment, idle_timeout)
            self._shells[shell.id] = shell
            return shell

    def find(self, user: str, shell_id: str) -> Shell:
        """The shell of that id, if it is the caller's own: another user's looks absent."""
        with self._lock:
            self._end_idle()
            shell = self._shells.get(shell_id)
            if shell is None or shell.user != user:
                raise faults.shell_not_found(shell_id)
            shell.used = time.monotonic()
            return shell

    def check_processes(self, shell: Shell) -> None:
        """Raise when one more command would break a quota."""
        with self._lock:
            if sum(process.running for process in shell.commands.values()) >= self.quotas.processes_per_shell:
                raise faults.too_many_operations(self.quotas.processes_per_shell)
            owned = sum(len(s.commands) for s in self._shells.values() if s.user == shell.user)
            if owned >= self.quotas.operations_per_user:
                raise faults.too_many_operations(self.quotas.operations_per_user)

    def close(self, shell: Shell) -> None:
        with self._lock:
            self._shells.pop(shell.id, None)
        shell.end()

    def end_all(self) -> None:
        """The machine or its WinRM service goes: nothing of a shell outlives it."""
        with self._lock:
            self.accepting = False
            shells, self._shells = list(self._shells.values()), {}
        for shell in shells:
            shell.end()

    def open_ones(self) -> dict[str, int]:
        """How many shells each user has open."""
        with self._lock:
            self._end_idle()
            users = [shell.user for shell in self._shells.values()]
            return {user: users.count(user) for user in sorted(set(users))}

    def _end_idle(self) -> None:
        now = time.monotonic()
        for shell in list(self._shells.values()):
            if not shell.busy and now - shell.used > shell.idle_timeout / self._clock.speed:
                del self._shells[shell.id]
                shell.end()
