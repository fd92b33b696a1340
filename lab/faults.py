"""Declared faults: what goes wrong, where, how often. Seeded where chance is involved."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Fault:
    """One declared fault.

    ``name`` is what the code of the lab asks for (``backup.flip_byte``, ``store.unreachable``); ``on`` restricts it to
    a subject (a host, database, folder or store; ``*`` is every one); ``times`` is how often it strikes (None: always);
    ``with_`` carries its settings.
    """

    name: str
    on: str = "*"
    times: int | None = None
    with_: dict[str, Any] = field(default_factory=dict)


class Faults:
    """The faults in force; tests and ``billpatch lab --fault`` declare them, the lab's parts ask for them."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self._lock = threading.Lock()
        self._declared: list[Fault] = []

    def declare(self, fault: Fault) -> None:
        """Put ``fault`` into force."""
        with self._lock:
            self._declared.append(fault)

    def clear(self, name: str | None = None) -> None:
        """Withdraw every fault of that name, or all of them."""
        with self._lock:
            self._declared = [f for f in self._declared if name is not None and f.name != name]

    def strike(self, name: str, on: str, **about: Any) -> dict[str, Any] | None:
        """The settings of a fault in force for ``on``, used up once; None where there is none.

        ``about`` tells more of the occasion (``action="Receive"``): a fault whose settings name something else under
        the same key does not strike, and is not used up.
        """
        with self._lock:
            for fault in self._declared:
                if fault.name != name or fault.on not in ("*", on) or fault.times == 0:
                    continue
                if all(fault.with_.get(key, value) == value for key, value in about.items()):
                    if fault.times is not None:
                        fault.times -= 1
                    return dict(fault.with_)
        return None
