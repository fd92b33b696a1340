"""CLIXML, as powershell.exe writes its error stream when nobody sits at the console.

``#< CLIXML``, then one ``<Objs>`` document; again and again when several writers share the stream, mixed with plain
text of native programs, and cut anywhere when the process is killed. So this reads by pattern, not with an XML
parser: what is there is taken, nothing is ever refused, and no entity is expanded but XML's own five.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape

_MARK = "#< CLIXML"
_ITEM = re.compile(
    # <S S="Error">text</S>, or <Obj S="Error">...<ToString>text</ToString>...</Obj>; the last one may be cut short.
    r'<S S="(?P<stream>\w+)">(?P<text>[^<]*)'
    r'|<Obj S="(?P<object_stream>\w+)"[^>]*>(?P<object>(?:(?!</?Objs|<Obj S=|<S S=).)*)',
    re.DOTALL,
)
_TO_STRING = re.compile(r"<ToString>([^<]*)", re.DOTALL)
_OBJS = re.compile(r"<Objs\b.*?(?:</Objs>|\Z)", re.DOTALL)
_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")
# Half an escape at the end; an underscore that closes a whole one stays.
_CUT_ESCAPE = re.compile(r"(?:(?<!_x[0-9A-Fa-f]{4})_(?:x[0-9A-Fa-f]{0,4})?|&\w{0,4})\Z")


@dataclass(frozen=True)
class Streams:
    """What PowerShell wrote beside its answer; each is the text as a console would have shown it."""

    errors: str = ""
    warnings: str = ""
    verbose: str = ""
    other: str = ""
    """Debug and information records."""
    plain: str = ""
    """What was not CLIXML at all: native programs, and errors from before PowerShell started."""

    @property
    def complaint(self) -> str:
        """The errors, or where there are none whatever plain text stands there."""
        return self.errors.strip() or self.plain.strip()


def parse(data: bytes | str) -> Streams:
    """Take a PowerShell error stream apart; progress records are dropped. Never raises."""
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    found: dict[str, list[str]] = {}
    for document in _OBJS.findall(text):
        for item in _ITEM.finditer(document):
            stream = (item["stream"] or item["object_stream"]).lower()
            if item["stream"]:
                cut = item.end() == len(document)
                found.setdefault(stream, []).append(_decode(item["text"], cut=cut))
            elif (shown := _TO_STRING.search(item["object"])) is not None:
                found.setdefault(stream, []).append(_decode(shown[1]) + "\r\n")
    plain = _OBJS.sub("", text).replace(_MARK, "")

    def of(*names: str) -> str:
        return "".join("".join(found.get(name, [])) for name in names)

    return Streams(
        errors=of("error"),
        warnings=of("warning"),
        verbose=of("verbose"),
        other=of("debug", "information", "output"),
        plain=plain.strip("\ufeff\r\n \t\0"),
    )


def _decode(text: str, *, cut: bool = False) -> str:
    if cut:
        text = _CUT_ESCAPE.sub("", text)
    # One pass: _x005F_ stands for the underscore itself, and what follows it is not an escape any more.
    text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), unescape(text))
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
