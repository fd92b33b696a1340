"""The lab's task scheduler: what two clients may ask of it at once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lab import tasks
from lab.audit import Audit
from lab.clock import Clock
from lab.faults import Faults
from lab.host import Host

NAME = r"\EngageIPPatching\job"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A machine with a scheduler and one task."""
    host = Host("sql01", tmp_path, "127.0.0.1", frozenset(), Audit(tmp_path / "audit.jsonl"), Clock(100.0), Faults())
    host.parts["tasks"] = tasks.Tasks(host)
    host.parts["tasks"].register(NAME, argument="-File nothing", limit=60, description="")
    return host


def test_a_task_can_be_stopped_in_the_moment_of_its_start(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stops it finds it begun, or waits until it has."""
    stopped: list[object] = []

    def stop() -> None:
        try:
            stopped.append(host.parts["tasks"].stop(NAME))
        except RuntimeError as error:
            stopped.append(error)

    other = threading.Thread(target=stop)

    class Slow(threading.Thread):
        def start(self) -> None:
            if self is not other and not other.ident:
                other.start()
                other.join(0.2)
            super().start()

    monkeypatch.setattr(tasks.threading, "Thread", Slow)  # type: ignore[attr-defined]
    host.parts["tasks"].start(NAME)
    other.join(5)
    assert stopped == [None]
    assert host.parts["tasks"].info(NAME) == ("Ready", tasks.ENDED)
