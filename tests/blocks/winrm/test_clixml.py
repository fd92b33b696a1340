"""PowerShell's error stream becomes readable text, whatever state it is in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.winrm.clixml import Streams, parse

OBJS = '<Objs Version="1.1.0.1" xmlns="http://schemas.microsoft.com/powershell/2004/04">'
PROGRESS = (
    '<Obj S="progress" RefId="0"><TN RefId="0"><T>System.Management.Automation.PSCustomObject</T><T>System.Object</T>'
    '</TN><MS><I64 N="SourceId">1</I64><PR N="Record"><AV>Preparing modules for first use.</AV><AI>0</AI><Nil />'
    "<PI>-1</PI><PC>-1</PC><T>Completed</T><SR>-1</SR><SD> </SD></PR></MS></Obj>"
)


def test_streams_are_kept_apart() -> None:
    """Warnings and verbose records are no errors (pywinrm merges them), progress is nothing at all."""
    text = (
        f"#< CLIXML\r\n{OBJS}{PROGRESS}"
        '<S S="Error">It broke._x000D__x000A_</S><S S="warning">Careful._x000D__x000A_</S>'
        '<S S="verbose">Looking._x000D__x000A_</S><S S="debug">Hm._x000D__x000A_</S></Objs>'
    )
    assert parse(text.encode()) == Streams(
        errors="It broke.\r\n", warnings="Careful.\r\n", verbose="Looking.\r\n", other="Hm.\r\n"
    )


def test_lines_broken_at_the_consoles_width_come_in_order() -> None:
    """A long message comes in pieces; they belong together as they stand."""
    text = f'{OBJS}<S S="Error">one _x000D__x000A_</S><S S="Error">two_x000D__x000A_</S></Objs>'
    assert parse(text).errors == "one \r\ntwo\r\n"


def test_several_documents_and_plain_text_between_them() -> None:
    """Native programs write into the same stream, before, between and after; each PowerShell adds a document."""
    text = (
        f'first\r\n#< CLIXML\r\n{OBJS}<S S="Error">A</S></Objs>between\r\n'
        f'#< CLIXML\r\n{OBJS}<S S="Error">B</S></Objs>\r\nlast'
    )
    found = parse(text)
    assert found.errors == "AB"
    assert [word for word in ("first", "between", "last") if word not in found.plain] == []
    assert "CLIXML" not in found.plain


def test_text_from_before_powershell_is_the_complaint() -> None:
    """Where there is no CLIXML, what stands there is what went wrong."""
    assert parse(b"The command line is too long.\r\n").complaint == "The command line is too long."


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("_x000D__x000A_", "\r\n"),
        ("_x005F_x000D_", "_x000D_"),
        ("&lt;b&gt; &amp;amp; &quot;&apos;", "<b> &amp; \"'"),
        ("_xD83D__xDE00_", "😀"),
        ("_xD83D_", "\N{REPLACEMENT CHARACTER}"),
        ("_x00g0_ _X000D_", "_x00g0_ _X000D_"),
        ("€", "€"),
    ],
)
def test_escapes(written: str, meant: str) -> None:
    """Both layers of escapes are undone, each once."""
    assert parse(f'{OBJS}<S S="Error">{written}</S></Objs>').errors == meant


def test_errors_that_are_objects() -> None:
    """Some errors come as whole objects; their text is in ToString."""
    text = (
        f'{OBJS}<Obj S="Error" RefId="0"><TN RefId="0"><T>System.Management.Automation.ErrorRecord</T></TN>'
        '<ToString>Access is denied_x002E_</ToString><MS><S N="x">y</S></MS></Obj><S S="Error">more</S></Objs>'
    )  # fmt: skip
    assert parse(text).errors == "Access is denied.\r\nmore"


WHOLE = (
    f'#< CLIXML\r\n{OBJS}{PROGRESS}<S S="Error">It _x005F_broke_x000D__x000A_</S><S S="Error">&lt;here&gt;</S></Objs>'
)


def test_a_document_cut_anywhere_gives_what_was_written() -> None:
    """A killed process leaves half a document; no cut raises, and none shows half an escape or markup."""
    for length in range(len(WHOLE)):
        errors = parse(WHOLE[:length].encode()).errors
        assert "It _broke\r\n<here>".startswith(errors), WHOLE[:length]


@given(st.binary(max_size=300) | st.text(st.sampled_from('<>SObjs="Error&_x0DA;/ #CLIXML\r\n'), max_size=200))
def test_nothing_is_ever_refused(data: bytes | str) -> None:
    """An error stream is read after something went wrong: it must not be what goes wrong next."""
    parse(data)
