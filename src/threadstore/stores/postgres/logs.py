"""The head of a log, its lines, and what it inherits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import msgspec

from threadstore.history.header import SegmentBase
from threadstore.history.items import ordinal_after
from threadstore.history.lines import Entry, parse_lines
from threadstore.metadata import HistoryBase
from threadstore.stores.postgres.database import Database
from threadstore.stores.postgres.statements import statement

__all__ = ["Batch", "Head", "Logs", "Segment", "parse_batch"]

Batch = list[tuple[int, bytes]]
"""Positions and lines."""

_HEAD: Final = statement("logs", "head")
_SIZE: Final = statement("logs", "size")
_LINES: Final = statement("logs", "lines")
_LINES_BACKWARDS: Final = statement("logs", "lines_backwards")

_FIRST_ROWS: Final = 64
_MOST_ROWS: Final = 4_096
_BYTES: Final = 4_000_000
"""A batch aims at this size; the length of its lines is known from the one before."""


class Head(msgspec.Struct, frozen=True):
    """Where a log stands and who may append."""

    position: int
    next_ordinal: int | None
    base: str | None
    base_position: int
    last_batch: int
    epoch: int
    holder: str | None
    """Who holds the lease, while it has not run out."""

    @property
    def has_lines(self) -> bool:
        """Whether the thread has history; without, the head is only the lease of its writer."""
        return self.position > self.base_position

    def own(self, thread_id: str) -> Segment:
        """The thread's own lines."""
        return Segment(thread_id, self.base_position, self.position)


class Segment(msgspec.Struct, frozen=True):
    """A stretch of a thread's own lines."""

    thread: str
    after: int
    until: int


class Logs:
    """Reading logs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def head(self, thread_id: str) -> Head | None:
        """The head of a log; ``None`` if there is none."""
        values = {"tenant": self._database.tenant, "thread": thread_id}
        rows = await self._database.rows(_HEAD, values)
        return Head(*rows[0]) if rows else None

    async def segments(self, thread_id: str, head: Head, *, after: int = 0) -> list[Segment]:
        """The stretches that make up the history behind position *after*, in replay order."""
        segments: list[Segment] = []
        until: int = head.position
        current: Head | None = head
        while current is not None:
            inherited = current.base_position
            start = max(after, inherited)
            if until > start:
                segments.append(Segment(thread_id, start, until))
            if current.base is None or inherited <= after:
                break
            thread_id, until = current.base, min(until, inherited)
            current = await self.head(thread_id)
        return segments[::-1]

    async def segment_base(self, base: HistoryBase) -> SegmentBase | None:
        """The same place as the header of a rollout says it; ``None`` if no ordinal tells."""
        head = await self.head(base.thread_id)
        if head is None or not base.position:
            return None
        head = msgspec.structs.replace(head, position=base.position)
        segment = (await self.segments(base.thread_id, head))[-1]
        async for batch in self.batches(segment, reverse=True, rows=8):
            ordinal = ordinal_after([line for _, line in reversed(batch)])
            if ordinal is not None:
                values = {
                    "tenant": self._database.tenant,
                    "thread": segment.thread,
                    "after": segment.after,
                    "until": segment.until,
                }
                ((size,),) = await self._database.rows(_SIZE, values)
                return SegmentBase(
                    thread_id=segment.thread, end_ordinal_exclusive=ordinal, end_byte_offset=size
                )
        return None

    async def batches(
        self, segment: Segment, *, reverse: bool = False, rows: int = _FIRST_ROWS
    ) -> AsyncIterator[Batch]:
        """The lines of a segment, a batch at a time."""
        after, until = segment.after, segment.until
        while after < until:
            values = {
                "tenant": self._database.tenant,
                "thread": segment.thread,
                "after": after,
                "until": until,
                "limit": rows,
            }
            query = _LINES_BACKWARDS if reverse else _LINES
            batch: Batch = await self._database.rows(query, values, binary=True)
            if not batch:
                return
            if reverse:
                until = batch[-1][0] - 1
            else:
                after = batch[-1][0]
            yield batch
            rows = _rows_of_next(batch)


def _rows_of_next(batch: Batch) -> int:
    size = sum(len(line) for _, line in batch)
    return max(1, min(_MOST_ROWS, _BYTES * len(batch) // max(1, size), 8 * len(batch)))


def parse_batch(batch: Batch) -> list[Entry]:
    """The entries of a batch; blank lines are none."""
    first, last = batch[0][0], batch[-1][0]
    return parse_lines([line for _, line in batch], first, 1 if last >= first else -1)
