r"""A Windows disk made of a real folder: ``C:\x`` is ``<folder>/C/x``, names fold case, drives have sizes."""

from __future__ import annotations

import json
from pathlib import Path, PureWindowsPath


class DiskFull(OSError):  # noqa: N818 - named as the condition is called
    """There is not enough space on the disk (Win32 error 112)."""


class Disk:
    """The drives of one host; UNC paths lie under ``<folder>/unc/<server>/<share>``.

    ``drives.json`` may give ``{"C": {"size": bytes, "free": bytes}}``; what is written counts against ``free``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, windows: str) -> Path:
        """The real path of a Windows path: existing names are matched whatever their case."""
        pure = PureWindowsPath(windows)
        if pure.drive.startswith("\\\\"):
            server, share = pure.drive.lstrip("\\").split("\\", 1)
            parts = ["unc", server, share, *pure.parts[1:]]
        elif len(pure.drive) == 2:
            parts = [pure.drive[0].upper(), *pure.parts[1:]]
        else:
            raise ValueError(f"not an absolute Windows path: {windows!r}")
        as_written = self.folder.joinpath(*parts)
        if as_written.exists():
            return as_written
        here = self.folder
        for part in parts:
            exact = here / part
            if not exact.exists() and here.is_dir():
                exact = next((entry for entry in here.iterdir() if entry.name.casefold() == part.casefold()), exact)
            here = exact
        return here

    def free(self, windows: str) -> int:
        """Bytes free on the drive of ``windows`` (a terabyte where nothing is declared)."""
        drives = self.folder / "drives.json"
        letter = PureWindowsPath(windows).drive[:1].upper()
        declared = json.loads(drives.read_text()) if drives.exists() else {}
        return int(declared.get(letter, {}).get("free", 1 << 40))

    def write(self, windows: str, data: bytes) -> Path:
        """Write a whole file, parents included; raises DiskFull when the drive has no room for it."""
        if len(data) > self.free(windows):
            raise DiskFull(112, "There is not enough space on the disk.", windows)
        target = self.path(windows)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        return target
