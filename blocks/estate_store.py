"""Where estate files are kept."""

# ruff: noqa: N818 - the name says what happened
from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ENDINGS = (".yaml", ".yml")


class EstateNotFound(Exception):
    """No estate file of that name, or one that cannot be read."""

    def __init__(self, name: str, cause: str) -> None:
        self.name, self.cause = name, cause
        super().__init__(name, cause)

    def __str__(self) -> str:
        return f"estate {self.name!r}: {self.cause}"


class EstateFile(NamedTuple):
    """An estate as it is written down, and where."""

    text: str
    source: str


class EstateStore(Block):
    """A folder of estate files, one ``<estate>.yaml`` each.

    Example:
        ```python
        from blocks.estate_store import EstateStore

        store = EstateStore.load("BLOCK_NAME")
        text, source = store.read_estate("acme-billing")
        ```
    """

    _block_type_name = "Estate Store"
    _block_type_slug = "estate-store"
    _logo_url = HttpUrl("https://learn.microsoft.com/favicon.ico")
    _documentation_url = HttpUrl("https://docs.prefect.io/v3/concepts/blocks")
    _description = "A folder of estate files, where a run finds the estate that it is named."

    folder: Path = Field(
        title="Folder",
        description="Folder of the estate files, as the machine sees it that runs the flow.",
        examples=["/etc/billpatch/estates"],
    )

    def estates(self) -> list[str]:
        """The names of all estates in the folder, in order; an absent folder has none."""
        if not self.folder.is_dir():
            return []
        return sorted({path.stem for path in self.folder.iterdir() if path.suffix in _ENDINGS})

    def read_estate(self, name: str) -> EstateFile:
        """The text of an estate's file and the file's path; raises EstateNotFound.

        Not named ``load``: that is how Prefect loads the block itself.
        """
        known = ", ".join(self.estates()) or "none"
        problem = f"there is no file {name}.yaml in {self.folder}; estates there: {known}"
        if _NAME.fullmatch(name):
            for path in (self.folder / f"{name}{ending}" for ending in _ENDINGS):
                if path.is_file():
                    try:
                        return EstateFile(path.read_text(encoding="utf-8-sig"), str(path))
                    except (OSError, UnicodeDecodeError) as error:
                        problem = f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}"
        raise EstateNotFound(name, problem)
