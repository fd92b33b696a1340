"""Every block of ours can be understood in Prefect's forms (the standards of Prefect's own integrations)."""

from __future__ import annotations

import re

import pytest
from prefect.blocks.core import Block

import blocks

BLOCKS = sorted(
    (kind for kind in vars(blocks).values() if isinstance(kind, type) and issubclass(kind, Block)),
    key=lambda kind: kind.__name__,
)
SECRET_WORDS = re.compile(r"password|secret|token|authorization|connection_string|_key$")


@pytest.fixture(params=BLOCKS, ids=lambda block: block.__name__)
def block(request: pytest.FixtureRequest) -> type[Block]:
    """One block after the other."""
    kind: type[Block] = request.param
    return kind


def test_the_blocks_to_register_are_all_there() -> None:
    """``prefect block register -m blocks`` registers what this package imports: every credential that has a kind."""
    from blocks.credential_lookup import KINDS

    assert {name for _, name in KINDS.values()} <= {block.__name__ for block in BLOCKS}


def test_has_a_description_and_documentation(block: type[Block]) -> None:
    """The catalogue says what a block is for, and where to read more."""
    assert block.get_description()
    assert str(block._documentation_url).startswith("https://")
    assert str(block._logo_url).startswith("https://")
    assert block._block_type_slug == block.get_block_type_slug()


def test_has_a_code_example(block: type[Block]) -> None:
    """The catalogue shows how to load it."""
    example = block.get_code_example() or ""
    assert f"import {block.__name__}" in example
    assert f'{block.__name__}.load("BLOCK_NAME")' in example


def test_every_field_of_the_form_is_explained(block: type[Block]) -> None:
    """A field has a title, a description that is a sentence, and an example."""
    for name, field in block.model_fields.items():
        assert field.title, name
        assert (field.description or "").endswith("."), name
        assert field.examples, name


def test_secrets_are_secret(block: type[Block]) -> None:
    """What is a secret by its name is one by its type, so that Prefect stores it encrypted and shows stars."""
    named = {name for name in block.model_fields if SECRET_WORDS.search(name)}
    assert [name for name in named if "SecretStr" not in str(block.model_fields[name].annotation)] == []
