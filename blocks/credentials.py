"""Who we are to hosts, shares and webhooks: Prefect blocks that hold a login and nothing else."""

from __future__ import annotations

from typing import Literal, Self

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, SecretStr, ValidationError, model_validator

from blocks.credential_lookup import (
    CredentialsError,
    CredentialsInvalid,
    CredentialsMissing,
    CredentialsUnsafe,
    resolve,
)

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


class WinRMCredentials(Block):
    """The login with which a Windows host is driven over WinRM.

    Example:
        ```python
        from blocks.credentials import WinRMCredentials

        credentials = WinRMCredentials.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "WinRM Credentials"
    _block_type_slug = "winrm-credentials"
    _logo_url = HttpUrl(_LOGO)
    _documentation_url = HttpUrl(
        "https://learn.microsoft.com/windows/win32/winrm/authentication-for-remote-connections"
    )
    _description = "The login with which a Windows host is driven over WinRM (WS-Management)."

    username: str = Field(
        title="User name",
        min_length=1,
        description="An administrator of the host: a local user, or one of the domain.",
        examples=["ACME\\svc-patching", "svc-patching@acme.example"],
    )
    password: SecretStr = Field(
        title="Password",
        description="The user's password.",
        examples=["(kept secret)"],
    )
    transport: Literal["ntlm", "basic"] = Field(
        default="ntlm",
        title="Authentication",
        description="How to log in: ntlm seals its messages over http too, basic is for local users and needs https.",
        examples=["ntlm"],
    )
    scheme: Literal["http", "https"] = Field(
        default="https",
        title="Scheme",
        description="How to connect: https needs a certificate on the host, http works with ntlm's own encryption.",
        examples=["https"],
    )
    port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        title="Port",
        description="Where WinRM listens; empty for the usual 5985 (http) and 5986 (https).",
        examples=[5986],
    )
    ca_trust_path: str | None = Field(
        default=None,
        title="CA file",
        description="PEM file of the authority that signed the hosts' certificates, where it is not a public one.",
        examples=["/etc/ssl/acme-ca.pem"],
    )
    operation_timeout: int = Field(
        default=20,
        ge=1,
        le=600,
        title="Operation timeout",
        description="Seconds that the host may hold one request open while a script is quiet.",
        examples=[20],
    )

    @model_validator(mode="after")
    def _never_readable(self) -> Self:
        if self.transport == "basic" and self.scheme == "http":
            raise ValueError("basic over http would send the password readable: use https, or transport ntlm")
        return self

    def adapted(self, *, port: int | None = None, transport: str | None = None) -> Self:
        """These credentials with another port or transport, where an estate says so for one host.

        Raises ValueError for a transport that is not built, or not allowed with the scheme.
        """
        changes = {"port": port, "transport": transport}
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        try:
            return type(self)(**{**fields, **{name: value for name, value in changes.items() if value is not None}})
        except ValidationError as error:
            reason = error.errors(include_input=False, include_url=False)[0]["msg"]
        raise ValueError(f"WinRM with transport {transport or self.transport}: {reason}")

    @property
    def listener_port(self) -> int:
        """The port, given or usual."""
        return self.port or {"http": 5985, "https": 5986}[self.scheme]


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
