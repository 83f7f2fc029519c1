"""Search terms of lists: which threads may have them in name, title or preview.

The FTS5 table ``titles`` knows which three characters occur in a text; whether the whole term does,
the text itself says. Making that table costs much, so it is never in the way of a writer: a thread
with a new text waits in ``unread_titles``, and is looked through with the hits meanwhile. (Of a
first index it would take 75 to 95 us a thread, even in bulk; storing all the rest takes 130.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

__all__ = ["FEW", "FORGET", "UNREAD", "condition", "few_hits", "hits", "read"]

_GRAM: Final = 3
_END: Final = "\x1f\x1f"
"""Behind each text, so that every character begins three: short terms are prefixes of them."""
_GRAMS: Final = 24
"""Of a long term that many are asked for, spread over it."""
FEW: Final = 2000
"""Hits that are taken as a whole and sorted."""
_HITS: Final = (
    "SELECT rowid AS key FROM titles WHERE titles MATCH ? UNION{} SELECT key FROM unread_titles"
)

UNREAD: Final = "INSERT OR IGNORE INTO unread_titles SELECT key FROM threads WHERE id = ?"
"""The thread has a new text."""
FORGET: Final = (
    "DELETE FROM titles WHERE rowid = (SELECT key FROM threads WHERE id = ?)",
    "DELETE FROM unread_titles WHERE key = (SELECT key FROM threads WHERE id = ?)",
)
"""The thread is about to go."""
_READ: Final = (
    "INSERT OR REPLACE INTO titles (rowid, search) SELECT key, search || ? FROM threads"
    " WHERE key IN (SELECT key FROM unread_titles ORDER BY key LIMIT ?)"
)
_HAVE_READ: Final = (
    "DELETE FROM unread_titles WHERE key IN (SELECT key FROM unread_titles ORDER BY key LIMIT ?)"
)


def condition(term: str) -> tuple[str, list[str]]:
    """What a row of ``threads`` must be to be found."""
    return "search <> '' AND instr(search, ?) > 0", [term.casefold()]


def hits(term: str) -> tuple[str, list[str]] | None:
    """SQL for the keys of all threads that may have the term, and its values; ``None``: the term
    says too little."""
    match = _match(term.casefold())
    return None if match is None else (f"({_HITS.format('')}) AS hits", [match])


def few_hits(
    term: str, rows: Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
) -> tuple[str, list[str]] | None:
    """The same if few threads may have the term; ``None``: many, or the term says too little."""
    match = _match(term.casefold())
    if match is None or match.endswith("*"):  # of a short term all would be counted
        return None
    found = rows(f"{_HITS.format(' ALL')} LIMIT ?", [match, FEW])
    if len(found) == FEW:
        return None
    keys = ", ".join(str(key) for (key,) in set(found))
    return "(SELECT value AS key FROM json_each(?)) AS hits", [f"[{keys}]"]


def read(run: Callable[[str, Sequence[Any]], int], limit: int) -> bool:
    """Read the texts of up to so many threads that wait, within a transaction; whether there may
    be more."""
    run(_READ, [_END, limit])
    return run(_HAVE_READ, [limit]) == limit


def _match(term: str) -> str | None:
    if 0 < len(term) < _GRAM:
        return None if _unusable(term) else f"{_quoted(term)} *"
    grams = {term[start : start + _GRAM] for start in range(len(term) - _GRAM + 1)}
    usable = sorted(gram for gram in grams if not _unusable(gram))
    step = -(-len(usable) // _GRAMS) or 1
    return " AND ".join(map(_quoted, usable[::step])) or None


def _quoted(text: str) -> str:
    return f'"{text.replace(chr(34), chr(34) * 2)}"'


def _unusable(text: str) -> bool:
    """Whether there is a null or half a character in it: SQLite ends or changes such texts."""
    return any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text)
