"""Which line of servicing a build of SQL Server belongs to: the baseline that it stands on, and GDR or CU on top of it.

On each baseline (RTM, and up to 2016 each service pack) Microsoft services two lines: GDR with security fixes alone, CU
with everything. A CU installed on a GDR system leaves the GDR line, and only uninstalling brings it back; a GDR of the
baseline does not install on a CU system, which has security updates of its own line. The number of a build tells its
line: within a baseline CUs begin at a number of their own. Service packs ended with 2016.

Sources: Microsoft's build lists for each version ("SQL Server 20xx build versions") and "Determine the version, edition,
and update level of SQL Server" (KB321185), as the dbatools build reference of 2026-07-16 gathers them. 2016 SP3 has no
CUs; what goes by their numbers there is the Azure Connect Pack, which leaves the GDR line in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from model.sql.builds import Build

Branch = Literal["base", "gdr", "cu"]
"""``base`` is the baseline itself: of neither line, both may follow."""


class _Baseline(NamedTuple):
    """``build`` is the third number of the baseline, ``cu`` that of its first CU, ``end`` the first that is not known."""

    major: int
    year: str
    sp: int
    build: int
    cu: int | None
    end: int


_BASELINES = (
    _Baseline(11, "2012", 0, 2100, 2316, 3000),
    _Baseline(11, "2012", 1, 3000, 3321, 5058),
    _Baseline(11, "2012", 2, 5058, 5522, 6020),
    _Baseline(11, "2012", 3, 6020, 6518, 7001),
    _Baseline(11, "2012", 4, 7001, None, 8000),
    _Baseline(12, "2014", 0, 2000, 2342, 4100),
    _Baseline(12, "2014", 1, 4100, 4416, 5000),
    _Baseline(12, "2014", 2, 5000, 5511, 6024),
    _Baseline(12, "2014", 3, 6024, 6205, 7000),
    _Baseline(13, "2016", 0, 1601, 2149, 4001),
    _Baseline(13, "2016", 1, 4001, 4411, 5026),
    _Baseline(13, "2016", 2, 5026, 5149, 6300),
    _Baseline(13, "2016", 3, 6300, 7000, 8000),
    _Baseline(14, "2017", 0, 1000, 3006, 4000),
    _Baseline(15, "2019", 0, 2000, 4003, 5000),
    _Baseline(16, "2022", 0, 1000, 4003, 5000),
    _Baseline(17, "2025", 0, 1000, 4006, 5000),
)


@dataclass(frozen=True)
class Level:
    """What a build is: ``SQL Server 2016 SP2, CU``; ``sp`` is 0 for RTM."""

    year: str
    sp: int
    branch: Branch

    @property
    def baseline(self) -> str:
        """``RTM`` or ``SP2``."""
        return f"SP{self.sp}" if self.sp else "RTM"

    @property
    def is_service_pack(self) -> bool:
        """Whether this very build is that of a service pack."""
        return self.branch == "base" and self.sp > 0

    def __str__(self) -> str:
        line = {"base": "", "gdr": ", GDR branch", "cu": ", CU branch"}[self.branch]
        return f"SQL Server {self.year} {self.baseline}{line}"


def level_of(build: str) -> Level | None:
    """The level of ``build``; None where the table cannot tell: a preview, a version or a range that is newer than it."""
    wanted = Build.parse(build)
    for row in _BASELINES:
        if wanted.major == row.major and row.build <= wanted.build < row.end:
            if wanted.build == row.build:
                return Level(row.year, row.sp, "base")
            return Level(row.year, row.sp, "cu" if row.cu is not None and wanted.build >= row.cu else "gdr")
    return None


def product(build: str) -> str:
    """``SQL Server 2019``, by the first number alone; ``SQL Server (version 18)`` for one that the table does not know."""
    major = Build.parse(build).major
    year = next((row.year for row in _BASELINES if row.major == major), None)
    return f"SQL Server {year}" if year else f"SQL Server (version {major})"


def newest_service_pack(build: str) -> int:
    """The last service pack of that version; 0 where there were none (2017 and newer) or it is not known."""
    return max((row.sp for row in _BASELINES if row.major == Build.parse(build).major), default=0)
