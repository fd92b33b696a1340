"""What makes a re-run the same run: the run key, and the ids of its jobs on the hosts.

Both are names of folders, scheduled tasks and S3 objects, so they hold only letters, digits, ``-``, ``_`` and the
dots between their parts. Text that had to be changed or cut ends in ``--`` and the start of its SHA-256; text that
fits never holds ``--``, so two different texts never share a name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field

LONGEST_JOB_ID = 100
_LONGEST_OCCASION = 24
_LONGEST_STEP = 20
_HASH = 8


def safe(text: str, longest: int, *, dots: bool = False) -> str:
    """``text`` as part of a file name of Windows, at most ``longest`` characters; different texts stay different."""
    name = re.sub(r"[^A-Za-z0-9_.-]" if dots else r"[^A-Za-z0-9_-]", "-", text)
    name = re.sub(r"-{2,}", "-", name).strip("-.")
    if name and name == text and len(name) <= longest:
        return name
    suffix = "--" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH]
    # Never an empty stem: an id's part begins with a letter or a digit.
    return (name[: longest - len(suffix)].rstrip("-.") or "x") + suffix


class RunKey(BaseModel):
    """Runs with the same key are the same run: what an earlier one began on the hosts is adopted, never done twice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    estate: str = Field(description="Name of the estate.", pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,31}$")
    occasion: str = Field(
        description="The change's number, or the start in UTC where there is no change, as a file name may hold it.",
        pattern=r"^[A-Za-z0-9_-]{1,24}$",
    )
    attempt: int = Field(description="Raised to try again what failed.", ge=1, le=999)

    @classmethod
    def for_change(cls, estate: str, change: str, attempt: int = 1) -> Self:
        """The key of a run under a change; case does not matter, CHG0031001 and chg0031001 are one change."""
        return cls(estate=estate, occasion=safe(change.strip().upper(), _LONGEST_OCCASION), attempt=attempt)

    @classmethod
    def for_start(cls, estate: str, started: datetime, attempt: int = 1) -> Self:
        """The key of a run without a change: ``started`` (aware) to the second, in UTC."""
        if started.tzinfo is None:
            raise ValueError("the start of a run must know its time zone; pass datetime.now(UTC)")
        return cls(estate=estate, occasion=started.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ"), attempt=attempt)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key that ``str()`` wrote; ValueError for anything else."""
        parts = text.split(".")
        if len(parts) != 3 or not re.fullmatch(r"[1-9][0-9]{0,2}", parts[2], re.ASCII):
            raise ValueError(f"{text[:60]!r} is not a run key (estate.occasion.attempt)")
        return cls(estate=parts[0], occasion=parts[1], attempt=int(parts[2]))

    def __str__(self) -> str:
        return f"{self.estate}.{self.occasion}.{self.attempt}"

    @property
    def is_start(self) -> bool:
        """Whether the occasion is a start, and no change."""
        return re.fullmatch(r"[0-9]{8}T[0-9]{6}Z", self.occasion) is not None

    def owns(self, job_id: str) -> bool:
        """Whether a job belongs to this run."""
        return job_id.startswith(f"{self}.")


class JobParts(NamedTuple):
    """What a job's id tells."""

    run: RunKey
    number: int
    step: str
    subject: str


def job_id(run: RunKey, number: int, step: str, subject: str) -> str:
    """The id of a job: ``acme-billing.CHG0031001.1.2.backup-database.EngageIP``, at most 100 characters.

    ``number`` is that of the quiesce (backups) or round (updates): after a reopening backups are taken anew, under
    new ids. The same arguments give the same id on any machine; different ones give different ids.
    """
    if not 0 <= number <= 9999:
        raise ValueError(f"the number of a quiesce or round is 0 to 9999, not {number}")
    head = f"{run}.{number}.{safe(step, _LONGEST_STEP)}."
    return head + safe(subject, LONGEST_JOB_ID - len(head), dots=True)


def parse_job_id(text: str) -> JobParts:
    """What a job's id tells, to read and to sort; ValueError for an id that is not ours.

    Step and subject come back as the id holds them: where they were changed or cut, with their hash.
    """
    parts = text.split(".", 5)
    if len(parts) != 6 or not re.fullmatch(r"[0-9]{1,4}", parts[3], re.ASCII):
        raise ValueError(f"{text[:60]!r} is not a job's id (run key, number, step, subject)")
    return JobParts(RunKey.parse(".".join(parts[:3])), int(parts[3]), parts[4], parts[5])


def is_of(text: str, steps: Collection[str], subject: str) -> bool:
    """Whether ``text`` is the id of a job for ``subject`` in one of these steps, of whichever run and round."""
    try:
        parts = parse_job_id(text)
    except ValueError:
        return False
    return any(job_id(parts.run, parts.number, step, subject) == text for step in steps)
