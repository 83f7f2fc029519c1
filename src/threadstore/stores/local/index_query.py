"""A :class:`ThreadQuery` as SQL on the list index."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

from threadstore.ids import parse_thread_id
from threadstore.queries import SortKey, ThreadQuery, encode_cursor, thread_place

__all__ = ["DESCENDANTS", "cursor_after", "select"]

_SORT_COLUMN: Final = {
    SortKey.CREATED: "created_ms",
    SortKey.UPDATED: "updated_ms",
    SortKey.RECENCY: "recency_ms",
}

DESCENDANTS: Final = (
    "WITH RECURSIVE tree(id) AS (SELECT ? UNION"
    " SELECT child.id FROM threads AS child JOIN tree ON child.parent_id = tree.id)"
    " SELECT id FROM tree WHERE id <> ?"
)
"""Ids below a thread, parents before children; the thread's id twice as values."""


def cursor_after(query: ThreadQuery, sort_ms: int, thread_id: str) -> str:
    """The cursor of the page that follows this thread."""
    return encode_cursor("threads", query.fingerprint(), sort_ms, thread_id)


def select(query: ThreadQuery, cwds: Collection[str] | None) -> tuple[str, list[Any]]:
    """SQL and values of a page: sort value, id and digest of up to ``limit + 1`` threads.

    *cwds* are the query's, with links resolved. Raises :class:`InvalidRequest` for a bad cursor.
    """
    column = _SORT_COLUMN[query.sort_key]
    where = _Where()
    _add_filters(where, query, cwds)
    place = thread_place(query)
    if place is not None:
        # A row value is what lets SQLite start inside the index instead of filtering up to it.
        comparison = "<" if query.descending else ">"
        where.add(f"({column}, id) {comparison} (?, ?)", place)
    direction = "DESC" if query.descending else "ASC"
    sql = (
        f"SELECT {column}, id, digest FROM threads{_few(query)}{where.sql()}"
        f" ORDER BY {column} {direction}, id {direction} LIMIT ?"
    )
    return sql, [*where.values, query.limit + 1]


def _few(query: ThreadQuery) -> str:
    # SQLite would rather walk along the whole order than sort the few descendants of a thread.
    if query.parent_id is not None:
        return " INDEXED BY threads_parent"
    return " INDEXED BY sqlite_autoindex_threads_1" if query.ancestor_id is not None else ""


class _Where:
    """Conditions that all have to hold, and their values."""

    def __init__(self) -> None:
        self._conditions: list[str] = []
        self.values: list[Any] = []

    def add(self, condition: str, values: Iterable[Any] = ()) -> None:
        self._conditions.append(condition)
        self.values.extend(values)

    def sql(self) -> str:
        return f" WHERE {' AND '.join(self._conditions)}" if self._conditions else ""


def _add_filters(where: _Where, query: ThreadQuery, cwds: Collection[str] | None) -> None:
    if query.archived is not None:
        where.add("archived = ?", [query.archived])
    if cwds is not None:
        where.add(*_one_of("cwd", cwds))
    if query.model_providers is not None:
        where.add(*_one_of("provider", query.model_providers))
    if query.models is not None:
        where.add(*_one_of("model", query.models))
    if query.git_origins is not None:
        where.add(*_one_of("git_origin", query.git_origins))
    if query.sources is not None:
        where.add(*_of_source(query.sources))
    if query.exclude_sources:
        condition, values = _of_source(query.exclude_sources)
        where.add(f"NOT {condition}", values)
    if query.only_displayable:
        where.add("displayable = 1")
    if query.parent_id is not None:
        where.add("parent_id = ?", [parse_thread_id(query.parent_id)])
    if query.ancestor_id is not None:
        ancestor = parse_thread_id(query.ancestor_id)
        where.add(f"id IN ({DESCENDANTS})", [ancestor, ancestor])
    if query.search_term is not None:
        where.add("search <> '' AND instr(search, ?) > 0", [query.search_term.casefold()])


def _one_of(column: str, values: Iterable[str]) -> tuple[str, list[str]]:
    chosen = list(values)
    return f"{column} IN ({', '.join('?' * len(chosen))})", chosen


def _of_source(words: Collection[str]) -> tuple[str, list[str]]:
    names = [word.removeprefix("custom:") for word in words if word.startswith("custom:")]
    in_kinds, kinds = _one_of("kind", (word for word in words if not word.startswith("custom:")))
    in_names, customs = _one_of("custom", names)
    subagents = " OR kind GLOB 'subagent_*'" if "subagent" in words else ""
    return f"({in_kinds} OR (custom IS NOT NULL AND {in_names}){subagents})", [*kinds, *customs]
