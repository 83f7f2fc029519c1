"""Texts as FTS5 takes them, and what is looked for in them.

FTS5's ``ascii`` tokenizer splits at every ASCII character that is no letter or digit, and nowhere
else. So a text need not be split here, which would take ten times as long as writing it to the
index: it is enough to put spaces where :mod:`threadstore.search.tokens` says that a word ends and
FTS5 would not see it.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final

from threadstore.search.tokens import GAP, MAX_WORD, SPACELESS, WORD, fold

if TYPE_CHECKING:
    from threadstore.search.texts import TextRole
    from threadstore.search.wanted import Phrase, Wanted

__all__ = ["indexable", "match"]

_RUN: Final = re.compile(f"[{SPACELESS}]+")
_GAP: Final = re.compile(GAP)
_LONG_WORD: Final = re.compile(f"{WORD}{{{MAX_WORD + 1},}}")
_LONG: Final = b"a" * (MAX_WORD + 1)
_INSIDE: Final = bytes(
    ord("a") if byte >= 0x80 or chr(byte).isalnum() else ord(" ") for byte in range(256)
)
_SHORT_PREFIX: Final = 3


def indexable(text: str) -> str:
    """A composed text of which FTS5 makes the tokens ``words(text)``."""
    if text.isascii():
        return text if not _may_be_long(text) else _cut(text.lower())
    text = _split_runs(fold(text).text)
    return _cut(text) if _may_be_long(text) else text


def _may_be_long(text: str) -> bool:
    """Whether there may be a word that is too long. A character is at least one byte."""
    return _LONG in text.encode(errors="replace").translate(_INSIDE)


def _cut(text: str) -> str:
    return _LONG_WORD.sub(lambda word: word[0][:MAX_WORD], text)


def _split_runs(text: str) -> str:
    runs = False
    for char in set(text):
        if not char.isascii():
            kind = _kind(char)
            runs = runs or kind == "run"
            if kind == "gap":
                text = text.replace(char, " ")
    return _RUN.sub(_pairs, text) if runs else text


@functools.lru_cache(maxsize=1 << 16)
def _kind(char: str) -> str:
    if _RUN.match(char):
        return "run"
    return "gap" if _GAP.match(char) else "word"


def _pairs(run: re.Match[str]) -> str:
    chars = run[0]
    pairs = [chars[place : place + 2] for place in range(len(chars))]
    return f" {' '.join(pairs)} "


def match(wanted: Wanted, roles: tuple[TextRole, ...] | None) -> str:
    """The query for FTS5. All texts that are wanted match it; others only where a literal is
    looked for."""
    found = " AND ".join(
        map(_phrase, map(_cheaper, wanted.phrases) if wanted.exact else wanted.phrases)
    )
    return found if roles is None else f"{{{' '.join(roles)}}} : ({found})"


def _cheaper(phrase: Phrase) -> Phrase:
    """Half a word that many words begin with costs more than it spares; the text decides."""
    *whole, last = phrase.tokens
    if whole and phrase.prefix and len(last) < _SHORT_PREFIX:
        return phrase._replace(tokens=tuple(whole), prefix=False)
    return phrase


def _phrase(phrase: Phrase) -> str:
    # Tokens are letters, digits and marks: there is nothing to escape.
    return f'"{" ".join(phrase.tokens)}"{"*" if phrase.prefix else ""}'
