"""The task scheduler of a lab host: the host's part ``tasks``.

Its state is ``tasks.json``, as the PowerShell engine of the tests keeps it. A started task waits its turn (queued), then
runs in a thread; what ends it from outside (a boot, a stop, its time limit) sets its stop event, and the task's result
is 267014. A task with a trigger starts by itself, every so many seconds of lab time, over boots. Faults, on a host:
``task.queued`` {seconds} keeps it waiting (for ever where none are said), ``task.start_delay`` {seconds} is a scheduler
that takes its time before it even says so: the task looks as if nobody had started it.
``task.blocked`` kills its PowerShell at once, as some endpoint protection does: the job's files are there, the task has
ended with 1, and nothing ever ran. ``task.refused`` {result} is a start that Windows refuses (0x80070569 unless said).
"""

from __future__ import annotations

import re
import threading
import traceback
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lab.host import Host
from lab.launcher import launch
from lab.scripts import JobCut, JobKilled
from lab.scripts.policies import runs_scripts

RUNNING, NEVER_RAN, ENDED, QUEUED = 267009, 267011, 267014, 267045
START_DELAY = 0.5
"""Seconds of lab time between Start-ScheduledTask and the task's first act."""
NO_BATCH_LOGON = 0x80070569
KILLED = 0xC000013A
"""What a process ends with that somebody else has ended."""
FOREVER = 1e9


@dataclass
class _Run:
    stop: threading.Event = field(default_factory=threading.Event)
    delay: dict[str, Any] | None = None
    thread: threading.Thread | None = None


class Tasks:
    r"""Scheduled tasks by their full name (``\EngageIPPatching\<job id>``)."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._runs: dict[str, _Run] = {}
        self._triggers: dict[str, threading.Event] = {}

    def register(self, name: str, *, argument: str, limit: float, description: str, every: float | None = None) -> None:
        """Make or replace a task of SYSTEM that runs powershell.exe with ``argument``, for ``limit`` seconds at most.

        With ``every`` it has a trigger: from now on, repeated after so many seconds.
        """
        with self.host.edit("tasks.json") as tasks:
            tasks[name] = {
                "state": "Ready",
                "execute": "powershell.exe",
                "argument": argument,
                "working": None,
                "user": "S-1-5-18",
                "logon": "ServiceAccount",
                "level": "Highest",
                "limit": duration(limit),
                "priority": 4,
                "multiple": "IgnoreNew",
                "description": description,
                "result": NEVER_RAN,
                "triggers": []
                if every is None
                else [{"kind": "once", "at": f"{datetime.now().astimezone():%Y-%m-%dT%H:%M:%S}"}],
                **({} if every is None else {"every": every}),
            }
        if every is not None:
            self._trigger(name)

    def unregister(self, name: str) -> bool:
        """Remove a task; one that runs goes on. False where there is none."""
        with self.host.lock, self.host.edit("tasks.json") as tasks:
            self._untrigger(name)
            return tasks.pop(name, None) is not None

    def _trigger(self, name: str) -> None:
        self._untrigger(name)
        off = self._triggers[name] = threading.Event()
        every = float(self.host.read("tasks.json")[name]["every"])

        def wait() -> None:
            while not self.host.clock.sleep(every, off):
                if self.host.up.is_set() and not self.host.clock.stopping.is_set():
                    self.start(name)

        threading.Thread(target=wait, name=f"{self.host.name}{name}-trigger", daemon=True).start()

    def _untrigger(self, name: str) -> None:
        earlier = self._triggers.pop(name, None)
        if earlier is not None:
            earlier.set()

    def boot(self) -> None:
        """The machine is up: triggers count again."""
        for name, task in self.host.read("tasks.json").items():
            if "every" in task:
                self._trigger(name)

    def start(self, name: str) -> None:
        """Start a task; one that runs is left alone (IgnoreNew)."""
        with self.host.lock:
            if name in self._runs:
                return
            run = self._runs[name] = _Run()
            run.delay = self.host.faults.strike("task.start_delay", self.host.name)
            if run.delay is None:
                self._queue(name)
            # under the lock: whoever stops it finds a thread that has begun
            run.thread = threading.Thread(
                target=self._run, args=(name, run), name=f"{self.host.name}{name}", daemon=True
            )
            run.thread.start()

    def info(self, name: str) -> tuple[str, int] | None:
        """State and LastTaskResult, or None where there is no such task."""
        task = self.host.read("tasks.json").get(name)
        if task is None:
            return None
        state = task["state"]
        return state, {"Running": RUNNING, "Queued": QUEUED}.get(state, task["result"])

    def stop(self, name: str) -> None:
        """End a running task."""
        with self.host.lock:
            run = self._runs.pop(name, None)
            if run is None:
                return
            run.stop.set()
            self._note(name, "Ready", result=ENDED)
        if run.thread is not None and run.thread is not threading.current_thread():
            run.thread.join(5)

    def shutdown(self) -> None:
        """The machine goes down: what runs is cut."""
        for name in list(self._triggers):
            self._untrigger(name)
        for name in list(self._runs):
            self.stop(name)

    def _queue(self, name: str) -> None:
        self._note(name, "Queued", last_run=datetime.now().astimezone().isoformat())

    def _note(self, name: str, state: str, **more: Any) -> None:
        with self.host.edit("tasks.json") as tasks:
            if name in tasks:  # it may have been removed while it ran
                tasks[name] |= {"state": state, **more}

    def _run(self, name: str, run: _Run) -> None:
        host = self.host
        if run.delay is not None:
            if host.clock.sleep(float(run.delay.get("seconds", 60)), run.stop):
                return
            with host.lock:
                if not run.stop.is_set():
                    self._queue(name)
        queued = host.faults.strike("task.queued", host.name)
        waits = 0.0 if queued is None else float(queued.get("seconds", FOREVER))
        if host.clock.sleep(START_DELAY + waits, run.stop):
            return
        refused = host.faults.strike("task.refused", host.name)
        with host.lock:
            if run.stop.is_set():
                return
            if refused is not None:
                self._runs.pop(name, None)
                self._note(name, "Ready", result=int(str(refused.get("result", NO_BATCH_LOGON)), 0))
                return
            self._note(name, "Running")
        task = host.read("tasks.json")[name]
        timer = threading.Timer(seconds(task["limit"]) / host.clock.speed, self.stop, [name])
        timer.daemon = True
        timer.start()
        try:
            blocked = host.faults.strike("task.blocked", host.name) is not None or not runs_scripts(host)
            code = 1 if blocked else _execute(host, task["argument"], run.stop)
        except JobCut:
            return
        except Exception:  # noqa: BLE001 - a bug of the lab must show in the audit trail; to the client its task has died
            host.event("lab.bug", effect=False, task=name, traceback=traceback.format_exc())
            code = 1
        finally:
            timer.cancel()
        with host.lock:
            if not run.stop.is_set():
                self._runs.pop(name, None)
                self._note(name, "Ready", result=code)


def _execute(host: Host, argument: str, stop: threading.Event) -> int:
    """Run powershell.exe with ``argument``: only the launcher of a job is known. Returns its exit code."""
    launcher = re.search(r'-File "(.+)\\launcher\.ps1" -Folder "\1"( -Repeats)?$', argument)
    if launcher is None or not host.disk.path(rf"{launcher[1]}\launcher.ps1").exists():
        return -196608  # powershell.exe: the file of -File does not exist
    try:
        return launch(host, launcher[1], stop, repeats=launcher[2] is not None)
    except JobKilled:
        return KILLED


def seconds(limit: str) -> float:
    """Read an XML duration of days, hours, minutes and seconds."""
    found = re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?", limit)
    if found is None:
        raise ValueError(f"not a duration: {limit!r}")
    return sum(int(n or 0) * unit for n, unit in zip(found.groups(), (86400, 3600, 60, 1), strict=True))


def duration(length: float) -> str:
    """An XML duration as .NET writes it: 5400 is PT1H30M."""
    days, rest = divmod(int(length), 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    date = f"{days}D" if days else ""
    time = "".join(f"{n}{unit}" for n, unit in ((hours, "H"), (minutes, "M"), (rest, "S")) if n)
    return f"P{date}T{time}" if time else f"P{date or 'T0S'}"
