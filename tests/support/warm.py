"""Processes that start in milliseconds: forked from one that has imported everything, and as mortal as any other.

``python -m`` of a program with Prefect in it costs two seconds of a processor, a lab more than half of one; scenarios
that start three hundred of them would take minutes longer. The parent has no threads, and no connections; a child has
its own environment and log.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, Self

MODULES = (
    "flows.patch",
    "flows.recover",
    "billpatch",
    "prefect.flow_engine",
    "prefect.deployments",
    "report.screen",
    "lab.estate",
)


class Child:
    """A forked process, with the part of subprocess.Popen that tests use."""

    def __init__(self, parent: Warm, pid: int) -> None:
        self._parent, self.pid = parent, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code (negative: the signal), None while it runs."""
        if self.returncode is None:
            self.returncode = self._parent.ask(poll=self.pid)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait for its end; raises subprocess.TimeoutExpired."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            time.sleep(0.01)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Warm:
    """The parent; ``start`` it once, ``run`` modules from it."""

    def __init__(self) -> None:
        command = [sys.executable, __file__]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)

    def run(
        self,
        arguments: list[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        stdin: Path | None = None,
        errors: Path | None = None,
    ) -> Child:
        """``python -m`` of these arguments, its output in ``log``, that of errors too unless ``errors`` is given.

        ``stdin`` may be a named pipe: the program begins when somebody has opened its other end.
        """
        files = {"stdin": str(stdin or os.devnull), "log": str(log), "errors": str(errors or log)}
        return Child(self, self.ask(run=arguments, environment=dict(environment), **files))

    def ask(self, **order: Any) -> Any:
        """Send an order to the parent, and read its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def _serve() -> None:
    for module in MODULES:
        importlib.import_module(module)
    compile_templates()
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        if "run" in order:
            pid = os.fork()
            if pid == 0:
                _become(order)
            answer: int | None = pid
        else:
            # Told once, and kept by the Child alone: the number of one that has ended is given to another.
            ended, status = os.waitpid(order["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if ended else None
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def compile_templates() -> None:
    """Reports are written by every one of them."""
    from report import render

    for file in Path(render.__file__).parent.rglob("*.j2"):
        render._environment().get_template(file.name)


def _become(order: dict[str, Any]) -> NoReturn:
    """Turn this fresh process into the program that was asked for."""
    stdin, log = os.open(order["stdin"], os.O_RDONLY), os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    errors = log if order["errors"] == order["log"] else os.open(order["errors"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor, source in ((0, stdin), (1, log), (2, errors)):
        os.dup2(source, descriptor)
    os.environ.clear()
    os.environ.update(order["environment"])
    import prefect.context

    prefect.context.refresh_global_settings_context()
    module, *arguments = order["run"]
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        _leave(code)
    except BaseException:  # noqa: BLE001 - as the interpreter would end
        import traceback

        traceback.print_exc()
        _leave(1)
    _leave(0)


def _leave(code: int) -> NoReturn:
    """End as an interpreter does, exit handlers included, but never in the parent's loop."""
    import atexit
    import threading

    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve()
