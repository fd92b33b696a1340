"""What can go wrong with an S3 bucket, in our own errors, which hold strings only.

StoreError
  StoreUnreachable     no connection, no answer in time, or a certificate that is not trusted
  StoreAccessDenied    the keys are wrong, or lack a right that the message names
  BucketMissing        there is no such bucket, or it lies in another region
  StoreFailed          anything else that S3 answered, by its code
  ObjectMissing        it was never stored, or is gone
  ObjectDiffers        size or SHA-256 is not what the host sent
  ObjectUnproven       the store keeps no SHA-256 of it, so nothing is proved
  ObjectTooLarge       more than one PUT may carry
"""

# ruff: noqa: N818 - the names say what happened; 'Error' on each would only repeat the base class
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, SSLError
from botocore.exceptions import ConnectionError as NoConnection

T = TypeVar("T")


class StoreError(Exception):
    """What went wrong with a store, in one line; never holds a key, a URL's query or a response."""


class StoreUnreachable(StoreError):
    """No connection, no answer in time, or a certificate that is not trusted."""


class StoreAccessDenied(StoreError):
    """The keys are wrong, or lack a right that the message names."""


class BucketMissing(StoreError):
    """There is no such bucket, or it lies in another region."""


class StoreFailed(StoreError):
    """Anything else that S3 answered."""


class ObjectMissing(StoreError):
    """The object was never stored, or is gone."""


class ObjectDiffers(StoreError):
    """Size or SHA-256 is not what the host sent."""


class ObjectUnproven(StoreError):
    """The store keeps no SHA-256 of the object."""


class ObjectTooLarge(StoreError):
    """More than one PUT may carry."""


@dataclass(frozen=True)
class Asked:
    """What was asked of which store, for the messages: ``key_id`` is shortened by its maker."""

    store: str
    bucket: str
    where: str
    region: str
    key_id: str
    right: str
    about: str


def ask(asked: Asked, call: Callable[[], T]) -> T:
    """What ``call`` answers; raises our own errors where botocore raises its own.

    They are raised outside the handlers, so that no request or response hangs on them, not even as their context.
    """
    try:
        return call()
    except ClientError as error:
        problem = _refusal(asked, error.response)
    except SSLError:
        problem = StoreUnreachable(
            f"{asked.store}: the certificate of {asked.where} is not trusted. "
            "Set ca_file of the credentials to its authority."
        )
    except (
        NoConnection,
        HTTPClientError,
    ) as error:  # connecting, reading, proxies; its text holds the URL with its query
        in_time = " in time" if "Timeout" in type(error).__name__ else ""
        problem = StoreUnreachable(
            f"{asked.store}: {asked.where} does not answer{in_time}. Check network, proxy and endpoint_url."
        )
    except (BotoCoreError, ValueError) as error:
        problem = StoreFailed(
            f"{asked.store}: the request cannot be made ({type(error).__name__}). Check region and endpoint_url."
        )
    raise problem


def _refusal(asked: Asked, response: Any) -> StoreError:
    code = str(response.get("Error", {}).get("Code", ""))
    answer = response.get("ResponseMetadata", {})
    status = answer.get("HTTPStatusCode", 0)
    region = answer.get("HTTPHeaders", {}).get("x-amz-bucket-region")
    if region and region != asked.region:
        return BucketMissing(f"{asked.store}: the bucket lies in {region}. Set region of the credentials to it.")
    if status == 403:
        return StoreAccessDenied(f"{asked.store}: {_denied(asked, code)}")
    if status == 404 and (code == "NoSuchBucket" or asked.right == "s3:ListBucket"):
        return BucketMissing(f"{asked.store}: there is no bucket {asked.bucket}. Correct its name, or make it.")
    if status == 404:
        return ObjectMissing(f"{asked.store}{asked.about}: is not in the store. Back it up again.")
    if status >= 500:
        return StoreUnreachable(f"{asked.store}: the store is in trouble ({status} {code}). Try again later.")
    return StoreFailed(f"{asked.store}: answered {status} {code}. Check region and endpoint_url of the credentials.")


def _denied(asked: Asked, code: str) -> str:
    if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"):
        return f"key {asked.key_id} is not accepted ({code}). Correct the credentials."
    if code == "RequestTimeTooSkewed":
        return "this machine's clock is off by more than 15 minutes. Set it."
    more = " Without s3:ListBucket a missing object answers the same." if asked.right == "s3:GetObject" else ""
    return (
        f"key {asked.key_id} may not do {asked.right} on {asked.bucket}, or its secret is wrong. "
        f"Grant {asked.right}, or correct the credentials.{more}"
    )
