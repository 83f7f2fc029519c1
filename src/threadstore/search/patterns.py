"""Regular expressions that find tokens in a folded text without cutting it into tokens.

They find what :func:`threadstore.search.tokens.tokens` would give, in time that grows with the text
only: repetitions never give back what they took.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from threadstore.search.tokens import GAP, MAX_WORD, SPACELESS, WORD, is_spaceless

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["literal_pattern", "phrase_pattern"]

_IS_WORD = re.compile(WORD)


@functools.lru_cache(maxsize=256)
def phrase_pattern(tokens: tuple[str, ...], *, prefix: bool) -> re.Pattern[str]:
    """Finds tokens that stand next to each other; with *prefix* the last may go on."""
    return re.compile(f"{GAP}*+".join(_parts(tokens, prefix=prefix)))


@functools.lru_cache(maxsize=256)
def literal_pattern(literal: str) -> re.Pattern[str]:
    """Finds a folded text as it stands; if it begins with a word, where a word begins."""
    return re.compile(_begun(literal) if _IS_WORD.match(literal) else re.escape(literal))


def _parts(tokens: tuple[str, ...], *, prefix: bool) -> Iterator[str]:
    """For each word and each run of characters without spaces what finds it."""
    place = 0
    while place < len(tokens):
        token = tokens[place]
        place += 1
        if not is_spaceless(token[0]):
            cut = len(token) == MAX_WORD or (prefix and place == len(tokens))
            yield _begun(token) + (f"{WORD}*+" if cut else f"(?!{WORD})")
            continue
        run = token
        while len(token) == 2 and place < len(tokens):
            token = tokens[place]
            run += token[1:]
            place += 1
        ended = len(token) == 1 and not (prefix and place == len(tokens))
        yield re.escape(run) + (f"(?![{SPACELESS}])" if ended else "")


def _begun(text: str) -> str:
    # Looked at behind the text, so that the search for the text itself is a fast one.
    text = re.escape(text)
    return f"{text}(?<!{WORD}{text})"
