"""Where a batch's answers go: onto the wire, or, for the lab's other parts, into a Result."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.clock import Clock
from lab.sql.errors import Cancelled, Message
from lab.sql.values import Column

Rows = Sequence[Sequence[Any]]


class Output(ABC):
    """Takes what statements answer, in order; ``wait`` is how a statement spends time, and where it can be cancelled."""

    @abstractmethod
    def message(self, what: Message) -> None:
        """An informational message (severity up to 10)."""

    @abstractmethod
    def rows(self, columns: Sequence[Column], rows: Rows) -> None:
        """A result set."""

    @abstractmethod
    def affected(self, count: int | None) -> None:
        """A statement without rows has ended; None under SET NOCOUNT ON, and for statements that count nothing."""

    @abstractmethod
    def database(self, new: str, old: str) -> None:
        """The session's database has changed."""

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Spend ``seconds`` of lab time; Cancelled when the client does not want the rest."""


@dataclass
class Result:
    """What a batch answered. ``rows`` and ``columns`` are those of the first result set, ``sets`` has all of them."""

    sets: list[tuple[list[str], list[tuple[Any, ...]]]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    errors: list[Message] = field(default_factory=list)
    affected: int = -1
    cancelled: bool = False

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        return self.sets[0][1] if self.sets else []

    @property
    def columns(self) -> list[str]:
        return self.sets[0][0] if self.sets else []

    def records(self) -> list[dict[str, Any]]:
        """The rows by column name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class Collector(Output):
    """Fills a Result, in the lab's own process."""

    def __init__(
        self,
        clock: Clock,
        stop: threading.Event | None,
        killed: threading.Event,
        on_message: Callable[[Message], None] | None,
    ) -> None:
        self.result = Result()
        self._clock, self._stop, self._killed, self._on_message = clock, stop, killed, on_message

    def message(self, what: Message) -> None:
        self.result.messages.append(what)
        if self._on_message:
            self._on_message(what)

    def rows(self, columns: Sequence[Column], rows: Rows) -> None:
        names = [column.name for column in columns]
        self.result.sets.append((names, [tuple(row) for row in rows]))

    def affected(self, count: int | None) -> None:
        if count is not None:
            self.result.affected = count

    def database(self, new: str, old: str) -> None:
        pass

    def wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds / self._clock.speed
        while (left := end - time.monotonic()) > 0:
            if (
                self._clock.stopping.is_set()
                or self._killed.wait(min(left, 0.02))
                or (self._stop and self._stop.is_set())
            ):
                raise Cancelled
