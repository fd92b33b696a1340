"""SQL Server builds (``15.0.4430.1``), compared as four numbers: as text 15.0.4430.1 would be older than 15.0.900.1."""

from __future__ import annotations

import re
from typing import NamedTuple, Self

_WITH_SERVICE_PACK = re.compile(r"\s*(1[123])\.\d+(\.\d+\.\d+)\s*", re.ASCII)
"""2012, 2014 and 2016, the last of which had service packs."""


class Build(NamedTuple):
    """``major.minor.build.revision`` of ProductVersion."""

    major: int
    minor: int
    build: int
    revision: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``15.0.4430.1`` (leading zeros as in ``10.00.1600.22`` are usual); ValueError for anything else."""
        parts = text.strip().split(".")
        if len(parts) != 4 or not all(part.isascii() and part.isdigit() for part in parts):
            raise ValueError(f"not a SQL Server build: {text!r}; expected four numbers, like 15.0.4430.1")
        return cls(*(int(part) for part in parts))

    def __str__(self) -> str:
        return ".".join(str(part) for part in self)


def at_least(actual: str, wanted: str) -> bool:
    """Whether build ``actual`` is ``wanted`` or newer."""
    return Build.parse(actual) >= Build.parse(wanted)


def engine_build(setup: str) -> str:
    """The build as the engine says it, of one as ``setup`` writes it: 12.3.6024.0 is 12.0.6024.0.

    Up to 2016 the second number that setup writes (PatchLevel in the registry and in Summary.txt) is the service pack; that
    of ProductVersion is always 0. What is no build stays as it is.
    """
    return _WITH_SERVICE_PACK.sub(r"\1.0\2", setup)
