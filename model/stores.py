"""Where a backup lies: the names of objects and files in the stores, and what a store said about one of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

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


def patched_server(share: str, names: Iterable[str]) -> str | None:
    r"""Which of the machines called ``names`` a UNC path lies on; ``localhost`` where it is whichever asks; None: another.

    A machine is known by its first label where one of the two names has no more: ``\\sql01.acme.example`` is sql01.
    """
    server = _machine(share.removeprefix("\\\\").partition("\\")[0])
    if server in {"localhost", "localhost.localdomain"} or _is_loopback(server):
        return "localhost"
    return next((name for name in names if _same_machine(server, _machine(name))), None)


def _machine(name: str) -> str:
    """A name as it is compared: a port or SSL (``nas01@8080``), and the dot of the root, are no part of it."""
    name = name.partition("@")[0].casefold().rstrip(".")
    # How a UNC path names an IPv6 address, which has colons.
    return name.removesuffix(".ipv6-literal.net").replace("-", ":") if name.endswith(".ipv6-literal.net") else name


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name.partition("s")[0] if ":" in name else name)
    except ValueError:
        return None


def _is_loopback(name: str) -> bool:
    address = _address(name)
    return address is not None and (address.is_loopback or address.is_unspecified)


def _same_machine(one: str, other: str) -> bool:
    addresses = _address(one), _address(other)
    if any(addresses):
        return addresses[0] == addresses[1]
    labels = one.split("."), other.split(".")
    return one == other or (min(map(len, labels)) == 1 and labels[0][0] == labels[1][0])


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
