"""Tables and progress with the ``rich`` extra; imported only when a person looks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

__all__ = ["print_table", "progress"]


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], wide: int) -> None:
    """Print a boxed table; column number *wide* takes what the others leave."""
    table = Table(box=box.ROUNDED, border_style="dim", header_style="bold")
    for column, name in enumerate(head):
        if column == wide:
            table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=1)
        else:
            table.add_column(name, no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: no markup in user's words
    Console().print(table)


@contextlib.contextmanager
def progress(what: str) -> Iterator[None]:
    """A bar on stderr for work of unknown length; leaves nothing behind."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        bar.add_task(what, total=None)
        yield
