"""Searching: pages of threads and of places in one thread."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from msgspec.structs import replace

from threadstore.metadata import StoredThread
from threadstore.queries import ThreadPage, ThreadQuery, check_limit, thread_place
from threadstore.search.queries import (
    Occurrence,
    OccurrencePage,
    SearchHit,
    SearchPage,
    SearchQuery,
    hit_cursor,
    occurrence_cursor,
    occurrence_place,
    ranked_place,
)
from threadstore.stores.postgres.database import Database
from threadstore.stores.postgres.records import decode_record
from threadstore.stores.postgres.text_feeder import Feeder
from threadstore.stores.postgres.text_matches import Search
from threadstore.stores.postgres.thread_query import select, select_best
from threadstore.stores.postgres.threads import Threads, page_of

__all__ = ["TextSearch"]

_THESE: Final = "SELECT unnest(%(found)s::uuid[]) AS thread_id"
_WALK: Final = 2_000
"""Threads that are looked at one after the other, where what is wanted is not rare, before the
index is asked for all that have it."""
_MOST_THREADS: Final = 1_000


class TextSearch:
    """Searches of one store object."""

    def __init__(self, database: Database, threads: Threads, feeder: Feeder) -> None:
        self._database = database
        self._threads = threads
        self._feeder = feeder

    async def threads(self, query: SearchQuery) -> SearchPage:
        """See the contract."""
        if query.ranked:
            return await self._ranked(query)
        thread_place(query.threads)  # a bad cursor is the first thing to say
        degraded = await self._feeder.catch_up()
        search = Search(self._database, query)
        hits: list[SearchHit] = []
        async for some in self._listed(search):
            async for hit in search.hits(some):
                if len(hits) == query.threads.limit:
                    return SearchPage(tuple(hits), hit_cursor(query, hits[-1].thread, 0), degraded)
                hits.append(hit)
        return SearchPage(tuple(hits), None, degraded)

    async def _ranked(self, query: SearchQuery) -> SearchPage:
        """The place of a page is the number of candidates before it."""
        place, limit = ranked_place(query), query.threads.limit
        degraded = await self._feeder.catch_up()
        search = Search(self._database, query)
        family = await self._threads.descendants(query.threads)
        statement, values = select_best(
            query.threads, self._database.tenant, family, search.text.scores()
        )
        hits: list[SearchHit] = []
        after, most = place, place + limit + 1
        while True:
            rows = await search.rows(statement, {**values, "most": most})
            threads = [decode_record(record) for (record,) in rows[after:]]
            places = {thread.id: number for number, thread in enumerate(threads, after + 1)}
            async for hit in search.hits(threads):
                if len(hits) == limit:
                    cursor = hit_cursor(query, hits[-1].thread, place)
                    return SearchPage(tuple(hits), cursor, degraded)
                hits.append(hit)
                place = places[hit.thread.id]
            if len(rows) < most:
                return SearchPage(tuple(hits), None, degraded)
            after, most = most, 2 * most

    async def occurrences(
        self,
        thread: StoredThread,
        query: SearchQuery,
        cursor: str | None,
        limit: int,
        *,
        descending: bool,
    ) -> OccurrencePage:
        """See the contract."""
        check_limit(limit)
        after = occurrence_place(thread.id, query, cursor, descending=descending)
        degraded = await self._feeder.catch_up(thread.id)
        search = Search(self._database, query)
        page: list[Occurrence] = []
        async for found in search.occurrences(thread, after, descending=descending):
            if len(page) == limit:
                last = page[-1].position
                cursor = occurrence_cursor(thread.id, query, last, descending=descending)
                return OccurrencePage(tuple(page), cursor, degraded)
            page.append(found)
        return OccurrencePage(tuple(page), None, degraded)

    async def _listed(self, search: Search) -> AsyncIterator[Sequence[StoredThread]]:
        """The threads that come into question, in their order, some at a time."""
        query = search.query.threads
        few = await search.look_for_few()
        gather = few is None and await search.is_rare()
        size, walked = query.limit + 1, 0
        while True:
            query = replace(query, limit=max(min(size, _MOST_THREADS), search.query.threads.limit))
            if few is not None:
                page = await self._among(query, few)
            elif gather or walked > _WALK:
                page = await self._with_candidates(query, search)
            else:
                page = await self._threads.page(query)
            yield page.items
            if page.next_cursor is None:
                return
            query = replace(query, cursor=page.next_cursor)
            size, walked = 4 * size, walked + len(page.items)

    async def _among(self, query: ThreadQuery, ids: list[str]) -> ThreadPage:
        if not ids:
            return ThreadPage(())
        family = await self._threads.descendants(query)
        statement, values = select(query, self._database.tenant, family, _THESE)
        return page_of(query, await self._database.rows(statement, {**values, "found": ids}))

    async def _with_candidates(self, query: ThreadQuery, search: Search) -> ThreadPage:
        family = await self._threads.descendants(query)
        statement, values = select(query, self._database.tenant, family, search.text.threads())
        return page_of(query, await search.rows(statement, values))
