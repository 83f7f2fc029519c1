"""Stored lines as entries of a history: items, damage, and nothing for blank ones."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from itertools import compress
from typing import Final, TypeAlias, cast

from threadstore.errors import InvalidRequest
from threadstore.history.items import DamagedLine, RolloutItem

__all__ = ["DAMAGE_SHOWN", "Entry", "parse_line", "parse_lines", "parse_telling"]

Entry: TypeAlias = RolloutItem | DamagedLine

DAMAGE_SHOWN: Final = 1 << 16
"""Bytes of a damaged line that are reported."""
_BOM: Final = b"\xef\xbb\xbf"


def parse_line(line: bytes, position: int, *, terminated: bool = True) -> Entry | None:
    """The item of a line, what is wrong with it, or ``None`` if it is blank.

    A byte order mark costs nothing: it stays in ``raw``. *terminated*: whether it has its newline,
    without which a line may be half a line.
    """
    line = line.removesuffix(b"\n")
    try:
        item = RolloutItem.parse(line)
    except InvalidRequest as error:
        reason = error.message
        if line.startswith(_BOM):
            with contextlib.suppress(InvalidRequest):
                item = RolloutItem.parse(line[len(_BOM) :])
                item.raw, item.position = line, position
                return item
        if not line.strip():
            return None
        if not terminated:
            reason = f"the last line is torn: {reason}"
        return DamagedLine(position=position, raw=line[:DAMAGE_SHOWN], reason=reason)
    item.position = position
    return item


_SILENT: Final = re.compile(
    rb'\{"timestamp":"[^"\\]*",(?:"ordinal":\d+,)?"type":'
    rb'(?:"(?:response_item|turn_context|token_usage_record|world_state)","payload":\{'
    rb'|"event_msg","payload":\{"type":"token_count")'
).match


def parse_lines(lines: Sequence[bytes], first: int, step: int) -> list[Entry]:
    """The entries of many lines, a few times faster than one by one. The first line has position
    *first*, the next *first* + *step*."""
    return _entries(lines, range(first, first + step * len(lines), step))


def parse_telling(lines: Sequence[bytes], first: int) -> list[Entry]:
    """The entries of those among the lines, of which the first has position *first*, that may be
    more than the model's side of a conversation: all others, most of the bytes of a history, are
    never shown. Looks at the beginnings of lines, as all releases since 0.34 write them."""
    told = [match is None for match in map(_SILENT, lines)]
    places = range(first, first + len(lines))
    return _entries([*compress(lines, told)], [*compress(places, told)])


def _entries(lines: Sequence[bytes], places: Sequence[int]) -> list[Entry]:
    items, odd = RolloutItem.parse_lines(lines, places)
    if not odd:
        return cast("list[Entry]", items)
    entries: list[Entry] = [*items]
    for index in odd:
        entry = parse_line(lines[index], places[index])
        if entry is not None:
            entries.append(entry)
    backwards = places[0] > places[-1]
    entries.sort(key=lambda entry: entry.position or 0, reverse=backwards)
    return entries
