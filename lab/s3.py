"""The lab's S3: moto's server behind a door that checks what moto lets pass.

moto (5.2) verifies no signature and no checksum, and forgets ``x-amz-checksum-sha256`` unless the SDK's own header
names the algorithm. The door answers as S3 does: 403 for a wrong, expired or incomplete signature, 400 BadDigest for a
body that is not what its checksum says, 400 EntityTooLarge for more than one PUT may carry.

Faults, on the bucket's name: ``store.unreachable`` (the connection is reset), ``store.denied`` (``actions``: the rights
that are missing, all by default), ``store.slow`` (``seconds`` of lab time), ``store.flip_byte`` (in transit),
``store.error`` (``status``: 500 InternalError, 503 SlowDown).
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import secrets
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import escape

from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import ThreadedWSGIServer

from lab.audit import Audit
from lab.clock import Clock
from lab.faults import Faults
from lab.s3_signature import Refusal, Signed, check_signature

LARGEST_PUT = 5 * 1024**3
"""Bytes that one PUT may carry."""
STATUS_LINES = {
    400: "400 Bad Request",
    403: "403 Forbidden",
    411: "411 Length Required",
    500: "500 Internal Server Error",
}
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class S3Store:
    """One bucket with one pair of keys (random where not given), on ``address``:``port`` while it is started."""

    region = "ca-central-1"

    def __init__(
        self,
        address: str,
        *,
        audit: Audit,
        clock: Clock,
        faults: Faults,
        bucket: str = "acme-backups",
        port: int = 9000,
        keys: tuple[str, str] | None = None,
    ) -> None:
        self.bucket = bucket
        self.access_key_id, self.secret_access_key = keys or ("AKIA" + secrets.token_hex(8).upper(), _awkward())
        self.endpoint_url = f"http://{address}:{port}"
        self._where = (address, port)
        self._audit = audit
        self._clock = clock
        self._faults = faults
        self._server: _Server | None = None
        backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        if self.bucket in backend.buckets:  # moto's buckets belong to the process: an earlier lab left it
            backend.buckets[self.bucket].keys.clear()
        else:
            backend.create_bucket(self.bucket, self.region)

    def start(self) -> None:
        """Open the port; the bucket keeps its objects over a stop and a start."""
        door = _Door(self, DomainDispatcherApplication(create_backend_app), self._audit, self._clock, self._faults)
        self._server = _Server(*self._where, door.answer, handler=_Quiet)
        self._server.refuses = lambda: self._faults.strike("store.unreachable", self.bucket) is not None
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="s3", daemon=True).start()

    def keep(self, key: str, data: bytes) -> None:
        """Put an object that somebody else has uploaded before."""
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(self.bucket, key, data)

    def stop(self) -> None:
        """Close the port."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def _awkward() -> str:
    return secrets.token_hex(16) + '"\u2039&\u20ac'


class _Quiet(MotoRequestHandler):  # type: ignore[misc]
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's name
        """Write no presigned URL to anybody's terminal."""


class _Server(ThreadedWSGIServer):
    daemon_threads = True
    block_on_close = False
    refuses: Callable[[], bool]

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Reset the connection where the store is declared unreachable."""
        if self.refuses():
            request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.close()
            return False
        return super().verify_request(request, client_address)


class _Door:
    """The WSGI application before moto's."""

    def __init__(self, store: S3Store, moto: Wsgi, audit: Audit, clock: Clock, faults: Faults) -> None:
        self._store = store
        self._moto = moto
        self._audit = audit
        self._clock = clock
        self._faults = faults

    def answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Refuse as S3 does, or let moto answer; every write and every refusal is audited."""
        method, target = environ["REQUEST_METHOD"], environ["RAW_URI"]
        key = unquote(urlsplit(target).path).lstrip("/").partition("/")[2]
        slow = self._faults.strike("store.slow", self._store.bucket)
        if slow is not None:
            self._clock.sleep(float(slow.get("seconds", 30)))
        headers = _headers(environ)
        keys = {self._store.access_key_id: self._store.secret_access_key}
        refusal = check_signature(Signed(method, target, headers), keys, self._store.region, datetime.now(UTC))
        refusal = refusal or self._declared(method, key)
        body = b""
        if refusal is None and method in ("PUT", "POST"):
            length = int(headers.get("content-length") or -1)
            refusal = _length(length)
            if refusal is None:
                body = self._transit(environ["wsgi.input"].read(length))
                refusal = _digests(headers, body)
        if refusal is not None:
            self._audit.write("s3", "store.refused", effect=False, method=method, key=key, code=refusal.code)
            return _refuse(refusal, method, key, start_response)
        if method in ("PUT", "POST"):
            environ["wsgi.input"] = io.BytesIO(body)
            if "x-amz-checksum-sha256" in headers:  # without this header moto would not remember the checksum
                environ["HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM"] = "SHA256"
        if method not in ("GET", "HEAD"):
            digest = hashlib.sha256(body).hexdigest()
            self._audit.write("s3", f"store.{method.lower()}", key=key, size=len(body), sha256=digest)
        return self._moto(environ, start_response)

    def _declared(self, method: str, key: str) -> Refusal | None:
        action = {"PUT": "s3:PutObject", "POST": "s3:PutObject", "DELETE": "s3:DeleteObject"}.get(method)
        action = action or ("s3:GetObject" if key else "s3:ListBucket")
        denied = self._faults.strike("store.denied", self._store.bucket)
        if denied is not None and action in denied.get("actions", [action]):
            return Refusal(403, "AccessDenied", f"User is not authorized to perform: {action}")
        error = self._faults.strike("store.error", self._store.bucket)
        if error is not None:
            if error.get("status") == 503:
                return Refusal(503, "SlowDown", "Please reduce your request rate.")
            return Refusal(500, "InternalError", "We encountered an internal error. Please try again.")
        return None

    def _transit(self, body: bytes) -> bytes:
        if body and self._faults.strike("store.flip_byte", self._store.bucket) is not None:
            middle = len(body) // 2
            return body[:middle] + bytes([body[middle] ^ 0x01]) + body[middle + 1 :]
        return body


def _headers(environ: dict[str, Any]) -> dict[str, str]:
    found = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            found[name.replace("_", "-").lower()] = environ[name]
    return found


def _length(length: int) -> Refusal | None:
    if length < 0:
        return Refusal(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    if length > LARGEST_PUT:
        return Refusal(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
    return None


def _digests(headers: dict[str, str], body: bytes) -> Refusal | None:
    declared = headers.get("x-amz-content-sha256", "")
    if declared.startswith("STREAMING-"):
        return None  # the body is in chunks with their own signatures, which moto takes apart
    if re.fullmatch("[0-9a-f]{64}", declared) and hashlib.sha256(body).hexdigest() != declared:
        return Refusal(
            400,
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        )
    checksum = headers.get("x-amz-checksum-sha256")
    if checksum is not None:
        if not re.fullmatch(r"[A-Za-z0-9+/]{43}=", checksum):
            return Refusal(400, "InvalidRequest", "Value for x-amz-checksum-sha256 header is invalid.")
        if base64.b64encode(hashlib.sha256(body).digest()).decode() != checksum:
            return Refusal(400, "BadDigest", "The SHA256 you specified did not match the calculated checksum.")
    return None


def _refuse(refusal: Refusal, method: str, key: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{refusal.code}</Code><Message>{escape(refusal.message)}</Message>"
        f"<Key>{escape(key)}</Key><RequestId>{secrets.token_hex(8).upper()}</RequestId></Error>"
    )
    body = b"" if method == "HEAD" else text.encode()
    line = STATUS_LINES.get(refusal.status, f"{refusal.status} Service Unavailable")
    # the body of the request may be unread: a kept connection would take it for the next request
    headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body))), ("Connection", "close")]
    start_response(line, headers)
    return [body]
