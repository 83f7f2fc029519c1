"""Tables for people: fitted to the screen, then boxed by ``rich`` or printed in aligned columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from threadstore.cli.text import ELLIPSIS, cut, pad, width

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Column", "Frame", "Table", "fit", "plain_lines"]


class Column(NamedTuple):
    """One column of a table."""

    name: str
    least: int | None = None
    """Columns of text that stay when its cells are cut to make the table fit; ``None``: all."""
    weight: int = 1
    """How much of the screen it gets, compared with other columns that are cut."""
    keeps_end: bool = False
    """Cut at the beginning: of a path, the end tells more."""
    optional: bool = False
    """Left out where cutting does not make the table fit, the last such column first."""


class Frame(NamedTuple):
    """What is drawn around the cells, in columns of the screen."""

    edges: int
    between: int

    def room(self, screen: int, columns: int) -> int:
        """What is left for the text of that many columns."""
        return screen - self.edges - self.between * (columns - 1)


class Table(NamedTuple):
    """What fits: the columns that are left, how wide each is, and the cells cut to that."""

    columns: list[Column]
    widths: list[int]
    rows: list[list[str]]


PLAIN: Final = Frame(edges=0, between=2)


def fit(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], screen: int, frame: Frame
) -> Table:
    """The table that fits a *screen* of so many columns."""
    full = [
        max([width(column.name), *(width(row[number]) for row in rows)])
        for number, column in enumerate(columns)
    ]
    kept = _kept(columns, full, screen, frame)
    columns = [columns[number] for number in kept]
    widths = _shrunk(columns, [full[number] for number in kept], frame.room(screen, len(kept)))
    cells = [
        [
            _cell(row[n], size, columns[i])
            for i, (n, size) in enumerate(zip(kept, widths, strict=True))
        ]
        for row in rows
    ]
    return Table(columns, widths, cells)


def _kept(columns: Sequence[Column], full: list[int], screen: int, frame: Frame) -> list[int]:
    """The numbers of the columns for which there is room."""
    least = [
        size if column.least is None else min(size, column.least)
        for size, column in zip(full, columns, strict=True)
    ]
    kept = list(range(len(columns)))
    for number in reversed(range(len(columns))):
        if sum(least[n] for n in kept) <= frame.room(screen, len(kept)):
            break
        if columns[number].optional:
            kept.remove(number)
    return kept


def _shrunk(columns: Sequence[Column], widths: list[int], room: int) -> list[int]:
    """The widths, made to fit *room*: to the least of each column, and below if it must be."""
    floors = [column.least for column in columns]
    while sum(widths) > room:
        able = [n for n, least in enumerate(floors) if least is not None and widths[n] > least]
        if able:
            widths[max(able, key=lambda n: widths[n] / columns[n].weight)] -= 1
        elif floors == (below := [None if least is None else 1 for least in floors]):
            break
        else:
            floors = below
    return widths


def plain_lines(columns: Sequence[Column], rows: Sequence[Sequence[str]], screen: int) -> list[str]:
    """The table without the ``rich`` extra: two blanks between aligned columns."""
    table = fit(columns, rows, screen, PLAIN)
    head = [column.name.upper() for column in table.columns]
    return [
        (" " * PLAIN.between)
        .join(pad(text, size) for text, size in zip(line, table.widths, strict=True))
        .rstrip()
        for line in (head, *table.rows)
    ]


def _cell(text: str, size: int, column: Column) -> str:
    if column.keeps_end and width(text) > size:
        while width(text) >= size:
            text = text[1:]
        return ELLIPSIS + text
    return cut(text, size)
