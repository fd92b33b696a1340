"""Where a backup lies: the names of objects and files in the stores, and what a store said about one of them."""

from __future__ import annotations

import re

from pydantic import AwareDatetime, Field

from model.keys import RunKey, safe
from model.records import Record

LARGEST_PUT = 5 * 1024**3
"""Bytes that one PUT may carry to S3 (Amazon S3 User Guide, "Uploading objects"); more needs a multipart upload."""
_LONGEST_SUBJECT = 80


def object_name(run: RunKey, quiesce: int, kind: str, host: str, subject: str, extension: str) -> str:
    r"""The name of one backup below a store's root: ``acme-billing/acme-billing.CHG1.1/q2/database.sql01.EngageIP.bak``.

    ``quiesce`` is the number of the quiesce that it belongs to, ``extension`` comes with its dot. Letters, digits,
    ``._-`` and slashes only, so that it needs no escapes in S3 and is a path of Windows by ``windows_path``. Different
    backups have different names; subjects that differ in case alone do not where the share folds case.
    """
    if not re.fullmatch(r"(\.[a-z0-9]{1,8}){1,2}", extension):
        raise ValueError(f"an extension is '.bak' or '.zip', not {extension[:20]!r}")
    if not 0 <= quiesce <= 9999:
        raise ValueError(f"the number of a quiesce is 0 to 9999, not {quiesce}")
    # The kind comes first: a host may be called CON, which Windows takes for a device in front of any dot.
    file = f"{safe(kind, 20)}.{safe(host, 32)}.{safe(subject, _LONGEST_SUBJECT, dots=True)}{extension}"
    return f"{run.estate}/{run}/q{quiesce}/{file}"


def windows_path(root: str, name: str) -> str:
    r"""``name`` below a folder or share of Windows: ``\\nas01\billing`` and ``a/b.zip`` give ``\\nas01\billing\a\b.zip``.

    Raises ValueError for a name that would leave the root.
    """
    parts = name.split("/")
    if any(part in ("", ".", "..") or re.search(r'[\\<>:"|?*\x00-\x1f]|[. ]$', part) for part in parts):
        raise ValueError(f"{name[:120]!r} is no path below a share: it has an empty, relative or forbidden part")
    return "\\".join([root.rstrip("\\"), *parts])


class StoredObject(Record):
    """One object or file, as its store told after reading what it holds."""

    store: str
    """As the estate names it: the share, or ``s3://bucket/prefix``."""
    path: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    stored_at: AwareDatetime | None = None
    version: str | None = None
    """The version of a versioned bucket."""
