"""A point in time that a call must not pass."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Deadline:
    """``seconds`` from the moment it is made; ``waiting_for`` says what the seconds are for."""

    seconds: float
    waiting_for: str
    _end: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_end", time.monotonic() + self.seconds)

    @property
    def left(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self._end - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether there is no time left."""
        return self.left <= 0
