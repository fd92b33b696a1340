"""Signs of life: whoever listens ends no night."""

from __future__ import annotations

import pytest

from tasks.progress import Progress, subscribe, tell


@pytest.mark.parametrize("how", [BrokenPipeError, SystemExit])
def test_a_terminal_that_is_gone_ends_nothing(how: type[BaseException]) -> None:
    """Its pipe is not read any more: it is told no more, the others are, and ending its subscription is no error."""
    heard: list[str] = []
    tries: list[str] = []

    def gone(progress: Progress) -> None:
        tries.append(progress.message)
        raise how

    end, others = subscribe(gone), subscribe(lambda progress: heard.append(progress.message))
    try:
        tell("backup", "sql01", "first")
        tell("backup", "sql01", "second")
    finally:
        end()
        others()
    assert (tries, heard) == (["first"], ["first", "second"])
