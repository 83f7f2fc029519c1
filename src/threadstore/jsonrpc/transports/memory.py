"""Two peers in one process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence

from threadstore.jsonrpc.errors import ConnectionClosed
from threadstore.jsonrpc.framing import DEFAULT_LIMIT, TooLarge
from threadstore.jsonrpc.transports import Close, Transport

__all__ = ["MemoryTransport", "memory_pair"]


class _Channel:
    """One direction: a bounded queue that can be closed."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._messages: deque[bytes] = deque()
        self._changed = asyncio.Condition()
        self.closed_for: Close | None = None

    async def put(self, message: bytes) -> None:
        async with self._changed:
            await self._changed.wait_for(
                lambda: self.closed_for or len(self._messages) < self._capacity
            )
            if self.closed_for:
                raise ConnectionClosed("the other end is closed")
            self._messages.append(message)
            self._changed.notify_all()

    async def get(self) -> bytes | None:
        """The next message; ``None`` when the last one was taken after the end."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.closed_for or self._messages)
            self._changed.notify_all()
            return self._messages.popleft() if self._messages else None

    async def close(self, reason: Close) -> None:
        async with self._changed:
            self.closed_for = self.closed_for or reason
            self._changed.notify_all()


class MemoryTransport(Transport):
    """One end of a :func:`memory_pair`."""

    def __init__(self, incoming: _Channel, outgoing: _Channel, limit: int) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._limit = limit

    @property
    def is_open(self) -> bool:
        return self.closed_for is None

    @property
    def closed_for(self) -> Close | None:
        """The reason, once either end was closed."""
        return self._outgoing.closed_for

    async def __aiter__(self) -> AsyncIterator[bytes | TooLarge]:
        while (message := await self._incoming.get()) is not None:
            yield message if len(message) <= self._limit else TooLarge(self._limit)

    async def send(self, messages: Sequence[bytes]) -> None:
        for message in messages:
            await self._outgoing.put(message)

    async def close(self, reason: Close = Close.DONE) -> None:
        await self._outgoing.close(reason)
        await self._incoming.close(reason)


def memory_pair(
    limits: tuple[int, int] = (DEFAULT_LIMIT, DEFAULT_LIMIT), *, capacity: int = 64
) -> tuple[MemoryTransport, MemoryTransport]:
    """Two ends of one connection, with the largest message that each of them takes.

    *capacity*: messages on their way before a sender waits.
    """
    there, back = _Channel(capacity), _Channel(capacity)
    return MemoryTransport(back, there, limits[0]), MemoryTransport(there, back, limits[1])
