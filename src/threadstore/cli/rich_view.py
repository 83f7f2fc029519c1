"""Tables and progress with the ``rich`` extra; imported only when a person looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from threadstore.cli.table import Column, Frame, fit

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["counter", "print_table", "progress"]

BOXED: Final = Frame(edges=4, between=3)


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print a boxed table that fits the screen."""
    console = Console()
    fitted = fit(columns, rows, console.width, BOXED)
    table = Table(box=box.ROUNDED, border_style="dim", header_style="bold")
    for column, size in zip(fitted.columns, fitted.widths, strict=True):
        table.add_column(column.name, no_wrap=True, width=size)
    for row in fitted.rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: no markup in people's words
    console.print(table)


def progress(what: str) -> Progress:
    """A bar on stderr for work of unknown length, not started; it leaves nothing behind."""
    parts = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    bar = Progress(*parts, console=Console(stderr=True), transient=True)
    bar.add_task(what, total=None)
    return bar


def counter(what: str, total: int) -> Progress:
    """The same for *total* things."""
    parts = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*parts, console=Console(stderr=True), transient=True)
    bar.add_task(what, total=total)
    return bar
