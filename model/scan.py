"""What a scan of a host for Windows updates has told: what is offered, what is in, and the build that it runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import AwareDatetime, field_validator

from model.hresults import OPERATION_RESULTS, windows_update_meaning
from model.policy import FoundUpdate
from model.records import Answer
from model.wanted import Updates

SUCCEEDED, WITH_ERRORS = 2, 3
WITH_REVISIONS = 10240
"""The build number of Windows from which on every cumulative update raises the UBR."""


class Build(Answer):
    """The build of Windows: its number, and the update build revision (UBR) that cumulative updates raise."""

    number: int | None = None
    ubr: int | None = None

    def __str__(self) -> str:
        return f"10.0.{self.number}.{self.ubr}"

    @property
    def tells(self) -> bool:
        """Whether a cumulative update would show in it."""
        return self.number is not None and self.ubr is not None and self.number >= WITH_REVISIONS


class HistoryEntry(Answer):
    """What the agent remembers of an installation. A success here proves nothing: it may have been rolled back."""

    id: str
    revision: int
    result_code: int
    hresult: str
    at: AwareDatetime | None = None


class Warned(Answer):
    """What the agent could not look at, as an HRESULT."""

    hresult: str
    message: str = ""


class Scan(Answer):
    """The answer of Find-WindowsUpdate."""

    result_code: int = SUCCEEDED
    warnings: tuple[Warned, ...] = ()
    updates: tuple[FoundUpdate, ...] = ()
    installed: frozenset[tuple[str, int]] | None = None
    """Identities of what is in; None where the agent does not tell."""
    superseded: frozenset[str] = frozenset()
    """UpdateIDs that are superseded by what is in: of these Windows does not list those that are in too."""
    build: Build = Build()
    wsus: str | None = None
    """The WSUS server that policy sets this host to."""
    history: tuple[HistoryEntry, ...] | None = None
    """The newest first; None where the agent does not tell."""

    of_files: bool = False
    """Whether it tells of a folder of update files: those are there whether or not they are for this host."""

    @classmethod
    def of_folder(cls, answer: Mapping[str, Any]) -> Self:
        """The scan in the answer of Find-UpdateFile: a file whose KB is not in the list of hotfixes is on offer."""
        hotfixes = set(answer["hotfixes"])
        files = []
        for file in answer["files"]:
            kb = re.search(r"kb(\d{5,8})", file["name"], re.IGNORECASE)
            kbs = [f"KB{kb[1]}"] if kb else []
            told = {"id": file["name"], "revision": 0, "title": file["name"], "kb": kbs, "is_file": True}
            files.append(FoundUpdate.model_validate({**told, "size": file["size"], "sha256": file["sha256"]}))
        missing = tuple(file for file in files if not hotfixes & set(file.kb))
        installed = frozenset(file.identity for file in files if hotfixes & set(file.kb))
        return cls(updates=missing, installed=installed, build=Build.model_validate(answer["build"]), of_files=True)

    @field_validator("installed", mode="before")
    @classmethod
    def _identities(cls, value: Any) -> Any:
        if value is None:
            return None
        return [(each["id"].casefold(), each["revision"]) if isinstance(each, dict) else each for each in value]

    @field_validator("superseded", mode="before")
    @classmethod
    def _ids(cls, value: Any) -> Any:
        return [each.casefold() for each in value or ()]

    def doubts(self) -> tuple[str, ...]:
        """Why it may not have seen everything; empty where it has."""
        if self.result_code == SUCCEEDED and not self.warnings:
            return ()
        name = OPERATION_RESULTS[self.result_code] if 0 <= self.result_code < len(OPERATION_RESULTS) else "?"
        said = [str(windows_update_meaning(each.hresult)) for each in self.warnings]
        return (f"the search ended with {name} ({self.result_code})", *said)

    @property
    def failed(self) -> bool:
        """Whether it has seen nothing that counts: neither succeeded nor succeeded with errors."""
        return self.result_code not in {SUCCEEDED, WITH_ERRORS}

    def offers(self, update: str, revision: int | None) -> bool:
        """Whether exactly this update, in this revision, is offered."""
        return any(found.identity == (update.casefold(), revision) for found in self.updates)

    def has(self, update: str, revision: int | None) -> bool | None:
        """Whether exactly this update is in; None where nobody knows."""
        return None if self.installed is None else (update.casefold(), revision) in self.installed

    def revision_in(self, update: str) -> int | None:
        """The highest revision of this update that is in; None where none is, or nobody knows."""
        return max((number for one, number in self.installed or () if one == update.casefold()), default=None)

    def remembered(self, update: str, revision: int | None) -> HistoryEntry | None:
        """What the agent remembers last of this update."""
        same = (e for e in self.history or () if (e.id.casefold(), e.revision) == (update.casefold(), revision))
        return next(same, None)


def source_problems(policy: Updates, scans: Mapping[str, Scan]) -> Iterator[str]:
    """Hosts whose WSUS server nobody said to ask or to pass by: its approvals are somebody's decision."""
    for host, scan in scans.items():
        if scan.wsus is not None and policy.source is None:
            yield (
                f"{host}: policy sets it to the WSUS server {scan.wsus}, and the estate does not say whom to ask. Say "
                f"updates.source: wsus, or {policy.asked} to pass that server's approvals by."
            )
