"""What runs in a remote shell: a program with a line, standard input, two outputs and an exit code."""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable, Sequence

Chunk = tuple[str, bytes]
"""A piece of output: the stream's name (``stdout``, ``stderr``) and bytes."""

MAX_CHUNK = 32 * 1024


class Killed(Exception):  # noqa: N818 - what happened to the process, not an error of it
    """The process was ended from outside: a signal, its shell's end, the machine's shutdown."""


class Process:
    """A running command; the program's side reads and writes, the server's side sends and takes."""

    def __init__(self, line: str, user: str, environment: dict[str, str], program: Program) -> None:
        self.line = line
        self.user = user
        self.environment = environment
        self.killed = threading.Event()
        self._program = program
        self._changed = threading.Condition()
        self._input = bytearray()
        self._input_ended = False
        self._output: deque[Chunk] = deque()
        self._underway = False
        self._exit_code: int | None = None

    def start(self) -> None:
        threading.Thread(target=self._run, name=f"process {self.line[:24]}", daemon=True).start()

    def _run(self) -> None:
        try:
            code = self._program(self)
        except Killed:
            code = -1073741510  # STATUS_CONTROL_C_EXIT
        except Exception:  # noqa: BLE001 - a bug of the lab must reach whoever reads the output, not hang the client
            self.write(traceback.format_exc().encode(), "stderr")
            code = -532462766  # an unhandled .NET exception
        self._finish(code)

    def _finish(self, code: int) -> None:
        with self._changed:
            if self._exit_code is None:
                self._exit_code = code
            self._changed.notify_all()

    # The program's side ----------------------------------------------------------------------------------------------

    def read(self) -> bytes:
        """All of standard input, once it has ended; raises Killed."""
        with self._changed:
            self._changed.wait_for(lambda: self._input_ended or self.killed.is_set())
            if self.killed.is_set():
                raise Killed
            return bytes(self._input)

    def write(self, data: bytes, stream: str = "stdout") -> None:
        """Append output; lost when the process was killed."""
        with self._changed:
            if not self.killed.is_set():
                self._output.extend((stream, data[at : at + MAX_CHUNK]) for at in range(0, len(data), MAX_CHUNK))
                self._changed.notify_all()

    # The server's side -----------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        return self._exit_code is None

    def send(self, data: bytes, *, end: bool) -> bool:
        """Pass input on; false when nobody is left to read it."""
        with self._changed:
            if self._exit_code is not None or self._input_ended:
                return False
            self._input += data
            self._input_ended = end
            self._changed.notify_all()
            return True

    def take(self, most: int, seconds: float) -> tuple[list[Chunk], int | None] | None:
        """Output of up to ``most`` bytes (at least one chunk) and the exit code; None after ``seconds`` of silence.

        The exit code comes with the last output, and again for whoever asks again. Until ``settle`` is
        called, what was taken is under way, and nobody else is told that there is no more.
        """

        def something() -> bool:
            return not self._underway and (bool(self._output) or self._exit_code is not None)

        with self._changed:
            if not self._changed.wait_for(something, seconds):
                return None
            self._underway = True
            taken: list[Chunk] = []
            while self._output and (not taken or len(self._output[0][1]) <= most):
                taken.append(self._output.popleft())
                most -= len(taken[-1][1])
            return taken, None if self._output else self._exit_code

    def settle(self, chunks: Sequence[Chunk], *, delivered: bool) -> None:
        """Tell what became of a ``take``: where its answer never left, the next one gets it."""
        with self._changed:
            self._underway = False
            if not delivered:
                self._output.extendleft(reversed(chunks))
            self._changed.notify_all()

    def kill(self) -> None:
        with self._changed:
            self.killed.set()
            self._changed.notify_all()
        self._finish(-1073741510)


Program = Callable[[Process], int]
"""What a command line runs: reads and writes its Process, returns the exit code."""
