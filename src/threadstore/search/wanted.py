"""What somebody searches for: a query's text, understood, and told in a text.

Words separated by spaces must all be in one text, in any order. ``"two words"`` stand next to each
other, so do the words of ``foo.bar``; ``wor*`` is the beginning of a word. With *literal* the text
is looked for as it stands, whatever its letter case; it begins where a word begins.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from threadstore.errors import InvalidRequest
from threadstore.search.tokens import (
    Folded,
    Token,
    composed,
    fold,
    folded_words,
    is_spaceless,
    tokens,
    word_end,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["MAX_QUERY", "MAX_SPANS", "MAX_WORDS", "Phrase", "Span", "Wanted"]

MAX_QUERY: Final = 2_000
"""Characters of a query."""
MAX_WORDS: Final = 100
"""Words of a query."""
MAX_SPANS: Final = 1_000
"""Places in a text that are looked at for a phrase or a literal: the first ones."""
_PARTS: Final = re.compile(r'"(?P<phrase>[^"]*)(?P<end>"?)(?P<star>\*?)|(?P<word>[^\s"]+)')
_NOTHING: Final = "search for at least one letter or digit"


class Span(NamedTuple):
    """A part of a text, by characters."""

    start: int
    end: int


class Phrase(NamedTuple):
    """Tokens next to each other."""

    tokens: tuple[str, ...]
    prefix: bool = False
    """Whether the last one is only the beginning of a token."""

    def places(self, words: str) -> list[int]:
        """Where the phrase begins among the tokens of a text, counted from 0. *words*: all tokens,
        each between two single spaces."""
        phrase = " ".join(self.tokens)
        phrase = f" {phrase}" if self.prefix else f" {phrase} "
        found: list[int] = []
        number = counted = 0
        place = words.find(phrase)
        while place >= 0 and len(found) < MAX_SPANS:
            number += words.count(" ", counted, place)
            counted = place
            found.append(number)
            place = words.find(phrase, place + 1)
        return found

    def span(self, found: Sequence[Token], first: int) -> Span:
        """What is to be marked where the phrase begins with this one of the tokens of a text."""
        end = found[first + len(self.tokens) - 1]
        if self.prefix and len(self.tokens[-1]) == 1 and is_spaceless(self.tokens[-1]):
            return Span(found[first].start, end.start + 1)  # of a pair only what was looked for
        return Span(found[first].start, end.end)


class Wanted(NamedTuple):
    """A query that was understood. A text has it if it has all phrases and the literal."""

    phrases: tuple[Phrase, ...]
    literal: str | None = None
    """Folded; where it stands, all phrases stand: an index need only look for these."""

    @classmethod
    def parse(cls, text: str, *, literal: bool = False) -> Wanted:
        """Understand *text*. Raises :class:`InvalidRequest` for one that cannot be searched for."""
        if not text.strip():
            raise InvalidRequest("there is nothing to search for", hint=_NOTHING)
        if len(text) > MAX_QUERY:
            raise InvalidRequest(
                f"the search text has {len(text):,} characters; at most {MAX_QUERY:,} are possible",
                hint="a few words of it will find it",
            )
        if not _is_whole(text):
            raise InvalidRequest("the search text has half a character in it", hint=_NOTHING)
        text = composed(text)
        wanted = _literal(text) if literal else cls(tuple(dict.fromkeys(_phrases(text))))
        if not wanted.phrases:
            raise InvalidRequest(f"there is no word in {_short(text)}", hint=_NOTHING)
        if sum(len(phrase.tokens) for phrase in wanted.phrases) > MAX_WORDS:
            raise InvalidRequest(
                f"the search text has more than {MAX_WORDS} words",
                hint="a few words of it will find it",
            )
        return wanted

    @property
    def exact(self) -> bool:
        """Whether a text with the phrases may still not be one that is wanted."""
        return self.literal is not None

    def spans(self, text: str) -> list[Span]:
        """What is to be marked in a composed *text*, in order; empty: it is not what is wanted."""
        folded = fold(text)
        if self.literal is not None:
            found = itertools.islice(_literal_spans(folded.text, self.literal), MAX_SPANS)
            return _marked(folded, list(found))
        return _marked(folded, self._phrase_spans(folded.text))

    def _phrase_spans(self, folded: str) -> list[Span]:
        if not all(token in folded for phrase in self.phrases for token in phrase.tokens):
            return []  # of most texts this is all there is to know
        words = f" {' '.join(folded_words(folded))} "
        places = [phrase.places(words) for phrase in self.phrases]
        if not all(places):
            return []
        furthest = max(
            each[-1] + len(phrase.tokens) for phrase, each in zip(self.phrases, places, strict=True)
        )
        found = list(itertools.islice(tokens(folded), furthest))
        return [
            phrase.span(found, first)
            for phrase, each in zip(self.phrases, places, strict=True)
            for first in each
        ]


def _phrases(text: str) -> Iterator[Phrase]:
    for part in _PARTS.finditer(text):
        if part["word"] is not None:
            chunk = part["word"].rstrip("*")
            prefix = chunk != part["word"]
            if prefix and (not chunk or not _ends_in_word(chunk)):
                raise InvalidRequest(
                    f"a * stands at the end of a word, not as in {_short(part['word'])}",
                    hint="write wor* for words that begin with wor, or search literally",
                )
        else:
            if not part["end"]:
                raise InvalidRequest(
                    f"the quotation mark before {_short(part['phrase'])} has no end",
                    hint='close it, or search literally for text with a " in it',
                )
            chunk, prefix = part["phrase"], bool(part["star"])
        phrase = _phrase(chunk, prefix=prefix)
        if phrase is not None:
            yield phrase


def _phrase(chunk: str, *, prefix: bool) -> Phrase | None:
    """The tokens of a chunk. Where it ends in the middle of a run of characters without spaces, the
    text may go on: the last character is in the pair before it, or begins a pair."""
    found = list(tokens(fold(chunk).text))
    if not found:
        return None
    if found[-1].partial and found[-1].end == len(fold(chunk).text.rstrip()):
        before = found[-2] if len(found) > 1 else None
        if before is not None and before.end == found[-1].end:
            return Phrase(tuple(token.text for token in found[:-1]))
        prefix = True
    return Phrase(tuple(token.text for token in found), prefix)


def _literal(text: str) -> Wanted:
    phrase = _phrase(text, prefix=_ends_in_word(text))
    return Wanted((phrase,) if phrase else (), fold(text).text)


def _ends_in_word(text: str) -> bool:
    folded = fold(text).text
    return any(token.end == len(folded) for token in tokens(folded))


def _literal_spans(text: str, literal: str) -> Iterator[Span]:
    begins_with_token = any(token.start == 0 for token in tokens(literal))
    place = text.find(literal)
    while place >= 0:
        end = word_end(text, place) if begins_with_token else place
        if end == place:
            end += len(literal)
            yield Span(place, end)
        place = text.find(literal, end)


def _marked(folded: Folded, spans: list[Span]) -> list[Span]:
    """The spans in the original text, in order, those that touch one another joined."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start < joined[-1].end:
            joined[-1] = Span(joined[-1].start, max(joined[-1].end, end))
        else:
            joined.append(Span(start, end))
    return [Span(folded.origin(start), folded.origin(end - 1) + 1) for start, end in joined]


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a surrogate without the other one
        return False
    return True


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
