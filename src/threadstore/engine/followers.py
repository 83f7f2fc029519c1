"""Those who follow a session's events."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from threadstore.engine.events import Event

__all__ = ["Followers"]


class Followers:
    """Everybody who listens, each with a queue of their own."""

    def __init__(self) -> None:
        # Weakly: who drops what they follow, begun or not, follows no more.
        self._following: weakref.WeakSet[_Following] = weakref.WeakSet()
        self._ended = False

    def tell(self, event: Event) -> None:
        """Put *event* into every queue."""
        for each in self._following:
            each.queue.put_nowait(event)

    def end(self) -> None:
        """Nothing follows any more."""
        self._ended = True
        for each in self._following:
            each.queue.put_nowait(None)
        self._following.clear()

    def follow(self) -> AsyncIterator[Event]:
        """What is told from now on, also before the first step of the iteration."""
        following = _Following()
        if self._ended:
            following.queue.put_nowait(None)
        else:
            self._following.add(following)
        return following


class _Following:
    """The iterator of one who listens."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Event | None] = asyncio.Queue()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self.queue.get()
        if event is None:
            self.queue.put_nowait(None)  # whoever asks again finds the end as well
            raise StopAsyncIteration
        return event
