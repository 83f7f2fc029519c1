"""Words of a text, for every index alike: folded letter case, and two characters at a time where a
language writes without spaces.

One rule for all stores, so that they find the same:

- Texts are compared in Unicode's composed form (NFC) and case-folded: ``Straße`` is ``STRASSE``.
- A *word* is a run of letters and digits; everything else separates words, the underscore too.
- A run of characters of a script without spaces (Chinese, Japanese, Korean, Thai, Lao, Burmese,
  Khmer) becomes overlapping pairs, and its last character alone: ``黒猫は`` is ``黒猫 猫は は``. So
  each part of a run is found: one character as the beginning of a pair.
- Of a word longer than :data:`MAX_WORD` characters only the beginning counts.
"""

from __future__ import annotations

import bisect
import itertools
import operator
import re
import unicodedata
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "GAP",
    "MAX_WORD",
    "SPACELESS",
    "WORD",
    "Folded",
    "Token",
    "composed",
    "fold",
    "folded_words",
    "is_spaceless",
    "tokens",
    "word_end",
    "words",
]

MAX_WORD: Final = 64
"""Characters of a word that count."""

SPACELESS: Final = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\uaa60-\uaa7f"  # Burmese
    "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"  # Korean
    "\u1780-\u17ff"  # Khmer
    "\u3005-\u3007\u3021-\u3029\u3031-\u3035\u303b\u303c"  # repeated and numeral ideographs
    "\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # ideographs
)
"""Ranges of characters of scripts without spaces, for a class of a regular expression."""
# Signs that stand on letters; Python does not count them as letters.
_MARKS: Final = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a"
    "\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u0711\u0730-\u074a"
    "\u0900-\u0963\u0971-\u0e00\u0f18\u0f19\u0f35\u0f37\u0f39\u0f71-\u0f84\u1ab0-\u1aff\u1dc0-\u1dff"
)
WORD: Final = rf"(?:[^\W_{SPACELESS}]|[{_MARKS}])"
"""Regular expression of a character of words."""
GAP: Final = rf"(?:[^\w{SPACELESS}{_MARKS}]|_)"
"""Regular expression of a character between tokens."""
_RUNS: Final = re.compile(rf"(?P<run>[{SPACELESS}]+)|(?P<word>{WORD}+)")
_IS_RUN: Final = re.compile(f"[{SPACELESS}]")
_IN_WORD: Final = re.compile(f"{WORD}+")
_SPECIAL: Final = re.compile(f"[{SPACELESS}{_MARKS}]")
_PLAIN_WORDS: Final = re.compile(r"[^\W_]+")
_ASCII_WORDS: Final = re.compile(r"[0-9a-z]+")


class Token(NamedTuple):
    """A token and where it stands in the folded text."""

    text: str
    start: int
    end: int
    partial: bool = False
    """Whether it is the last character of a run: a pair whose second half is missing."""


class Folded:
    """A case-folded text that knows where its characters come from."""

    __slots__ = ("_source", "_starts", "text")

    def __init__(self, text: str, source: str | None = None) -> None:
        self.text = text
        self._source = source
        self._starts: list[int] | None = None

    def origin(self, place: int) -> int:
        """Where the character at *place* of the folded text stands in the original."""
        if self._source is None:
            return place
        if self._starts is None:  # only a text in which something is found needs them
            lengths = map(len, map(str.casefold, self._source))
            self._starts = list(itertools.accumulate(lengths, initial=0))
        return bisect.bisect_right(self._starts, place) - 1


def composed(text: str) -> str:
    """*text* in the form in which texts are compared and shown."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def fold(text: str) -> Folded:
    """*text*, which is composed, without differences of letter case."""
    if text.isascii():
        return Folded(text.lower())
    folded = text.casefold()
    # Folding shortens no character: the same length is the same places.
    return Folded(folded, None if len(folded) == len(text) else text)


def tokens(folded: str) -> Iterator[Token]:
    """The tokens of a folded text with their places, in order."""
    for match in _RUNS.finditer(folded):
        start, end = match.span()
        if match["word"] is not None:
            yield Token(match[0][:MAX_WORD], start, end)
            continue
        for place in range(start, end - 1):
            yield Token(folded[place : place + 2], place, place + 2)
        yield Token(folded[end - 1], end - 1, end, partial=True)


def is_spaceless(char: str) -> bool:
    """Whether a character is of a script without spaces."""
    return _IS_RUN.match(char) is not None


def word_end(folded: str, place: int) -> int:
    """Where the word ends in the middle of which *place* is; *place*: it is in the middle of none,
    so that a token may begin there."""
    if place == 0 or _IN_WORD.match(folded, place - 1, place) is None:
        return place
    word = _IN_WORD.match(folded, place)
    return place if word is None else word.end()


def words(text: str) -> list[str]:
    """The tokens of a composed text, as an index takes them."""
    return folded_words(fold(text).text)


def folded_words(folded: str) -> list[str]:
    """The texts of the tokens of a folded text: the fast way."""
    if folded.isascii():
        found = _ASCII_WORDS.findall(folded)
    elif _SPECIAL.search(folded) is None:
        found = _PLAIN_WORDS.findall(folded)
    else:
        return list(_words(folded))
    if max(map(len, found), default=0) > MAX_WORD:
        return [word[:MAX_WORD] for word in found]
    return found


def _words(folded: str) -> Iterator[str]:
    for match in _RUNS.finditer(folded):
        part = match[0]
        if match.lastgroup == "word":
            yield part[:MAX_WORD]
        else:
            yield from map(operator.add, part, part[1:])
            yield part[-1]
