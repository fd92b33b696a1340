"""AWS Signature Version 4 from the server's side, in the request's headers or in a presigned URL.

Source of the rules: "Signature Calculations for the Authorization Header" and "Authenticating Requests: Using Query
Parameters" in the Amazon S3 API Reference. moto checks no signature at all, so a client that signs wrongly, lets a URL
expire or sends another checksum than it signed would pass.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW = timedelta(minutes=15)


class Refusal(NamedTuple):
    """An S3 error: HTTP status, code and message as S3 words them."""

    status: int
    code: str
    message: str


class _Claim(NamedTuple):
    """What the request says about its own signature."""

    key_id: str
    scope: list[str]
    signed: list[str]
    signature: str
    at: datetime
    expires: timedelta | None
    payload: str


class Signed(NamedTuple):
    """A request as it came: ``target`` is the raw path and query, ``headers`` have lower-case names."""

    method: str
    target: str
    headers: Mapping[str, str]

    @property
    def query(self) -> list[tuple[str, str]]:
        """The parameters of the query, decoded."""
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)


def check_signature(request: Signed, keys: Mapping[str, str], region: str, now: datetime) -> Refusal | None:
    """Why S3 refuses this request, None where the signature is good.

    ``keys`` are secrets by key id, ``region`` is where the bucket lies.
    """
    claim = _claim(request)
    if claim is None:
        return Refusal(403, "AccessDenied", "Access Denied")
    secret = keys.get(claim.key_id)
    if secret is None:
        return Refusal(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
    return _untimely(claim, now) or _incomplete(request, claim, region) or _mismatch(request, claim, secret)


def _incomplete(request: Signed, claim: _Claim, region: str) -> Refusal | None:
    if claim.scope[1:] != [region, "s3", "aws4_request"]:
        return Refusal(
            400,
            "AuthorizationHeaderMalformed",
            f"The authorization header is malformed; the region is wrong; expecting '{region}'",
        )
    unsigned = [name for name in request.headers if name.startswith("x-amz-") and name not in claim.signed]
    if unsigned and unsigned != ["x-amz-content-sha256"]:
        return Refusal(403, "AccessDenied", "There were headers present in the request which were not signed")
    return None


def _mismatch(request: Signed, claim: _Claim, secret: str) -> Refusal | None:
    if hmac.compare_digest(_signature(request, claim, secret), claim.signature):
        return None
    return Refusal(
        403,
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
    )


def _untimely(claim: _Claim, now: datetime) -> Refusal | None:
    if claim.expires is not None and now > claim.at + claim.expires:
        return Refusal(403, "AccessDenied", "Request has expired")
    if abs(now - claim.at) > SKEW and (claim.expires is None or claim.at > now):
        return Refusal(
            403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."
        )
    return None


def _signature(request: Signed, claim: _Claim, secret: str) -> str:
    canonical = "\n".join(
        [
            request.method,
            quote(unquote(urlsplit(request.target).path), safe="/-_.~"),
            "&".join(sorted(f"{_escaped(k)}={_escaped(v)}" for k, v in request.query if k != "X-Amz-Signature")),
            *(f"{name}:{re.sub(' +', ' ', request.headers.get(name, '').strip())}" for name in claim.signed),
            "",
            ";".join(claim.signed),
            claim.payload,
        ]
    )
    text = "\n".join(
        [
            ALGORITHM,
            claim.at.strftime("%Y%m%dT%H%M%SZ"),
            "/".join(claim.scope),
            hashlib.sha256(canonical.encode()).hexdigest(),
        ]
    )
    signing_key = f"AWS4{secret}".encode()
    for part in claim.scope:
        signing_key = hmac.digest(signing_key, part.encode(), "sha256")
    return hmac.digest(signing_key, text.encode(), "sha256").hex()


def _claim(request: Signed) -> _Claim | None:
    given, headers = dict(request.query), request.headers
    try:
        if given.get("X-Amz-Algorithm") == ALGORITHM:
            key_id, *scope = given["X-Amz-Credential"].split("/")
            signed, signature, at = given["X-Amz-SignedHeaders"], given["X-Amz-Signature"], given["X-Amz-Date"]
            expires: timedelta | None = timedelta(seconds=int(given["X-Amz-Expires"]))
            payload = headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
        else:
            authorization = headers.get("authorization", "")
            if not authorization.startswith(ALGORITHM + " "):
                return None
            fields = dict(part.strip().split("=", 1) for part in authorization[len(ALGORITHM) :].split(","))
            key_id, *scope = fields["Credential"].split("/")
            signed, signature, at = fields["SignedHeaders"], fields["Signature"], headers["x-amz-date"]
            expires = None
            payload = headers["x-amz-content-sha256"]
        moment = datetime.strptime(at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except (KeyError, ValueError):
        return None
    return _Claim(key_id, scope, signed.split(";"), signature, moment, expires, payload)


def _escaped(text: str) -> str:
    return quote(text, safe="-_.~")
