"""What a web server answered, as checks judge it."""

from __future__ import annotations

from pydantic import Field

from model.records import Record


class WebAnswer(Record):
    """One answer, redirects on the same host followed; URLs are without their query."""

    url: str
    """Where the answer came from, after redirects."""
    status: int
    seconds: float = Field(ge=0)
    text: str = ""
    """The beginning of the body."""
    cut: bool = False
    """True where the body went on."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Lower-case names; only those that checks need."""
    elsewhere: str | None = None
    """The other host that a redirect named; it was not followed."""
