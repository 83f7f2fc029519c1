"""The live threads of one store object, for stores whose calls on one thread have to take turns."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from threadstore.errors import Conflict, ThreadNotFound
from threadstore.metadata import StoredThread

if TYPE_CHECKING:
    import asyncio

__all__ = ["LiveWriters", "ThreadLocks"]


class _OfThread(Protocol):
    thread: StoredThread


Writer = TypeVar("Writer", bound=_OfThread)


class ThreadLocks:
    """One asyncio lock per thread id, for as long as somebody uses it."""

    def __init__(self) -> None:
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    def of(self, thread_id: str) -> asyncio.Lock:
        """The lock of a thread."""
        lock = self._locks.get(thread_id)
        if lock is None:
            import asyncio

            lock = self._locks[thread_id] = asyncio.Lock()
        return lock

    @asynccontextmanager
    async def all_of(self, thread_ids: Collection[str]) -> AsyncIterator[None]:
        """Several threads at once, always in the same order."""
        async with AsyncExitStack() as stack:
            for thread_id in sorted(thread_ids):
                await stack.enter_async_context(self.of(thread_id))
            yield


class LiveWriters(Generic[Writer]):
    """The writers of one store object, by thread. How one is opened and let go is the store's."""

    def __init__(self) -> None:
        self.locks = ThreadLocks()
        self._live: dict[str, Writer] = {}

    def __contains__(self, thread_id: str) -> bool:
        return thread_id in self._live

    def find(self, thread_id: str) -> Writer | None:
        """The writer of a live thread."""
        try:
            return self._live.get(thread_id)
        except TypeError:  # no id at all
            return None

    def get(self, thread_id: str) -> Writer:
        """The writer; ThreadNotFound ("not live") without one."""
        writer = self._live.get(thread_id)
        if writer is None:
            raise ThreadNotFound.not_live(thread_id)
        return writer

    def all(self) -> list[Writer]:
        """Every live writer."""
        return list(self._live.values())

    def check_still_live(self, writer: Writer) -> None:
        """ThreadNotFound ("not live") if the writer was let go while somebody waited for it."""
        if self._live.get(writer.thread.id) is not writer:
            raise ThreadNotFound.not_live(writer.thread.id)

    def check_none_live(self, thread_ids: Iterable[str]) -> None:
        """Conflict if one of them is live here."""
        for thread_id in thread_ids:
            if thread_id in self._live:
                raise Conflict.live(thread_id)
