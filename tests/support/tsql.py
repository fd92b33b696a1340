"""Every T-SQL batch that the lab's SQL Servers were sent by a test session parses for SQL Server 2012 to 2025.

A pytest plugin: at the session's end (with xdist, in the process that waits for the workers) it reads the
``sql-batches.jsonl`` of every lab below the session's temporary folder and gives each different text to Microsoft's
grammar. What a SQL Server would not parse fails the session, and so does a lab that was asked something and has not
written it down.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

PRODUCT = "billpatch"
"""The application name of the product's connections."""


@dataclass
class Batches:
    """The different texts that were sent, with a lab that saw each; ``silent`` are labs that wrote none of theirs down."""

    sent: dict[str, Path] = field(default_factory=dict)
    silent: list[Path] = field(default_factory=list)


def collect(base: Path) -> Batches:
    """What the labs below ``base`` were sent.

    A text that the lab itself refused to read before anything of it ran is left out, but for the product's: a lab that
    is asked nonsense on purpose answers as SQL Server would.
    """
    found = Batches()
    for folder in _labs(base):
        file = folder / "sql-batches.jsonl"
        if not file.exists():
            if '"event": "sql.batch"' in (folder / "audit.jsonl").read_text(encoding="utf-8"):
                found.silent.append(folder)
            continue
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        refused = {line["sql"] for line in lines if "refused" in line and line["program"] != PRODUCT}
        for line in lines:
            if line["sql"] not in refused:
                found.sent.setdefault(line["sql"], folder)
    return found


def _labs(base: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(base):
        if "audit.jsonl" in files or "sql-batches.jsonl" in files:
            yield Path(folder)
        below[:] = [name for name in below if name not in {"hosts", "nas01"}]


def faults(checker: Path, batches: Batches) -> list[str]:
    """What no SQL Server from 2012 on would parse, each text once with its first error and a lab that was sent it."""
    asked = "".join(json.dumps({"sql": text}) + "\n" for text in batches.sent)
    done = subprocess.run([checker, "--serve"], input=asked, capture_output=True, text=True, check=True, timeout=300)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if len(answers) != len(batches.sent):
        return [f"the checker answered {len(answers)} of {len(batches.sent)} batches: {done.stderr}"]
    told = []
    for (text, lab), answer in zip(batches.sent.items(), answers, strict=True):
        if answer["errors"]:
            first = answer["errors"][0]
            told.append(f"SQL Server {first['server']}: {first['message']} In {text!r}, sent to {lab}")
    return told


class TsqlCheck:
    """The plugin; ``checker`` is the program that parses. Where it is absent nothing is checked, and that is said."""

    def __init__(self, checker: Path) -> None:
        self._checker = checker
        self._told: list[str] = []
        self._words = ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Check, and let the session fail by what is found."""
        if hasattr(session.config, "workerinput") or session.config.option.collectonly:
            return
        base = self._base(session.config)
        batches = collect(base) if base is not None else Batches()
        self._told = [f"{lab} was sent batches and wrote none down" for lab in batches.silent]
        if batches.sent and self._checker.exists():
            self._told += faults(self._checker, batches)
            self._words = f"{len(batches.sent)} different batches parse for SQL Server 2012 to 2025"
        elif batches.sent:
            self._words = f"{len(batches.sent)} different batches NOT checked: there is no {self._checker.name}"
            if os.environ.get("BILLPATCH_REQUIRE_SHARED"):
                self._told.append(f"{self._words}, and BILLPATCH_REQUIRE_SHARED is set")
        if self._told and session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say it."""
        if self._told:
            terminalreporter.section("T-SQL that SQL Server would refuse", red=True)
            for line in self._told:
                terminalreporter.write_line(line, red=True)
        elif self._words:
            terminalreporter.write_line(f"T-SQL: {self._words}")

    @staticmethod
    def _base(config: pytest.Config) -> Path | None:
        """The session's temporary folder; None where no test has asked for one."""
        factory: Any = config._tmp_path_factory  # type: ignore[attr-defined]
        base: Path | None = factory._basetemp
        return base
