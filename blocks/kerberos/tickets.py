"""A user's tickets: got with a password or a keytab, kept in memory, renewed before they end.

All hosts of a run share the tickets of one user, so a password goes to the KDC once, and a wrong one once, not once for
each host: a domain locks an account after a few.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from ctypes import POINTER, byref, c_void_p
from dataclasses import dataclass, field

from blocks.kerberos.errors import FINAL, KerberosError
from blocks.kerberos.library import Creds, Krb5
from blocks.kerberos.library import krb5 as krb5_library

_HOST_AS_IT_IS = 0  # KRB5_NT_UNKNOWN: DNS is not asked how the host is called, as Windows does not either
REMEMBERED = 900.0
"""Seconds for which a refusal of the KDC is repeated without asking it again."""
_MARGIN = 600.0


@dataclass(frozen=True)
class Login:
    """Who we are to the KDC: name@REALM with a password, or a keytab's path; where it is found (a krb5.conf)."""

    user: str
    password: str | None = field(default=None, repr=False)
    keytab: str | None = None
    config: str | None = None
    forwardable: bool = False


@dataclass(frozen=True)
class ServiceTicket:
    """A ticket for one service in a cache: the full name of the service, and when the ticket ends."""

    cache: str
    server: str
    ends: float


def margin(lifetime: float) -> float:
    """Seconds before its end from which a ticket of that lifetime is not begun with any more."""
    return min(_MARGIN, lifetime / 4)


def tickets(login: Login) -> Tickets:
    """The tickets of a login, the same for everybody who asks in this process."""
    secret = hashlib.sha256(repr((login, login.password)).encode()).digest()
    with _LOCK:
        return _KNOWN.setdefault(secret, Tickets(login))


class Tickets:
    """The ticket cache of one login; safe for any number of threads, which take turns with the KDC."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._lock = threading.Lock()
        self._cache: c_void_p | None = None
        self._last: c_void_p | None = None
        self._name = ""
        self._begins, self._ends = 0.0, 0.0
        self._failed: tuple[float, KerberosError] | None = None

    def service(self, service: str, host: str) -> ServiceTicket:
        """A ticket for ``service`` on ``host``; asks the KDC where it has none, or one that ends soon.

        Raises KerberosError and KerberosAbsent. A KDC that is silent is given up by libkrb5 itself, after about
        half a minute; whoever waited for the answer meanwhile gets the same one.
        """
        asked = time.monotonic()
        with self._lock, Krb5(self._login.config) as krb5:
            # Where a host of no domain_realm entry is looked for, after the domain controller had no better idea.
            krb5.call("krb5_set_default_realm", self._login.user.rpartition("@")[2].encode())
            if time.time() >= self._ends - margin(self._ends - self._begins):
                self._log_in(krb5, asked)
            client, server, found = c_void_p(), c_void_p(), POINTER(Creds)()
            krb5.call("krb5_cc_get_principal", self._cache, byref(client))
            try:
                krb5.call("krb5_sname_to_principal", host.encode(), service.encode(), _HOST_AS_IT_IS, byref(server))
                wanted = Creds(client=client, server=server)
                krb5.call(
                    "krb5_get_credentials",
                    0,
                    self._cache,
                    byref(wanted),
                    byref(found),
                    stage="asking for a ticket for the host",
                )
                name = c_void_p()
                krb5.call("krb5_unparse_name", c_void_p(found.contents.server), byref(name))
                return ServiceTicket(self._name, krb5.text(name, "krb5_free_unparsed_name"), float(found.contents.ends))
            finally:
                if found:
                    krb5.free("krb5_free_creds", found)
                if server:
                    krb5.free("krb5_free_principal", server)
                krb5.free("krb5_free_principal", client)

    def _log_in(self, krb5: Krb5, asked: float) -> None:
        """Ask the KDC for the first ticket, in a fresh cache; the old one's users have it open still."""
        if self._failed is not None:
            when, error = self._failed
            if asked < when or (error.number in FINAL and asked < when + REMEMBERED):
                raise KerberosError(error.stage, error.code, error.words)
        creds = Creds()
        try:
            self._first_ticket(krb5, creds)
        except KerberosError as error:
            # A copy: the original's traceback leads to frames that hold the password.
            self._failed = (time.monotonic(), KerberosError(error.stage, error.code, error.words))
            raise
        self._failed = None
        cache, name = c_void_p(), c_void_p()
        try:
            krb5.call("krb5_cc_new_unique", b"MEMORY", None, byref(cache))
            krb5.call("krb5_cc_initialize", cache, c_void_p(creds.client))
            krb5.call("krb5_cc_store_cred", cache, byref(creds))
            krb5.call("krb5_cc_get_full_name", cache, byref(name))
            if self._last is not None:
                krb5.free("krb5_cc_destroy", self._last)
            # Somebody may be about to open the one in use so far: it goes when the next one comes.
            self._last = self._cache
            self._cache, self._name = cache, krb5.text(name, "krb5_free_string")
            self._begins, self._ends = time.time(), float(creds.ends)
        finally:
            krb5.free("krb5_free_cred_contents", byref(creds))

    def _first_ticket(self, krb5: Krb5, creds: Creds) -> None:
        login = self._login
        user, options, keytab = c_void_p(), c_void_p(), c_void_p()
        krb5.call("krb5_parse_name", login.user.encode(), byref(user), stage="reading the user name")
        try:
            krb5.call("krb5_get_init_creds_opt_alloc", byref(options))
            krb5_library().krb5_get_init_creds_opt_set_forwardable(options, int(login.forwardable))
            stage = "logging in to the domain"
            if login.keytab is None:
                # No prompter: an expired password is an error, never a question at a terminal.
                secret = (login.password or "").encode()
                krb5.call(
                    "krb5_get_init_creds_password",
                    byref(creds),
                    user,
                    secret,
                    None,
                    None,
                    0,
                    None,
                    options,
                    stage=stage,
                )
            else:
                _must_be_readable(login.keytab)
                krb5.call("krb5_kt_resolve", login.keytab.encode(), byref(keytab), stage="opening the keytab")
                krb5.call("krb5_get_init_creds_keytab", byref(creds), user, keytab, 0, None, options, stage=stage)
        finally:
            if keytab:
                krb5.free("krb5_kt_close", keytab)
            if options:
                krb5.free("krb5_get_init_creds_opt_free", options)
            krb5.free("krb5_free_principal", user)


def _must_be_readable(keytab: str) -> None:
    # libkrb5 tells it as a failed authentication, which it is not.
    code = 0
    try:
        with open(keytab, "rb"):  # noqa: PTH123 - to see whether it can be
            return
    except OSError as error:
        code, words = error.errno or 0, f"{keytab}: {os.strerror(error.errno or 0)}"
    raise KerberosError("opening the keytab", code, words)


_LOCK = threading.Lock()
_KNOWN: dict[bytes, Tickets] = {}
