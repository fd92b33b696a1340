"""The S3 store: presigned once for exactly one body, verified by what S3 says, errors that name the fix and no secret."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from blocks.s3_store import (
    BucketMissing,
    ObjectDiffers,
    ObjectMissing,
    ObjectTooLarge,
    ObjectUnproven,
    S3BackupStore,
    S3Credentials,
    StoreAccessDenied,
    StoreError,
    StoreUnreachable,
)
from lab.audit import Audit
from lab.clock import Clock
from lab.faults import Fault, Faults
from lab.s3 import S3Store
from lab.web.listener import Listener
from lab.web.messages import Answer
from lab.winrm.certificates import Authority

BODY = b"backup of EngageIP" * 100
SHA = hashlib.sha256(BODY).hexdigest()
NAME = "acme-billing/run/q1/database.sql01.EngageIP.bak"


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def server(tmp_path: Path, faults: Faults) -> Iterator[S3Store]:
    address = "127." + ".".join(str(1 + secrets.randbelow(254)) for _ in range(3))
    server = S3Store(address, audit=Audit(tmp_path / "audit.jsonl"), clock=Clock(1000), faults=faults)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def connect(server: S3Store) -> Callable[..., S3BackupStore]:
    def store(bucket: str = server.bucket, **other: Any) -> S3BackupStore:
        given = {
            "access_key_id": server.access_key_id,
            "secret_access_key": server.secret_access_key,
            "region": server.region,
            "endpoint_url": server.endpoint_url,
        }
        return S3BackupStore(bucket, "billing/", S3Credentials(**{**given, **other}))

    return store


def send(store: S3BackupStore, body: bytes = BODY, sha256: str = SHA, size: int = len(BODY)) -> httpx.Response:
    """What a host does with a presigned PUT."""
    put = store.presign_put(NAME, sha256=sha256, size=size, expires=timedelta(minutes=5))
    return httpx.put(put.url.get_secret_value(), content=body, headers=put.headers, trust_env=False)


def test_what_a_host_sent_is_verified_by_the_store_itself(connect: Callable[..., S3BackupStore]) -> None:
    """A presigned PUT stores the body; HeadObject proves its size and SHA-256."""
    store = connect()
    store.reachable()
    assert send(store).status_code == 200
    held = store.verify(NAME, sha256=SHA.upper(), size=len(BODY))
    assert (held.store, held.path, held.sha256, held.size) == ("s3://acme-backups/billing/", NAME, SHA, len(BODY))
    assert held.stored_at is not None


def test_a_url_to_fetch_one_object_by(connect: Callable[..., S3BackupStore]) -> None:
    """A presigned GET opens that object and no other, shows its signature to nobody, and lives for seven days at most."""
    store = connect()
    send(store)
    url = store.presign_get(NAME, expires=timedelta(minutes=5))
    assert "X-Amz-Signature" not in repr(url)
    text = url.get_secret_value()
    assert httpx.get(text, trust_env=False).content == BODY
    assert httpx.get(text.replace(NAME.rpartition("/")[2], "other.bak"), trust_env=False).status_code == 403
    with pytest.raises(ValueError, match=r"seven days"):
        store.presign_get(NAME, expires=timedelta(days=8))


def test_url_takes_no_other_body(connect: Callable[..., S3BackupStore]) -> None:
    """Bytes flipped before or after hashing, and a body of another size, are refused, and nothing is stored."""
    store = connect()
    assert "BadDigest" in send(store, BODY.replace(b"E", b"e", 1)).text
    assert send(store, BODY + b"x").status_code == 403
    with pytest.raises(ObjectMissing, match=r"is not in the store. Back it up again"):
        store.verify(NAME, sha256=SHA, size=len(BODY))


def test_object_that_was_replaced_is_seen(connect: Callable[..., S3BackupStore]) -> None:
    """Another size and other bytes of the same size each raise ObjectDiffers; no checksum proves nothing."""
    store = connect()
    other = BODY.replace(b"E", b"e")
    send(store, other, hashlib.sha256(other).hexdigest())
    with pytest.raises(ObjectDiffers, match=r"has SHA-256"):
        store.verify(NAME, sha256=SHA, size=len(BODY))
    with pytest.raises(ObjectDiffers, match=r"bytes, the host sent 7"):
        store.verify(NAME, sha256=SHA, size=7)
    store._client().put_object(Bucket=store.bucket, Key=store.key(NAME), Body=BODY)
    with pytest.raises(ObjectUnproven, match=r"no SHA-256"):
        store.verify(NAME, sha256=SHA, size=len(BODY))


def test_encryption_is_signed_with_the_url(connect: Callable[..., S3BackupStore]) -> None:
    """With SSE the headers that the host must send are told, and S3 accepts them."""
    store = connect(encryption="aws:kms", kms_key_id="key-1")
    assert send(store).status_code == 200
    put = store.presign_put(NAME, sha256=SHA, size=1, expires=timedelta(minutes=5))
    assert set(put.headers) == {
        "x-amz-checksum-sha256",
        "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-aws-kms-key-id",
    }


def test_more_than_one_put_may_carry_is_refused_before_signing(connect: Callable[..., S3BackupStore]) -> None:
    """Over 5 GiB the message says so and what to do; over seven days is a mistake of the caller."""
    with pytest.raises(ObjectTooLarge, match=r"5 GiB.*share"):
        connect().presign_put(NAME, sha256=SHA, size=5 * 1024**3 + 1, expires=timedelta(hours=1))
    with pytest.raises(ValueError, match=r"seven days"):
        connect().presign_put(NAME, sha256=SHA, size=1, expires=timedelta(days=8))


@pytest.mark.parametrize(
    ("other", "error", "says"),
    [
        ({"secret_access_key": "wrong\u2039&€"}, StoreAccessDenied, "correct the credentials"),
        ({"access_key_id": "AKIANOBODYKNOWS"}, StoreAccessDenied, "correct the credentials"),
        ({"bucket": "acme-nothing"}, BucketMissing, "there is no bucket acme-nothing"),
        ({"region": "eu-west-1"}, StoreError, "region"),
    ],
)
def test_reachable_names_what_is_wrong(
    connect: Callable[..., S3BackupStore], other: dict[str, str], error: type[StoreError], says: str
) -> None:
    """Wrong keys, a missing bucket and a wrong region each say what to correct."""
    with pytest.raises(error, match=says):
        connect(**other).reachable()


def test_missing_right_is_named(connect: Callable[..., S3BackupStore], faults: Faults) -> None:
    """A 403 names the right to grant."""
    faults.declare(Fault("store.denied", with_={"actions": ["s3:ListBucket"]}))
    with pytest.raises(StoreAccessDenied, match=r"Grant s3:ListBucket"):
        connect().reachable()
    faults.clear()
    faults.declare(Fault("store.denied", with_={"actions": ["s3:GetObject"]}))
    with pytest.raises(StoreAccessDenied, match=r"Without s3:ListBucket a missing object answers the same"):
        connect().verify(NAME, sha256=SHA, size=1)


def test_store_that_is_away_is_unreachable(
    connect: Callable[..., S3BackupStore], faults: Faults, server: S3Store
) -> None:
    """Resets, a closed port and lasting trouble are all StoreUnreachable; a single hiccup is tried again."""
    faults.declare(Fault("store.unreachable", times=1))
    connect().reachable()
    faults.declare(Fault("store.error", with_={"status": 503}))
    with pytest.raises(StoreUnreachable, match=r"in trouble"):
        connect().reachable()
    server.stop()
    with pytest.raises(StoreUnreachable, match=r"does not answer.*Check network, proxy and endpoint_url"):
        connect().reachable()


def test_untrusted_certificate_is_named_and_its_authority_can_be_trusted(tmp_path: Path) -> None:
    """A certificate of an unknown authority is refused with the fix in the message, and the fix works."""
    authority = Authority(tmp_path / "ca")
    tls = authority.tls("store", "127.0.0.1").context
    endpoint = Listener("127.0.0.1", 0, lambda _request: Answer(200, b""), tls=tls)
    settings = {
        "access_key_id": "AKIA1234",
        "secret_access_key": SecretStr("s"),
        "endpoint_url": f"https://127.0.0.1:{endpoint.port}",
    }
    try:
        with pytest.raises(StoreUnreachable, match=r"certificate of https://.* is not trusted. Set ca_file"):
            S3BackupStore("acme-backups", "", S3Credentials(**settings)).reachable()
        S3BackupStore("acme-backups", "", S3Credentials(**settings, ca_file=str(authority.file))).reachable()
    finally:
        endpoint.close()


def test_errors_hold_strings_only_and_no_secret(connect: Callable[..., S3BackupStore]) -> None:
    """No key, signature, request or response hangs on an error, not even as its context."""
    store = connect()
    send(store)
    for call in (
        lambda: store.verify(NAME, sha256="0" * 64, size=1),
        lambda: store.verify("other", sha256=SHA, size=1),
        lambda: connect(bucket="acme-nothing").reachable(),
        lambda: connect(endpoint_url="http://127.0.0.1:9").verify(NAME, sha256=SHA, size=1),
    ):
        with pytest.raises(StoreError) as caught:
            call()
        error = caught.value
        assert error.__context__ is None
        assert error.__cause__ is None
        assert all(isinstance(argument, str) for argument in error.args)
        assert "X-Amz" not in str(error)
        assert store._credentials.secret_access_key.get_secret_value() not in str(error)


def test_nothing_shows_the_url_or_the_keys(connect: Callable[..., S3BackupStore]) -> None:
    """Representations of store, credentials and presigned PUT hold no secret."""
    store = connect()
    put = store.presign_put(NAME, sha256=SHA, size=1, expires=timedelta(minutes=5))
    shown = f"{store!r} {put!r} {put} {store._credentials!r}"
    assert "X-Amz-Signature" not in shown
    assert store._credentials.secret_access_key.get_secret_value() not in shown
    assert "X-Amz-Signature" in put.url.get_secret_value()


@pytest.mark.parametrize(
    ("settings", "start"),
    [
        ({"region": "ca-central-1"}, "https://acme-backups.s3.ca-central-1.amazonaws.com/billing/"),
        ({"region": "us-east-1"}, "https://acme-backups.s3.amazonaws.com/billing/"),
        ({"endpoint_url": "https://minio.acme.example"}, "https://minio.acme.example/acme-backups/billing/"),
        (
            {"endpoint_url": "https://store.acme.example", "addressing": "virtual"},
            "https://acme-backups.store.acme.example/billing/",
        ),
    ],
)
def test_urls_name_the_regional_host_or_the_path(settings: dict[str, Any], start: str) -> None:
    """A URL of Amazon's global host would redirect a PUT away; other stores have the bucket in the path."""
    credentials = S3Credentials(access_key_id="AKIA1234", secret_access_key=SecretStr("s"), **settings)
    store = S3BackupStore("acme-backups", "billing", credentials)
    put = store.presign_put("x.bak", sha256=SHA, size=1, expires=timedelta(hours=1))
    assert put.url.get_secret_value().startswith(start + "x.bak?")
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in put.url.get_secret_value()
    assert put.headers == {"x-amz-checksum-sha256": base64.b64encode(bytes.fromhex(SHA)).decode()}
