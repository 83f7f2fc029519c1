"""News between processes: NOTIFY tells followers that a look is worth while. Nothing depends on it.

A notification is never part of an append: its commits would wait for each other. It goes out a
moment later, one statement for all threads that were written meanwhile. Followers look every now
and then anyway, so that a server that knows no NOTIFY only makes them slower.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import psycopg
from psycopg import sql

from threadstore.errors import StoreUnavailable
from threadstore.following import Signals
from threadstore.stores.postgres.database import Connection, Database

__all__ = ["LOOK", "News", "channel_of", "end_task"]

LOOK: Final = 0.5
"""Seconds between two looks of a follower that is not told of anything."""
_PAUSE: Final = 0.05
"""Seconds between two notifications of one store object."""
_RECONNECT: Final = 1.0
# Not among the statements in `sql/`: other engines can do all of those.
_NOTIFY: Final = b"""
SELECT pg_notify(%(channel)s, payload) FROM unnest(%(payloads)s::text[]) AS news (payload)
"""
_UNKNOWN: Final = (psycopg.NotSupportedError, psycopg.ProgrammingError)
"""What an engine without NOTIFY, or without the right to it, answers with."""


class News(Signals):
    """Signals that also come from other store objects on the same database, and go to them."""

    def __init__(self, database: Database, *, listen: bool) -> None:
        """*listen*: whether a session's connection is its own, as it is not behind a pooler."""
        super().__init__()
        self._database = database
        self._channel = channel_of(database.tenant)
        self._may_listen = listen
        self._followers = 0
        self._ears: asyncio.Task[None] | None = None
        self._threads: dict[str, str] = {}
        """Followed threads by their payloads."""
        self._unsaid: set[str] = set()
        self._mouth: asyncio.Task[None] | None = None
        self._mute = False

    def tell(self, thread_id: str) -> None:
        """Something was appended: followers here know at once, others in a moment."""
        self.ring(thread_id)
        if self._mute:
            return
        self._unsaid.add(thread_id)
        if self._mouth is None:
            self._mouth = asyncio.get_running_loop().create_task(self._speak())

    @asynccontextmanager
    async def listening(self, thread_id: str) -> AsyncIterator[asyncio.Event]:
        payload = self._payload(thread_id)
        async with super().listening(thread_id) as news:
            self._threads[payload] = thread_id
            self._followers += 1
            if self._ears is None and self._may_listen:
                self._ears = asyncio.get_running_loop().create_task(self._hear())
            try:
                yield news
            finally:
                self._followers -= 1
                if not self._listeners.get(thread_id, set()) - {news}:
                    self._threads.pop(payload, None)
                if not self._followers:
                    ears, self._ears = self._ears, None
                    await end_task(ears)

    async def close(self) -> None:
        """Say nothing more and hear nothing more; followers find out that the store is closed."""
        mouth, self._mouth = self._mouth, None
        await end_task(mouth)
        self._unsaid.clear()
        self.ring_all()

    async def _speak(self) -> None:
        """Send what is to be said, at most so often, until there is nothing left."""
        while self._unsaid:
            threads, self._unsaid = self._unsaid, set()
            values = {
                "channel": self._channel,
                "payloads": [self._payload(thread_id) for thread_id in threads],
            }
            try:
                await self._database.rows(_NOTIFY, values)
            except StoreUnavailable as error:  # costs followers half a second
                if isinstance(error.__cause__, _UNKNOWN):
                    self._mute = True
                    return
            await asyncio.sleep(_PAUSE)
        self._mouth = None

    async def _hear(self) -> None:
        """Ring for what others say; connect again when the connection is lost."""
        while True:
            try:
                connection = await self._database.connect()
                async with connection:
                    await self._listen(connection)
            except _UNKNOWN:
                return
            except (StoreUnavailable, psycopg.Error):
                await asyncio.sleep(_RECONNECT)

    async def _listen(self, connection: Connection) -> None:
        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
        self.ring_all()  # what was said before
        async for notice in connection.notifies():
            thread_id = self._threads.get(notice.payload)
            if thread_id is not None:
                self.ring(thread_id)

    def _payload(self, thread_id: str) -> str:
        return _hash(thread_id, self._database.tenant)


def channel_of(tenant: str) -> str:
    """Where a tenant's news are told."""
    return f"threadstore_{_hash('channel', tenant)}"


def _hash(word: str, tenant: str) -> str:
    """Any tenant may listen to any channel: what is heard tells nothing to whoever does not know
    the thread's id already."""
    text = f"threadstore/{tenant}/{word}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).hexdigest()


async def end_task(task: asyncio.Task[None] | None) -> None:
    """Cancel a task and wait for its end, also if the caller is cancelled meanwhile."""
    if task is None:
        return
    while not task.done():
        task.cancel()  # again: the driver may answer with an error of its own where it was waiting
        await asyncio.wait((task,), timeout=_RECONNECT)
