r"""Where credentials come from: Prefect's blocks, else the environment, else a file, else the person at the terminal.

CredentialsError
  CredentialsMissing   names found nowhere; all of them are told at once
  CredentialsInvalid   found, and not what the estate needs
  CredentialsUnsafe    the credentials file can be read by others, or not at all by us

Rescue must work without Prefect, so its API is asked first but only when it answers. The environment's forms:

- ``BILLPATCH_CREDENTIAL_WINRM_ACME``: one credential named ``winrm-acme`` as a JSON object with its ``kind``;
- ``BILLPATCH_CREDENTIALS``: path of a JSON file of such objects by name, readable by its owner only (mode 0600)::

    {"winrm-acme": {"kind": "winrm", "username": "ACME\\svc", "password": "...", "transport": "ntlm", "scheme": "https"},
     "krb-acme": {"kind": "winrm", "username": "svc@ACME.EXAMPLE", "keytab": "/etc/billpatch/svc.keytab",
                  "transport": "kerberos", "scheme": "http"},
     "pem-acme": {"kind": "winrm", "username": "svc", "transport": "certificate",
                  "certificate": "-----BEGIN CERTIFICATE-----\\n...", "certificate_key": "-----BEGIN PRIVATE KEY-----\\n..."},
     "sql-acme": {"kind": "sql", "username": "billpatch", "password": "..."},
     "nas-acme": {"kind": "share", "username": "NAS01\\backup", "password": "..."},
     "s3-acme": {"kind": "s3", "access_key_id": "...", "secret_access_key": "...", "region": "ca-central-1"},
     "pager": {"kind": "webhook", "url": "https://hooks.example.com/..."},
     "vcenter-acme": {"kind": "api", "authorization": "Bearer ...", "header": "Authorization"}}
"""

# ruff: noqa: N818 - the names say what happened; 'Error' on each would only repeat the base class
from __future__ import annotations

import getpass
import importlib
import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx
from prefect.blocks.core import Block
from prefect.exceptions import PrefectException
from pydantic import SecretStr, ValidationError

from blocks.prefect_api import prefect_api

FILE_VARIABLE = "BILLPATCH_CREDENTIALS"
ONE_VARIABLE = "BILLPATCH_CREDENTIAL_"

KINDS = {
    "winrm": ("blocks.credentials", "WinRMCredentials"),
    "share": ("blocks.credentials", "ShareCredentials"),
    "webhook": ("blocks.credentials", "WebhookCredentials"),
    "api": ("blocks.credentials", "ApiCredentials"),
    "sql": ("blocks.sql_server", "SqlServerCredentials"),
    "s3": ("blocks.s3_store", "S3Credentials"),
}
"""Module and class of each kind; imported when needed, so that one missing driver does not stop the others."""

_SHORTER = {"ca": "ca_trust_path"}
_ASKED = {"password"}
"""Fields that a person is asked for although there are logins without them."""

Ask = Callable[[str, str], Mapping[str, Any] | None]
"""Asked with a name and a kind; answers with the fields, or None where nobody can be asked."""


class CredentialsError(Exception):
    """Credentials that cannot be used; ``problems`` is name to cause and fix, never a value."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        super().__init__(problems)

    def __str__(self) -> str:
        return "; ".join(f"{name}: {problem}" for name, problem in self.problems.items())


class CredentialsMissing(CredentialsError):
    """At least one name was found nowhere."""


class CredentialsInvalid(CredentialsError):
    """Everything was found, but not everything is what it should be."""


class CredentialsUnsafe(CredentialsError):
    """The credentials file is open to others, unreadable, or not JSON."""


def resolve(
    names: Mapping[str, str] | Iterable[str],
    *,
    ask: Ask | None = None,
    environ: Mapping[str, str] = os.environ,
) -> dict[str, Block]:
    """The credentials of these names; with a mapping, the kind (``winrm``, ``sql``, ...) that each must have.

    Looks in Prefect's blocks, the environment, the credentials file, and asks at the terminal if there is one (or
    with ``ask``). Raises CredentialsMissing, CredentialsInvalid or CredentialsUnsafe, for all names at once.
    """
    wanted: dict[str, str | None] = dict(names) if isinstance(names, Mapping) else dict.fromkeys(names)
    found: dict[str, Block] = {}
    missing: dict[str, str] = {}
    invalid: dict[str, str] = {}
    sources = _Sources(environ, ask or at_terminal)
    for name, kind in wanted.items():
        problem: str | None = None
        try:
            block = sources.find(name, kind)
        except _Unusable as unusable:
            problem = str(unusable)
        else:
            if block is not None:
                found[name] = block
                continue
        if problem is not None:
            invalid[name] = problem
        else:
            missing[name] = sources.where(name, kind)
    if missing:
        raise CredentialsMissing({**missing, **invalid})
    if invalid:
        raise CredentialsInvalid(invalid)
    return found


def at_terminal(name: str, kind: str) -> Mapping[str, Any] | None:
    """Ask the person at the terminal for user, password and what else has no default; None where there is none."""
    if not (sys.stdin and sys.stdin.isatty()):
        return None
    answers = {}
    for field, about in _class(kind).model_fields.items():
        if about.is_required() or field in _ASKED:
            prompt = f"{name} ({kind}): {about.title or field}: "
            secret = about.annotation in (SecretStr, SecretStr | None)
            answers[field] = getpass.getpass(prompt) if secret else input(prompt)
    return answers


class _Unusable(Exception):
    """Found, but of no use; says why without a value."""


class _Sources:
    """The places to look in, each opened once and only when it is needed."""

    def __init__(self, environ: Mapping[str, str], ask: Ask) -> None:
        self._environ, self._ask = environ, ask
        self._entries: dict[str, Any] | None = None
        self._api: str | None = None

    def find(self, name: str, kind: str | None) -> Block | None:
        """The credential, or None; raises _Unusable and CredentialsUnsafe."""
        if kind is not None and kind not in KINDS:
            raise _Unusable(f"no credentials are of kind {kind!r}; there are {', '.join(KINDS)}")
        block = self._block(name, kind)
        if block is not None:
            return block
        if (entry := self._one(name)) is not None:
            return _build(entry, kind, _variable(name))
        if (entry := self._file().get(name)) is not None:
            return _build(entry, kind, f"{FILE_VARIABLE} file")
        if kind is not None and (answers := self._ask(name, kind)) is not None:
            return _build({"kind": kind, **answers}, kind, "the answers")
        return None

    def where(self, name: str, kind: str | None) -> str:
        """What was looked through in vain, and what to do."""
        api = {
            "answers": f"no {kind or 'credentials'} block of that name in Prefect",
            "silent": "Prefect's API does not answer",
            "none": "no Prefect API is set",
        }[self._api or "none"]
        file = self._environ.get(FILE_VARIABLE)
        beside = f"{file} has no such entry" if file else f"{FILE_VARIABLE} names no file"
        return f"not found: {api}, {_variable(name)} is not set, {beside}. Save the block, or set one of these."

    def _block(self, name: str, kind: str | None) -> Block | None:
        if self._api is None:
            self._api = prefect_api()
        if self._api != "answers":
            return None
        for each in [kind] if kind else KINDS:
            try:
                block: Any = _load(_class(each), name)
            except ValueError as error:
                if isinstance(error, ValidationError):
                    reasons = _reasons(error)
                else:
                    continue  # no such block; Prefect tells it with a ValueError
            except (httpx.HTTPError, PrefectException, RuntimeError):
                self._api = "silent"
                return None
            else:
                return block  # type: ignore[no-any-return]
            raise _Unusable(f"the Prefect block is not valid: {reasons}. Save it again.")
        return None

    def _one(self, name: str) -> Any:
        text = self._environ.get(_variable(name))
        if text is None:
            return None
        entry = _json(text)
        if entry is None:
            raise _Unusable(f"{_variable(name)} is not JSON")
        return entry

    def _file(self) -> dict[str, Any]:
        if self._entries is None:
            path = self._environ.get(FILE_VARIABLE)
            self._entries = read_file(Path(path)) if path else {}
        return self._entries


def read_file(path: Path) -> dict[str, Any]:
    """The entries of a credentials file; raises CredentialsUnsafe when others could read it too."""
    problem = ""
    text = ""
    try:
        with path.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if os.name == "posix" and mode & 0o077:
                problem = f"others may read it (mode {mode:04o}): chmod 600 {path}"
            else:
                text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        problem = f"it cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8'})"
    entries: Any = None if problem else _json(text)
    if not problem and not isinstance(entries, dict):
        problem = "it is not a JSON object of credentials by name"
    if problem:
        raise CredentialsUnsafe({str(path): problem})
    return dict(entries)


def _json(text: str) -> Any:
    # Parsed apart from its users: a JSONDecodeError holds the whole document, passwords and all.
    try:
        return json.loads(text)
    except ValueError:
        return None


def _build(entry: Any, kind: str | None, place: str) -> Block:
    if not isinstance(entry, dict):
        raise _Unusable(f"{place}: not an object with a kind and fields")
    fields = {_SHORTER.get(str(key), str(key)): value for key, value in entry.items() if key != "kind"}
    given = entry.get("kind", kind)
    if given not in KINDS:
        raise _Unusable(f"{place}: kind must be one of {', '.join(KINDS)}")
    if kind is not None and given != kind:
        raise _Unusable(f"{place}: is of kind {given}, but {kind} is needed here")
    factory = _class(given)
    if unknown := sorted(set(fields) - set(factory.model_fields)):
        raise _Unusable(f"{place}: unknown {', '.join(unknown)}; there are {', '.join(factory.model_fields)}")
    try:
        return factory(**fields)
    except ValidationError as error:
        reasons = _reasons(error)
    raise _Unusable(f"{place}: {reasons}")


def _reasons(error: ValidationError) -> str:
    """What pydantic found, without the values that it found it in."""
    details = error.errors(include_input=False, include_context=False, include_url=False)
    return ", ".join(f"{'.'.join(map(str, each['loc'])) or 'together'}: {each['msg']}" for each in details)


def _class(kind: str) -> type[Block]:
    module, name = KINDS[kind]
    try:
        found: type[Block] = getattr(importlib.import_module(module), name)
    except ImportError as error:
        reason = str(error)
    else:
        return found
    raise _Unusable(f"credentials of kind {kind} cannot be used on this machine: {reason}")


def _load(block: type[Block], name: str) -> Block:
    load: Any = block.load
    # _sync: also from within an async flow, where load would otherwise answer with a coroutine.
    loaded: Block = load(name, _sync=True)
    return loaded


def _variable(name: str) -> str:
    return ONE_VARIABLE + re.sub(r"[^A-Z0-9]", "_", name.upper())
