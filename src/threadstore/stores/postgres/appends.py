"""Group commit: appends of many threads that wait at the same time go to the server as one
statement. Each is written whole or not at all, whatever happens to the others."""

from __future__ import annotations

import asyncio
import secrets
from enum import Enum
from typing import Any, Final

import psycopg

from threadstore.errors import ThreadStoreError
from threadstore.stores.postgres.database import Connection, Database
from threadstore.stores.postgres.statements import statement

__all__ = ["Append", "Appender", "Written"]

_FLIGHTS: Final = 2
"""Statements on their way at once: while the server syncs one, the next one is made ready."""
_MOST_LINES: Final = 2_000
_MOST_BYTES: Final = 8_000_000

_APPEND: Final = statement("logs", "append")
_APPEND_KEYED: Final = statement("logs", "append_keyed")
_APPEND_MANY: Final = statement("logs", "append_many")
_HEAD: Final = statement("logs", "head")
_LINES: Final = statement("logs", "lines")
_RECEIPT: Final = statement("logs", "receipt")
_KEEP_RECEIPT: Final = statement("logs", "keep_receipt")


class Written(Enum):
    """How an append ended."""

    NOT = "not"
    """The log was elsewhere, the lease was lost, or the key was used before."""
    NOW = "now"
    BEFORE = "before"
    """By an earlier try whose answer was lost."""


class Append:
    """A batch of lines for one thread, from a writer that knows where its log stands."""

    __slots__ = (
        "batch",
        "done",
        "epoch",
        "key",
        "lines",
        "next_ordinal",
        "size",
        "start",
        "thread",
        "tries",
    )

    def __init__(
        self,
        thread: str,
        epoch: int,
        start: int,
        lines: list[bytes],
        *,
        next_ordinal: int | None,
        key: bytes | None,
    ) -> None:
        self.thread = thread
        self.epoch = epoch
        self.start = start
        self.lines = lines
        self.next_ordinal = next_ordinal
        self.key = key
        self.batch = secrets.randbits(62)
        """By which it is recognised if the answer to its commit is lost."""
        self.size = sum(map(len, lines))
        self.tries = 0
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    @property
    def end(self) -> int:
        return self.start + len(self.lines)


class Appender:
    """Sends appends to the server, those of different threads *together* if it may."""

    def __init__(self, database: Database, *, expiry: float, together: bool) -> None:
        self._database = database
        self._expiry = expiry
        self._together = together
        self._waiting: list[Append] = []
        self._flights: set[asyncio.Task[None]] = set()

    async def append(self, append: Append) -> bool:
        """Whether it was written: ``False`` if the log was not where it should be, the lease was
        lost, or the key was used before. Ends only when that is certain, also if cancelled."""
        self._waiting.append(append)
        if len(self._flights) < (_FLIGHTS if self._together else 8 * _FLIGHTS):
            self._launch()
        try:
            return await asyncio.shield(append.done)
        except asyncio.CancelledError:
            while not append.done.done():
                try:
                    await asyncio.wait((append.done,))
                except asyncio.CancelledError:
                    continue
            if not append.done.cancelled():
                append.done.exception()  # looked at; the caller has gone
            raise

    async def _fly(self) -> None:
        while self._waiting:
            await self._send(self._take())

    async def _send(self, batch: list[Append]) -> None:
        try:
            written = await self._write(batch)
        except ThreadStoreError as error:
            if len(batch) == 1 or not isinstance(error.__cause__, psycopg.IntegrityError):
                _fail(batch, error)
                return
            for append in batch:  # a thread whose tables do not fit together stops nobody else
                await self._send([append])
        except BaseException:
            for append in batch:
                append.done.cancel()
            raise
        else:
            for append in batch:
                append.done.set_result(append.thread in written)

    def _launch(self) -> None:
        flight = asyncio.get_running_loop().create_task(self._fly())
        self._flights.add(flight)
        flight.add_done_callback(self._landed)

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        if self._flights or not self._waiting:
            return
        if not flight.cancelled():  # what came when it had ended already, but not landed
            self._launch()
            return
        for append in self._waiting:  # at the end of the loop nobody takes them along
            append.done.cancel()
        self._waiting.clear()

    def _take(self) -> list[Append]:
        """What goes next: one append, or as many keyless ones as fit."""
        waiting = self._waiting
        if not self._together or waiting[0].key is not None or len(waiting) == 1:
            return [waiting.pop(0)]
        lines = size = count = 0
        for append in waiting:
            lines, size = lines + len(append.lines), size + append.size
            if append.key is not None or (count and (lines > _MOST_LINES or size > _MOST_BYTES)):
                break
            count += 1
        batch, self._waiting = waiting[:count], waiting[count:]
        return batch

    async def _write(self, batch: list[Append]) -> set[str]:
        """The threads that were written."""
        if len(batch) == 1:
            (one,) = batch
            written = await self._database.run(lambda connection: self.execute(connection, one))
            return set() if written is Written.NOT else {one.thread}
        values = self._values_of_many(batch)

        async def write(connection: Connection) -> set[str]:
            for append in batch:
                append.tries += 1
            cursor = await connection.execute(_APPEND_MANY, values)
            written = {row[0] for row in await cursor.fetchall()}
            for append in batch:
                if append.thread not in written and await self._stands(connection, append):
                    written.add(append.thread)
            return written

        return await self._database.run(write)

    async def execute(self, connection: Connection, append: Append) -> Written:
        """One append, by itself or within a larger transaction."""
        values = {
            **self._common(),
            "thread": append.thread,
            "epoch": append.epoch,
            "start": append.start,
            "end": append.end,
            "next_ordinal": append.next_ordinal,
            "batch": append.batch,
            "lines": append.lines,
        }
        append.tries += 1
        query = _APPEND
        if append.key is not None:
            query, values["key"] = _APPEND_KEYED, append.key
        if append.key is not None and not self._together:
            done = await self._execute_in_steps(connection, values)
        else:
            done = bool((await connection.execute(query, values)).rowcount)
        if done:
            return Written.NOW
        return Written.BEFORE if await self._stands(connection, append) else Written.NOT

    async def _execute_in_steps(self, connection: Connection, values: dict[str, Any]) -> bool:
        """A keyed append without the one statement that changes three tables: sharded engines may
        refuse it."""
        async with connection.transaction():
            if await (await connection.execute(_RECEIPT, values)).fetchone() is not None:
                return False
            if not (await connection.execute(_APPEND, values)).rowcount:
                return False
            await connection.execute(_KEEP_RECEIPT, values)
            return True

    async def _stands(self, connection: Connection, append: Append) -> bool:
        """Whether an earlier try has written it, although its answer was lost."""
        if append.tries == 1:
            return False
        values = {**self._common(), "thread": append.thread}
        head = await (await connection.execute(_HEAD, values)).fetchone()
        if head is None or head[0] < append.end:
            return False
        if head[4] == append.batch:
            return True
        if head[5] == append.epoch:  # nobody else has written since
            return False
        # Somebody has taken the thread over and written behind it.
        values |= {"after": append.start, "until": append.end, "limit": len(append.lines)}
        rows = await (await connection.execute(_LINES, values, binary=True)).fetchall()
        return [line for _, line in rows] == append.lines

    def _common(self) -> dict[str, Any]:
        return {"tenant": self._database.tenant, "expiry": self._expiry}

    def _values_of_many(self, batch: list[Append]) -> dict[str, Any]:
        return {
            **self._common(),
            "threads": [append.thread for append in batch],
            "epochs": [append.epoch for append in batch],
            "starts": [append.start for append in batch],
            "ends": [append.end for append in batch],
            "next_ordinals": [append.next_ordinal for append in batch],
            "batches": [append.batch for append in batch],
            "owners": [append.thread for append in batch for _ in append.lines],
            "positions": [
                append.start + number
                for append in batch
                for number in range(1, len(append.lines) + 1)
            ],
            "lines": [line for append in batch for line in append.lines],
        }


def _fail(batch: list[Append], error: ThreadStoreError) -> None:
    """Everybody gets the error; whether anything was written is not known."""
    for append in batch:
        if not append.done.done():
            append.done.set_exception(error)
