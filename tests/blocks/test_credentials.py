"""Credentials are found in one order, all that is missing is told at once, and no value is ever repeated."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import SecretStr, ValidationError

import model.parts
from blocks.credential_lookup import at_terminal
from blocks.credentials import (
    CredentialsError,
    CredentialsInvalid,
    CredentialsMissing,
    CredentialsUnsafe,
    ShareCredentials,
    WebhookCredentials,
    WinRMCredentials,
    resolve,
)

PASSWORD = f'p"\u2039&€-{secrets.token_hex(6)}'
ENTRIES = {
    "winrm-acme": {"kind": "winrm", "username": "ACME\\svc", "password": PASSWORD, "scheme": "http", "ca": "/ca.pem"},
    "nas-acme": {"kind": "share", "username": "NAS01\\svc", "password": PASSWORD},
    "pager": {"kind": "webhook", "url": f"https://hooks.example.com/{PASSWORD}"},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A credentials file of its owner only."""
    path = tmp_path / "credentials.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(ENTRIES), encoding="utf-8")
    return path


def environ(file: Path | None = None, **more: Any) -> dict[str, str]:
    """An environment with the file, and single credentials by variable."""
    named = {} if file is None else {"BILLPATCH_CREDENTIALS": str(file)}
    return named | {name: value if isinstance(value, str) else json.dumps(value) for name, value in more.items()}


def nobody(_name: str, _kind: str) -> None:
    """Nobody sits at a terminal."""


def test_from_a_file(file: Path) -> None:
    """Each name becomes the block of its kind."""
    found = resolve(list(ENTRIES), environ=environ(file))
    assert isinstance(found["winrm-acme"], WinRMCredentials)
    assert isinstance(found["nas-acme"], ShareCredentials)
    assert isinstance(found["pager"], WebhookCredentials)
    assert found["winrm-acme"].password.get_secret_value() == PASSWORD
    assert found["winrm-acme"].ca_trust_path == "/ca.pem"


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("sql", {"username": "sa", "password": PASSWORD, "trust_server_certificate": True}),
        (
            "s3",
            {
                "access_key_id": "AK",
                "secret_access_key": PASSWORD,
                "endpoint_url": "http://127.0.0.1:9000",
                "region": "us-east-1",
            },
        ),
    ],
)
def test_every_kind_can_be_built(kind: str, fields: dict[str, Any]) -> None:
    """The registry knows the blocks of SQL Server and S3, too."""
    from blocks.credential_lookup import KINDS

    variables = environ(BILLPATCH_CREDENTIAL_X={"kind": kind, **fields})
    found = resolve({"x": kind}, environ=variables, ask=nobody)["x"]
    assert type(found).__name__ == KINDS[kind][1]


def test_the_environment_comes_before_the_file(file: Path) -> None:
    """A single credential in the environment overrides the file's."""
    mine = {"kind": "share", "username": "other", "password": "x-y-z"}
    found = resolve({"nas-acme": "share"}, environ=environ(file, BILLPATCH_CREDENTIAL_NAS_ACME=mine))
    assert found["nas-acme"].username == "other"


def test_the_file_comes_before_the_person(file: Path) -> None:
    """Nobody is asked for what is written down; the rest is asked for, by name and kind."""
    asked = []

    def person(name: str, kind: str) -> dict[str, str]:
        asked.append((name, kind))
        return {"username": "me", "password": "typed"}

    found = resolve({"nas-acme": "share", "nas-other": "share"}, environ=environ(file), ask=person)
    assert asked == [("nas-other", "share")]
    assert found["nas-other"].password == SecretStr("typed")


def test_nobody_is_asked_without_a_terminal() -> None:
    """In a worker there is nobody: the question is not put, the name is missing."""
    assert at_terminal("winrm-acme", "winrm") is None


def test_everything_missing_is_told_at_once(file: Path) -> None:
    """One error names every credential that is not found, where it was looked for, and what to do."""
    with pytest.raises(CredentialsMissing) as caught:
        resolve({"winrm-acme": "winrm", "sql-acme": "sql", "s3-acme": "s3"}, environ=environ(file), ask=nobody)
    assert set(caught.value.problems) == {"sql-acme", "s3-acme"}
    assert "BILLPATCH_CREDENTIAL_SQL_ACME" in str(caught.value)
    assert str(file) in str(caught.value)


def test_missing_and_invalid_are_told_together(file: Path) -> None:
    """What is found and wrong is told beside what is missing."""
    variables = environ(file, BILLPATCH_CREDENTIAL_X={"kind": "share", "username": "u"})
    with pytest.raises(CredentialsMissing) as caught:
        resolve({"x": "share", "y": "share"}, environ=variables, ask=nobody)
    assert set(caught.value.problems) == {"x", "y"}


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o660])
def test_a_file_that_others_can_read_is_refused(file: Path, mode: int) -> None:
    """A password that others may read is not used; the fix is in the message."""
    file.chmod(mode)
    with pytest.raises(CredentialsUnsafe, match=f"chmod 600 {file}"):
        resolve({"nas-acme": "share"}, environ=environ(file))


def test_a_file_that_is_not_needed_is_not_opened(tmp_path: Path) -> None:
    """Where the environment answers, a broken file is nobody's business."""
    variables = environ(tmp_path / "absent.json", BILLPATCH_CREDENTIAL_NAS={"username": "u", "password": "p"})
    assert resolve({"nas": "share"}, environ=variables)["nas"].username == "u"


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"a": ', '"x"', f'{{"nas": {{"password": "{PASSWORD[-8:]}"'],
    ids=["empty", "a list", "cut", "a text", "cut after a password"],
)
def test_a_broken_file_is_told_without_its_contents(file: Path, text: str) -> None:
    """A JSON error holds the whole document: ours does not."""
    file.write_text(text, encoding="utf-8")
    with pytest.raises(CredentialsUnsafe, match="not a JSON object") as caught:
        resolve({"nas-acme": "share"}, environ=environ(file))
    assert caught.value.__context__ is None
    assert PASSWORD[-8:] not in str(caught.value)


def test_an_absent_file_is_told(tmp_path: Path) -> None:
    """A variable that points nowhere is a mistake, not an empty file."""
    with pytest.raises(CredentialsUnsafe, match="No such file"):
        resolve({"nas-acme": "share"}, environ=environ(tmp_path / "absent.json"))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"kind": "winrm", "username": "u", "password": PASSWORD}, "kind winrm, but share is needed"),
        ({"kind": "ftp"}, "kind must be one of"),
        ({"username": "u", "password": PASSWORD, "pasword": PASSWORD}, "unknown pasword"),
        ({"username": PASSWORD}, "password: Field required"),
        ({"username": "u", "password": {"x": PASSWORD}}, "password: "),
        ([PASSWORD], "not an object"),
        (PASSWORD, "not JSON"),
    ],
    ids=["kind", "no kind", "unknown field", "missing field", "wrong type", "a list", "no JSON"],
)
def test_what_is_wrong_is_told_without_the_value(entry: Any, words: str) -> None:
    """The error names the place, the field and the rule; pydantic would quote the value."""
    text = entry if isinstance(entry, str) else json.dumps(entry)
    with pytest.raises(CredentialsInvalid) as caught:
        resolve({"nas": "share"}, environ=environ(BILLPATCH_CREDENTIAL_NAS=text), ask=nobody)
    told = f"{caught.value} {caught.value!r}"
    assert words in told
    assert PASSWORD not in told
    assert caught.value.__context__ is None


def test_an_unknown_kind_is_refused() -> None:
    """A kind that does not exist is the estate's mistake, told as such."""
    with pytest.raises(CredentialsError, match="no credentials are of kind 'ftp'"):
        resolve({"x": "ftp"}, environ={})


def test_a_prefect_that_does_not_answer_costs_seconds(file: Path) -> None:
    """Rescue needs no Prefect: with its API down, the file serves; and the message says that the API was down."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert resolve({"nas-acme": "share"}, environ=environ(file))["nas-acme"].username == "NAS01\\svc"
        with pytest.raises(CredentialsMissing, match="API does not answer"):
            resolve({"nowhere": "share"}, environ=environ(file), ask=nobody)


@pytest.mark.usefixtures("prefect_harness")
def test_prefects_blocks_come_first(file: Path) -> None:
    """With a Prefect API, a saved block is used, whatever the file says; without one of that name, the file is."""
    ShareCredentials(username="from-prefect", password=PASSWORD).save("nas-acme", overwrite=True)
    try:
        found = resolve({"nas-acme": "share", "pager": "webhook"}, environ=environ(file))
        any_kind = resolve(["nas-acme"], environ=environ(file))
    finally:
        delete: Any = ShareCredentials.delete
        delete("nas-acme", _sync=True)  # other tests use this server too
    assert found["nas-acme"].username == "from-prefect"
    assert found["nas-acme"].password.get_secret_value() == PASSWORD
    assert any_kind["nas-acme"].username == "from-prefect"
    assert found["pager"].url.get_secret_value().startswith("https://hooks")


def test_basic_needs_https() -> None:
    """Basic sends the password itself: never over http, and the error does not repeat it."""
    with pytest.raises(ValidationError, match="use https"):
        WinRMCredentials(username="u", password="p", transport="basic", scheme="http")
    with pytest.raises(ValueError, match="use https"):
        WinRMCredentials(username="u", password=PASSWORD, scheme="http").adapted(transport="basic")


def test_ports_follow_the_scheme() -> None:
    """5985 and 5986, unless said otherwise; an estate may say it for one host."""
    https = WinRMCredentials(username="u", password="p")
    assert https.listener_port == 5986
    assert WinRMCredentials(username="u", password="p", scheme="http").listener_port == 5985
    assert https.adapted(port=15986).listener_port == 15986
    assert https.adapted(transport="basic").transport == "basic"
    assert https.listener_port == 5986


PEM = {"certificate": "-----BEGIN CERTIFICATE-----\n", "certificate_key": f"-----BEGIN PRIVATE KEY-----\n{PASSWORD}"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"transport": "ntlm", "password": None}, "ntlm needs a password"),
        ({"transport": "credssp", "password": None}, "credssp needs a password"),
        ({"transport": "kerberos"}, "user name of the form name@DOMAIN"),
        ({"transport": "kerberos", "username": "ACME\\svc"}, "user name of the form name@DOMAIN"),
        ({"transport": "kerberos", "username": "svc@ACME.TEST", "password": None}, "a password or a keytab"),
        ({"transport": "certificate"}, "needs both certificate and certificate_key"),
        ({"transport": "certificate", **PEM, "certificate": "MIIB"}, "certificate is not in PEM form"),
        ({"transport": "certificate", **PEM, "certificate_key": PASSWORD}, "certificate_key is not in PEM form"),
        ({"transport": "certificate", **PEM, "scheme": "http"}, "use https"),
        ({"transport": "smartcard"}, "'certificate' or 'basic'"),
    ],
)
def test_each_transport_says_what_it_lacks(fields: dict[str, Any], words: str) -> None:
    """What a transport needs is told by name, without a value, from a file as for one host of an estate."""
    known = {"username": "svc", "password": PASSWORD, **fields}
    with pytest.raises(CredentialsInvalid) as caught:
        resolve({"x": "winrm"}, environ=environ(BILLPATCH_CREDENTIAL_X={"kind": "winrm", **known}), ask=nobody)
    assert words in str(caught.value)
    assert PASSWORD not in f"{caught.value} {caught.value!r}"
    transport = known.pop("transport")
    if known["password"] is not None:
        one = WinRMCredentials(**{**known, "transport": "ntlm"})
        with pytest.raises(ValueError, match=f"WinRM with transport {transport}: ") as refused:
            one.adapted(transport=transport)
        assert PASSWORD not in str(refused.value)


def test_every_transport_of_an_estate_can_be_had() -> None:
    """What an estate file may name for a host, a block can be, and the other way round."""
    estate = set(get_args(model.parts.Transport))
    assert estate == set(get_args(WinRMCredentials.model_fields["transport"].annotation))
    everything = WinRMCredentials(username="svc@ACME.TEST", password="x", **PEM)
    assert {everything.adapted(transport=each).transport for each in estate} == estate


def test_a_keytab_and_a_certificate_come_from_a_file(file: Path) -> None:
    """The JSON forms of the docs; secrets among them are secret."""
    entries = {
        "krb": {
            "kind": "winrm",
            "username": "svc@ACME.TEST",
            "keytab": "/k",
            "transport": "kerberos",
            "scheme": "http",
        },
        "pem": {"kind": "winrm", "username": "svc", "transport": "certificate", **PEM},
    }
    file.write_text(json.dumps(entries), encoding="utf-8")
    found = resolve({"krb": "winrm", "pem": "winrm"}, environ=environ(file))
    assert found["krb"].keytab == "/k"
    assert PASSWORD in found["pem"].certificate_key.get_secret_value()
    assert PASSWORD not in repr(found)
    assert found["pem"].secrets == (PEM["certificate_key"],)
