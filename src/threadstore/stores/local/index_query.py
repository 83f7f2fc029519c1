"""A :class:`ThreadQuery` on the list index: pieces of ordered indexes, merged.

The cost follows the page. Facts with few values (archived, displayable, source, provider) are a
thread's shelf: a list along several shelves is a merge of one walk for each. A working directory, a
remote and a model have indexes of their own, ordered within each shelf. Only the families of
sub-agents, threads of the same name, and what a search term or the beginning of an id leaves where
that is few, are taken as a whole and sorted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import product
from typing import Any, Final, NamedTuple, Self, TypeAlias

from threadstore.ids import id_range, parse_thread_id
from threadstore.queries import SortKey, ThreadQuery, encode_cursor, thread_place
from threadstore.stores.local import index_titles
from threadstore.stores.local.index_rows import Shelf, Shelves

__all__ = ["DESCENDANTS", "Rows", "cursor_after", "find"]

Rows: TypeAlias = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
"""Every row of a query."""
_Source: TypeAlias = tuple[str, Sequence[Any]]
"""What SQL reads from, and its values."""

_SORT_COLUMN: Final = {
    SortKey.CREATED: "created_ms",
    SortKey.UPDATED: "updated_ms",
    SortKey.RECENCY: "recency_ms",
}
MERGED: Final = 48
"""Walks of one statement."""
_TRIED: Final = 12
"""Walks that may be empty: beyond, it is cheaper to ask first which shelves there are."""
COUNTED: Final = 1000
"""Threads that are counted to find the filter that leaves the fewest."""
SEARCHED: Final = 4000
"""Threads of a list that are looked through for a term that many have, before all are sorted."""
_BY_ID: Final = "threads INDEXED BY sqlite_autoindex_threads_1"

DESCENDANTS: Final = (
    "WITH RECURSIVE tree(id) AS (SELECT ? UNION"
    " SELECT child.id FROM threads AS child JOIN tree ON child.parent_id = tree.id)"
    " SELECT id FROM tree WHERE id <> ?"
)
"""Ids below a thread, parents before children; the thread's id twice as values."""


def cursor_after(query: ThreadQuery, sort_ms: int, thread_id: str) -> str:
    """The cursor of the page that follows this thread."""
    return encode_cursor("threads", query.fingerprint(), sort_ms, thread_id)


def find(
    query: ThreadQuery,
    cwds: Collection[str] | None,
    shelves: Callable[[], Shelves],
    rows: Rows,
) -> list[tuple[Any, ...]]:
    """Sort value, id and record of the first ``limit + 1`` threads.

    *cwds* are the query's, with links resolved; *shelves* gives all that there are. Raises
    :class:`InvalidRequest` for a bad cursor.
    """
    order = _Order(query)
    facets = _facets(query, cwds)
    if not all(facets.values()):
        return []
    every = _Where.of(query, facets)
    if facets and not Shelf.matter(query) and not _is_family(query):
        page = order.glance(every, rows)
        if page:
            return page
    wanted = _wanted(query, facets, shelves)
    if wanted is None:
        every.one_of("archived", _states(query))
    elif wanted:
        every.one_of("shelf", wanted)
    else:
        return []
    column = _narrowest(facets, rows)
    many = len(facets.get(column, ())) * len(wanted or ()) > _TRIED
    whole = _family(query, every) or _few(query, _facet(column, facets) if many else None, rows)
    if whole is not None:
        return rows(*order.sort(*whole, every))
    walks = _walks(query, wanted, column, facets.pop(column, ()), rows)
    where = _Where.of(query, facets)
    hits = None if query.search_term is None else index_titles.hits(query.search_term)
    end = None if hits is None else order.place_after(walks, SEARCHED, rows)
    if end is None:
        return order.merge(walks, where, rows)
    # A term that many threads have is mostly among the first of the list; if not, all are sorted.
    assert hits is not None
    found = order.merge(walks, order.before(where, end), rows)
    if len(found) < order.limit:
        found = rows(*order.sort(_among(hits[0]), hits[1], every))
    return found


def _is_family(query: ThreadQuery) -> bool:
    return query.parent_id is not None or query.ancestor_id is not None


def _family(query: ThreadQuery, every: _Where) -> _Source | None:
    if not _is_family(query):
        return None
    parent, ancestor = query.parent_id, query.ancestor_id
    if parent is not None:
        every.add("parent_id = ?", [parse_thread_id(parent)])
    if ancestor is not None:
        ancestor = parse_thread_id(ancestor)
        every.add(f"id IN ({DESCENDANTS})", [ancestor, ancestor])
    return _BY_ID if parent is None else "threads INDEXED BY threads_parent", []


def _few(query: ThreadQuery, facet: tuple[str, _Where] | None, rows: Rows) -> _Source | None:
    """Where all that pass are among so few that these are taken as a whole and sorted. *facet*:
    where there would be many walks."""
    prefix, term = query.id_prefix, query.search_term
    if query.name is not None:
        return "threads INDEXED BY threads_name", []
    if prefix is not None and _count(_BY_ID, _Where().ids(prefix), rows) < COUNTED:
        return _BY_ID, []
    if term is not None and (hits := index_titles.few_hits(term, rows)) is not None:
        return _among(hits[0]), hits[1]
    if facet is not None and _count(*facet, rows) < COUNTED:
        return facet[0], []
    return None


def _place_of(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return row[:2]


def _among(hits: str) -> str:
    return f"{hits} CROSS JOIN threads USING (key)"


class _Walks(NamedTuple):
    """Walks along one index, each through the threads that have these values in its leading
    columns: they are in the order of the query."""

    along: str
    columns: tuple[str, ...]
    values: list[tuple[Any, ...]]


class _Where:
    """Conditions that all have to hold, and their values."""

    def __init__(self) -> None:
        self.conditions: list[str] = []
        self.values: list[Any] = []

    @classmethod
    def of(cls, query: ThreadQuery, facets: dict[str, Collection[str]]) -> Self:
        """What neither a shelf nor the walk says of each thread."""
        where = cls()
        if query.id_prefix is not None:
            where.ids(query.id_prefix)
        if query.name is not None:
            where.add("name = ?", [query.name])
        for column, values in facets.items():
            where.one_of(column, values)
        if query.search_term is not None:
            where.add(*index_titles.condition(query.search_term))
        return where

    def add(self, condition: str, values: Iterable[Any] = ()) -> Self:
        self.conditions.append(condition)
        self.values.extend(values)
        return self

    def one_of(self, column: str, values: Collection[Any]) -> Self:
        return self.add(f"{column} IN ({', '.join('?' * len(values))})", values)

    def ids(self, prefix: str) -> Self:
        return self.add("id BETWEEN ? AND ?", id_range(prefix))

    def plus(self, condition: str, values: Iterable[Any]) -> _Where:
        where = _Where()
        where.add(condition, values)
        where.conditions += self.conditions
        where.values += self.values
        return where

    def sql(self) -> str:
        return " AND ".join(self.conditions) or "TRUE"


class _Order:
    """The order of a query, from its cursor on."""

    def __init__(self, query: ThreadQuery) -> None:
        self._archived = query.archived
        self._name = query.sort_key.value
        self.descending = query.descending
        self.limit = query.limit + 1
        self._column = _SORT_COLUMN[query.sort_key]
        self._place = thread_place(query)

    def merge(self, walks: _Walks, where: _Where, rows: Rows) -> list[tuple[Any, ...]]:
        """The first threads of all walks that pass."""
        where = self._after(where)
        found: list[tuple[Any, ...]] = []
        for start in range(0, len(walks.values), MERGED):
            part = walks._replace(values=walks.values[start : start + MERGED])
            found += rows(*self._statement(part, where, "record"))
        if len(walks.values) > MERGED:
            found.sort(key=_place_of, reverse=self.descending)
        return found[: self.limit]

    def sort(self, source: str, values: Sequence[Any], where: _Where) -> tuple[str, list[Any]]:
        """SQL and values of the first threads of a source that is not in order."""
        where = self._after(where)
        first = f"SELECT key FROM {source} WHERE {where.sql()} {self._by()}"
        # What is sorted stays small: the records are those of the page.
        sql = (
            f"SELECT {self._column}, id, record FROM ({first}) CROSS JOIN threads USING (key)"
            f" {self._by()}"
        )
        return sql, [*values, *where.values, self.limit, self.limit]

    def glance(self, where: _Where, rows: Rows) -> list[tuple[Any, ...]]:
        """The page, if twice as many threads of the whole order make it full: where most pass, as
        in the one folder that somebody works in, a merge would cost more."""
        if self._archived is None:
            return []
        begin = self._after(_Where().one_of("archived", [self._archived]))
        first = (
            f"SELECT key FROM threads INDEXED BY threads_archived_{self._name}"
            f" WHERE {begin.sql()} {self._by()}"
        )
        sql = (
            f"SELECT {self._column}, id, record FROM ({first}) CROSS JOIN threads USING (key)"
            f" WHERE {where.sql()} LIMIT ?"
        )
        found = rows(sql, [*begin.values, 2 * self.limit, *where.values, self.limit])
        found.sort(key=_place_of, reverse=self.descending)
        return found if len(found) == self.limit else []

    def place_after(self, walks: _Walks, steps: int, rows: Rows) -> tuple[int, str] | None:
        """Sort value and id of the thread that comes after so many; ``None``: there is none, or
        more walks than one statement merges."""
        if len(walks.values) > MERGED:
            return None
        sql, values = self._statement(walks, self._after(_Where()), "1")
        place = rows(f"{sql} OFFSET ?", [*values[:-1], 1, steps])
        return place[0][:2] if place else None

    def before(self, where: _Where, place: tuple[int, str]) -> _Where:
        """Only threads that come before a place."""
        return where.plus(f"({self._column}, id) {'>' if self.descending else '<'} (?, ?)", place)

    def _statement(self, walks: _Walks, where: _Where, more: str) -> tuple[str, list[Any]]:
        by, column = self._by("moment"), self._column
        sql = _merge(walks.along, walks.columns, len(walks.values), column, more, where.sql(), by)
        values: list[Any] = []
        for fixed in walks.values:
            values += fixed
            values += where.values
        values.append(self.limit)
        return sql, values

    def _after(self, where: _Where) -> _Where:
        if self._place is None:
            return where
        # A row value is what lets SQLite start inside the index instead of filtering up to it.
        comparison = "<" if self.descending else ">"
        return where.plus(f"({self._column}, id) {comparison} (?, ?)", self._place)

    def _by(self, column: str = "") -> str:
        direction = "DESC" if self.descending else "ASC"
        return f"ORDER BY {column or self._column} {direction}, id {direction} LIMIT ?"


@functools.lru_cache(maxsize=256)
def _merge(
    index: str, columns: tuple[str, ...], number: int, column: str, more: str, where: str, by: str
) -> str:
    fixed = " AND ".join(f"{leading} = ?" for leading in columns)
    walk = f"SELECT {column} AS moment, id, {more} FROM threads INDEXED BY {index} WHERE {fixed}"
    return f"{' UNION ALL '.join([f'{walk} AND {where}'] * number)} {by}"


def _facets(query: ThreadQuery, cwds: Collection[str] | None) -> dict[str, Collection[str]]:
    """The filters by facts with many values, by column."""
    asked = {"cwd": cwds, "git_origin": query.git_origins, "model": query.models}
    return {column: set(values) for column, values in asked.items() if values is not None}


def _narrowest(facets: dict[str, Collection[str]], rows: Rows) -> str:
    """The filter whose index to walk along: it leaves the fewest threads, as far as is counted."""
    if len(facets) < 2:
        return next(iter(facets), "")

    return min(facets, key=lambda column: _count(*_facet(column, facets), rows))


def _facet(column: str, facets: dict[str, Collection[str]]) -> tuple[str, _Where]:
    """The index of a fact, and what to look for in it."""
    where = _Where().one_of(column, facets[column])
    return f"threads INDEXED BY threads_{column}_created", where


def _count(source: str, where: _Where, rows: Rows) -> int:
    """How many there are, as far as is counted."""
    sql = f"SELECT count(*) FROM (SELECT 1 FROM {source} WHERE {where.sql()} LIMIT {COUNTED})"
    return int(rows(sql, where.values)[0][0])


def _states(query: ThreadQuery) -> tuple[bool, ...]:
    return (False, True) if query.archived is None else (query.archived,)


def _wanted(
    query: ThreadQuery,
    facets: Collection[str],
    shelves: Callable[[], Shelves],
) -> list[int] | None:
    """Keys of shelves along which to walk; ``None``: it is enough to look at what is archived."""
    if not facets and not Shelf.matter(query):
        return None
    every = shelves()
    wanted = [key for key, shelf in every if shelf.matches(query)]
    of_states = sum(shelf.archived in _states(query) for _, shelf in every)
    return None if wanted and not facets and len(wanted) == of_states else wanted


def _walks(
    query: ThreadQuery,
    wanted: Collection[int] | None,
    column: str,
    values: Collection[str],
    rows: Rows,
) -> _Walks:
    order = query.sort_key.value
    if wanted is None:
        along = [(state,) for state in _states(query)]
        return _Walks(f"threads_archived_{order}", ("archived",), along)
    keys = set(wanted)
    if not column:
        return _Walks(f"threads_shelf_{order}", ("shelf",), [(key,) for key in keys])
    pairs: Iterable[tuple[str, int]] = product(values, keys)
    if len(values) * len(keys) > _TRIED:
        pairs = ((value, key) for value in values for key in _used(column, value, rows) & keys)
    return _Walks(f"threads_{column}_{order}", (column, "shelf"), list(pairs))


def _used(column: str, value: str, rows: Rows) -> set[int]:
    """The shelves on which threads with this value stand: a step inside the index for each."""
    index = f"threads INDEXED BY threads_{column}_created"
    sql = (
        f"WITH RECURSIVE used(shelf) AS (SELECT min(shelf) FROM {index} WHERE {column} = ?1"
        f" UNION ALL SELECT (SELECT min(shelf) FROM {index}"
        f" WHERE {column} = ?1 AND shelf > used.shelf) FROM used WHERE used.shelf IS NOT NULL)"
        " SELECT shelf FROM used WHERE shelf IS NOT NULL"
    )
    return {row[0] for row in rows(sql, [value])}
