"""The rows of threads: reading, creating, changing each as one change, and whole families."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final

from threadstore.errors import Conflict, StoreUnavailable, ThreadNotFound
from threadstore.metadata import StoredThread
from threadstore.queries import ThreadPage, ThreadQuery, thread_cursor
from threadstore.search.texts import title_text
from threadstore.stores.postgres.database import Connection, Database, Overtaken, Row
from threadstore.stores.postgres.records import columns, decode_record, vector
from threadstore.stores.postgres.statements import statement
from threadstore.stores.postgres.thread_query import select

__all__ = ["Threads", "page_of"]

_READ: Final = statement("threads", "read")
_CREATE: Final = statement("threads", "create")
_UPDATE: Final = statement("threads", "update")
_CHILDREN: Final = statement("threads", "children")
_LOCK_FAMILY: Final = statement("threads", "lock_family")
_LOCK_ONE: Final = statement("threads", "lock_one")
_READ_FAMILY: Final = statement("threads", "read_family")
_FORKS: Final = statement("threads", "forks")
_DELETES: Final = tuple(
    statement("threads", f"delete_{table}")
    for table in ("texts", "text_marks", "receipts", "items", "logs", "threads")
)
_TITLE: Final = statement("texts", "title")
_NO_TITLE: Final = statement("texts", "no_title")
_NOBODY: Final = "00000000-0000-0000-0000-000000000000"
_TRIES: Final = 100
"""Changes of others that one change may meet before it gives up."""


class Threads:
    """One tenant's threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, thread_id: str) -> StoredThread | None:
        """A thread with history."""
        found = await self._read(thread_id)
        return found[0] if found else None

    async def check_tables(self) -> None:
        """Raise :class:`StoreUnavailable` if the tables are not there."""
        await self._read(_NOBODY)

    async def create(self, connection: Connection, thread: StoredThread) -> None:
        """Add a row, within a transaction."""
        await connection.execute(_CREATE, self._values(**columns(thread)))
        if title_text(thread) is not None:
            await self._index_title(connection, thread)

    async def change(
        self, thread_id: str, apply: Callable[[StoredThread], StoredThread]
    ) -> StoredThread:
        """Replace a thread by what *apply* makes of it, as one change; the new thread.

        *apply* may be called again, on what somebody else has made of the thread meanwhile, and
        may raise. Raises :class:`ThreadNotFound`.
        """
        for _ in range(_TRIES):
            found = await self._read(thread_id)
            if found is None:
                raise ThreadNotFound(thread_id)
            thread, version = found
            changed = apply(thread)
            if changed == thread:
                return thread
            if await self._write(changed, version, title=title_text(changed) != title_text(thread)):
                return changed
        raise StoreUnavailable(
            f"others keep changing thread {thread_id}", hint="try again in a moment"
        )

    async def page(self, query: ThreadQuery) -> ThreadPage:
        """A page of threads with history."""
        sql, values = select(query, self._database.tenant, await self.descendants(query))
        return page_of(query, await self._database.rows(sql, values))

    async def descendants(self, query: ThreadQuery) -> list[str] | None:
        """Those of ``ancestor_id``, if it is asked for."""
        return None if query.ancestor_id is None else (await self.family(query.ancestor_id))[1:]

    async def family(self, thread_id: str) -> list[str]:
        """The thread and all it spawned, parents first."""
        # A step for each generation: recursive queries do not run on sharded engines.
        family = parents = [thread_id]
        while parents:
            rows = await self._database.rows(_CHILDREN, self._values(threads=parents))
            parents = [row[0] for row in rows if row[0] not in family]
            family = [*family, *parents]
        return family

    async def with_family(
        self,
        ids: Collection[str],
        work: Callable[[Connection, dict[str, tuple[StoredThread, int]]], Awaitable[Any]],
        *,
        unused: bool,
    ) -> None:
        """Do *work* on threads to whose logs nobody adds meanwhile, in one transaction.

        *work* gets the threads that exist, with their versions. *unused*: raise
        :class:`Conflict` before, if one of them is live anywhere.
        """

        async def locked(connection: Connection) -> None:
            for thread_id, holder in await self._lock(connection, ids):
                if unused and holder is not None:
                    raise Conflict.live(thread_id, holder=holder)
            values = self._values(threads=list(ids))
            found: dict[str, tuple[StoredThread, int]] = {}
            for record, version in await _rows(connection, _READ_FAMILY, values):
                thread = decode_record(record)
                found[thread.id] = (thread, version)
            await work(connection, found)

        await self._database.transaction(locked)

    async def replace(self, connection: Connection, thread: StoredThread, version: int) -> None:
        """Write a thread that :meth:`with_family` has read. If somebody else has changed it since,
        the transaction is done again."""
        values = self._values(**columns(thread), version=version)
        if not (await connection.execute(_UPDATE, values)).rowcount:
            raise Overtaken(f"others keep changing thread {thread.id}")

    async def delete(self, connection: Connection, ids: Collection[str]) -> None:
        """Delete threads that :meth:`with_family` has locked. :class:`Conflict` if a fork outside
        of them stands on one."""
        values = self._values(threads=list(ids))
        for base, fork in await _rows(connection, _FORKS, values):
            raise Conflict.stood_on(base, fork)
        for query in _DELETES:
            await connection.execute(query, values)

    async def _write(self, thread: StoredThread, version: int, *, title: bool) -> bool:
        """Whether a thread was as it had been read, and is changed now; its *title* too."""
        values = self._values(**columns(thread), version=version)
        if not title:
            return bool(await self._database.change(_UPDATE, values))

        async def write(connection: Connection) -> bool:
            if not (await connection.execute(_UPDATE, values)).rowcount:
                return False
            await self._index_title(connection, thread)
            return True

        return await self._database.transaction(write)

    async def _index_title(self, connection: Connection, thread: StoredThread) -> None:
        """Have a search find a thread by its name and title from now on."""
        title = title_text(thread)
        if title is None:
            await connection.execute(_NO_TITLE, self._values(thread=thread.id))
            return
        values = self._values(thread=thread.id, said_at=title.said_at, words=vector(title.text))
        await connection.execute(_TITLE, {**values, "role": title.role.value})

    async def _lock(
        self, connection: Connection, ids: Collection[str]
    ) -> list[tuple[str, str | None]]:
        """Lock logs, always in the same order; each one's id and holder."""
        if self._database.batch_threads:
            return await _rows(connection, _LOCK_FAMILY, self._values(threads=list(ids)))
        locked: list[tuple[str, str | None]] = []
        for thread_id in sorted(ids):  # a sharded engine locks rows of one shard at a time
            locked += await _rows(connection, _LOCK_ONE, self._values(thread=thread_id))
        return locked

    async def _read(self, thread_id: str) -> tuple[StoredThread, int] | None:
        rows = await self._database.rows(_READ, self._values(thread=thread_id))
        return (decode_record(rows[0][0]), rows[0][1]) if rows else None

    def _values(self, **values: Any) -> dict[str, Any]:
        return {"tenant": self._database.tenant, **values}


def page_of(query: ThreadQuery, rows: list[Row]) -> ThreadPage:
    """The page that the rows of :func:`select` make."""
    threads = tuple([decode_record(row[0]) for row in rows[: query.limit]])
    more = len(rows) > query.limit
    return ThreadPage(threads, thread_cursor(query, threads[-1]) if more else None)


async def _rows(connection: Connection, query: bytes, values: dict[str, Any]) -> list[Any]:
    return await (await connection.execute(query, values)).fetchall()
