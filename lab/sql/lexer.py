"""The words of a T-SQL batch: enough to cut it into statements and to read the ones the lab acts out itself."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lab.sql.errors import error, syntax

_PATTERNS = [
    ("space", r"\s+|--[^\n]*"),
    ("string", r"[Nn]?'(?:[^']|'')*'"),
    ("quoted", r"\[(?:[^\]]|\]\])*\]|\"(?:[^\"]|\"\")*\""),
    ("number", r"0[xX][0-9A-Fa-f]*|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"),
    ("variable", r"@@?[\w$#]+"),
    ("word", r"[^\W\d][\w$#@]*|#+\w+"),
    ("operator", r"<>|<=|>=|!=|[-+*/%=<>(),.;:&|^~?!]"),
]
_TOKEN = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in _PATTERNS))


@dataclass(frozen=True)
class Token:
    """One word: what it is, as written, and where it stands in the batch."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def upper(self) -> str:
        """The word in capitals, for comparing keywords; empty for strings and quoted names."""
        return self.text.upper() if self.kind in ("word", "operator") else ""

    @property
    def value(self) -> str:
        """A string's or a name's content without its quotes."""
        if self.kind == "string":
            return self.text[self.text.index("'") + 1 : -1].replace("''", "'")
        if self.kind == "quoted":
            closing = "]" if self.text[0] == "[" else '"'
            return self.text[1:-1].replace(closing * 2, closing)
        return self.text


def tokens(batch: str) -> list[Token]:
    """Every word of ``batch`` without white space and comments; errors 102, 105 and 113 as the server raises them."""
    found: list[Token] = []
    at = 0
    while at < len(batch):
        if batch.startswith("/*", at):
            at = _comment_end(batch, at)
            continue
        match = _TOKEN.match(batch, at)
        if not match:
            if batch[at] in "'\"[":
                raise error(105, f"Unclosed quotation mark after the character string '{batch[at + 1 :][:40]}'.", 15)
            raise syntax(batch[at])
        if match.lastgroup != "space":
            found.append(Token(str(match.lastgroup), match[0], match.start(), match.end()))
        at = match.end()
    return found


def _comment_end(batch: str, at: int) -> int:
    depth = 0
    while at < len(batch):
        if batch.startswith("/*", at):
            depth, at = depth + 1, at + 2
        elif batch.startswith("*/", at):
            depth, at = depth - 1, at + 2
            if not depth:
                return at
        else:
            at += 1
    raise error(113, "Missing end comment mark '*/'.", 15)
