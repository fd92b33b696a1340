"""Who may log on to a host, and the NTLM handshakes that prove it."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path

import spnego
import spnego.channel_bindings
from spnego._ntlm_raw.crypto import ntowfv1

_STORE = threading.Lock()
"""pyspnego finds its accounts by the environment of the process; each host has its own, so hosts take turns."""


class Refused(Exception):  # noqa: N818 - the answer of a logon, not an error of the lab
    """The logon was refused."""


class Accounts:
    """The local accounts of one host, kept as pyspnego's acceptor wants them.

    The file is in the smbpasswd form, which holds NT hashes: passwords may then contain anything, the colon that the
    plain form splits at included, and no password lies on the disk in readable form. An account is looked up by the
    exact domain that the client wrote, so every form that Windows takes is listed.
    """

    def __init__(self, machine: str, file: Path, users: Mapping[str, str]) -> None:
        self.machine = machine
        self._file = file
        self._users = {name.casefold(): password for name, password in users.items()}
        lines = []
        for name, password in users.items():
            digest = ntowfv1(password).hex().upper()
            domains = ("", f"{machine.upper()}\\", ".\\", "WORKGROUP\\")
            lines += [f"{domain}{name}:0:{'0' * 32}:{digest}:[U]:LCT-0\n" for domain in domains]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text("".join(lines), encoding="utf-8")

    def basic(self, user: str, password: str) -> str:
        """The account's name when the password is right; raises Refused."""
        name = user.rsplit("\\", 1)[-1]
        if self._users.get(name.casefold()) != password:
            raise Refused
        return name

    def handshake(self, bindings: bytes | None) -> Handshake:
        """A new handshake; ``bindings`` is the hash of the TLS certificate where there is one."""
        return Handshake(self._file, bindings)


class Handshake:
    """NTLM or SPNEGO on one TCP connection, and the sealing of messages once it is complete."""

    def __init__(self, file: Path, bindings: bytes | None) -> None:
        self._file = file
        channel = None
        if bindings is not None:
            data = b"tls-server-end-point:" + bindings
            channel = spnego.channel_bindings.GssChannelBindings(application_data=data)
        with _STORE:
            os.environ["NTLM_USER_FILE"] = str(file)
            self._context = spnego.server(
                protocol="negotiate",
                channel_bindings=channel,
                options=spnego.NegotiateOptions.use_negotiate,
            )

    @property
    def complete(self) -> bool:
        return bool(self._context.complete)

    @property
    def user(self) -> str:
        """The account's name, without its domain."""
        return str(self._context.client_principal or "").rsplit("\\", 1)[-1]

    def step(self, token: bytes) -> bytes | None:
        """Answer the client's token; raises Refused."""
        try:
            with _STORE:
                os.environ["NTLM_USER_FILE"] = str(self._file)
                answer = self._context.step(token)
        except Exception:  # noqa: BLE001 - whatever pyspnego stumbles over, Windows says 401
            raise Refused from None
        return bytes(answer) if answer else None

    def unseal(self, header: bytes, data: bytes) -> bytes:
        """The clear text of a sealed message; raises Refused when it was sealed under another handshake."""
        try:
            return bytes(self._context.unwrap_winrm(header, data))
        except Exception:  # noqa: BLE001 - a wrong signature, a broken stream: all end the same way
            raise Refused from None

    def seal(self, data: bytes) -> tuple[bytes, bytes, int]:
        """Header, sealed data, and how many bytes of padding the data carries."""
        sealed = self._context.wrap_winrm(data)
        return bytes(sealed.header), bytes(sealed.data), int(sealed.padding_length)
