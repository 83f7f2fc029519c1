"""The part of a text that shows a match."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from threadstore.search.wanted import Span

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["AROUND", "snippet"]

AROUND: Final = 60
"""Characters that are shown before a match; twice as many stand behind it."""
_SPACE: Final = re.compile(r"\s+")


def snippet(text: str, spans: Sequence[Span], around: int = AROUND) -> tuple[str, tuple[Span, ...]]:
    """One line around the first of *spans*, and what is to be marked in it.

    White space becomes single spaces; an ellipsis stands where text was left out.
    """
    first = _trimmed(text, spans[0])
    start = _word_start(text, max(first.start - around, 0), first.start)
    end = min(first.start + 2 * around, len(text))
    line = "…" if start else ""
    marks: list[Span] = []
    place = start
    for span in spans:
        if span.end > end and marks:
            break
        span = _trimmed(text, span)
        line = _joined(line, text[place : span.start])
        place = min(span.end, end)
        begin = len(line)
        line = _joined(line, text[span.start : place])
        marks.append(Span(begin, len(line)))
    line = _joined(line, text[place:end].rstrip())
    return line + ("…" if end < len(text) else ""), tuple(marks)


def _trimmed(text: str, span: Span) -> Span:
    """*span* without white space around it."""
    part = text[span.start : span.end]
    start = span.end - len(part.lstrip())
    return Span(start, max(span.start + len(part.rstrip()), start + 1))


def _joined(line: str, part: str) -> str:
    """*line* and *part* behind it, with single spaces."""
    part = _SPACE.sub(" ", part)
    at_edge = not line or line.endswith(" ")
    return line + (part[1:] if at_edge and part.startswith(" ") else part)


def _word_start(text: str, start: int, match: int) -> int:
    """The beginning of a word at or behind *start*, if there is one before *match*."""
    if start and not text[start - 1].isspace():
        space = _SPACE.search(text, start, match)
        return space.end() if space is not None else start
    space = _SPACE.match(text, start, match)
    return space.end() if space is not None else start
