"""At most three sessions with one host, opened when needed, reused, and thrown away after any exception."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from blocks.winrm.deadline import Deadline
from blocks.winrm.errors import DeadlineExceeded, HostError
from blocks.winrm.session import Session
from blocks.winrm.transports import Target

LIMIT = 3
_FAREWELL = 5.0
"""Seconds that saying goodbye may take: the host may be rebooting."""
_ORPHANS = 5
"""Shells without a connection that are left lying until there are so many: a host allows 30 to a user."""


class Pool:
    """The sessions with one host; safe for any number of threads, each session serving one at a time."""

    def __init__(self, target: Target, limit: int = LIMIT) -> None:
        self._target, self._limit = target, limit
        self._turn = threading.Condition()
        self._idle: list[Session] = []
        self._out = 0
        self._closings = 0
        self._orphans: list[str] = []

    @contextlib.contextmanager
    def session(self, deadline: Deadline, *, fresh: bool = False) -> Iterator[Session]:
        """A session to use for the length of the block; ``fresh`` asks for one that nobody has used.

        Raises DeadlineExceeded when all stay in use, and what opening a session raises.
        """
        session, closings = self._take(deadline, fresh=fresh)
        try:
            if session.shell is None:
                session.open(deadline)
                self._bury(at_least=_ORPHANS)
            yield session
        except BaseException:
            session.broken = True
            raise
        finally:
            self._give_back(session, closings)

    def close(self) -> None:
        """Delete the shells and hang up, best effort, in a few seconds; sessions in use end when given back."""
        with self._turn:
            self._closings += 1
            idle, self._idle = self._idle, []
        self._bury()
        deadline = Deadline(_FAREWELL, "the end of the sessions")
        for session in idle:
            session.close(deadline)

    def _bury(self, *, at_least: int = 1) -> None:
        """Delete the shells whose connections died, over another one, best effort; those of before a reboot are gone."""
        with self._turn:
            if len(self._orphans) < at_least:
                return
            orphans, self._orphans = self._orphans, []
        deadline = Deadline(_FAREWELL, "the end of lost sessions")
        helper = Session(self._target)
        with contextlib.suppress(HostError):
            helper.login(deadline)
            while orphans and helper.delete(orphans[-1], deadline):
                orphans.pop()
        helper.close(deadline)
        with self._turn:
            self._orphans += orphans

    def _take(self, deadline: Deadline, *, fresh: bool) -> tuple[Session, int]:
        stale: list[Session] = []
        with self._turn:
            while self._out >= self._limit:
                if not self._turn.wait(deadline.left) and self._out >= self._limit:
                    raise DeadlineExceeded(
                        self._target.host, f"a free session ({self._limit} in use)", deadline.seconds
                    )
            self._out += 1
            stale += [each for each in self._idle if each.ageing]
            self._idle = [each for each in self._idle if each not in stale]
            session = self._idle.pop() if self._idle and not fresh else Session(self._target)
            if fresh and self._out + len(self._idle) > self._limit:
                stale.append(self._idle.pop(0))
            closings = self._closings
        for each in stale:
            self._end(each)
        return session, closings

    def _give_back(self, session: Session, closings: int) -> None:
        with self._turn:
            self._out -= 1
            keep = not session.broken and closings == self._closings
            if keep:
                self._idle.append(session)
            self._turn.notify()
        if not keep:
            self._end(session)

    def _end(self, session: Session) -> None:
        shell = session.shell
        if not session.close(Deadline(_FAREWELL, "the end of a session")) and shell is not None:
            with self._turn:
                self._orphans.append(shell)
