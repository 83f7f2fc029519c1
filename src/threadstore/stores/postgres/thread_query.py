"""A :class:`ThreadQuery` as SQL."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

from threadstore.clock import from_ms
from threadstore.ids import id_range, parse_thread_id
from threadstore.queries import SortKey, ThreadQuery, resolve_cwd, thread_place
from threadstore.stores.postgres.records import plain_text

__all__ = ["select", "select_best"]

_SORT_COLUMN: Final = {
    SortKey.CREATED: "created_at",
    SortKey.UPDATED: "updated_at",
    SortKey.RECENCY: "recency_at",
}


def select(
    query: ThreadQuery, tenant: str, family: Collection[str] | None, found: str | None = None
) -> tuple[bytes, dict[str, Any]]:
    """SQL and values for the records of up to ``limit + 1`` threads.

    *family*: the descendants of ``ancestor_id``, if it is asked for. *found*: SQL of the ids that
    are possible. Raises :class:`InvalidRequest` for a bad cursor.
    """
    values: dict[str, Any] = {"tenant": tenant, "limit": query.limit + 1}
    where = ["tenant = %(tenant)s", *_filters(query, family, values)]
    begin = ""
    if found is not None:
        begin = f"WITH found AS MATERIALIZED ({found}) "
        where.append("thread_id IN (SELECT thread_id FROM found)")
    column = _SORT_COLUMN[query.sort_key]
    place = thread_place(query)
    if place is not None:
        values |= {"moment": from_ms(place[0]), "thread": parse_thread_id(place[1])}
        # A row value is what lets the server start inside the index.
        comparison = "<" if query.descending else ">"
        where.append(f"({column}, thread_id) {comparison} (%(moment)s, %(thread)s::uuid)")
    direction = "DESC" if query.descending else "ASC"
    order = f"ORDER BY {column} {direction}, thread_id {direction} LIMIT %(limit)s"
    halves = [
        f"SELECT record, {column}, thread_id FROM threadstore.threads"
        f" WHERE {' AND '.join([*where, half])} {order}"
        for half in _halves(query)
    ]
    if len(halves) == 1:
        return f"{begin}{halves[0]}".encode(), values
    # Each half has an index of its own; together they have none.
    both = " UNION ALL ".join(f"({half})" for half in halves)
    return f"{begin}SELECT record FROM ({both}) AS threads {order}".encode(), values


def select_best(
    query: ThreadQuery, tenant: str, family: Collection[str] | None, scores: str
) -> tuple[bytes, dict[str, Any]]:
    """SQL and values for the records of ``most`` threads: those with the best of *scores* first,
    among equals in the order of *query*. Its limit and cursor do not matter."""
    values: dict[str, Any] = {"tenant": tenant}
    where = ["tenant = %(tenant)s", *_filters(query, family, values)]
    if query.archived is not None:
        where += _halves(query)
    column, direction = _SORT_COLUMN[query.sort_key], "DESC" if query.descending else "ASC"
    listed = (
        f"SELECT record, {column} AS moment, thread_id FROM threadstore.threads"
        f" WHERE {' AND '.join(where)}"
    )
    return (
        f"WITH found AS MATERIALIZED ({scores}) SELECT record"
        f" FROM ({listed}) AS listed JOIN found USING (thread_id)"
        f" ORDER BY score DESC, moment {direction}, thread_id {direction} LIMIT %(most)s"
    ).encode(), values


def _halves(query: ThreadQuery) -> list[str]:
    active, old = "archived_at IS NULL", "archived_at IS NOT NULL"
    if query.archived is None:
        return [active, old]
    return [old if query.archived else active]


def _filters(
    query: ThreadQuery, family: Collection[str] | None, values: dict[str, Any]
) -> list[str]:
    where = []
    cwds = None if query.cwds is None else [resolve_cwd(cwd) for cwd in query.cwds]
    for column, chosen in (
        ("cwd", cwds),
        ("model_provider", query.model_providers),
        ("model", query.models),
        ("git_origin", query.git_origins),
    ):
        if chosen is not None:
            where.append(_one_of(column, chosen, values))
    if query.sources is not None:
        where.append(_of_source(query.sources, "source", values))
    if query.exclude_sources:
        where.append(f"NOT {_of_source(query.exclude_sources, 'excluded', values)}")
    if query.only_displayable:
        where.append("displayable")
    if query.parent_id is not None:
        values["parent"] = parse_thread_id(query.parent_id)
        where.append("parent_thread_id = %(parent)s::uuid")
    if query.name is not None:
        values["name"] = plain_text(query.name)
        where.append("name = %(name)s")
    if query.id_prefix is not None:
        values["lowest"], values["highest"] = id_range(query.id_prefix)
        where.append("thread_id BETWEEN %(lowest)s::uuid AND %(highest)s::uuid")
    if family is not None:
        values["family"] = list(family)
        where.append("thread_id = ANY(%(family)s::uuid[])")
    if query.search_term is not None:
        values["term"] = plain_text(query.search_term.casefold())
        where.append("search_text <> '' AND strpos(search_text, %(term)s) > 0")
    return where


def _one_of(column: str, chosen: Iterable[str], values: dict[str, Any]) -> str:
    texts = sorted(set(map(plain_text, chosen)))
    if len(texts) == 1:  # the one form in which the server reads its index in order
        (values[column],) = texts
        return f"{column} = %({column})s"
    values[column] = texts
    return f"{column} = ANY(%({column})s)"


def _of_source(words: Collection[str], name: str, values: dict[str, Any]) -> str:
    custom = [word.removeprefix("custom:") for word in words if word.startswith("custom:")]
    values[f"{name}_kinds"] = [*map(plain_text, words)]
    values[f"{name}_customs"] = [*map(plain_text, custom)]
    subagents = " OR source_kind LIKE 'subagent\\_%%'" if "subagent" in words else ""
    return (
        f"(source_kind = ANY(%({name}_kinds)s)"
        f" OR coalesce(source_custom = ANY(%({name}_customs)s), false){subagents})"
    )
