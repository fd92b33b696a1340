"""A lab in a process of its own, which ends when whoever started it is gone."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from warm import Warm


class LabProcess:
    """A running lab; ``papers`` is what it said when everything answered."""

    def __init__(self, warm: Warm, folder: Path, *arguments: str, patience: float = 60) -> None:
        pipe, self._said = folder.with_suffix(".stdin"), folder.with_suffix(".out")
        os.mkfifo(pipe)
        command = ["lab", "--dir", str(folder), *arguments, "--until-stdin-closes"]
        self._process = warm.run(command, os.environ, self._said, stdin=pipe)
        self._stdin = pipe.open("wb")
        self.folder = folder
        self._read, self._trail = 0, list[dict[str, Any]]()
        self._lock = threading.Lock()
        self.papers: dict[str, Any] = json.loads(self._first_line(time.monotonic() + patience))

    def _first_line(self, deadline: float) -> str:
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._said.exists() and "\n" in (said := self._said.read_text(encoding="utf-8")):
                return said
            time.sleep(0.01)
        raise AssertionError(f"the lab did not start: {self._said.read_text(encoding='utf-8')[-2000:]}")

    def trail(self) -> list[dict[str, Any]]:
        """The audit trail, oldest first, without a line that the lab is writing just now."""
        with self._lock, Path(self.papers["audit"]).open("rb") as file:
            file.seek(self._read)
            whole, end, _ = file.read().rpartition(b"\n")
            self._read += len(whole + end)
            self._trail += map(json.loads, whole.splitlines())
            return [*self._trail]

    def stop(self) -> int:
        """Let go of it; its exit code."""
        self._stdin.close()
        try:
            return self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(10)
