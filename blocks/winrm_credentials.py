"""Who we are to a Windows host: the block with the login for WinRM, whatever the transport."""

from __future__ import annotations

from typing import Literal, Self

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, SecretStr, ValidationError, model_validator


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
    _logo_url = HttpUrl("https://learn.microsoft.com/favicon.ico")
    _documentation_url = HttpUrl(
        "https://learn.microsoft.com/windows/win32/winrm/authentication-for-remote-connections"
    )
    _description = "The login with which a Windows host is driven over WinRM (WS-Management)."

    username: str = Field(
        title="User name",
        min_length=1,
        description="An administrator of the host: a local user, or one of the domain (for kerberos: name@DOMAIN).",
        examples=["ACME\\svc-patching", "svc-patching@ACME.EXAMPLE"],
    )
    password: SecretStr | None = Field(
        default=None,
        title="Password",
        description="The user's password; for certificate, the passphrase of the key where it has one.",
        examples=["(kept secret)"],
    )
    transport: Literal["ntlm", "kerberos", "credssp", "certificate", "basic"] = Field(
        default="ntlm",
        title="Authentication",
        description="How to log in: ntlm, kerberos and credssp seal their messages over http too, certificate and basic need https.",
        examples=["ntlm"],
    )
    scheme: Literal["http", "https"] = Field(
        default="https",
        title="Scheme",
        description="How to connect: https needs a certificate on the host, http works where the login seals messages.",
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
    keytab: str | None = Field(
        default=None,
        title="Keytab",
        description="For kerberos instead of a password: path of a keytab file on the worker.",
        examples=["/etc/billpatch/svc-patching.keytab"],
    )
    krb5_config: str | None = Field(
        default=None,
        title="Kerberos configuration",
        description="For kerberos: a krb5.conf on the worker, where /etc/krb5.conf and DNS do not lead to the domain.",
        examples=["/etc/billpatch/krb5.conf"],
    )
    kerberos_service: str = Field(
        default="HTTP",
        min_length=1,
        title="Kerberos service",
        description="For kerberos: the service of the hosts' principal names, where HTTP is another program's.",
        examples=["HTTP", "WSMAN"],
    )
    delegate: bool = Field(
        default=False,
        title="Delegate",
        description="For kerberos: hand the host a ticket with which scripts reach further machines as this user.",
        examples=[False],
    )
    certificate: str | None = Field(
        default=None,
        title="Client certificate",
        description="For certificate: the certificate in PEM form, with its intermediate authorities, if any.",
        examples=["-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n"],
    )
    certificate_key: SecretStr | None = Field(
        default=None,
        title="Client certificate's key",
        description="For certificate: the private key in PEM form.",
        examples=["(kept secret)"],
    )

    @model_validator(mode="after")
    def _fits_the_transport(self) -> Self:
        transport = self.transport
        if transport in ("basic", "certificate") and self.scheme == "http":
            secret = "send the password readable" if transport == "basic" else "not show the certificate"
            raise ValueError(f"{transport} over http would {secret}: use https, or transport ntlm")
        if transport in ("ntlm", "basic", "credssp") and self.password is None:
            raise ValueError(f"{transport} needs a password")
        if transport == "kerberos":
            self._fits_kerberos()
        if transport == "certificate":
            self._fits_certificate()
        return self

    def _fits_kerberos(self) -> None:
        if self.password is None and self.keytab is None:
            raise ValueError("kerberos needs a password or a keytab")
        name, _, domain = self.username.rpartition("@")
        if not name or not domain:
            raise ValueError("kerberos needs a user name of the form name@DOMAIN")

    def _fits_certificate(self) -> None:
        if self.certificate is None or self.certificate_key is None:
            raise ValueError("certificate needs both certificate and certificate_key")
        if "-----BEGIN CERTIFICATE-----" not in self.certificate:
            raise ValueError("certificate is not in PEM form (-----BEGIN CERTIFICATE-----)")
        if "PRIVATE KEY-----" not in self.certificate_key.get_secret_value():
            raise ValueError("certificate_key is not in PEM form (-----BEGIN PRIVATE KEY-----)")

    def adapted(self, *, port: int | None = None, transport: str | None = None) -> Self:
        """These credentials with another port or transport, where an estate says so for one host.

        Raises ValueError for a transport that these credentials have not what it needs for.
        """
        changes = {"port": port, "transport": transport}
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        try:
            return type(self)(**{**fields, **{name: value for name, value in changes.items() if value is not None}})
        except ValidationError as error:
            reason = error.errors(include_input=False, include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise ValueError(f"WinRM with transport {transport or self.transport}: {reason}")

    @property
    def listener_port(self) -> int:
        """The port, given or usual."""
        return self.port or {"http": 5985, "https": 5986}[self.scheme]

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that must not appear in anything said."""
        return tuple(each.get_secret_value() for each in (self.password, self.certificate_key) if each is not None)
