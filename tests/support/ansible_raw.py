"""Ansible's ``raw`` module over its winrm connection, as somebody types it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any


def raw(
    folder: Path, hosts: dict[str, str], variables: dict[str, Any], command: str, **environ: str
) -> subprocess.CompletedProcess[str]:
    """``ansible all -m raw -a COMMAND`` on ``hosts`` (name to address), with its own files in ``folder``."""
    inventory = folder / "inventory.json"
    inventory.touch(mode=0o600)
    known = {name: {"ansible_host": address} for name, address in hosts.items()}
    inventory.write_text(json.dumps({"all": {"hosts": known, "vars": {"ansible_connection": "winrm", **variables}}}))
    (folder / "ansible.cfg").write_text("[defaults]\n")
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")} | {
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",
        **environ,
    }
    ansible = shutil.which("ansible", path=str(Path(sys.executable).parent))
    assert ansible, "ansible-core is not installed"
    line = [ansible, "all", "--inventory", str(inventory), "--module-name", "raw", "--args", command]
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60, check=False)
