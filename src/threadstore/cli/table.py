"""Tables for people: fitted to the screen, then boxed by ``rich`` or printed in aligned columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from threadstore.cli.text import ELLIPSIS, cut, pad, width

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Column", "fit", "plain_lines"]

_LEAST: Final = 12
"""Columns of text that a column keeps on the narrowest screen."""


class Column(NamedTuple):
    """One column of a table."""

    name: str
    shrinks: bool = False
    """Whether its cells may be cut to make the table fit."""
    keeps_end: bool = False
    """Cut at the beginning: of a path, the end tells more."""


def fit(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], room: int
) -> tuple[list[int], list[list[str]]]:
    """The width of every column, and the cells cut to it, so that the widths add up to *room*."""
    widths = [
        max([width(column.name), *(width(row[number]) for row in rows)])
        for number, column in enumerate(columns)
    ]
    while sum(widths) > room:
        able = [n for n, column in enumerate(columns) if column.shrinks and widths[n] > _LEAST]
        if not able:
            break
        widest = max(able, key=widths.__getitem__)
        widths[widest] -= 1
    return widths, [
        [_cell(text, size, column) for text, size, column in zip(row, widths, columns, strict=True)]
        for row in rows
    ]


def plain_lines(columns: Sequence[Column], rows: Sequence[Sequence[str]], screen: int) -> list[str]:
    """The table without the ``rich`` extra: two blanks between aligned columns."""
    gap = "  "
    widths, cells = fit(columns, rows, screen - len(gap) * (len(columns) - 1))
    head = [column.name.upper() for column in columns]
    return [
        gap.join(pad(text, size) for text, size in zip(line, widths, strict=True)).rstrip()
        for line in (head, *cells)
    ]


def _cell(text: str, size: int, column: Column) -> str:
    if column.keeps_end and width(text) > size:
        while width(text) >= size:
            text = text[1:]
        return ELLIPSIS + text
    return cut(text, size)
