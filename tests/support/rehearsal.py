"""Canaries that ran once: labs of the same kind are given what they left behind, as hosts keep it from an evening before."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path

OURS = Path("C/ProgramData/EngageIPPatching")


def take(lab: Path, folder: Path) -> None:
    """Copy what a rehearsal has left on the hosts of a lab: job folders, their protection, their tasks. All of it, or nothing."""
    aside = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}")
    for host in (lab / "hosts").iterdir():
        shutil.copytree(host / OURS, aside / host.name / OURS)
        for file in ("acl.json", "tasks.json"):
            shutil.copy(host / file, aside / host.name / file)
    aside.rename(folder)


def give(folder: Path, lab: Path) -> None:
    """Put it on the hosts of another lab."""
    for kept in folder.iterdir():
        host = lab / "hosts" / kept.name
        shutil.copytree(kept / OURS, host / OURS)
        for file in ("acl.json", "tasks.json"):
            mine = json.loads((kept / file).read_text(encoding="utf-8"))
            ours = {name: value for name, value in mine.items() if "EngageIPPatching" in name}
            path = host / file
            theirs = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            path.write_text(json.dumps(theirs | ours), encoding="utf-8")
