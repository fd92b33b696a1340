"""How parameters of flows look in the form that people fill in: a title and examples; the docstring describes them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field


def shown(title: str, *examples: Any, **rules: Any) -> Any:
    """A parameter's title, examples and rules (``ge=1``).

    The title goes into the schema by itself: Prefect replaces that of a Field by the parameter's name.
    """
    return Field(examples=[*examples], json_schema_extra={"title": title}, **rules)


EstateName = Annotated[str, shown("Estate", "acme-billing", min_length=1)]
"""The estate that a flow is about."""
