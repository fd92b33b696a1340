"""How a message shows a value, and the word that somebody probably meant."""

from __future__ import annotations

from collections.abc import Iterable


def near(word: str, known: Iterable[str]) -> str | None:
    """The known word that ``word`` was probably meant to be, or None."""
    folded = _folded(word)
    distances = {k: _distance(folded, _folded(k)) for k in known if abs(len(k) - len(word)) <= _most_slips(word)}
    best = min(distances, key=lambda k: distances[k], default=None)
    return best if best is not None and distances[best] <= _most_slips(word) else None


def _most_slips(word: str) -> int:
    return max(1, len(word) // 3)


def _distance(one: str, other: str) -> int:
    """How many letters are to be added, removed or changed (Levenshtein); swapped neighbours count as one."""
    rows = [list(range(len(other) + 1))]
    for i, a in enumerate(one):
        row = [i + 1]
        for j, b in enumerate(other):
            row.append(min(rows[-1][j + 1] + 1, row[j] + 1, rows[-1][j] + (a != b)))
            if i and j and a == other[j - 1] and one[i - 1] == b:
                row[-1] = min(row[-1], rows[-2][j - 1] + 1)
        rows.append(row)
    return rows[-1][-1]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'iis'?``, or the known words where none is near, to append to a message."""
    known = list(known)
    meant = near(word, known)
    if meant is not None:
        return f"; did you mean '{meant}'?"
    return f"; known: {', '.join(known)}" if known else ""


def _folded(word: str) -> str:
    return word.casefold().replace("_", "-").replace(" ", "-")


def shown(value: object) -> str:
    """A value as a message may show it: quoted, on one line, at most forty characters."""
    text = repr(value) if isinstance(value, str) else f"'{value}'"
    return text if len(text) <= 40 else f"{text[:36]}...'"
