"""What a search finds: candidates from the index of texts, then the texts themselves."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from psycopg import sql

from threadstore.history.items import RolloutItem
from threadstore.history.lines import parse_line
from threadstore.metadata import StoredThread
from threadstore.search.queries import Occurrence, SearchHit, SearchQuery
from threadstore.search.scan import occurrence
from threadstore.search.texts import TextDocument, TextRole, text_of, title_text
from threadstore.stores.postgres.database import Connection, Database, Row
from threadstore.stores.postgres.statements import statement
from threadstore.stores.postgres.text_query import TextQuery

__all__ = ["Match", "Search"]

Match: TypeAlias = tuple[Occurrence, int]
"""A text that has what is wanted, and how often."""

_LINES: Final = statement("texts", "lines")
_FEW: Final = 1_000
"""Candidates that are fetched at once, so that nothing else need be asked about them."""
_RARE: Final = 10_000
_TOGETHER: Final = 100
"""Lines that are in memory at once; threads that are looked through at once."""
_FIRST: Final = 16
_MOST: Final = 1_000
_END: Final = 1 << 62
_SMALL: Final = 64 << 10
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


class Search:
    """One search: what its words may be in, and what has what is wanted."""

    def __init__(self, database: Database, query: SearchQuery) -> None:
        self.query = query
        self.text = TextQuery(query, database.tenant)
        self._database = database
        self._wanted = query.wanted()
        self._known: dict[str, list[_Candidate]] | None = None

    async def rows(self, query: bytes, values: Mapping[str, Any]) -> list[Row]:
        """The rows of a statement on texts, for which row-level security knows the words."""
        say = sql.SQL("SET LOCAL threadstore.search = {}").format(sql.Literal(self.text.words))

        async def fetch(connection: Connection) -> list[Row]:
            await connection.execute(say)
            # A plan made for other words may not be one for these.
            cursor = await connection.execute(query, {**self.text.values, **values}, prepare=False)
            return await cursor.fetchall()

        return await self._database.transaction(fetch)

    async def look_for_few(self) -> list[str] | None:
        """The threads with candidates, if these are few."""
        rows = await self.rows(self.text.some(), {"most": _FEW + 1})
        if len(rows) > _FEW:
            return None
        known: dict[str, list[_Candidate]] = {}
        for row in rows:
            known.setdefault(row[0], []).append(_Candidate(*row))
        for candidates in known.values():
            candidates.sort(key=lambda each: each.position or _END)
        self._known = known
        return [*known]

    async def is_rare(self) -> bool:
        """Whether it is quicker to have the server gather all candidates than to look through
        threads until a page is full."""
        ((number,),) = await self.rows(self.text.count(), {"most": _RARE + 1})
        return bool(number <= _RARE)

    async def hits(self, threads: Sequence[StoredThread]) -> AsyncIterator[SearchHit]:
        """What is found in these threads, in their order."""
        for first in range(0, len(threads), _TOGETHER):
            some = threads[first : first + _TOGETHER]
            found = await self._found_in(some)
            for thread in some:
                if thread.id in found:
                    yield SearchHit(thread=thread, found=found[thread.id])

    async def occurrences(
        self, thread: StoredThread, after: int | None, *, descending: bool
    ) -> AsyncIterator[Occurrence]:
        """The texts of a thread that have it, those behind a position."""
        if not descending and after is None:
            for found, _ in self._of_title(thread):
                yield found
        query, rows = self.text.of_one(descending=descending), _FIRST
        place = after if after is not None else (_END if descending else 0)
        while True:
            values = {"thread": thread.id, "after": place, "rows": rows}
            candidates = [_Candidate(*row) for row in await self.rows(query, values)]
            async for found, _ in self._matches(candidates, {thread.id: thread}):
                yield found
            if len(candidates) < rows:
                break
            place, rows = candidates[-1].position, min(4 * rows, _MOST)
        if descending and after != 0:
            for found, _ in self._of_title(thread):
                yield found

    async def _found_in(self, threads: Sequence[StoredThread]) -> dict[str, Occurrence]:
        """The text that stands for each thread: the first that has it, or the best of the first
        ones; a title only if nothing else has it."""
        found: dict[str, Match] = {}
        left = {thread.id: thread for thread in threads}
        ranked, done, size = self.query.ranked, 0, 1
        if ranked:
            size = _FIRST
        while left:
            candidates = await self._candidates([*left], done, size)
            async for match in self._matches(candidates, left):
                before = found.get(match[0].thread_id)
                if before is None or (ranked and match[0].position and match[1] > before[1]):
                    found[match[0].thread_id] = match
            looked = Counter(each.thread for each in candidates)
            left = {
                thread_id: thread
                for thread_id, thread in left.items()
                if thread_id not in found and looked[thread_id] == size
            }
            done, size = done + size, min(size * _FIRST, _MOST)
        return {thread_id: match[0] for thread_id, match in found.items()}

    async def _candidates(self, threads: list[str], done: int, size: int) -> list[_Candidate]:
        """The next candidates of each thread."""
        if self._known is not None:
            every = (self._known.get(thread_id, ()) for thread_id in threads)
            return [each for candidates in every for each in candidates[done : done + size]]
        values = {"threads": threads, "first": done + 1, "last": done + size}
        return [_Candidate(*row) for row in await self.rows(self.text.of_many(), values)]

    async def _matches(
        self, candidates: Sequence[_Candidate], threads: Mapping[str, StoredThread]
    ) -> AsyncIterator[Match]:
        """Those that have what is wanted, in their order."""
        for first in range(0, len(candidates), _TOGETHER):
            some = candidates[first : first + _TOGETHER]
            lines = await self._lines(some)
            if sum(map(len, lines.values())) > _SMALL:
                matches = await asyncio.to_thread(self._looked_at, some, threads, lines)
            else:
                matches = self._looked_at(some, threads, lines)
            for match in matches:
                yield match

    async def _lines(self, candidates: Sequence[_Candidate]) -> dict[tuple[str, int], bytes]:
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

    def _looked_at(
        self,
        candidates: Sequence[_Candidate],
        threads: Mapping[str, StoredThread],
        lines: Mapping[tuple[str, int], bytes],
    ) -> list[Match]:
        matches: list[Match] = []
        for each in candidates:
            if not each.position:
                matches += self._of_title(threads[each.thread])
                continue
            line = lines.get((each.log, each.position))
            item = None if line is None else parse_line(line, each.position)
            said = text_of(item) if isinstance(item, RolloutItem) else None
            if said is not None:
                matches += self._of_text(each.thread, each.document(said[1]))
        return matches

    def _of_title(self, thread: StoredThread) -> Iterator[Match]:
        title = title_text(thread)
        if title is not None and self.query.takes(title):
            yield from self._of_text(thread.id, title)

    def _of_text(self, thread_id: str, document: TextDocument) -> Iterator[Match]:
        spans = self._wanted.spans(document.text)
        if spans:
            yield occurrence(thread_id, document, spans), len(spans)
