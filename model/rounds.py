"""Rounds of updates: what a rescan says of an update that was tried, and whether it is tried once more.

A result code is what the agent said; the rescan is what is so. An update that went in and is offered again was rolled
back while the host booted: to install it again would only restart everything again (ansible.windows#604).
"""

from __future__ import annotations

from model.hresults import windows_update_meaning
from model.records import UpdateRecord

_ONCE_MORE = {"retry", "wait", "wait-for-boot", "reboot", "install-alone", "install-ssu-first", "unknown"}


def judged(record: UpdateRecord, *, offered: bool) -> UpdateRecord:
    """The record of an update after a rescan; without a proof (``verified_by``) where it is still offered."""
    if record.kind != "windows-update" or record.verified_by is not None:
        return record
    if not offered:
        if record.result == "failed":
            return record
        result = record.result if record.result == "not-needed" else "installed"
        return record.model_copy(update={"verified_by": "rescan", "result": result})
    if record.result in {"installed", "reboot-pending", "not-needed"}:
        said = "was there already" if record.result == "not-needed" else "went in"
        remark = f"{said}, and is offered again after the restart: rolled back. Look at CBS.log on {record.host}"
        return record.model_copy(
            update={"result": "failed", "remark": remark, "hresult": None, "verified_by": "rescan"}
        )
    return record


def once_more(record: UpdateRecord | None) -> bool:
    """Whether an update that is still offered is to be tried in another round; ``record`` is its last one, judged."""
    if record is None or record.result == "unknown":
        return True
    if record.result != "failed" or record.verified_by is not None or record.hresult is None:
        return False
    return windows_update_meaning(record.hresult).do in _ONCE_MORE
