"""Which texts match, as the text index knows it: few are taken as a whole, of many only as much as
a page needs."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from threadstore.search import SearchQuery
from threadstore.stores.local.text_db import LAST, TextDb, doc_id, position_of, thread_of
from threadstore.stores.local.text_source import time_us
from threadstore.stores.local.text_words import match

__all__ = ["Doc", "Finder", "Matches"]

MANY: Final = 4_000
"""Matches that are taken as a whole at most, if there is another way."""
_PROBED: Final = 2_000
"""Threads that are asked one by one before all matches are taken."""


class Doc(NamedTuple):
    """A text, without the text."""

    id: int
    offset: int | None
    time_us: int
    tool: str | None

    @property
    def position(self) -> int:
        """Position of its line."""
        return position_of(self.id)


class Finder:
    """One search in the index."""

    def __init__(self, db: TextDb, query: SearchQuery) -> None:
        self._db = db
        wanted = query.wanted()
        conditions, self._values = _conditions(query)
        self._where = " AND ".join(["texts MATCH ?", *conditions])
        self._from = "texts" + (" JOIN docs ON docs.id = texts.rowid" if conditions else "")
        self._match = match(wanted, query.roles)
        self._whole_only = any(phrase.prefix for phrase in wanted.phrases)
        self.nothing = not all(part is None or part for part in (query.roles, query.tools))
        """Whether the filters leave no text at all."""

    def matches(self) -> Matches:
        """All matches, or a way to find those of a thread."""
        if self.nothing:
            return Matches(self, array("q"))
        if self._whole_only:  # a beginning is looked up as costly in one thread as in all
            return Matches(self, self._ids())
        ids = self._ids(MANY + 1)
        return Matches(self, ids if len(ids) <= MANY else None)

    def all(self) -> array[int]:
        """The ids of all matches, in order."""
        return self._ids()

    def in_range(self, first: int, last: int, *, descending: bool = False) -> Iterator[Doc]:
        """The matches with ids in a range."""
        if self.nothing:
            return
        step, direction = 8, "DESC" if descending else "ASC"
        while True:
            sql = (
                f"SELECT texts.rowid FROM {self._from} WHERE {self._where}"
                f" AND texts.rowid BETWEEN ? AND ? ORDER BY texts.rowid {direction} LIMIT {step}"
            )
            rows = self._db.rows(sql, (self._match, *self._values, first, last))
            yield from self.docs([row[0] for row in rows])
            if len(rows) < step:
                return
            if descending:
                last = rows[-1][0] - 1
            else:
                first = rows[-1][0] + 1
            step *= 4

    def docs(self, ids: Sequence[int]) -> Iterator[Doc]:
        """What is known of these texts, in the order given."""
        places = ", ".join("?" * len(ids))
        columns = "id, CAST(offset AS INTEGER), CAST(time_us AS INTEGER), CAST(tool AS TEXT)"
        sql = f"SELECT {columns} FROM docs WHERE id IN ({places})"  # whatever damage made of them
        found = {row[0]: Doc(*row) for row in self._db.rows(sql, ids)}
        return (found[each] for each in ids if each in found)

    def numbers(self, thread_ids: Iterable[str]) -> dict[str, int]:
        """The numbers of threads."""
        ids = list(thread_ids)
        places = ", ".join("?" * len(ids))
        sql = f"SELECT thread_id, no FROM threads WHERE thread_id IN ({places})"
        return dict(self._db.rows(sql, ids))

    def thread_ids(self, numbers: Iterable[int]) -> dict[int, str]:
        """The ids of threads, by their numbers."""
        wanted = list(numbers)
        places = ", ".join("?" * len(wanted))
        return dict(
            self._db.rows(f"SELECT no, thread_id FROM threads WHERE no IN ({places})", wanted)
        )

    def scores(self) -> list[tuple[float, int, list[int]]]:
        """The threads with a match: best score first, with the ids of their matches, the best
        first, name and title last."""
        if self.nothing:
            return []
        sql = f"SELECT texts.rowid, bm25(texts) FROM {self._from} WHERE {self._where}"
        best: dict[int, float] = {}
        every: dict[int, list[tuple[bool, float, int]]] = {}
        for doc, score in self._db.rows(sql, (self._match, *self._values)):
            no = thread_of(doc)
            every.setdefault(no, []).append((not position_of(doc), score, doc))
            if score < best.get(no, 0.0):
                best[no] = score
        scored = [
            (best.get(no, 0.0), no, [each[2] for each in sorted(docs)])
            for no, docs in every.items()
        ]
        scored.sort(key=lambda entry: entry[0])
        return scored

    def _ids(self, limit: int = -1) -> array[int]:
        sql = (
            f"SELECT texts.rowid FROM {self._from} WHERE {self._where} ORDER BY texts.rowid LIMIT ?"
        )
        rows = self._db.rows(sql, (self._match, *self._values, limit))
        return array("q", [row[0] for row in rows])


class Matches:
    """The matches of a search."""

    def __init__(self, finder: Finder, ids: array[int] | None) -> None:
        self._finder = finder
        self._ids = ids
        self._probed = 0

    def threads(self, limit: int) -> list[int] | None:
        """The numbers of all threads that have one; ``None`` if they are more than *limit*."""
        if self._ids is None:
            return None
        numbers = {thread_of(each) for each in self._ids}
        return sorted(numbers) if len(numbers) <= limit else None

    def in_thread(self, no: int) -> Iterator[Doc]:
        """Those of a thread: in the order of its history, name and title last."""
        title = None
        for doc in self._between(doc_id(no, 0), doc_id(no, LAST)):
            if doc.position:
                yield doc
            else:
                title = doc
        if title is not None:
            yield title

    def _between(self, first: int, last: int) -> Iterator[Doc]:
        if self._ids is None and self._probed >= _PROBED:
            self._ids = self._finder.all()
        if self._ids is None:
            self._probed += 1
            yield from self._finder.in_range(first, last)
            return
        start, end = bisect_left(self._ids, first), bisect_right(self._ids, last)
        for place in range(start, end, 64):
            yield from self._finder.docs(self._ids[place : min(place + 64, end)])


def _conditions(query: SearchQuery) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []
    if query.tools is not None:
        conditions.append(f"docs.tool IN ({', '.join('?' * len(query.tools))})")
        values += query.tools
    if query.since is not None:
        conditions.append("docs.time_us >= ?")
        values.append(time_us(query.since))
    if query.until is not None:
        conditions.append("docs.time_us < ?")
        values.append(time_us(query.until))
    return conditions, values
