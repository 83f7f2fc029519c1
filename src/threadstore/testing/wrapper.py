"""A store around a store: the base of fakes that differ from a real store in one point."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from threadstore.history.items import DamagedLine, RolloutItem
from threadstore.metadata import (
    HistoryBase,
    MetadataOrigin,
    NewThread,
    StoredThread,
    ThreadMetadataPatch,
)
from threadstore.queries import ThreadPage, ThreadQuery
from threadstore.search import OccurrencePage, SearchPage, SearchQuery
from threadstore.store import AppendReceipt, Capabilities, Finding, ThreadStore

__all__ = ["ThreadStoreWrapper"]

T = TypeVar("T")


class ThreadStoreWrapper(ThreadStore):
    """Hands every verb to ``inner``. Override a verb, or :meth:`run` to see them all."""

    def __init__(self, inner: ThreadStore) -> None:
        self.inner = inner

    async def run(self, verb: str, call: Coroutine[Any, Any, T]) -> T:
        """Do *call*, which is what the verb of that name asks of ``inner``."""
        del verb
        return await call

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    async def open(self) -> None:
        await self.run("open", self.inner.open())

    async def close(self) -> None:
        await self.run("close", self.inner.close())

    async def create_thread(self, new: NewThread) -> StoredThread:
        return await self.run("create_thread", self.inner.create_thread(new))

    async def resume_thread(self, thread_id: str) -> StoredThread:
        return await self.run("resume_thread", self.inner.resume_thread(thread_id))

    async def append_items(
        self,
        thread_id: str,
        items: Sequence[RolloutItem],
        *,
        idempotency_key: str | None = None,
        expected_position: int | None = None,
    ) -> AppendReceipt:
        call = self.inner.append_items(
            thread_id, items, idempotency_key=idempotency_key, expected_position=expected_position
        )
        return await self.run("append_items", call)

    async def append_lines(
        self, thread_id: str, lines: Sequence[bytes], *, expected_position: int | None = None
    ) -> AppendReceipt:
        call = self.inner.append_lines(thread_id, lines, expected_position=expected_position)
        return await self.run("append_lines", call)

    async def persist_thread(self, thread_id: str) -> None:
        await self.run("persist_thread", self.inner.persist_thread(thread_id))

    async def flush_thread(self, thread_id: str) -> None:
        await self.run("flush_thread", self.inner.flush_thread(thread_id))

    async def shutdown_thread(self, thread_id: str) -> None:
        await self.run("shutdown_thread", self.inner.shutdown_thread(thread_id))

    async def discard_thread(self, thread_id: str) -> None:
        await self.run("discard_thread", self.inner.discard_thread(thread_id))

    async def iter_history(
        self, thread_id: str, *, after: int = 0, reverse: bool = False
    ) -> AsyncIterator[RolloutItem | DamagedLine]:
        await self.run("iter_history", _nothing())
        async for entry in self.inner.iter_history(thread_id, after=after, reverse=reverse):
            yield entry

    async def raw_history(self, thread_id: str) -> AsyncIterator[bytes]:
        await self.run("raw_history", _nothing())
        async for chunk in self.inner.raw_history(thread_id):
            yield chunk

    async def history_base(self, thread_id: str) -> HistoryBase | None:
        return await self.run("history_base", self.inner.history_base(thread_id))

    async def read_thread(self, thread_id: str) -> StoredThread:
        return await self.run("read_thread", self.inner.read_thread(thread_id))

    async def list_threads(self, query: ThreadQuery | None = None) -> ThreadPage:
        return await self.run("list_threads", self.inner.list_threads(query))

    async def update_thread_metadata(
        self,
        thread_id: str,
        patch: ThreadMetadataPatch,
        *,
        origin: MetadataOrigin,
        include_archived: bool = False,
    ) -> StoredThread:
        call = self.inner.update_thread_metadata(
            thread_id, patch, origin=origin, include_archived=include_archived
        )
        return await self.run("update_thread_metadata", call)

    async def archive_thread(self, thread_id: str) -> tuple[str, ...]:
        return await self.run("archive_thread", self.inner.archive_thread(thread_id))

    async def unarchive_thread(self, thread_id: str) -> tuple[str, ...]:
        return await self.run("unarchive_thread", self.inner.unarchive_thread(thread_id))

    async def delete_thread(self, thread_id: str) -> tuple[str, ...]:
        return await self.run("delete_thread", self.inner.delete_thread(thread_id))

    async def inspect(self, *, fix: bool = False) -> tuple[Finding, ...]:
        return await self.run("inspect", self.inner.inspect(fix=fix))

    async def search_threads(self, query: SearchQuery) -> SearchPage:
        return await self.run("search_threads", self.inner.search_threads(query))

    async def prepare_search(self, on_progress: Callable[[int, int], None] | None = None) -> None:
        await self.run("prepare_search", self.inner.prepare_search(on_progress))

    async def search_occurrences(
        self,
        thread_id: str,
        query: SearchQuery,
        *,
        cursor: str | None = None,
        limit: int = 25,
        descending: bool = False,
    ) -> OccurrencePage:
        found = self.inner.search_occurrences(
            thread_id, query, cursor=cursor, limit=limit, descending=descending
        )
        return await self.run("search_occurrences", found)

    async def watch_thread(
        self, thread_id: str, *, after: int = 0
    ) -> AsyncGenerator[RolloutItem | DamagedLine, None]:
        await self.run("watch_thread", _nothing())
        async with aclosing(self.inner.watch_thread(thread_id, after=after)) as entries:
            async for entry in entries:
                yield entry


async def _nothing() -> None:
    """Stands for the start of a stream."""
