"""A Windows share as a place for backups. Only hosts touch it: this side says where a file goes, and with which login."""

from __future__ import annotations

from dataclasses import dataclass

from blocks.credentials import ShareCredentials
from model.stores import windows_path


@dataclass(frozen=True)
class ShareStore:
    """The share ``path`` and the login with which a host opens it; ``name`` is how records call it."""

    path: str
    credentials: ShareCredentials

    @property
    def name(self) -> str:
        """The share, as the estate file writes it."""
        return self.path

    def target(self, object_name: str) -> str:
        """The full UNC path of an object; ValueError for a name that would leave the share."""
        return windows_path(self.path, object_name)

    def secret(self) -> dict[str, str]:
        """What a job needs to open the share: goes into the job's protected file, and nowhere else."""
        return {
            "share": self.path,
            "username": self.credentials.username,
            "password": self.credentials.password.get_secret_value(),
        }
