"""A shipped script, called as our own client calls it, in the hands of a client that is not ours."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

POWERSHELL = Path(__file__).resolve().parents[2] / "powershell"


def arguments() -> list[str]:
    """The arguments of ``powershell.exe``, the bootstrap among them."""
    lines = (POWERSHELL / "Invoke-Bootstrap.ps1").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line.strip() for line in lines if not line.lstrip().startswith("#"))
    bootstrap = base64.b64encode(text.encode("utf-16-le")).decode()
    return ["-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-EncodedCommand", bootstrap]


def stdin(script: str, **parameters: Any) -> bytes:
    """What the bootstrap reads: the library, the script, its parameters."""
    library = "".join(path.read_text(encoding="utf-8") for path in sorted((POWERSHELL / "lib").glob("*.ps1")))
    text = (POWERSHELL / f"{script}.ps1").read_text(encoding="utf-8")
    return json.dumps({"name": script, "library": library, "script": text, "parameters": parameters}).encode()
