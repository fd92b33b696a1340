"""The lab's S3 refuses what the real one refuses: wrong signatures, wrong bytes, expired URLs, missing rights."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from lab.audit import Audit
from lab.clock import Clock
from lab.faults import Fault, Faults
from lab.s3 import S3Store

BODY = b"invoices of November" * 40


def checksum(body: bytes) -> str:
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[S3Store]:
    address = "127." + ".".join(str(1 + secrets.randbelow(254)) for _ in range(3))
    store = S3Store(address, audit=Audit(tmp_path / "audit.jsonl"), clock=Clock(1000), faults=Faults())
    store.start()
    yield store
    store.stop()


def client(store: S3Store, **other: str) -> Any:
    settings = {
        "region_name": store.region,
        "aws_access_key_id": store.access_key_id,
        "aws_secret_access_key": store.secret_access_key,
        **other,
    }
    config = Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
    return boto3.client("s3", endpoint_url=store.endpoint_url, config=config, **settings)


def presigned(store: S3Store, body: bytes, expires: int = 60) -> tuple[str, dict[str, str]]:
    wanted = {"Bucket": store.bucket, "Key": "billing/x y.zip", "ChecksumSHA256": checksum(body)}
    url = client(store).generate_presigned_url("put_object", Params=wanted, ExpiresIn=expires)
    return url, {"x-amz-checksum-sha256": checksum(body)}


def put(url: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    return httpx.put(url, content=body, headers=headers, trust_env=False)


def test_presigned_put_keeps_the_checksum_for_a_later_head(store: S3Store) -> None:
    """HeadObject with ChecksumMode answers the SHA-256 that the URL was signed with."""
    url, headers = presigned(store, BODY)
    assert put(url, BODY, headers).status_code == 200
    head = client(store).head_object(Bucket=store.bucket, Key="billing/x y.zip", ChecksumMode="ENABLED")
    assert (head["ChecksumSHA256"], head["ContentLength"]) == (checksum(BODY), len(BODY))


def test_ordinary_calls_of_the_sdk_work(store: S3Store) -> None:
    """Requests signed in their headers pass, those with chunked bodies too."""
    s3 = client(store)
    s3.put_object(Bucket=store.bucket, Key="k", Body=BODY, ChecksumAlgorithm="SHA256")
    assert s3.get_object(Bucket=store.bucket, Key="k")["Body"].read() == BODY
    assert s3.list_objects_v2(Bucket=store.bucket, Prefix="k")["KeyCount"] == 1
    s3.delete_object(Bucket=store.bucket, Key="k")


def test_wrong_bytes_are_refused_with_bad_digest(store: S3Store) -> None:
    """A body that is not what its checksum says is refused and not stored, flipped by the sender or on the way."""
    url, headers = presigned(store, BODY)
    answer = put(url, BODY[:-1] + b"?", headers)
    assert (answer.status_code, "<Code>BadDigest</Code>" in answer.text) == (400, True)
    store._faults.declare(Fault("store.flip_byte", times=1))
    assert "BadDigest" in put(url, BODY, headers).text
    assert put(url, BODY, headers).status_code == 200


@pytest.mark.parametrize("missing", ["checksum", "other checksum", "extra header", "other key"])
def test_what_was_not_signed_is_refused(store: S3Store, missing: str) -> None:
    """The checksum is a part of the signature: it can be neither left out nor changed, and nothing can be added."""
    url, headers = presigned(store, BODY)
    if missing == "checksum":
        headers = {}
    elif missing == "other checksum":
        headers = {"x-amz-checksum-sha256": checksum(b"other")}
    elif missing == "extra header":
        headers["x-amz-acl"] = "public-read"
    else:
        url = url.replace("x%20y", "other")
    assert put(url, BODY, headers).status_code == 403


def test_expired_url_is_refused(store: S3Store) -> None:
    """A presigned URL ends when it says."""
    url, headers = presigned(store, BODY, expires=1)
    deadline = time.monotonic() + 5
    answer = put(url, BODY, headers)
    while answer.status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.05)
        answer = put(url, BODY, headers)
    assert "Request has expired" in answer.text


@pytest.mark.parametrize(
    ("other", "status"),
    [
        ({"aws_access_key_id": "AKIANOBODY"}, 403),
        ({"aws_secret_access_key": "wrong"}, 403),
        ({"region_name": "eu-west-1"}, 400),
    ],
)
def test_wrong_credentials_and_region_are_refused(store: S3Store, other: dict[str, str], status: int) -> None:
    """Unlike moto, the door knows its keys and where the bucket lies."""
    with pytest.raises(ClientError) as refused:
        client(store, **other).head_bucket(Bucket=store.bucket)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_unreachable_store_resets_and_a_stopped_one_refuses(store: S3Store) -> None:
    """A declared fault resets connections; a stopped store has no port, and keeps its objects."""
    url, headers = presigned(store, BODY)
    store._faults.declare(Fault("store.unreachable", on=store.bucket, times=1))
    with pytest.raises(httpx.TransportError):
        put(url, BODY, headers)
    assert put(url, BODY, headers).status_code == 200
    store.stop()
    with pytest.raises(httpx.ConnectError):
        put(url, BODY, headers)
    store.start()
    assert client(store).head_object(Bucket=store.bucket, Key="billing/x y.zip")["ContentLength"] == len(BODY)


def test_missing_rights_are_declared_by_action(store: S3Store) -> None:
    """store.denied can take one right away and leave the others."""
    store._faults.declare(Fault("store.denied", with_={"actions": ["s3:PutObject"]}))
    url, headers = presigned(store, BODY)
    assert "s3:PutObject" in put(url, BODY, headers).text
    client(store).head_bucket(Bucket=store.bucket)


def test_more_than_one_put_can_carry_is_refused_before_the_body(store: S3Store) -> None:
    """5 GiB is the limit of a single PUT; S3 says so on seeing the length."""
    url, headers = presigned(store, BODY)
    target = urlsplit(url)
    line = http.client.HTTPConnection(target.netloc, timeout=5)
    line.putrequest("PUT", f"{target.path}?{target.query}")
    for name, value in {**headers, "Content-Length": str(5 * 1024**3 + 1)}.items():
        line.putheader(name, value)
    line.endheaders()
    with contextlib.closing(line):
        assert b"EntityTooLarge" in line.getresponse().read()


def test_the_audit_trail_holds_writes_and_no_secret(store: S3Store, tmp_path: Path) -> None:
    """Every object written is counted with its digest; neither keys nor signatures are written down."""
    url, headers = presigned(store, BODY)
    put(url, BODY, headers)
    trail = (tmp_path / "audit.jsonl").read_text(encoding="utf-8")
    written = [json.loads(line) for line in trail.splitlines()]
    assert [(e["event"], e["key"], e["sha256"]) for e in written if e["effect"]] == [
        ("store.put", "billing/x y.zip", hashlib.sha256(BODY).hexdigest())
    ]
    assert store.secret_access_key not in trail
    assert "X-Amz-Signature" not in trail
