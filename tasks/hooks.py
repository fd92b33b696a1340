"""Hooks: a system around the estate is asked to act, and believed once it has proven it.

What was asked for is written down on the hosts before it is asked: `bring_back` undoes what it finds there, whoever runs
it. The kinds are in modules of their own: ``snapshots``, ``silence``, ``balancers``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from blocks.hooks import HookFailed
from model.hooks import AnyCall, AnyHook, answered_section, asked_section, id_in, misses, name_of
from model.outcome import Problem, Stopped
from model.records import HookAct, HookRecord
from tasks.progress import tell
from tasks.run import Run
from tasks.together import together

_ONE_CALL = 60.0
"""Seconds for one call at most: a system that hangs is asked again."""


@dataclass
class Asking:
    """One act that a hook is asked for: what it is about, and how it went."""

    run: Run
    hook: AnyHook
    act: HookAct
    stage: str
    host: str | None = None
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    id: str = ""
    until: datetime | None = None
    """When a silence ends by itself, or a snapshot must have been deleted."""
    adopted: bool = False
    """Asked for and answered already, for this quiesce."""
    detail: str = ""
    words: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._over = time.monotonic() + self.hook.deadline.total_seconds()
        self.words = {**words_of(self.run, self.host), **self.words}

    @property
    def subject(self) -> str:
        """The host, or the estate."""
        return self.host or self.run.estate.name

    def make(self, call: AnyCall) -> str:
        """The answer to one call; raises HookFailed."""
        left = min(_ONE_CALL, max(self._over - time.monotonic(), 1.0))
        return self.run.hooks.make(call, {**self.words, "id": self.id}, left)

    def insist(self, call: AnyCall) -> str:
        """The same, asked again until the deadline: for calls that do the same twice as once."""
        while True:
            try:
                return self.make(call)
            except HookFailed as failed:
                trouble = failed
            if trouble.final or self._must_end():
                raise trouble

    def once(self, call: AnyCall, hosts: Iterable[str], *, anew: bool = False) -> None:
        """Make a call that does more when it is made twice: ``hosts`` remember that it is made, and then its answer.

        ``anew``: in place of what they remember, which is over.
        """
        hosts = list(hosts)
        over = (asked_section(self.hook), answered_section(self.hook)) if anew else ()
        note(self.run, hosts, asked_section(self.hook), {"asked": self.started.isoformat()}, over)
        self.id = id_in(call, self.make(call)) or ""
        until = self.until.isoformat() if self.until else ""
        note(self.run, hosts, answered_section(self.hook), {"id": self.id, "until": until})
        if call.id_at and not self.id:
            raise HookFailed(f"its answer has no id at {call.id_at}.")

    def prove(self, proof: AnyCall) -> None:
        """Ask until the answer is the expected one; raises HookFailed at the deadline."""
        said = ""
        while True:
            try:
                why = misses(proof, self.make(proof), {**self.words, "id": self.id})
            except HookFailed as failed:
                if failed.final and not failed.absent:
                    raise
                why = str(failed)
            if why is None:
                return
            if why != said:
                said = why
                tell(self.stage, self.subject, f"waiting for {name_of(self.hook)}: {why}")
            if self._must_end():
                raise HookFailed(f"asked, and not proven: {why}")

    def _must_end(self) -> bool:
        over = self.run.over if self.stage == "bring back" else self.run.stop
        return time.monotonic() > self._over or self.run.pause(over)

    def failed(self, failed: HookFailed, then: str = "") -> HookRecord:
        """The record of a failure, which is not in the journal yet; ``then``: what to look at where something may be done."""
        said = str(failed) if str(failed).endswith(".") else f"{failed}."
        return self._record("failed", f"{said} {then}" if failed.begun and then else said)

    def done(self, said: str) -> HookRecord:
        """Keep the record of a success, and tell it."""
        tell(self.stage, self.subject, said)
        return self.run.journal.write(self._record("adopted" if self.adopted else "done", self.detail))

    def _record(self, status: Any, detail: str) -> HookRecord:
        return HookRecord(
            kind=self.hook.KEY,
            hook=name_of(self.hook),
            host=self.host,
            act=self.act,
            status=status,
            id=self.id or None,
            detail=detail,
            severity=self.hook.severity,
            started=self.started,
            ended=datetime.now(UTC),
            until=self.until,
        )

    def give_up(self, record: HookRecord) -> None:
        """Keep the record of a failure; raises Stopped where the hook must work."""
        self.run.journal.write(record)
        said = f"{record.what} by {record.hook} failed"
        if self.hook.severity == "must":
            fix = f"Mend it, or give {self.hook.KEY} {name_of(self.hook)} severity: should."
            raise Stopped(self.stage, [Problem(f"{self.subject}: {said}: {record.detail} {fix}", self.subject)])
        tell(self.stage, self.subject, f"{said}: {record.detail} The night goes on without it.")


def words_of(run: Run, host: str | None = None) -> dict[str, str]:
    """What the words in braces stand for, but for those of a silence."""
    words = {"estate": run.estate.name, "run": str(run.key)}
    return words if host is None else {**words, "host": host, "address": run.estate.hosts[host].address}


def unproven(run: Run, proof: AnyCall, words: Mapping[str, str]) -> str | None:
    """Why a proof does not answer as expected just now, None where it does; raises HookFailed."""
    return misses(proof, run.hooks.make(proof, words, _ONE_CALL), words)


def note(run: Run, hosts: Iterable[str], section: str, value: Mapping[str, str], forget: Iterable[str] = ()) -> None:
    """Write it down on hosts, and ``forget`` sections; raises the first trouble: what is not written is not undone."""
    change: dict[str, Any] = {"held": {section: dict(value)}, "forget": list(forget)}

    def write(host: str) -> None:
        run.hosts[host].run("Set-QuiesceState", number=run.number, fence=run.fence, state="open", **change)

    _, troubles = together(run, hosts, write)
    for trouble in troubles.values():
        raise trouble


def held_on(run: Run, host: str) -> dict[str, Any]:
    """What the open quiesce of a host remembers; nothing where it is closed, for a night that is over holds nothing."""
    quiesce = run.hosts[host].run("Get-QuiesceState")["quiesce"] or {}
    return (quiesce.get("held") or {}) if quiesce.get("state") == "open" else {}


def answer_in(hook: AnyHook, held: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What a hook has answered, as one of the hosts remembers it; empty where none does."""
    return next((known for each in held if (known := each.get(answered_section(hook)))), {})
