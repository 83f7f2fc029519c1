"""The marks of histories (:mod:`threadstore.history.marks`) and the places of lines, kept in our
own database as long as the file is the one that was read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from threadstore.errors import StoreUnavailable
from threadstore.history.marks import SPACING, TurnMarks
from threadstore.stores.local.index_db import IndexDb
from threadstore.stores.local.marking import KeptFile, KeptTurns
from threadstore.stores.local.paths import plain_path
from threadstore.stores.local.places import FilePlaces, Places

__all__ = ["KeptMarks"]

_REMEMBERED: Final = 64


class KeptMarks:
    """Marks of the threads in a home. What cannot be kept is found anew."""

    spacing = SPACING

    def __init__(
        self,
        index: IndexDb,
        locate: Callable[[str], Awaitable[str | None]],
        places: Places,
    ) -> None:
        self._index = index
        self._locate = locate
        self._places = places
        self._known: dict[str, KeptTurns] = {}

    async def get(self, thread_id: str) -> TurnMarks:
        """The marks, if the thread's file is still the one in which they were found."""
        path = await self._locate(thread_id)
        status = None if path is None else _status(path)
        if status is None:
            return TurnMarks()
        import asyncio  # here: a list of threads needs no event loop

        kept = self._known.get(thread_id) or await asyncio.to_thread(self._read, thread_id)
        now = KeptFile(status.st_ino, status.st_size, status.st_mtime_ns)
        if kept is None or not kept.file.may_become(now):
            kept = KeptTurns(now, TurnMarks(), FilePlaces())
        elif thread_id not in self._known:
            self._places.put(status, kept.places)
        kept = KeptTurns(now, kept.marks, self._places.of(status))
        self._remember(thread_id, kept)
        return kept.marks

    async def set(self, thread_id: str, marks: TurnMarks) -> None:
        """Keep the marks, in the database if there are any new ones."""
        kept = self._known.get(thread_id)
        if kept is not None and kept.marks != marks:
            kept.marks = marks
            import asyncio

            await asyncio.to_thread(self._write, thread_id, msgspec.msgpack.encode(kept))

    def _remember(self, thread_id: str, kept: KeptTurns) -> None:
        self._known.pop(thread_id, None)
        self._known[thread_id] = kept
        if len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]

    def _read(self, thread_id: str) -> KeptTurns | None:
        with contextlib.suppress(StoreUnavailable, msgspec.MsgspecError):
            rows = self._index.rows("SELECT data FROM turn_marks WHERE id = ?", (thread_id,))
            return msgspec.msgpack.decode(rows[0][0], type=KeptTurns) if rows else None
        return None

    def _write(self, thread_id: str, data: bytes) -> None:
        with contextlib.suppress(StoreUnavailable):
            sql = "INSERT OR REPLACE INTO turn_marks VALUES (?, ?)"
            self._index.rows(sql, (thread_id, data))


def _status(path: str) -> os.stat_result | None:
    for actual in (plain_path(path), plain_path(path) + ".zst"):
        with contextlib.suppress(OSError):
            return os.stat(actual)
    return None
