"""Names of backups: readable, safe for S3 and for Windows, never the same for two backups."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.keys import RunKey
from model.stores import object_name, patched_server, windows_path

RUN = RunKey.for_change("acme-billing", "CHG0031001")


def name(subject: str, kind: str = "database", host: str = "sql01", quiesce: int = 1) -> str:
    return object_name(RUN, quiesce, kind=kind, host=host, subject=subject, extension=".bak")


def test_name_tells_run_quiesce_host_and_subject() -> None:
    """A person who finds the file knows what it is."""
    assert name("EngageIP") == "acme-billing/acme-billing.CHG0031001.1/q1/database.sql01.EngageIP.bak"


@given(st.lists(st.text(min_size=1, max_size=300), min_size=2, max_size=6, unique=True))
def test_different_subjects_have_different_names(subjects: list[str]) -> None:
    """Subjects that had to be changed or cut carry their hash."""
    assert len({name(subject) for subject in subjects}) == len(subjects)


def test_quiesce_kind_and_host_are_part_of_the_name() -> None:
    """After a reopening, or on another host, nothing is overwritten."""
    every = itertools.product(("files", "database"), ("web01", "web02"), (1, 2))
    assert len({name("D:\\Work", kind, host, number) for kind, host, number in every}) == 8


@given(st.text(min_size=1, max_size=300))
def test_names_need_no_escape_in_s3_and_fit_a_windows_path(subject: str) -> None:
    """Letters, digits and ``._-`` only, and short enough for the 260 characters of older programs."""
    found = name(subject)
    assert re.fullmatch(r"[A-Za-z0-9._/-]+", found)
    path = windows_path(r"\\nas01\billing", found)
    assert len(path) < 240
    assert path.startswith("\\\\nas01\\billing\\acme-billing\\")


@pytest.mark.parametrize("escape", ["../x", "a/../../x", "/x", "a//b", "a/b. ", "C:/x", "a\\b", "nul\x00"])
def test_no_path_leaves_its_share(escape: str) -> None:
    """Relative, absolute and forbidden parts are refused."""
    with pytest.raises(ValueError, match="no path below a share"):
        windows_path(r"\\nas01\billing", escape)


@pytest.mark.parametrize("extension", ["bak", ".", ".b/k", ".exe; rm"])
def test_extension_is_a_plain_one(extension: str) -> None:
    """An extension brings no path with it."""
    with pytest.raises(ValueError, match="extension"):
        object_name(RUN, 1, kind="files", host="web01", subject="x", extension=extension)


@pytest.mark.parametrize(
    ("share", "lies_on"),
    [
        (r"\\nas01\b", None),
        (r"\\nas01.acme.example\b", None),
        (r"\\sql01x\b", None),
        (r"\\10.0.0.50\b", None),
        (r"\\10.1.1.1\b", None),
        (r"\\web01.other.example\b", None),
        (r"\\SQL01\b", "sql01"),
        (r"\\sql01.acme.example\b", "sql01"),
        (r"\\sql01.acme.example.\b", "sql01"),
        (r"\\sql01@8080\b", "sql01"),
        (r"\\10.0.0.5\b", "10.0.0.5"),
        (r"\\web01\b", "web01.acme.example"),
        (r"\\fd00--5.ipv6-literal.net\b", "fd00::5"),
        (r"\\LOCALHOST\b", "localhost"),
        (r"\\127.3.2.1\b", "localhost"),
        (r"\\0--1.ipv6-literal.net\b", "localhost"),
    ],
)
def test_a_share_of_a_server_that_is_patched_is_known_by_any_of_its_names(share: str, lies_on: str | None) -> None:
    """A backup that lies there is lost with the server; two machines of two domains may share their first label."""
    assert patched_server(share, ["sql01", "10.0.0.5", "web01.acme.example", "fd00::5"]) == lies_on
