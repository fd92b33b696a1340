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
    "ApiCredentials",
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


class ApiCredentials(Block):
    """What lets us in at a system that hooks call: the value of a header, or what a program finds in its environment.

    Example:
        ```python
        from blocks.credentials import ApiCredentials

        credentials = ApiCredentials.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "API Credentials"
    _block_type_slug = "api-credentials"
    _logo_url = HttpUrl(_LOGO)
    _documentation_url = HttpUrl("https://docs.prefect.io/v3/concepts/blocks")
    _description = "What lets hooks in at a hypervisor, a monitoring system or a load balancer."

    authorization: SecretStr = Field(
        title="Authorization",
        description="Value of the header, whole; a program finds it in its environment as BILLPATCH_SECRET.",
        examples=["Bearer (kept secret)"],
    )
    header: str = Field(
        default="Authorization",
        title="Header",
        pattern=r"^[A-Za-z0-9-]+$",
        description="Name of the header that carries it.",
        examples=["Authorization"],
    )
