"""Text that is no estate at all is a fault with a place: bad YAML, binary files, tabs, anchors, anything."""

from __future__ import annotations

import base64
import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.estate import EstateFaults, load_estate
from model.estate_file import read_document

SAMPLE = r"""
estate: acme-billing
timezone: America/Toronto
hosts: {bill01: {address: bill01.acme.example, roles: [mssql, iis, app], credentials: winrm-acme}}
sql: {bill01: {credentials: sql-acme, databases: [EngageIP]}}
engageip: {host: bill01, folder: 'C:\EngageIP', services: [], sites: [{name: A, url: 'https://b.example/A', check_url: 'http://bill01:81/A'}]}
backup: {stores: [{share: '\\nas01\billing', credentials: nas-acme}]}
checks: [{http: A}]
""".lstrip()


def told(text: str | bytes) -> str:
    """What is told of ``text``, or '' where it is an estate; anything but EstateFaults fails the test."""
    try:
        load_estate(text, "x.yaml")
    except EstateFaults as faults:
        return str(faults)
    return ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "x.yaml:1:1: is empty; an estate starts with fields such as 'estate: acme-billing'"),
        ("# only a comment\n", "x.yaml:1:1: is empty; an estate starts with fields such as 'estate: acme-billing'"),
        ("\n\n---\n", "x.yaml:4:1: is empty;"),
        ("- a\n- b\n", "x.yaml:1:1: is not a mapping; an estate starts with fields"),
        ("just words", "x.yaml:1:1: is not a mapping;"),
        ("estate: a\n\ttimezone: b\n", "x.yaml:2:1: a tab stands here; YAML indents with spaces"),
        ("estate: a\ntimezone:\n\t- b\n", "a tab stands here; YAML indents with spaces"),
        ("estate: [a, b\ntimezone: c\n", "is not YAML: "),
        ('folder: "C:\\Work"\n', "write Windows paths in single quotes: 'C:\\Work'"),
        ("url: https: //x\n", "x.yaml:1:11: is not YAML: a second ':' on this line;"),
        ("estate: &name a\n", "x.yaml:1:9: anchors (&name) and aliases (*name) are not read here; write the value out"),
        ("estate: *name\n", "x.yaml:1:9: anchors (&name) and aliases (*name)"),
        ("&name estate: a\n", "x.yaml:1:1: a key is plain text followed by ':'"),
        ("? [a, b]\n: c\n", "x.yaml:1:3: a key is plain text followed by ':'"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2:1: a second document starts here"),
        ("a: " + "[" * 100 + "]" * 100, "is nested too deeply"),
        ("a: " + "{b: " * 3000, "is nested too deeply"),
        ("estate: \x00\n", "x.yaml:1:9: holds the control character U+0000: not a text file?"),
        ("estate: a\nx: \ud800\n", "x.yaml:2:4: holds the control character U+D800"),
        ("a" * 1_000_001, "is longer than 1,000,000 characters"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "x.yaml:1:1: is not text in UTF-8; save the file as UTF-8"),
        (b"estate: a\ntimezone: M\xfcnchen\n", "x.yaml:2:1: is not text in UTF-8"),
        (b"MZ\x90\x00\x03", "is not text in UTF-8"),
        ("%YAML 9.9\n---\na: b\n", "x.yaml:1:1: "),
        ("%TAG !x\n---\na: b\n", "is not YAML: "),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(text: str | bytes, expected: str) -> None:
    """One fault, at its place, with the fix."""
    lines = told(text).splitlines()
    assert len(lines) == 1
    assert expected in lines[0]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("window: {start: '03:00', hours: " + "9" * 5000 + "}", "window.hours: is too large a number"),
        ("window: {start: '03:00', hours: 1e999}", "window.hours: is too large a number"),
        ("window: {start: '03:00', hours: .nan}", "window.hours: is text, expected a whole number"),
        ("window: {start: '03:00', hours: 4.0}", "window.hours: is a number, expected a whole number"),
        ("window: {start: '03:00', hours: 0x10}", "window.hours: is text, expected a whole number"),
        ("window: {start: '03:00', hours: true}", "window.hours: is true or false, expected a whole number"),
        ("window: {start: 3, hours: 4}", "window.start: a time of day is HH:MM"),
        ("window:", "window: has no value; give it one, or remove the line"),
        ("window: !!binary aGVsbG8=", "window: tags are not read here"),
        ("window: !secret pager", "window: tags are not read here"),
        ("<<: {window: 1}", "<<: there is no field '<<' here"),
        ("2024: x", "2024: there is no field '2024' here"),
        ("null: x", "null: there is no field 'null' here"),
        ("estate: other", "estate: stands here twice, first on line 1; remove one"),
        ("'': x", "there is no field '' here"),
    ],
)
def test_a_strange_value_is_told_at_its_place(line: str, expected: str) -> None:
    """The rest of the file is read on: only the strange line is told."""
    found = told(SAMPLE + line + "\n").splitlines()
    assert all(one.startswith(f"x.yaml:{SAMPLE.count(chr(10)) + 1}:") for one in found)
    assert expected in "\n".join(found)


def test_words_that_older_yaml_turned_into_values_stay_words() -> None:
    """``on`` is a field of checks; ``yes``, ``no`` and ``03:00`` are text, as YAML 1.2 has it."""
    data = read_document("on: no\nyes: 03:00\nz: 1_000\nday: 2026-02-03\n", "x").data
    assert data == {"on": "no", "yes": "03:00", "z": "1_000", "day": "2026-02-03"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_files_that_windows_editors_save_are_read(encoding: str, newline: str) -> None:
    """With a byte-order mark, in UTF-16, with Windows line ends."""
    assert load_estate(SAMPLE.replace("\n", newline).encode(encoding), "x.yaml").name == "acme-billing"


def test_a_fault_is_one_line_whatever_the_file_holds() -> None:
    """A line separator inside a key makes no second line for a program that reads them."""
    assert told(SAMPLE.replace("roles", "ro\u2028les")).splitlines()[0].startswith("x.yaml:3:")
    assert len(told(SAMPLE.replace("roles", "ro\u2028les")).splitlines()) == 1


def test_faults_come_in_the_order_of_the_lines() -> None:
    text = SAMPLE.replace("acme-billing", "acme billing").replace("roles", "rolls").replace("http: A", "http: B")
    numbers = [int(line.split(":")[1]) for line in told(text).splitlines()]
    assert numbers == sorted(numbers)
    assert len(numbers) == 3


@pytest.mark.parametrize(
    "where",
    [
        ("credentials: winrm-acme", "credentials: {}"),
        ("credentials: winrm-acme", "credentials: winrm-acme, password: {}"),
        ("credentials: sql-acme", "credentials: sql-acme, connection_string: {}"),
        ("credentials: nas-acme", "credentials: {}"),
        ("'https://b.example/A'", "'https://admin:{}@b.example/A'"),
        ("'http://bill01:81/A'", "'http://admin:{}@bill01:81/A'"),
    ],
)
def test_a_secret_in_the_file_is_told_and_not_repeated(where: tuple[str, str]) -> None:
    """Who pastes a password finds out, and does not find it in a log."""
    secret = "Pw1" + base64.urlsafe_b64encode(secrets.token_bytes(12)).decode()
    message = told(SAMPLE.replace(where[0], where[1].format(secret)))
    assert message
    assert secret not in message
    assert secret[:12] not in message
    assert "secret" in message or "password" in message


def test_a_number_for_credentials_is_not_repeated() -> None:
    """A PIN is a secret too."""
    message = told(SAMPLE.replace("winrm-acme", "48201733"))
    assert "expected the name of a block" in message
    assert "48201733" not in message


@given(st.text(max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_text_is_told_or_read(text: str) -> None:
    """No text whatever makes anything but faults."""
    assert told(text)


@given(st.binary(max_size=120))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_told_or_read(data: bytes) -> None:
    """Nor do any bytes."""
    assert told(data)


@given(
    st.integers(0, len(SAMPLE)),
    st.integers(0, 6),
    st.text(alphabet="\t\n :-[]{}&*!|>'\"%@`#?,\\x0\u20acU~.", max_size=6) | st.text(max_size=3),
)
@settings(max_examples=200, deadline=None)
def test_a_damaged_estate_is_told_or_read(at: int, cut: int, put: str) -> None:
    """An estate with some characters replaced anywhere: the characters that YAML gives a meaning above all."""
    told(SAMPLE[:at] + put + SAMPLE[at + cut :])
