"""Tables without the ``rich`` extra: aligned columns, cut to the width of the screen."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

from threadstore.cli.text import cut, pad, width

__all__ = ["print_table"]

_GAP: Final = 2
_LEAST: Final = 12
"""Columns that the cut column keeps on the narrowest screen."""


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], wide: int) -> None:
    """Print a head line and the rows; column number *wide* takes what the others leave."""
    lines = [tuple(name.upper() for name in head), *rows]
    widths = [max(width(line[column]) for line in lines) for column in range(len(head))]
    others = sum(widths) - widths[wide] + _GAP * (len(head) - 1)
    widths[wide] = min(widths[wide], max(_LEAST, _screen_width() - others))
    for line in lines:
        cells = [pad(cut(cell, size), size) for cell, size in zip(line, widths, strict=True)]
        print((" " * _GAP).join(cells).rstrip())


def _screen_width() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return 100
