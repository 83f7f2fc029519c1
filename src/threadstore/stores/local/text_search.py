"""Searching with the text index. What it finds is what :mod:`threadstore.search.scan` finds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final, NamedTuple

from msgspec.structs import replace

from threadstore.errors import StoreUnavailable
from threadstore.metadata import StoredThread
from threadstore.queries import ThreadQuery, resolve_cwd, thread_place
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
from threadstore.search.scan import occurrence
from threadstore.search.wanted import Wanted
from threadstore.stores.local import index_query
from threadstore.stores.local.index_db import IndexDb
from threadstore.stores.local.lineage import FindRollout
from threadstore.stores.local.text_db import LAST, doc_id
from threadstore.stores.local.text_find import Doc, Finder, Matches
from threadstore.stores.local.text_index import TextIndex
from threadstore.stores.local.text_lines import TextLines

__all__ = ["TextSearch"]

_FEW: Final = 400
"""Threads that are looked up one by one and sorted; of more, the list is walked along."""
_WALKED: Final = 1_000
"""Threads of the list at a time."""
_PORTION: Final = 1 << 20
_RANKED: Final = 500
"""Threads that are put into the order of the list at a time, if they are equally good."""


class _Found(NamedTuple):
    thread: StoredThread
    docs: Iterable[Doc]


class TextSearch:
    """Answers searches from the index as it is now. Blocks; safe from several threads."""

    def __init__(
        self,
        texts: TextIndex,
        index: IndexDb,
        find_rollout: FindRollout,
        refresh_thread: Callable[[str], StoredThread | None],
    ) -> None:
        self._texts = texts
        self._index = index
        self._find_rollout = find_rollout
        self._refresh_thread = refresh_thread

    def threads(self, query: SearchQuery, degraded: str | None) -> SearchPage:
        """A page of threads."""
        finder = Finder(self._texts.db, query)
        first, limit = 0, query.threads.limit
        if query.ranked:
            first = ranked_place(query)
            candidates = self._ranked(query, finder)
        else:
            candidates = self._listed(query.threads, finder)
        hits: list[SearchHit] = []
        for hit in self._hits(candidates, finder, query.wanted()):
            if len(hits) == first + limit:
                cursor = hit_cursor(query, hits[-1].thread, len(hits))
                return SearchPage(tuple(hits[first:]), cursor, degraded)
            hits.append(hit)
        return SearchPage(tuple(hits[first:]), None, degraded)

    def occurrences(
        self,
        thread: StoredThread,
        query: SearchQuery,
        cursor: str | None,
        limit: int,
        *,
        descending: bool,
    ) -> OccurrencePage:
        """A page of the texts of one thread."""
        after = occurrence_place(thread.id, query, cursor, descending=descending)
        finder = Finder(self._texts.db, query)
        no = finder.numbers([thread.id]).get(thread.id)
        if no is None:
            return OccurrencePage(())
        first, last = 0, LAST
        if after is not None:
            first, last = (0, after - 1) if descending else (after + 1, LAST)
        if first > last:
            return OccurrencePage(())

        def docs() -> Iterator[Doc]:
            return finder.in_range(doc_id(no, first), doc_id(no, last), descending=descending)

        wanted = query.wanted()
        every = self._read(thread, docs(), wanted, limit + 1)
        if every is None and (now := self._reindex(thread.id)) is not None:
            every = self._read(now, docs(), wanted, limit + 1)
        every = every or []
        page = every[:limit]
        next_cursor = None
        if len(every) > limit:
            last_position = page[-1].position
            next_cursor = occurrence_cursor(thread.id, query, last_position, descending=descending)
        return OccurrencePage(tuple(page), next_cursor)

    # Threads that may have it, in order

    def _listed(self, query: ThreadQuery, finder: Finder) -> Iterator[_Found]:
        place = thread_place(query)
        matches = finder.matches()
        few = matches.threads(_FEW)
        if few is None:
            yield from self._walk(query, finder, matches)
            return
        numbers = {thread_id: no for no, thread_id in finder.thread_ids(few).items()}
        threads = self._passing(numbers, query)
        for thread in threads:
            here = (query.sort_key.of(thread), thread.id)
            if place is None or (here < place if query.descending else here > place):
                yield _Found(thread, matches.in_thread(numbers[thread.id]))

    def _walk(self, query: ThreadQuery, finder: Finder, matches: Matches) -> Iterator[_Found]:
        cwds = _cwds(query)
        query = replace(query, limit=_WALKED)
        while True:
            rows = self._index.find(query, cwds)
            numbers = finder.numbers([row[1] for row in rows[:_WALKED]]) if rows else {}
            for _, thread_id, _ in rows[:_WALKED]:
                if thread_id not in numbers:
                    continue
                docs = matches.in_thread(numbers[thread_id])
                first = next(docs, None)
                thread = self._index.get(thread_id) if first is not None else None
                if first is not None and thread is not None:
                    yield _Found(thread, _chain(first, docs))
            if len(rows) <= _WALKED:
                return
            cursor = index_query.cursor_after(query, *rows[_WALKED - 1][:2])
            query = replace(query, cursor=cursor)

    def _ranked(self, query: SearchQuery, finder: Finder) -> Iterator[_Found]:
        scores = finder.scores()
        threads = replace(query.threads, cursor=None)
        start = 0
        while start < len(scores):
            end = min(start + _RANKED, len(scores))
            while end < len(scores) and scores[end][0] == scores[end - 1][0]:
                end += 1
            part = {no: (score, docs) for score, no, docs in scores[start:end]}
            ids = finder.thread_ids(part)
            numbers = {thread_id: no for no, thread_id in ids.items()}
            passing = self._passing(numbers, threads)
            passing.sort(key=lambda thread: part[numbers[thread.id]][0])  # stable: the order stays
            for thread in passing:
                yield _Found(thread, finder.docs(part[numbers[thread.id]][1]))
            start = end

    def _passing(self, thread_ids: Collection[str], query: ThreadQuery) -> list[StoredThread]:
        """Those of these threads that the query wants, in its order."""
        cwds = _cwds(query)
        family = (
            None if query.ancestor_id is None else set(self._index.descendants(query.ancestor_id))
        )
        rest = replace(query, cwds=None, ancestor_id=None, cursor=None)
        every = (self._index.get(thread_id) for thread_id in thread_ids)
        threads = [
            thread
            for thread in every
            if thread is not None
            and rest.matches(thread)
            and (cwds is None or resolve_cwd(thread.cwd) in cwds)
            and (family is None or thread.id in family)
        ]
        threads.sort(key=lambda thread: (query.sort_key.of(thread), thread.id))
        return threads[::-1] if query.descending else threads

    # Texts that have it

    def _hits(
        self, candidates: Iterable[_Found], finder: Finder, wanted: Wanted
    ) -> Iterator[SearchHit]:
        for thread, docs in candidates:
            found = self._read(thread, docs, wanted, 1)
            if found is None:  # once more, as the thread is now
                found = self._read_anew(thread, finder, wanted)
            if found:
                yield SearchHit(thread=thread, found=found[0])

    def _read_anew(
        self, thread: StoredThread, finder: Finder, wanted: Wanted
    ) -> list[Occurrence] | None:
        now = self._reindex(thread.id)
        no = finder.numbers([thread.id]).get(thread.id)
        if now is None or no is None:
            return None
        return self._read(now, Matches(finder, None).in_thread(no), wanted, 1)

    def _reindex(self, thread_id: str) -> StoredThread | None:
        """The thread as it is now, and read again: its log was not what the index says."""
        thread = self._refresh_thread(thread_id)
        feed = self._texts.feed
        feed.read_anew(thread_id)
        while not feed.is_current(thread_id) and feed.step(_PORTION):
            pass
        return thread

    def _read(
        self, thread: StoredThread, docs: Iterable[Doc], wanted: Wanted, limit: int
    ) -> list[Occurrence] | None:
        """The first of these texts that have it; ``None``: the log is not what the index says."""
        found: list[Occurrence] = []
        with TextLines(thread, self._find_rollout) as lines:
            for doc in docs:
                try:
                    document = lines.document(doc)
                except FileNotFoundError:
                    return None
                except StoreUnavailable:
                    return []
                spans = wanted.spans(document.text) if document is not None else []
                if document is not None and spans:
                    found.append(occurrence(thread.id, document, spans))
                    if len(found) == limit:
                        break
                elif document is None or not wanted.exact:
                    return None
        return found


def _chain(first: Doc, rest: Iterator[Doc]) -> Iterator[Doc]:
    yield first
    yield from rest


def _cwds(query: ThreadQuery) -> set[str] | None:
    return None if query.cwds is None else {resolve_cwd(cwd) for cwd in query.cwds}
