"""What Get-HostFacts answers of a plain host, for tests of what is made of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any


def host_facts(computer: str, now: datetime | str, **more: Any) -> dict[str, Any]:
    """The answer of a member server that was up at ``now``; ``more`` is what the test is about."""
    system = {"caption": "Windows Server 2019", "version": "10.0.17763", "build": "17763", "ubr": 1, "domain_role": 3}
    return {"computer": computer, "os": system, "powershell": "5.1", "now": now, "last_boot": now} | more
