"""Searching: candidates from the index of texts, then the texts themselves."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace
from psycopg import sql

from threadstore.history.items import RolloutItem
from threadstore.history.lines import parse_line
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
from threadstore.search.scan import occurrence
from threadstore.search.texts import TextDocument, TextRole, text_of, title_text
from threadstore.stores.postgres.database import Connection, Database, Row
from threadstore.stores.postgres.records import decode_record
from threadstore.stores.postgres.statements import statement
from threadstore.stores.postgres.text_feeder import Feeder
from threadstore.stores.postgres.text_query import TextQuery
from threadstore.stores.postgres.thread_query import select, select_best
from threadstore.stores.postgres.threads import Threads, page_of

__all__ = ["TextSearch"]

_LINES: Final = statement("texts", "lines")
_RARE: Final = 5_000
"""Candidates up to which it is quicker to look at their threads only, than at one thread after the
other until the page is full."""
_WALK: Final = 2_000
"""Threads that are looked at one after the other before the index is asked for all candidates."""
_MOST_THREADS: Final = 1_000
_FIRST_ROWS: Final = 16
_MOST_ROWS: Final = 1_000
_END: Final = 1 << 62
_EPOCH: Final = dt.datetime.fromtimestamp(0, dt.UTC)


class _Candidate(msgspec.Struct, frozen=True):
    """A text that has all words."""

    thread: str
    position: int
    log: str
    """In which its line is."""
    role: str
    tool: str | None
    said_at: int
    """In microseconds since 1970."""

    def document(self, text: str) -> TextDocument:
        """It, with its text."""
        return TextDocument(
            role=TextRole(self.role),
            tool=self.tool,
            position=self.position,
            said_at=_EPOCH + dt.timedelta(microseconds=self.said_at),
            text=text,
        )


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
        search = _Search(self._database, query)
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
        search = _Search(self._database, query)
        family = await self._threads.descendants(query.threads)
        statement, values = select_best(
            query.threads, self._database.tenant, family, search.text.scores()
        )
        hits: list[SearchHit] = []
        after, most = place, place + 2 * limit
        while True:
            rows = await search.rows(statement, {**values, "most": most})
            for number, (record,) in enumerate(rows[after:], after):
                async for hit in search.hits([decode_record(record)]):
                    if len(hits) == limit:
                        cursor = hit_cursor(query, hits[-1].thread, place)
                        return SearchPage(tuple(hits), cursor, degraded)
                    hits.append(hit)
                    place = number + 1
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
        search = _Search(self._database, query)
        page: list[Occurrence] = []
        async for found, _ in search.occurrences(thread, after, descending=descending):
            if len(page) == limit:
                last = page[-1].position
                cursor = occurrence_cursor(thread.id, query, last, descending=descending)
                return OccurrencePage(tuple(page), cursor, degraded)
            page.append(found)
        return OccurrencePage(tuple(page), None, degraded)

    async def _listed(self, search: _Search) -> AsyncIterator[Sequence[StoredThread]]:
        """The threads that come into question, in their order, some at a time."""
        query = search.query.threads
        few = await search.is_rare()
        size, walked = query.limit + 1, 0
        while True:
            query = replace(query, limit=max(min(size, _MOST_THREADS), search.query.threads.limit))
            if few or walked > _WALK:
                page = await self._with_candidates(query, search)
            else:
                page = await self._threads.page(query)
            yield page.items
            if page.next_cursor is None:
                return
            query = replace(query, cursor=page.next_cursor)
            size, walked = 4 * size, walked + len(page.items)

    async def _with_candidates(self, query: ThreadQuery, search: _Search) -> ThreadPage:
        family = await self._threads.descendants(query)
        statement, values = select(query, self._database.tenant, family, search.text.threads())
        return page_of(query, await search.rows(statement, values))


class _Search:
    """One search and what it means."""

    def __init__(self, database: Database, query: SearchQuery) -> None:
        self.query = query
        self.text = TextQuery(query, database.tenant)
        self._database = database
        self._wanted = query.wanted()

    async def rows(self, query: bytes, values: Mapping[str, Any]) -> list[Row]:
        """The rows of a statement on texts, for which row-level security knows the words."""
        say = sql.SQL("SET LOCAL threadstore.search = {}").format(sql.Literal(self.text.words))

        async def fetch(connection: Connection) -> list[Row]:
            await connection.execute(say)
            # A plan made for other words may not be one for these.
            cursor = await connection.execute(query, {**self.text.values, **values}, prepare=False)
            return await cursor.fetchall()

        return await self._database.transaction(fetch)

    async def is_rare(self) -> bool:
        """Whether there are few candidates."""
        ((number,),) = await self.rows(self.text.count(), {"most": _RARE + 1})
        return bool(number <= _RARE)

    async def hits(self, threads: Sequence[StoredThread]) -> AsyncIterator[SearchHit]:
        """What is found in these threads, in their order."""
        if not threads:
            return
        values = {"threads": [thread.id for thread in threads]}
        first = {row[0]: _Candidate(*row) for row in await self.rows(self.text.first_of(), values)}
        lines = await self._lines(first.values())
        for thread in threads:
            candidate = first.get(thread.id)
            if candidate is None:
                continue
            found = self._match(candidate, thread, lines)
            if found is None or self.query.ranked:
                found = await self._shown(thread)
            if found is not None:
                yield SearchHit(thread=thread, found=found[0])

    async def occurrences(
        self, thread: StoredThread, after: int | None, *, descending: bool
    ) -> AsyncIterator[tuple[Occurrence, int]]:
        """The texts of a thread that have it, with the number of matches."""
        if not descending and after is None:
            for found in self._of_title(thread):
                yield found
        values = {"thread": thread.id, "after": (_END if descending else 0)}
        if after is not None:
            values["after"] = after
        query, size = self.text.of_one(descending=descending), _FIRST_ROWS
        while True:
            rows = await self.rows(query, {**values, "rows": size})
            candidates = [_Candidate(*row) for row in rows]
            lines = await self._lines(candidates)
            for candidate in candidates:
                match = self._match(candidate, thread, lines)
                if match is not None:
                    yield match
            if len(candidates) < size:
                break
            values["after"], size = candidates[-1].position, min(4 * size, _MOST_ROWS)
        if descending and after != 0:
            for found in self._of_title(thread):
                yield found

    async def _shown(self, thread: StoredThread) -> tuple[Occurrence, int] | None:
        """The text that stands for its thread: the first, or the best of the first ones."""
        title, best = None, None
        looked = 0
        async for found in self.occurrences(thread, None, descending=False):
            if not found[0].position:
                title = found
                continue
            if not self.query.ranked:
                return found
            best = found if best is None or found[1] > best[1] else best
            looked += 1
            if looked == _FIRST_ROWS:
                break
        return best or title

    async def _lines(self, candidates: Iterable[_Candidate]) -> dict[tuple[str, int], bytes]:
        wanted = [each for each in candidates if each.position]
        if not wanted:
            return {}
        values = {
            "tenant": self._database.tenant,
            "logs": [each.log for each in wanted],
            "positions": [each.position for each in wanted],
        }
        rows = await self._database.rows(_LINES, values, binary=True)
        return {(log, position): line for log, position, line in rows}

    def _match(
        self,
        candidate: _Candidate,
        thread: StoredThread,
        lines: Mapping[tuple[str, int], bytes],
    ) -> tuple[Occurrence, int] | None:
        """The text with what was found in it; ``None`` if it is not what is wanted."""
        if not candidate.position:
            return next(self._of_title(thread), None)
        line = lines.get((candidate.log, candidate.position))
        item = None if line is None else parse_line(line, candidate.position)
        said = text_of(item) if isinstance(item, RolloutItem) else None
        return None if said is None else self._found(thread, candidate.document(said[1]))

    def _of_title(self, thread: StoredThread) -> Iterator[tuple[Occurrence, int]]:
        title = title_text(thread)
        if title is not None and self.query.takes(title):
            found = self._found(thread, title)
            if found is not None:
                yield found

    def _found(self, thread: StoredThread, document: TextDocument) -> tuple[Occurrence, int] | None:
        spans = self._wanted.spans(document.text)
        return (occurrence(thread.id, document, spans), len(spans)) if spans else None
