"""The lines of a log as a copy needs them: its own ones, and in the place of a reference the ones
it inherits."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, TypeAlias

from threadstore.errors import InvalidRequest, Unsupported
from threadstore.history.items import DamagedLine, RolloutItem
from threadstore.history.lines import DAMAGE_SHOWN
from threadstore.metadata import HistoryBase
from threadstore.store import ThreadStore

__all__ = ["Batches", "LineReader", "in_batches", "inherited_lines", "one_log", "own_lines"]

Batches: TypeAlias = AsyncGenerator[list[bytes], None]

_MOST_LINES: Final = 1_000
_MOST_BYTES: Final = 4_000_000


async def own_lines(store: ThreadStore, thread_id: str) -> Batches:
    """The thread's own log, some lines at a time, each without its newline.

    The last line of a file need not have one. If it is the beginning of a line that somebody may
    be writing it is left out: it comes whole the next time.
    """
    parts: list[bytes] = []
    async for chunk in store.raw_history(thread_id):
        parts.append(chunk)
        if b"\n" in chunk:
            *lines, rest = b"".join(parts).split(b"\n")
            parts = [rest]
            yield lines
    last = b"".join(parts)
    if last and await _is_complete(store, thread_id, last):
        yield [last]


async def _is_complete(store: ThreadStore, thread_id: str, last: bytes) -> bool:
    """Whether nobody will add to a line without a newline, as far as the store can tell."""
    try:
        RolloutItem.parse(last)
    except InvalidRequest:
        async for entry in store.iter_history(thread_id, reverse=True):
            return isinstance(entry, DamagedLine) and entry.raw == last[:DAMAGE_SHOWN]
        return False
    return True


async def one_log(store: ThreadStore, thread_id: str, base: HistoryBase) -> Batches:
    """A history that stands on *base*, as one log.

    Of a fork the header goes first, then what it inherits, as Codex writes legacy forks. A thread
    that was reverted begins with what is left of its earlier log.
    """
    async with aclosing(own_lines(store, thread_id)) as own:
        if base.thread_id != thread_id:
            first: list[bytes] = await anext(own, [])
            yield first[:1]
            rest = first[1:]
        else:
            rest = []
        async with aclosing(inherited_lines(store, thread_id, base.position)) as inherited:
            async for batch in inherited:
                yield batch
        yield rest
        async for batch in own:
            yield batch


async def inherited_lines(store: ThreadStore, thread_id: str, count: int) -> Batches:
    """The first *count* lines of a history; those that hold nothing are in no history, but count.

    Raises :class:`Unsupported` for a damaged line that no store shows whole.
    """
    position = 0
    async for entry in store.iter_history(thread_id):
        end = entry.position or 0
        if end > count:
            break
        line = entry.line() if isinstance(entry, RolloutItem) else entry.raw
        if isinstance(entry, DamagedLine) and len(line) >= DAMAGE_SHOWN:
            raise Unsupported("copy", f"inherited line {end} is damaged and too long to be copied")
        yield [b""] * (end - position - 1) + [line]
        position = end
    yield [b""] * (count - position)


async def in_batches(batches: Batches) -> Batches:
    """The same lines, as many at a time as are well appended together."""
    waiting: list[bytes] = []
    size = 0
    async for batch in batches:
        for line in batch:
            if waiting and (len(waiting) >= _MOST_LINES or size + len(line) > _MOST_BYTES):
                yield waiting
                waiting, size = [], 0
            waiting.append(line)
            size += len(line)
    if waiting:
        yield waiting


class LineReader:
    """Takes lines off a stream of batches; ``None`` is an empty one."""

    def __init__(self, batches: Batches | None) -> None:
        self._batches = batches
        self._lines: list[bytes] = []

    async def take(self, count: int) -> list[bytes]:
        """The next *count* lines, or fewer if there are no more."""
        while len(self._lines) < count:
            batch = await anext(self._batches, None) if self._batches else None
            if batch is None:
                break
            self._lines += batch
        taken, self._lines = self._lines[:count], self._lines[count:]
        return taken
