"""Rounds of updates: what a rescan says of an update that was tried, and whether and when it is tried once more.

A result code is what the agent said; the rescan and the build are what is so. An update that went in and is offered
again was rolled back while the host booted: to install it again would only restart everything again
(ansible.windows#604). Every kind of failure has its number of tries, counted over all rounds.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from model.hresults import Do, windows_update_meaning
from model.plan import Plan, PlanStep, update_step
from model.policy import Admission, admit
from model.records import UpdateRecord
from model.scan import Build, Scan
from model.titles import raises_build
from model.wanted import Updates

When = Literal["now", "after-restart", "next-round"]

_AGAIN: dict[Do, tuple[int, When]] = {
    "retry": (3, "now"),
    "keep-waiting": (3, "now"),
    "install-alone": (2, "now"),
    "wait": (2, "after-restart"),
    "wait-for-boot": (2, "after-restart"),
    "reboot": (2, "after-restart"),
    "install-ssu-first": (2, "next-round"),
    "unknown": (2, "next-round"),
}
"""How often an update is tried that ends so, and when; what is not here is not tried again."""
_CUT_OFF = 2
"""How often a job may be cut off under an update."""


def when_again(record: UpdateRecord | None) -> When | None:
    """When an update is tried once more if it is still offered; None where that helps no more.

    ``record`` is its last one; None where it was never tried.
    """
    if record is None or (record.result == "not-tried" and record.hresult is None):
        return "next-round"
    if record.verified_by is not None:
        return None
    if record.result == "unknown":
        return "next-round" if record.tries.count(CUT) < _CUT_OFF else None
    if record.result not in {"failed", "not-tried"} or record.hresult is None:
        return None
    do = _do(record.hresult)
    most, when = _AGAIN.get(do, (1, "now"))
    return when if sum(_do(code) == do for code in record.tries) < most else None


CUT = "cut off"
"""A try of which nobody knows how it ended."""


def _do(code: str) -> Do:
    # What fails with 'work after the restart' has had its restart: before it that is no failure.
    return "done" if code == CUT else windows_update_meaning(code, after_reboot=True).do


def must_wait(record: UpdateRecord) -> bool:
    """Whether this update is what its host must restart for, though it is not in."""
    return when_again(record) == "after-restart"


def judged(record: UpdateRecord, rescan: Scan, before: Build | None = None) -> UpdateRecord:
    """The record of an update after a rescan; without a proof (``verified_by``) where it is still to be tried.

    ``before`` is the build that the host had before this round: a cumulative update that has not raised it is not in,
    whatever else is told.
    """
    if record.kind != "windows-update" or record.verified_by is not None:
        return record
    if rescan.offers(record.update, record.revision):
        return _offered(record, rescan)
    return _gone(record, rescan, before)


def _offered(record: UpdateRecord, rescan: Scan) -> UpdateRecord:
    if rescan.of_files and record.result == "not-needed":
        # A file lies there whether or not it is for this host; that it is not in is what its installer said.
        return record
    if record.result in {"installed", "reboot-pending", "not-needed"}:
        said = "was there already" if record.result == "not-needed" else "went in"
        if any(u.reboot_required for u in rescan.updates if u.identity == (record.update.casefold(), record.revision)):
            return _failed(record, "went in, and still asks for a restart after the restart. Restart the host by hand")
        entry = rescan.remembered(record.update, record.revision)
        history = " (its history goes on saying that it succeeded)" if entry and entry.result_code == _SUCCEEDED else ""
        return _failed(
            record,
            f"{said}, and is offered again after the restart: rolled back. Look at CBS.log on {record.host}{history}",
        )
    if record.result == "not-tried" and when_again(record) is None:
        return _failed(
            record, f"was not tried: {record.remark}, also after one. Look at the Windows Update log of {record.host}"
        )
    entry = rescan.remembered(record.update, record.revision) if record.result == "unknown" else None
    # What it remembers of another night says nothing of this one.
    tonight = entry is not None and (entry.at is None or entry.at >= record.started - _CLOCKS_DIFFER)
    if entry is not None and tonight and entry.result_code != _SUCCEEDED:
        meaning = windows_update_meaning(entry.hresult)
        return record.model_copy(update={"remark": f"{record.remark}; the agent's history says {meaning}"})
    return record


_SUCCEEDED = 2
_CLOCKS_DIFFER = timedelta(minutes=5)


def _gone(record: UpdateRecord, rescan: Scan, before: Build | None) -> UpdateRecord:
    """What is offered no more: in, or withdrawn and superseded meanwhile."""
    if record.result == "failed":
        return record
    known = rescan.has(record.update, record.revision)
    if (record.result == "unknown" and known is False) or (record.result == "not-tried" and not known):
        remark = "is not offered any more and not installed: superseded or withdrawn meanwhile"
        return record.model_copy(update={"result": "not-needed", "remark": remark, "verified_by": "rescan"})
    if record.result == "not-needed":
        return record.model_copy(update={"verified_by": "rescan"})
    proof = _proof(record, rescan)
    if raises_build(record.title) and rescan.build.tells and before is not None and before.tells:
        if (rescan.build.number, rescan.build.ubr) <= (before.number, before.ubr):
            return _failed(
                record,
                f"is offered no more, but the build is still {rescan.build}: it has not taken effect. "
                f"Look at CBS.log on {record.host}",
            )
        proof = f"rescan, build {rescan.build}"
    if rescan.of_files and proof == "rescan":
        proof = f"list of hotfixes{_since(before, rescan.build)}"
    if proof is None:
        remark = (
            "is neither offered any more nor among what is installed: superseded or withdrawn meanwhile, or rolled back. "
            f"Ask Get-HotFix and CBS.log on {record.host} for {record.kb or 'it'}"
        )
        return record.model_copy(update={"result": "unknown", "remark": remark, "verified_by": "rescan"})
    return record.model_copy(update={"verified_by": proof, "result": "installed", "hresult": None, "remark": None})


def _proof(record: UpdateRecord, rescan: Scan) -> str | None:
    """What shows that an update is in which is offered no more; None where nothing does."""
    known = rescan.has(record.update, record.revision)
    if known:
        return "rescan"
    if known is None:
        told = "offered no more; what is in, Windows does not tell"
        return told if record.result in {"installed", "reboot-pending"} else None
    other = rescan.revision_in(record.update)
    if other is not None:
        return f"rescan, as revision {other}"
    # What an installed update supersedes Windows lists no more.
    return "superseded by an update that is installed" if record.update.casefold() in rescan.superseded else None


def _since(before: Build | None, build: Build) -> str:
    """What became of the build of Windows; a file's name does not say whether that had to rise, so nothing follows."""
    if before is None or not before.tells or not build.tells:
        return ""
    return f"; Windows is still at {build}" if build == before else f"; Windows went from {before} to {build}"


def _failed(record: UpdateRecord, remark: str) -> UpdateRecord:
    return record.model_copy(update={"result": "failed", "remark": remark, "hresult": None, "verified_by": "rescan"})


def newcomers(
    plan: Plan, host: str, rescan: Scan, policy: Updates
) -> tuple[tuple[PlanStep, ...], tuple[Admission, ...]]:
    """What a rescan offers that was not offered when the list was frozen: what may go in, and what waits for a review.

    Nobody has reviewed an update that appeared since. Only a KB that the frozen plan names as unlocked goes in.
    """
    new = [
        admission
        for admission in admit(rescan.updates, policy)
        if admission.admitted and not plan.admits(host, admission.update.id, admission.update.revision)
    ]
    unlocked = [each for each in new if set(each.update.kb) & set(plan.unlocked)]
    later = tuple(each for each in new if each not in unlocked)
    return tuple(update_step(host, each) for each in unlocked), later
