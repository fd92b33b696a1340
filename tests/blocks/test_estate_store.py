"""An estate is found by its name, and only in its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocks.estate_store import EstateNotFound, EstateStore


@pytest.fixture
def store(tmp_path: Path) -> EstateStore:
    """A folder with two estates, and a file outside of it."""
    (tmp_path / "secret.yaml").write_text("no", encoding="utf-8")
    folder = tmp_path / "estates"
    folder.mkdir()
    (folder / "acme-billing.yaml").write_text("estate: acme-billing # €\n", encoding="utf-8")
    (folder / "other.yml").write_text("estate: other\n", encoding="utf-8-sig")
    (folder / "notes.txt").write_text("x", encoding="utf-8")
    return EstateStore(folder=folder)


def test_text_and_source_come_back(store: EstateStore) -> None:
    """The text as it is written, without a byte-order mark, and the path that messages show."""
    assert store.read_estate("acme-billing") == (
        "estate: acme-billing # €\n",
        str(store.folder / "acme-billing.yaml"),
    )
    assert store.read_estate("other").text == "estate: other\n"
    assert store.estates() == ["acme-billing", "other"]


@pytest.mark.parametrize("name", ["acme", "../secret", "", ".", "notes", "acme-billing.yaml"])
def test_an_unknown_name_is_told_with_the_known_ones(store: EstateStore, name: str) -> None:
    """A misspelt name is answered with the names that there are; a name never leads out of the folder."""
    with pytest.raises(EstateNotFound, match="acme-billing, other"):
        store.read_estate(name)


def test_an_unreadable_file_is_told(store: EstateStore) -> None:
    """A file in another encoding is told by its path."""
    (store.folder / "latin.yaml").write_bytes(b"estate: caf\xe9")
    with pytest.raises(EstateNotFound, match=r"latin\.yaml cannot be read: it is not UTF-8"):
        store.read_estate("latin")


def test_an_absent_folder_has_no_estates(tmp_path: Path) -> None:
    """A folder that is not mounted is an empty one, with a clear message."""
    store = EstateStore(folder=tmp_path / "absent")
    assert store.estates() == []
    with pytest.raises(EstateNotFound, match="none"):
        store.read_estate("acme-billing")
