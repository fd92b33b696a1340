"""An S3 bucket as a place for backups. Hosts send to presigned URLs; this side signs them, and verifies what came."""

from __future__ import annotations

import base64
import threading
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.loaders import Loader
from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, SecretStr

from blocks.s3_errors import (
    Asked,
    BucketMissing,
    ObjectDiffers,
    ObjectMissing,
    ObjectTooLarge,
    ObjectUnproven,
    StoreAccessDenied,
    StoreError,
    StoreFailed,
    StoreUnreachable,
    ask,
)
from model.stores import LARGEST_PUT, StoredObject

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = [
    "BucketMissing",
    "ObjectDiffers",
    "ObjectMissing",
    "ObjectTooLarge",
    "ObjectUnproven",
    "PresignedPut",
    "S3BackupStore",
    "S3Credentials",
    "StoreAccessDenied",
    "StoreError",
    "StoreFailed",
    "StoreUnreachable",
]

LONGEST_PRESIGN = timedelta(days=7)
"""What Signature Version 4 allows."""


@cache
def _models() -> Loader:
    """Amazon's descriptions of its services: megabytes of JSON, read once for all clients."""
    return Loader()


class S3Credentials(Block):
    """The keys with which backups are signed for, and verified in, an S3 bucket.

    Example:
        ```python
        from blocks.s3_store import S3Credentials

        credentials = S3Credentials.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "S3 Backup Credentials"
    _block_type_slug = "s3-backup-credentials"
    _logo_url = HttpUrl("https://aws.amazon.com/favicon.ico")
    _documentation_url = HttpUrl("https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html")
    _description = "The keys of an S3 bucket that backups go to: s3:PutObject, s3:GetObject and s3:ListBucket."

    access_key_id: str = Field(
        title="Access key ID",
        min_length=1,
        description="Key of a user who may put, get and list in the bucket, and nothing else.",
        examples=["AKIAIOSFODNN7EXAMPLE"],
    )
    secret_access_key: SecretStr = Field(
        title="Secret access key",
        description="The key's secret; it never leaves this side, hosts get presigned URLs.",
        examples=["(kept secret)"],
    )
    session_token: SecretStr | None = Field(
        default=None,
        title="Session token",
        description="For temporary keys only.",
        examples=["(kept secret)"],
    )
    region: str = Field(
        default="us-east-1",
        title="Region",
        min_length=1,
        description="The region that the bucket lies in.",
        examples=["ca-central-1"],
    )
    endpoint_url: str | None = Field(
        default=None,
        title="Endpoint URL",
        pattern=r"^https?://[^\s/?#@]+/?$",
        description="Where a store other than Amazon's answers; empty for Amazon S3.",
        examples=["https://minio.acme.example:9000"],
    )
    addressing: Literal["auto", "path", "virtual"] = Field(
        default="auto",
        title="Addressing",
        description="Bucket in the path or in the host name; auto: in the path where an endpoint URL is given.",
        examples=["auto"],
    )
    encryption: Literal["bucket", "AES256", "aws:kms"] = Field(
        default="bucket",
        title="Encryption",
        description="Server-side encryption of each object; bucket: as the bucket's default says.",
        examples=["bucket"],
    )
    kms_key_id: str | None = Field(
        default=None,
        title="KMS key",
        description="Key for aws:kms; empty for the account's own.",
        examples=["arn:aws:kms:ca-central-1:111122223333:key/example"],
    )
    ca_file: str | None = Field(
        default=None,
        title="CA file",
        description="PEM file of the authority that signed the endpoint's certificate, where it is not a public one.",
        examples=["/etc/ssl/acme-ca.pem"],
    )

    def client(self) -> S3Client:
        """A client with timeouts and at most three tries of each call."""
        style = "path" if self.addressing == "auto" and self.endpoint_url else self.addressing
        # With 'auto' a presigned URL names the global host, which redirects a PUT to the bucket's region: 307, no body.
        style = "virtual" if style == "auto" else style
        config = Config(
            signature_version="s3v4",
            connect_timeout=5,
            read_timeout=20,
            retries={"total_max_attempts": 3, "mode": "standard"},
            s3={"addressing_style": style},
            # Otherwise newer botocore adds a CRC32 of its own to what is signed.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        core = botocore.session.get_session()
        core.register_component("data_loader", _models())
        session = boto3.session.Session(
            botocore_session=core,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key.get_secret_value(),
            aws_session_token=self.session_token.get_secret_value() if self.session_token else None,
            region_name=self.region,
        )
        return session.client("s3", endpoint_url=self.endpoint_url, config=config, verify=self.ca_file)

    @property
    def put_options(self) -> dict[str, Any]:
        """What every object is put with, in the SDK's words."""
        options: dict[str, Any] = {} if self.encryption == "bucket" else {"ServerSideEncryption": self.encryption}
        if self.encryption == "aws:kms" and self.kms_key_id:
            options["SSEKMSKeyId"] = self.kms_key_id
        return options


@dataclass(frozen=True)
class PresignedPut:
    """A URL that takes exactly one body, and the headers that must come with it; only the URL is a secret."""

    url: SecretStr
    headers: dict[str, str]


class S3BackupStore:
    """The objects below ``prefix`` of ``bucket``; safe to use from several threads."""

    def __init__(self, bucket: str, prefix: str, credentials: S3Credentials) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._credentials = credentials
        self._lock = threading.Lock()
        self._made: S3Client | None = None

    @property
    def name(self) -> str:
        """The store as the estate and its records name it."""
        return f"s3://{self.bucket}/{self.prefix}"

    def __repr__(self) -> str:
        return f"S3BackupStore({self.name!r})"

    def key(self, object_name: str) -> str:
        """The key of an object: the prefix and its name."""
        return self.prefix + object_name

    def reachable(self) -> None:
        """Return when the bucket answers to these keys; raises StoreError that names what is missing.

        Writes nothing, so the right to put is proved by the first backup (or by a host's canary job).
        """
        ask(self._asked("s3:ListBucket", self.bucket), lambda: self._client().head_bucket(Bucket=self.bucket))

    def presign_put(self, object_name: str, *, sha256: str, size: int, expires: timedelta) -> PresignedPut:
        """A URL that stores ``size`` bytes with this SHA-256 (hex) and refuses any others, valid for ``expires``.

        Checksum, size and encryption are signed with it: the headers must be sent exactly as given. Raises
        ObjectTooLarge beyond 5 GiB, ValueError for a lifetime over seven days.
        """
        if size > LARGEST_PUT:
            raise ObjectTooLarge(
                f"{self.name}{object_name}: {size} bytes, and one PUT to S3 carries at most {LARGEST_PUT} (5 GiB). "
                "Send it to a share, or split it."
            )
        if not timedelta(0) < expires <= LONGEST_PRESIGN:
            raise ValueError("a presigned URL lives for more than nothing and at most seven days")
        digest = base64.b64encode(bytes.fromhex(sha256)).decode()
        options = self._credentials.put_options
        wanted = {
            "Bucket": self.bucket,
            "Key": self.key(object_name),
            "ChecksumSHA256": digest,
            "ContentLength": size,
            **options,
        }
        url = ask(
            self._asked("s3:PutObject", object_name),
            lambda: self._client().generate_presigned_url(
                "put_object", Params=wanted, ExpiresIn=int(expires.total_seconds())
            ),
        )
        headers = {"x-amz-checksum-sha256": digest}
        if "ServerSideEncryption" in options:
            headers["x-amz-server-side-encryption"] = options["ServerSideEncryption"]
        if "SSEKMSKeyId" in options:
            headers["x-amz-server-side-encryption-aws-kms-key-id"] = options["SSEKMSKeyId"]
        return PresignedPut(SecretStr(url), headers)

    def presign_get(self, object_name: str, *, expires: timedelta) -> SecretStr:
        """A URL by which anybody can fetch this one object, valid for ``expires``: a secret, for a host to pull by."""
        if not timedelta(0) < expires <= LONGEST_PRESIGN:
            raise ValueError("a presigned URL lives for more than nothing and at most seven days")
        wanted = {"Bucket": self.bucket, "Key": self.key(object_name)}
        seconds = int(expires.total_seconds())
        url = ask(
            self._asked("s3:GetObject", object_name),
            lambda: self._client().generate_presigned_url("get_object", Params=wanted, ExpiresIn=seconds),
        )
        return SecretStr(url)

    def verify(self, object_name: str, *, sha256: str, size: int) -> StoredObject:
        """What S3 holds under this name, proved equal in size and SHA-256 to what the host sent.

        Raises ObjectMissing, ObjectDiffers, ObjectUnproven, or another StoreError.
        """
        place = f"{self.name}{object_name}"
        head = ask(
            self._asked("s3:GetObject", object_name),
            lambda: self._client().head_object(Bucket=self.bucket, Key=self.key(object_name), ChecksumMode="ENABLED"),
        )
        if head["ContentLength"] != size:
            raise ObjectDiffers(
                f"{place}: holds {head['ContentLength']} bytes, the host sent {size}. Back it up again."
            )
        held = head.get("ChecksumSHA256", "")
        if not held or head.get("ChecksumType") == "COMPOSITE":
            raise ObjectUnproven(
                f"{place}: the store answers no SHA-256 of the whole object, so its content is not proved. "
                "The store must support x-amz-checksum-sha256; with aws:kms the keys need kms:Decrypt too."
            )
        try:
            found = base64.b64decode(held, validate=True).hex()
        except ValueError:
            found = "unreadable"
        if found != sha256.lower():
            raise ObjectDiffers(f"{place}: has SHA-256 {found}, the host sent {sha256.lower()}. Back it up again.")
        return StoredObject(
            store=self.name,
            path=object_name,
            size=size,
            sha256=found,
            stored_at=head["LastModified"],
            version=head.get("VersionId"),
        )

    def remove(self, object_name: str) -> None:
        """Delete an object; one that is not there is no error. Raises StoreError: StoreAccessDenied without the right."""
        ask(
            self._asked("s3:DeleteObject", object_name),
            lambda: self._client().delete_object(Bucket=self.bucket, Key=self.key(object_name)),
        )

    def endpoint_host(self) -> str:
        """The host (and port) that hosts must be able to reach by HTTPS, for preflight's messages."""
        return urlsplit(self._client().meta.endpoint_url).netloc

    def _client(self) -> S3Client:
        with self._lock:  # making a client is not safe from several threads, using one is
            if self._made is None:
                self._made = self._credentials.client()
            return self._made

    def _asked(self, right: str, about: str) -> Asked:
        key_id = self._credentials.access_key_id
        return Asked(
            store=self.name,
            bucket=self.bucket,
            where=self._credentials.endpoint_url or f"Amazon S3 in {self._credentials.region}",
            region=self._credentials.region,
            key_id=f"{key_id[:4]}...{key_id[-4:]}",
            right=right,
            about=about,
        )
