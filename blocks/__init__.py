"""Connections: Prefect blocks that own credentials and speak one protocol each."""

# ``prefect block register -m blocks`` registers what is imported here.
from blocks.credentials import ApiCredentials, ShareCredentials, WebhookCredentials, WinRMCredentials
from blocks.estate_store import EstateStore
from blocks.s3_store import S3Credentials
from blocks.sql_server import SqlServerCredentials

__all__ = [
    "ApiCredentials",
    "EstateStore",
    "S3Credentials",
    "ShareCredentials",
    "SqlServerCredentials",
    "WebhookCredentials",
    "WinRMCredentials",
]
