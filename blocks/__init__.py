"""Connections: Prefect blocks that own credentials and speak one protocol each."""

# ``prefect block register -m blocks`` registers what is imported here.
from blocks.credentials import ShareCredentials, WebhookCredentials, WinRMCredentials
from blocks.estate_store import EstateStore

__all__ = ["EstateStore", "ShareCredentials", "WebhookCredentials", "WinRMCredentials"]
