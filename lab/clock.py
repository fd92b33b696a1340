"""Time in the lab: durations are divided by ``speed``, host clocks stay real."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass
class Clock:
    """Divides every simulated duration by ``speed``; ``stopping`` ends all waits when the lab closes."""

    speed: float = 1.0
    stopping: threading.Event = field(default_factory=threading.Event)

    def sleep(self, seconds: float, until: threading.Event | None = None) -> bool:
        """Wait ``seconds`` of lab time; true when ``until`` (or the lab's end) cut it short."""
        return (until or self.stopping).wait(seconds / self.speed)
