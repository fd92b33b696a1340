"""Pages a person: posts JSON to a declared webhook, within a deadline, and never says where to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from typing import Any

from blocks.credentials import WebhookCredentials
from blocks.web import WebClient, WebError


class WebhookFailed(Exception):  # noqa: N818 - as it is told: the page did not go out
    """The person was not paged; says why, without the address, which is a secret."""


class Webhook:
    """A webhook: two tries, ``deadline`` seconds for both together."""

    def __init__(self, credentials: WebhookCredentials, *, deadline: float = 20.0, ca_file: str | None = None) -> None:
        self._credentials = credentials
        self._deadline = deadline
        self._web = WebClient(ca_file=ca_file, proxies=True)

    def post(self, payload: Mapping[str, Any]) -> None:
        """Post ``payload`` as JSON; returns on a status of 200 to 299, else raises WebhookFailed."""
        until = time.monotonic() + self._deadline
        content = json.dumps(payload, ensure_ascii=False, default=str).encode()
        headers = {"Content-Type": "application/json; charset=utf-8"}
        if self._credentials.authorization is not None:
            headers["Authorization"] = self._credentials.authorization.get_secret_value()
        reason = ""
        for pause in (0.5, 0.0):
            left = until - time.monotonic()
            reason, final = self._once(content, headers, max(left, 1.0))
            if not reason:
                return
            if final or until - time.monotonic() < pause:
                break
            threading.Event().wait(pause)
        raise WebhookFailed(f"the webhook did not take the page: {reason}. Tell the person on call by other means.")

    def _once(self, content: bytes, headers: Mapping[str, str], seconds: float) -> tuple[str, bool]:
        """Why it failed (empty: it did not), and whether another try is of no use."""
        try:
            answer = self._web.post(self._credentials.url.get_secret_value(), content, headers, deadline=seconds)
        except WebError as error:
            return type(error).__name__, False
        if 200 <= answer.status < 300:
            return "", True
        return f"it answered {answer.status}", answer.status < 500 and answer.status != 429
