"""Writing logs: the first line of a thread, whole batches after it, and who may write."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from threadstore.clock import Clock
from threadstore.config import PostgresStoreConfig
from threadstore.errors import Conflict, StoreUnavailable, ThreadNotFound
from threadstore.history.items import RolloutItem, ordinal_after
from threadstore.metadata import HistoryBase, StoredThread
from threadstore.store import AppendReceipt
from threadstore.stores.postgres.appends import Append, Appender, Written
from threadstore.stores.postgres.database import Connection, Database
from threadstore.stores.postgres.logs import Head, Logs
from threadstore.stores.postgres.statements import statement
from threadstore.stores.postgres.threads import Threads
from threadstore.stores.postgres.writers import LiveWriter

__all__ = ["Recorder"]

_ACQUIRE: Final = statement("logs", "acquire")
_LOCK_HEAD: Final = statement("logs", "lock_head")
_RECEIPT: Final = statement("logs", "receipt")
_RESERVE: Final = statement("logs", "reserve")


class Recorder:
    """Appends to logs for the writers of one store object. Decides nothing about metadata."""

    def __init__(
        self,
        database: Database,
        config: PostgresStoreConfig,
        clock: Clock,
        holder: str,
        tell: Callable[[str], None],
    ) -> None:
        """*tell* is told of every thread that has new lines."""
        self._database = database
        self._clock = clock
        self._holder = holder
        self._tell = tell
        self._expiry = config.lease_expiry
        self._logs = Logs(database)
        self._threads = Threads(database)
        self._appender = Appender(
            database, expiry=config.lease_expiry, together=config.batch_threads
        )

    async def reserve(self, thread_id: str, base: HistoryBase | None, ordinal: int | None) -> int:
        """The lease of a thread to come: its epoch. Leaves nothing but the lease.

        Raises :class:`Conflict` if the thread exists or somebody else is about to write it.
        """
        values = self._values(
            thread=thread_id,
            holder=self._holder,
            position=base.position if base else 0,
            next_ordinal=ordinal,
            base=base and base.thread_id,
        )
        rows = await self._database.rows(_RESERVE, values)
        if not rows:
            head = await self._logs.head(thread_id)
            if head is not None and not head.has_lines:
                raise _held(thread_id, head)
            raise Conflict.exists(thread_id)
        epoch: int = rows[0][0]
        return epoch

    async def acquire(self, thread_id: str) -> tuple[int, int, int | None]:
        """Take the lease of a thread: its epoch, position and next ordinal.

        Raises :class:`Conflict` naming the holder, :class:`ThreadNotFound`.
        """
        values = self._values(thread=thread_id, holder=self._holder)
        rows = await self._database.rows(_ACQUIRE, values)
        if rows:
            epoch, position, next_ordinal = rows[0]
            return epoch, position, next_ordinal
        head = await self._logs.head(thread_id)
        if head is None or not head.has_lines:
            raise ThreadNotFound(thread_id)
        raise _held(thread_id, head)

    async def append(
        self,
        writer: LiveWriter,
        items: Sequence[RolloutItem],
        key: str | None,
        expected_position: int | None,
    ) -> AppendReceipt:
        """Append all items or none; see the contract. The caller holds the writer's turn."""
        if key is not None and key in writer.receipts:
            return writer.receipts[key]
        if writer.unsure:
            await self._look_again(writer)
        lines = writer.encode(items, self._clock)
        if expected_position is not None and expected_position != writer.position:
            earlier = await self._receipt(writer, key)
            if earlier is None:
                raise Conflict.moved_on(writer.thread.id, writer.position, expected_position)
            return earlier
        receipt = await self._write(writer, lines, key)
        if key is not None:
            writer.receipts[key] = receipt
        return receipt

    async def append_lines(
        self, writer: LiveWriter, lines: Sequence[bytes], expected_position: int | None
    ) -> AppendReceipt:
        """Append lines as they are. The caller holds the writer's turn."""
        if writer.unsure:
            await self._look_again(writer)
        if expected_position is not None and expected_position != writer.position:
            raise Conflict.moved_on(writer.thread.id, writer.position, expected_position)
        ordinal = None if writer.next_ordinal is None else ordinal_after(lines)
        return await self._write(writer, list(lines), None, ordinal=ordinal)

    async def materialise(self, writer: LiveWriter, thread: StoredThread | None = None) -> None:
        """Give the thread its first line, and *thread* as its metadata, if it has no history."""
        if writer.unsure:
            await self._look_again(writer)
        if writer.draft is None:
            return
        before, writer.thread = writer.thread, thread or writer.thread
        try:
            await self._write(writer, writer.encode([writer.header()], self._clock), None)
        except BaseException:
            writer.thread = before  # a change that failed is not made later
            raise

    async def _write(
        self, writer: LiveWriter, lines: list[bytes], key: str | None, *, ordinal: int | None = None
    ) -> AppendReceipt:
        """*ordinal*: of the next line, if the lines say it."""
        if not lines:
            return AppendReceipt(position=writer.position)
        ordinal = writer.ordinal_after(len(lines)) if ordinal is None else ordinal
        append = Append(
            writer.thread.id,
            writer.epoch,
            writer.position,
            lines,
            next_ordinal=ordinal,
            key=None if key is None else _key(key),
        )
        began = time.monotonic()
        try:
            if writer.draft is not None:
                written = await self._create(writer, writer.thread, append)
            else:
                written = await self._appender.append(append)
        except (StoreUnavailable, asyncio.CancelledError):
            writer.unsure = True
            raise
        if not written:
            return await self._refused(writer, key)
        writer.advance(len(lines), ordinal)
        writer.renewed = began
        self._tell(writer.thread.id)
        return AppendReceipt(position=writer.position)

    async def _refused(self, writer: LiveWriter, key: str | None) -> AppendReceipt:
        """Why nothing was written: the key is not new, or the lease was lost."""
        earlier = await self._receipt(writer, key)
        if earlier is not None:
            return earlier
        head = await self._logs.head(writer.thread.id)
        if head is None:
            raise ThreadNotFound(writer.thread.id)
        if head.epoch == writer.epoch:  # an append that was given up has arrived after all
            start, writer.unsure = writer.position, True
            raise Conflict(
                f"thread {writer.thread.id} is at position {head.position}, not {start}",
                hint="an earlier append was written after all: read the history and decide again",
            )
        raise _held(writer.thread.id, head)

    async def _receipt(self, writer: LiveWriter, key: str | None) -> AppendReceipt | None:
        if key is None:
            return None
        values = self._values(thread=writer.thread.id, key=_key(key))
        rows = await self._database.rows(_RECEIPT, values)
        if not rows:
            return None
        await self._database.confirm()  # its first answer may have been lost with a standby
        return AppendReceipt(position=rows[0][0])

    async def is_draft(self, writer: LiveWriter) -> bool:
        """Whether the thread has no history; looks if nobody knows. The caller holds its turn."""
        if writer.draft is not None and writer.unsure:
            await self._look_again(writer)
        return writer.draft is not None

    async def _look_again(self, writer: LiveWriter) -> None:
        """Find out where the log stands after an append of which nobody knows how it ended."""
        head = await self._logs.head(writer.thread.id)
        if head is None:
            raise ThreadNotFound(writer.thread.id)
        if head.epoch != writer.epoch:
            raise _held(writer.thread.id, head)
        if head.has_lines:
            writer.draft = None
        writer.position, writer.next_ordinal = head.position, head.next_ordinal
        writer.unsure = False

    async def _create(self, writer: LiveWriter, thread: StoredThread, append: Append) -> bool:
        """First lines and metadata of a new thread, as one transaction."""
        base = writer.draft.history_base if writer.draft else None

        async def create(connection: Connection) -> bool:
            if base is not None:
                await self._lock_base(connection, base.thread_id)
            written = await self._appender.execute(connection, append)
            if written is Written.NOW:
                await self._threads.create(connection, thread)
            return written is not Written.NOT

        return await self._database.transaction(create)

    async def _lock_base(self, connection: Connection, thread_id: str) -> None:
        """Until the fork is there, so that its base is not deleted meanwhile."""
        cursor = await connection.execute(_LOCK_HEAD, self._values(thread=thread_id))
        if await cursor.fetchone() is None:
            raise ThreadNotFound(thread_id)

    def _values(self, **values: Any) -> dict[str, Any]:
        return {"tenant": self._database.tenant, "expiry": self._expiry, **values}


def _key(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def _held(thread_id: str, head: Head) -> Conflict:
    holder = head.holder or "another process"
    return Conflict(
        f"the writer of thread {thread_id} is held by {holder}",
        holder=holder,
        hint="wait until it lets go; a lease that is not renewed runs out by itself",
    )
