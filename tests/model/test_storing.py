"""Why a backup is not where it belongs: the thing, the cause and the fix, in one line without hashes."""

from __future__ import annotations

from typing import Any

import pytest

from model.estate import S3Store, ShareStore
from model.storing import not_packed, not_stored, not_what_was_sent

SHARE = ShareStore(share=r"\\nas01\billing", credentials="nas-acme")
S3 = S3Store(s3="acme-backups", prefix="billing/", credentials="s3-acme")
SHA, OTHER = "ab" * 32, "cd" * 32
MADE = {"sha256": SHA, "size": 12}


def answer(error: str, **more: Any) -> dict[str, Any]:
    return {"error": error, "sha256": None, "http_status": None, **more}


def test_a_share_that_refuses_or_is_away() -> None:
    """Windows' words come in the host's language: the fix covers what they can mean."""
    assert not_stored(SHARE, answer("Der Netzwerkpfad wurde nicht gefunden."), SHA) == (
        r"did not reach \\nas01\billing: Der Netzwerkpfad wurde nicht gefunden. "
        "Is the share up, has it room, and may the login of nas-acme write there?"
    )


def test_bytes_that_changed_on_the_way_to_a_share() -> None:
    """Told by the hash that was read back, not by the words."""
    assert not_stored(SHARE, answer("what was read back ...", sha256=OTHER), SHA) == (
        r"did not reach \\nas01\billing whole: what was read back is not what was sent. "
        "Check the network to nas01 and its disks, then run again."
    )


@pytest.mark.parametrize(
    ("status", "said", "told"),
    [
        (None, "http://s3 does not answer (Timeout). Check it.", ": http://s3 does not answer (Timeout). Check it."),
        (
            400,
            "http://s3 answered HTTP 400 BadDigest: x.",
            " whole: what arrived is not what was sent (BadDigest). Check the network to the store, then run again.",
        ),
        (
            403,
            "http://s3 answered HTTP 403 AccessDenied: no.",
            ": http://s3 answered HTTP 403 AccessDenied: no. Grant s3:PutObject on acme-backups to the key of s3-acme.",
        ),
        (
            503,
            "http://s3 answered HTTP 503 SlowDown: x.",
            ": http://s3 answered HTTP 503 SlowDown: x. The store is in trouble: run again when it is well.",
        ),
        (
            404,
            "http://s3 answered HTTP 404 NoSuchBucket",
            ": http://s3 answered HTTP 404 NoSuchBucket. Check the bucket, and the credentials s3-acme.",
        ),
    ],
)
def test_a_bucket_that_did_not_take_it(status: int | None, said: str, told: str) -> None:
    """Each status has its own fix."""
    assert not_stored(S3, answer(said, http_status=status), SHA) == f"did not reach s3://acme-backups/billing/{told}"


def test_what_lies_in_a_share_is_what_was_sent_or_is_named() -> None:
    """Size first: a cut file is another trouble than a changed one."""
    assert not_what_was_sent(SHARE, MADE, MADE) is None
    fix = "Check the disks of nas01, then run again."
    assert not_what_was_sent(SHARE, {"sha256": OTHER, "size": 12}, MADE) == (
        f"read again where it lies, it is not what was sent. {fix}"
    )
    assert not_what_was_sent(SHARE, {"sha256": OTHER, "size": 9}, MADE) == (
        f"it has 9 bytes there, and 12 were sent. {fix}"
    )


def test_a_disk_that_fills_up_while_packing() -> None:
    """Known by Win32 error 112, signed or unsigned; anything else is the script's own sentence."""
    full = "no space left on D: while it was packed. Free space, or set backup.staging."
    assert not_packed(r"D:\Staging\x.zip", "Es steht nicht genug ...", -2147024784) == full
    assert not_packed(r"D:\Staging\x.zip", "Es steht nicht genug ...", 0x80070070) == full
    assert not_packed(r"D:\Staging\x.zip", "WEB01 has no folder D:\\Work.", -2146233079).startswith("WEB01 has no")
