"""Those who follow a session's events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from threadstore.engine.events import Event

__all__ = ["Followers"]


class Followers:
    """Everybody who listens, each with a queue of their own."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[Event | None]] = set()
        self._ended = False

    def tell(self, event: Event) -> None:
        """Put *event* into every queue."""
        for queue in self._queues:
            queue.put_nowait(event)

    def end(self) -> None:
        """Nothing follows any more."""
        self._ended = True
        for queue in self._queues:
            queue.put_nowait(None)
        self._queues.clear()

    def follow(self) -> AsyncIterator[Event]:
        """What is told from now on, also before the first step of the iteration."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        if self._ended:
            queue.put_nowait(None)
        else:
            self._queues.add(queue)
        return self._read(queue)

    async def _read(self, queue: asyncio.Queue[Event | None]) -> AsyncIterator[Event]:
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._queues.discard(queue)
