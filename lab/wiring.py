"""Puts the servers on the hosts: SQL Server, IIS, the task scheduler, and S3 beside them."""

from __future__ import annotations

from pathlib import Path

from lab.host import Host
from lab.paper import Secrets
from lab.spec import LabSpec


class Wiring:
    """Everything but WinRM that serves in a lab; ``s3_address`` is where the object store listens."""

    def __init__(self, spec: LabSpec, secrets: Secrets, hosts: dict[str, Host], s3_address: str, folder: Path) -> None:
        self._spec = spec
        self._secrets = secrets
        self._hosts = hosts
        self._folder = folder
        self.s3_endpoint = f"http://{s3_address}:9000"

    def start(self) -> None:
        """Start everything, and wait until it is ready: SQL Server before IIS."""

    def stop(self) -> None:
        """End what is not a part of any host."""
