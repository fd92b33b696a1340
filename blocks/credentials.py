"""Who we are to hosts, shares and webhooks: Prefect blocks that hold a login and nothing else (that for hosts beside)."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, SecretStr

from blocks.credential_lookup import (
    CredentialsError,
    CredentialsInvalid,
    CredentialsMissing,
    CredentialsUnsafe,
    resolve,
)
from blocks.winrm_credentials import WinRMCredentials

__all__ = [
    "CredentialsError",
    "CredentialsInvalid",
    "CredentialsMissing",
    "CredentialsUnsafe",
    "ShareCredentials",
    "WebhookCredentials",
    "WinRMCredentials",
    "resolve",
]

_LOGO = "https://learn.microsoft.com/favicon.ico"


class ShareCredentials(Block):
    """The login with which a host writes to a file share.

    Example:
        ```python
        from blocks.credentials import ShareCredentials

        credentials = ShareCredentials.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "Share Credentials"
    _block_type_slug = "share-credentials"
    _logo_url = HttpUrl(_LOGO)
    _documentation_url = HttpUrl(
        "https://learn.microsoft.com/windows-server/storage/file-server/file-server-smb-overview"
    )
    _description = "The login with which a host writes its backups to a file share (SMB)."

    username: str = Field(
        title="User name",
        min_length=1,
        description="A user who may write to the share.",
        examples=["NAS01\\billing-backup"],
    )
    password: SecretStr = Field(
        title="Password",
        description="The user's password.",
        examples=["(kept secret)"],
    )


class WebhookCredentials(Block):
    """An address that pages a person; the address itself is the secret.

    Example:
        ```python
        from blocks.credentials import WebhookCredentials

        credentials = WebhookCredentials.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "Webhook Credentials"
    _block_type_slug = "webhook-credentials"
    _logo_url = HttpUrl(_LOGO)
    _documentation_url = HttpUrl("https://docs.prefect.io/v3/concepts/blocks")
    _description = "An address to which a page for the person on call is posted."

    url: SecretStr = Field(
        title="URL",
        description="Where the page is posted as JSON; most such addresses carry a token, so it is kept secret.",
        examples=["https://hooks.example.com/services/(secret)"],
    )
    authorization: SecretStr | None = Field(
        default=None,
        title="Authorization",
        description="Value of the Authorization header, where the receiver asks for one.",
        examples=["Bearer (kept secret)"],
    )
