"""Changes of a thread together with the threads it spawned."""

from __future__ import annotations

from collections.abc import Callable

from threadstore.errors import InvalidRequest
from threadstore.metadata import StoredThread
from threadstore.stores.local.index_db import IndexDb
from threadstore.stores.local.sync import IndexSync
from threadstore.stores.local.waiting import in_worker
from threadstore.stores.local.writers import Writers

__all__ = ["Families"]


class Families:
    """Which threads belong together, and what is done to all of them at once."""

    def __init__(self, writers: Writers, index: IndexDb, sync: IndexSync) -> None:
        self._writers = writers
        self._index = index
        self._sync = sync

    async def change(
        self,
        thread_id: str,
        wanted: Callable[[StoredThread], bool],
        refusal: str,
        work: Callable[[list[StoredThread]], None],
    ) -> tuple[str, ...]:
        """Do *work* on a thread and the threads it spawned, as far as they are *wanted*; their
        ids, root first.

        Raises ThreadNotFound; InvalidRequest, for the reason *refusal*, if the thread itself is
        not wanted; Conflict if one of those that are is live.
        """
        await in_worker(lambda: self._sync.refresh(force=True))
        ids = self._family(thread_id)
        async with self._writers.locks.all_of(ids):
            threads = [thread for member in ids if (thread := await self._thread(member))]
            if not threads or threads[0].id != thread_id:
                raise self._sync.not_found(thread_id)
            if not wanted(threads[0]):
                raise InvalidRequest(f"{refusal}: {thread_id}")
            family = [thread for thread in threads if wanted(thread)]
            self._writers.check_none_live(thread.id for thread in family)
            await in_worker(lambda: work(family))
            with self._sync.following():
                await in_worker(self._sync.refresh)
        return tuple(thread.id for thread in family)

    def _family(self, thread_id: str) -> list[str]:
        """The thread and all it spawned, live ones without history included; parents first."""
        family = [thread_id]
        for member in family:
            spawned = [*self._index.children(member), *self._writers.children(member)]
            family += (child for child in spawned if child not in family)
        return family

    async def _thread(self, thread_id: str) -> StoredThread | None:
        writer = self._writers.find(thread_id)
        if writer is not None:
            return writer.thread
        return await in_worker(lambda: self._sync.refresh_thread(thread_id))
