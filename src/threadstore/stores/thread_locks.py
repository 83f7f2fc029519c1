"""One asyncio lock per thread, for stores whose calls on one thread have to take turns."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager

__all__ = ["ThreadLocks"]


class ThreadLocks:
    """One asyncio lock per thread id, for as long as somebody uses it."""

    def __init__(self) -> None:
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    def of(self, thread_id: str) -> asyncio.Lock:
        """The lock of a thread."""
        lock = self._locks.get(thread_id)
        if lock is None:
            lock = self._locks[thread_id] = asyncio.Lock()
        return lock

    @asynccontextmanager
    async def all_of(self, thread_ids: Collection[str]) -> AsyncIterator[None]:
        """Several threads at once, always in the same order."""
        async with AsyncExitStack() as stack:
            for thread_id in sorted(thread_ids):
                await stack.enter_async_context(self.of(thread_id))
            yield
