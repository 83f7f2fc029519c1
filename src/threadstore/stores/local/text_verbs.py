"""Searching with the text index where there is one, by reading everything where there is none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

from msgspec.structs import replace

from threadstore.arguments import check_class
from threadstore.config import LocalStoreConfig
from threadstore.errors import StoreUnavailable
from threadstore.ids import parse_thread_id
from threadstore.queries import ThreadQuery, check_limit
from threadstore.search import OccurrencePage, SearchPage, SearchQuery, scan
from threadstore.search.scan import SearchSource
from threadstore.stores.local.database import DatabaseDamaged
from threadstore.stores.local.index_db import IndexDb
from threadstore.stores.local.paths import Home, find_rollout
from threadstore.stores.local.sync import IndexSync
from threadstore.stores.local.text_index import TextIndex
from threadstore.stores.local.text_search import TextSearch
from threadstore.stores.local.waiting import in_worker
from threadstore.stores.local.writers import Writers

__all__ = ["TextVerbs"]

_TURN: Final = 0.5
"""Seconds for which the index is built until somebody may cancel that."""
_ANY: Final = ThreadQuery(limit=1, archived=None)
Page = TypeVar("Page", SearchPage, OccurrencePage)


class TextVerbs:
    """Searching one store's threads."""

    def __init__(
        self,
        store: SearchSource,
        config: LocalStoreConfig,
        home: Home,
        index: IndexDb,
        sync: IndexSync,
        writers: Writers,
    ) -> None:
        self._store = store
        self._patience = config.search_patience
        self._writers = writers
        self._index = index
        self._serves = sync.serves
        self._look_again = sync.look_again
        self._texts: TextIndex | None = None
        if config.text_index and config.use_index_file:

            def find(rollout_id: str) -> str | None:
                return find_rollout(home, rollout_id)

            timeout = min(config.busy_timeout, config.search_patience)
            self._texts = TextIndex(home.text_db, index, find, sync.serves, busy_timeout=timeout)
            self._search = TextSearch(self._texts, index, find, sync.refresh_thread)

    async def prepare(self, on_progress: Callable[[int, int], None] | None = None) -> None:
        """See :meth:`threadstore.store.ThreadStore.prepare_search`."""
        texts = self._texts
        if texts is None:
            return
        await self._store.list_threads(_ANY)  # brings the list index up to date
        live = self._live_files()
        with suppress(StoreUnavailable):  # a search says so, and works
            every = left = await in_worker(lambda: texts.notice(live))
            while left:
                left = await in_worker(lambda: texts.work(_TURN))
                if on_progress is not None:
                    on_progress(max(every - left, 0), every)
            texts.start()

    async def search_threads(self, query: SearchQuery) -> SearchPage:
        """See :meth:`threadstore.store.ThreadStore.search_threads`."""
        check_class(query, SearchQuery)
        texts = self._texts

        def search(texts: TextIndex) -> SearchPage:
            generation = self._index.current_generation()
            degraded = texts.update(live, self._patience)
            page = self._search.threads(query, degraded)
            if not self._serves() or self._index.current_generation() != generation:
                raise DatabaseDamaged("the list index was made anew while it was searched")
            return page

        self._look_again()  # others may have written since
        await self._store.list_threads(_ANY)  # brings the list index up to date
        live = self._live_files()
        return await self._or_scan(texts, search, lambda: scan.search_threads(self._store, query))

    async def search_occurrences(
        self,
        thread_id: str,
        query: SearchQuery,
        cursor: str | None,
        limit: int,
        *,
        descending: bool,
    ) -> OccurrencePage:
        """See :meth:`threadstore.store.ThreadStore.search_occurrences`."""
        check_class(query, SearchQuery)
        thread_id = parse_thread_id(thread_id)
        check_limit(limit)
        thread = await self._store.read_thread(thread_id)
        if not self._serves():
            await self._store.list_threads(_ANY)

        async def read() -> OccurrencePage:
            return await scan.search_occurrences(
                self._store, thread_id, query, cursor, limit, descending=descending
            )

        def search(texts: TextIndex) -> OccurrencePage | None:
            texts.update_one(thread_id, live.get(thread_id), self._patience)
            if not texts.feed.is_current(thread_id):
                return None
            return self._search.occurrences(thread, query, cursor, limit, descending=descending)

        live = self._live_files()
        unwritten = thread_id in self._writers and thread_id not in live
        return await self._or_scan(None if unwritten else self._texts, search, read)

    def forget(self, thread_ids: Sequence[str]) -> None:
        """Remove the texts of threads that are deleted, if that is possible now."""
        if self._texts is not None:
            with suppress(StoreUnavailable):
                self._texts.feed.forget(thread_ids)

    async def _or_scan(
        self,
        texts: TextIndex | None,
        search: Callable[[TextIndex], Page | None],
        read: Callable[[], Awaitable[Page]],
    ) -> Page:
        """The answer of *search*, else that of *read*."""
        problem: StoreUnavailable | None = None
        for _ in range(2):
            if texts is None:
                break
            try:
                page = await in_worker(partial(search, texts))
            except DatabaseDamaged as error:  # and gone: once more, on a new one
                problem = error
                await self._store.list_threads(_ANY)
                continue
            except StoreUnavailable as error:
                problem = error
                break
            texts.start()
            if page is not None:
                return page
            break
        page = await read()
        if problem is None:
            return page
        reasons = [f"searched without the text index: {problem}", page.degraded]
        return replace(page, degraded="; ".join(filter(None, reasons)))

    def _live_files(self) -> dict[str, str]:
        """The files of the threads that are written here."""
        found = ((thread_id, self._writers.find(thread_id)) for thread_id in self._writers.ids())
        return {
            thread_id: writer.recorder.path
            for thread_id, writer in found
            if writer is not None and writer.materialised
        }

    async def close(self) -> None:
        """Stop what goes on in the background. Twice is once."""
        texts = self._texts
        if texts is not None:
            await in_worker(texts.close)
