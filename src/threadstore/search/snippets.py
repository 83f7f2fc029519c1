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
    first = spans[0]
    start = _word_start(text, max(first.start - around, 0), first.start)
    end = min(max(first.start + 2 * around, first.end), len(text))
    shown = [span for span in spans if span.end <= end] or [first]
    line = "…" if start else ""
    marks: list[Span] = []
    place = start
    for span in shown:
        line += _line(text[place : span.start], after=line)
        begin = len(line)
        line += _line(text[span.start : span.end], after=line)
        marks.append(Span(begin, len(line)))
        place = span.end
    line += _line(text[place:end], after=line).rstrip()
    return line + ("…" if end < len(text) else ""), tuple(marks)


def _line(part: str, *, after: str) -> str:
    line = _SPACE.sub(" ", part)
    return line[1:] if line.startswith(" ") and (not after or after[-1] in " …") else line


def _word_start(text: str, start: int, match: int) -> int:
    """The beginning of a word at or behind *start*, if there is one before *match*."""
    if start == 0 or text[start - 1].isspace():
        return start
    space = _SPACE.search(text, start, match)
    return space.end() if space is not None else start
