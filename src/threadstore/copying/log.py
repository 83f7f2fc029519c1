"""One log from one store to another: compared as far as it is there, then continued."""

from __future__ import annotations

import hashlib
from contextlib import aclosing
from typing import Self, cast

from threadstore.copying.lines import Batches, LineReader, in_batches, one_log, own_lines
from threadstore.copying.metadata import new_thread
from threadstore.errors import Conflict, InvalidRequest, ThreadNotFound, Unsupported
from threadstore.history.items import RolloutItem
from threadstore.metadata import HistoryBase, StoredThread
from threadstore.store import ThreadStore

__all__ = ["LogCopy"]


class LogCopy:
    """Copies the log of *thread*, which stands on *base* at the source.

    A context manager: the destination's writer, if one was needed, is open until it is left.
    """

    def __init__(
        self,
        source: ThreadStore,
        destination: ThreadStore,
        thread: StoredThread,
        base: HistoryBase | None,
    ) -> None:
        self._source = source
        self._destination = destination
        self._thread = thread
        self._base = base
        self._refers = base is not None and base.thread_id != thread.id
        self._live = False
        self._count = 0  # lines of the log, so far
        self._digest = hashlib.sha256()
        self.existed = False
        """Whether the destination has had the thread."""
        self.lines = 0
        """How many lines are new to it."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, error: object, *_: object) -> None:
        if self._live:
            close = self._destination
            await (close.shutdown_thread if error is None else close.discard_thread)(self._id)

    @property
    def _id(self) -> str:
        return self._thread.id

    async def run(self, *, dry_run: bool) -> None:
        """Compare what is there, append what is not, look at what came of it.

        Raises :class:`Conflict` before anything is written if the destination has other lines.
        """
        there = await self._look()
        if there is None and not dry_run:
            await self._create()
        async with (
            aclosing(in_batches(self._wanted())) as wanted,
            aclosing(own_lines(self._destination, self._id)) as known,
        ):
            reader = LineReader(known if self.existed else None)
            async for batch in wanted:
                new = self._compare(batch, await reader.take(len(batch)))
                self.lines += len(new)
                if new and not dry_run:
                    await self._append(new, archived=there is not None and there.archived)
            await self._check_end(reader)
        if self.lines and not dry_run:
            await self._verify()

    async def _look(self) -> StoredThread | None:
        """The thread at the destination, and how it stands on its base there."""
        try:
            there = await self._destination.read_thread(self._id)
        except ThreadNotFound:
            return None
        self.existed = True
        base = await self._destination.history_base(self._id)
        if base is not None and base != self._base:
            raise Conflict(
                f"thread {self._id} stands on other lines at the destination",
                hint="it is another thread, or one that was reverted there",
            )
        self._refers = base is not None
        return there

    async def _create(self) -> None:
        """A writer for a new thread; it leaves no trace until there is a line."""
        base = self._base if self._refers else None
        try:
            await self._destination.create_thread(new_thread(self._thread, base))
        except Unsupported:
            if base is None or self._thread.history_mode == "paginated":
                raise
            self._refers = False  # the copy of a legacy fork holds what it inherits
            await self._destination.create_thread(new_thread(self._thread, None))
        self._live = True

    def _wanted(self) -> Batches:
        if self._base is None or self._refers:
            return own_lines(self._source, self._id)
        return one_log(self._source, self._id, self._base)

    def _compare(self, batch: list[bytes], known: list[bytes]) -> list[bytes]:
        """The lines that the destination has not."""
        for number, (line, other) in enumerate(zip(batch, known, strict=False), self._count + 1):
            if line != other:
                raise Conflict(
                    f"thread {self._id} has other lines at the destination, from line {number} on",
                    hint="one of the two was continued or repaired by itself; nothing was written",
                )
        self._count += len(batch)
        self._digest.update(_bytes(batch))
        return batch[len(known) :]

    async def _append(self, lines: list[bytes], *, archived: bool) -> None:
        if not self._live:
            if archived:
                await self._destination.unarchive_thread(self._id)
            await self._destination.resume_thread(self._id)
            self._live = True
        start = cast("HistoryBase", self._base).position if self._refers else 0
        await self._destination.append_lines(
            self._id, lines, expected_position=start + self._count - len(lines)
        )

    async def _check_end(self, reader: LineReader) -> None:
        """The destination may have more only if that is metadata, which stores may log."""
        while more := await reader.take(100):
            if not all(map(_is_metadata, more)):
                raise Conflict(
                    f"thread {self._id} has more lines at the destination than at the source",
                    hint="it was continued there: copy in the other direction",
                )

    async def _verify(self) -> None:
        """Read the copy again."""
        digest, left = hashlib.sha256(), self._count
        async with aclosing(own_lines(self._destination, self._id)) as lines:
            async for batch in lines:
                digest.update(_bytes(batch[:left]))
                left -= min(left, len(batch))
        if left or digest.digest() != self._digest.digest():
            raise Conflict(
                f"the copy of thread {self._id} is not equal to its source",
                hint="somebody else writes the destination; copy again when it rests",
            )


def _bytes(lines: list[bytes]) -> bytes:
    return b"".join([line + b"\n" for line in lines])


def _is_metadata(line: bytes) -> bool:
    try:
        return RolloutItem.parse(line).type == "session_meta"
    except InvalidRequest:
        return False
