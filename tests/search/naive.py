"""The rules of searching, word for word and as slowly as they are written."""

from __future__ import annotations

from collections.abc import Sequence

from threadstore.search.tokens import fold, tokens
from threadstore.search.wanted import Phrase, Wanted

__all__ = ["has_literal", "has_phrase", "is_found", "phrase_in_words"]


def is_found(wanted: Wanted, text: str) -> bool:
    """Whether a composed text is what is wanted."""
    if wanted.literal is not None:
        return has_literal(wanted.literal, text)
    return all(has_phrase(phrase, text) for phrase in wanted.phrases)


def has_phrase(phrase: Phrase, text: str) -> bool:
    return phrase_in_words(phrase, [token.text for token in tokens(fold(text).text)])


def phrase_in_words(phrase: Phrase, words: Sequence[str]) -> bool:
    """What an index sees: tokens in a row."""
    size = len(phrase.tokens)
    return any(_same(phrase, words[first : first + size]) for first in range(len(words) - size + 1))


def _same(phrase: Phrase, part: Sequence[str]) -> bool:
    *whole, last = phrase.tokens
    if list(part[:-1]) != whole:
        return False
    return part[-1].startswith(last) if phrase.prefix else part[-1] == last


def has_literal(literal: str, text: str) -> bool:
    folded = fold(text).text
    begins_with_token = any(token.start == 0 for token in tokens(literal))
    starts = {token.start for token in tokens(folded)}
    return any(
        folded.startswith(literal, place) and (not begins_with_token or place in starts)
        for place in range(len(folded))
    )
