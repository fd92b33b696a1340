"""What the tests of transports look for: what stands readable on the wire, and a refusal that carries nothing along."""

from __future__ import annotations

from typing import Any

import pytest

from blocks.windows_host import WindowsHost
from blocks.winrm.errors import HostError

SCRIPT = "Get-HostFacts"
SECRET = "token-0123456789-abcdefghij"
PLAIN = ("env:Envelope", "windows/shell", SCRIPT, SECRET)


def readable(machine: Any, *passwords: str) -> list[str]:
    """What of a call's contents stands readable in the bytes that the host's http port received."""
    assert machine.tap.received(), "the tap heard nothing at all, so it proves nothing"
    return [text for text in (*PLAIN, machine.password, *passwords) if machine.tap.shows(text)]


def refusal(host: WindowsHost) -> HostError:
    """The error of a call that must fail; it carries nothing of what was beneath it."""
    with host, pytest.raises(HostError) as caught:
        host.run(SCRIPT, secret=SECRET, deadline=20)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    assert caught.value.fix
    return caught.value
