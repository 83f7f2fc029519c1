"""Searching by reading: for stores without an index of texts, and where an index cannot be used.

Everything is read for each search. What an index finds must be what this finds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from threadstore.errors import ThreadNotFound, ThreadStoreError
from threadstore.history.items import RolloutItem
from threadstore.ids import parse_thread_id
from threadstore.paging import HistorySource, turn_cursor
from threadstore.queries import check_limit
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
from threadstore.search.snippets import snippet
from threadstore.search.texts import TextDocument, documents, title_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from threadstore.metadata import StoredThread
    from threadstore.queries import ThreadPage, ThreadQuery
    from threadstore.search.wanted import Span

__all__ = ["SearchSource", "occurrence", "search_occurrences", "search_threads"]


class SearchSource(HistorySource, Protocol):
    """The verbs of a store that are needed."""

    async def read_thread(self, thread_id: str) -> StoredThread:
        """See :meth:`threadstore.store.ThreadStore.read_thread`."""
        ...

    async def list_threads(self, query: ThreadQuery | None = None) -> ThreadPage:
        """See :meth:`threadstore.store.ThreadStore.list_threads`."""
        ...


async def search_threads(store: SearchSource, query: SearchQuery) -> SearchPage:
    """A page of the threads in which *query* is found. Threads that cannot be read are left out,
    and said."""
    search = _Search(store, query)
    if query.ranked:
        return await search.ranked()
    found: list[SearchHit] = []
    async for hit, _ in search.hits(query.threads):
        if len(found) == query.threads.limit:
            return search.page(found, hit_cursor(query, found[-1].thread, 0))
        found.append(hit)
    return search.page(found, None)


async def search_occurrences(
    store: SearchSource,
    thread_id: str,
    query: SearchQuery,
    cursor: str | None,
    limit: int,
    *,
    descending: bool,
) -> OccurrencePage:
    """A page of the texts of one thread in which *query* is found."""
    thread_id = parse_thread_id(thread_id)
    check_limit(limit)
    after = occurrence_place(thread_id, query, cursor, descending=descending)
    thread = await store.read_thread(thread_id)
    every = [each for each, _ in await _matches(store, thread, query)]
    if descending:
        every.reverse()
    if after is not None:
        every = [each for each in every if _is_behind(each, after, descending=descending)]
    page, more = every[:limit], len(every) > limit
    next_cursor = None
    if more:
        next_cursor = occurrence_cursor(thread_id, query, page[-1].position, descending=descending)
    return OccurrencePage(tuple(page), next_cursor)


def occurrence(thread_id: str, document: TextDocument, spans: Sequence[Span]) -> Occurrence:
    """A text and what was found in it, as it is answered."""
    line, marks = snippet(document.text, spans)
    inside = document.position > 0
    return Occurrence(
        thread_id=thread_id,
        role=document.role,
        tool=document.tool,
        position=document.position,
        said_at=document.said_at,
        snippet=line,
        marks=tuple((start, end) for start, end in marks),
        turn_cursor=turn_cursor(thread_id, document.position, descending=True) if inside else None,
    )


def _is_behind(found: Occurrence, after: int, *, descending: bool) -> bool:
    return found.position < after if descending else found.position > after


class _Search:
    """One search over all threads."""

    def __init__(self, store: SearchSource, query: SearchQuery) -> None:
        self._store = store
        self._query = query
        self._unread = 0

    async def hits(self, threads: ThreadQuery) -> AsyncIterator[tuple[SearchHit, int]]:
        """The threads that have it, in the order of *threads*, with the number of matches."""
        async for thread in _threads(self._store, threads):
            try:
                matches = await _matches(self._store, thread, self._query)
            except ThreadNotFound:  # deleted meanwhile
                continue
            except ThreadStoreError:
                self._unread += 1
                continue
            if matches:
                count = sum(number for _, number in matches)
                yield SearchHit(thread=thread, found=self._shown(matches)), count

    def _shown(self, matches: list[tuple[Occurrence, int]]) -> Occurrence:
        """The place that stands for its thread. A title often repeats the first message, which
        says more: it can be opened."""
        said = [match for match in matches if match[0].position] or matches
        return (max(said, key=lambda match: match[1]) if self._query.ranked else said[0])[0]

    async def ranked(self) -> SearchPage:
        """The page of the best."""
        first, limit = ranked_place(self._query), self._query.threads.limit
        threads = replace(self._query.threads, cursor=None)
        every = [pair async for pair in self.hits(threads)]
        every.sort(key=lambda pair: -pair[1])  # stable: the newer first among equals
        page = [hit for hit, _ in every[first : first + limit]]
        more = len(every) > first + limit
        cursor = hit_cursor(self._query, page[-1].thread, first + limit) if more else None
        return self.page(page, cursor)

    def page(self, hits: list[SearchHit], cursor: str | None) -> SearchPage:
        """The answer."""
        degraded = f"{self._unread} threads could not be read" if self._unread else None
        return SearchPage(tuple(hits), cursor, degraded)


async def _threads(store: SearchSource, query: ThreadQuery) -> AsyncIterator[StoredThread]:
    cursor = query.cursor
    while True:
        page = await store.list_threads(replace(query, cursor=cursor, limit=200))
        for thread in page.items:
            yield thread
        cursor = page.next_cursor
        if cursor is None:
            return


async def _matches(
    store: SearchSource, thread: StoredThread, query: SearchQuery
) -> list[tuple[Occurrence, int]]:
    """The texts that have it, in order, with the number of matches in each."""
    wanted = query.wanted()
    return [
        (occurrence(thread.id, document, spans), len(spans))
        for document in await _documents(store, thread)
        if query.takes(document) and (spans := wanted.spans(document.text))
    ]


async def _documents(store: SearchSource, thread: StoredThread) -> list[TextDocument]:
    history = [entry async for entry in store.iter_history(thread.id)]
    items = [entry for entry in history if isinstance(entry, RolloutItem)]
    return [*_titles(thread), *documents(items, thread.created_at)]


def _titles(thread: StoredThread) -> Iterator[TextDocument]:
    title = title_text(thread)
    if title is not None:
        yield title
