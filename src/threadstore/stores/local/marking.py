"""Finding the marks of a long history while its file is read for the first time anyway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from threadstore.history.items import RolloutItem
from threadstore.history.lines import Entry
from threadstore.history.marks import MarkFinder, TurnMarks
from threadstore.stores.local.places import FilePlaces

__all__ = ["LONG", "KeptFile", "KeptTurns", "Marking"]

LONG: Final = 1 << 25
"""Bytes from which on a file is marked when it is first read, which takes nearly twice the time for
it. The marks of a shorter one are found in some 100 ms, when somebody wants them."""


class KeptFile(msgspec.Struct, frozen=True, array_like=True):
    """A file when it was read."""

    inode: int
    size: int
    mtime_ns: int

    def may_become(self, now: KeptFile) -> bool:
        """Whether it is the same file, which only grew."""
        return self == now or (self.inode == now.inode and self.size < now.size)


class KeptTurns(msgspec.Struct, array_like=True):
    """What is kept of one thread."""

    file: KeptFile
    marks: TurnMarks
    places: FilePlaces


class Marking:
    """Takes the lines of a file from its beginning on."""

    def __init__(self, file: KeptFile) -> None:
        self._file = file
        self._finder = MarkFinder(TurnMarks())
        self._places = FilePlaces()

    def add(self, entries: Sequence[Entry], lines: int, end: int, last: bytes) -> None:
        """Take the next lines; *lines* and *end* are where they end, with the line *last*."""
        for entry in entries:
            if isinstance(entry, RolloutItem):
                self._finder.feed(entry)
        self._places.note(lines, end, last)

    def packed(self) -> bytes:
        """What was found, to be kept."""
        found = KeptTurns(self._file, self._finder.finish(), self._places)
        return msgspec.msgpack.encode(found)
