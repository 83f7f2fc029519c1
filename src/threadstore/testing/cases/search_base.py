"""What the cases of searching share: a few words to ask and to check with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from threadstore.errors import InvalidRequest
from threadstore.history.items import RolloutItem
from threadstore.queries import ThreadQuery
from threadstore.search import Occurrence, SearchHit, SearchQuery
from threadstore.store import ThreadStore
from threadstore.testing import items
from threadstore.testing.cases.base import check_error
from threadstore.testing.clock import ManualClock
from threadstore.testing.seeds import record_thread

__all__ = [
    "check_occurrence",
    "found",
    "hits",
    "marked",
    "occurrences",
    "refused",
    "said",
    "search",
    "with_items",
]

_OWN = frozenset(SearchQuery.__struct_fields__) - {"threads"}
_LONGEST = 400
"""Characters of a snippet, whatever was found."""


def search(text: str, **fields: Any) -> SearchQuery:
    """A search; fields that it has not are those of its ``threads``."""
    own = {key: value for key, value in fields.items() if key in _OWN}
    threads = {key: value for key, value in fields.items() if key not in _OWN}
    return SearchQuery(text=text, threads=ThreadQuery(**threads), **own)


async def hits(store: ThreadStore, text: str, **fields: Any) -> list[SearchHit]:
    """The hits of all pages, none of them degraded."""
    query = search(text, **fields)
    every: list[SearchHit] = []
    while True:
        page = await store.search_threads(query)
        assert page.degraded is None
        assert len(page.items) <= query.threads.limit
        for hit in page.items:
            assert hit.found.thread_id == hit.thread.id
            check_occurrence(hit.found)
        every += page.items
        if page.next_cursor is None:
            return every
        assert page.items
        threads = msgspec.structs.replace(query.threads, cursor=page.next_cursor)
        query = msgspec.structs.replace(query, threads=threads)


async def found(store: ThreadStore, text: str, **fields: Any) -> list[str]:
    """The ids of the threads of all pages."""
    return [hit.thread.id for hit in await hits(store, text, **fields)]


async def occurrences(
    store: ThreadStore, thread_id: str, query: SearchQuery, **fields: Any
) -> list[Occurrence]:
    """The occurrences of all pages; *fields*: limit and direction."""
    every: list[Occurrence] = []
    cursor: str | None = None
    while True:
        page = await store.search_occurrences(thread_id, query, cursor=cursor, **fields)
        assert page.degraded is None
        assert len(page.items) <= fields.get("limit", 25)
        for each in page.items:
            assert each.thread_id == thread_id
            check_occurrence(each)
        every += page.items
        cursor = page.next_cursor
        if cursor is None:
            return every
        assert page.items


def check_occurrence(each: Occurrence) -> None:
    """What holds for every occurrence, whatever was searched for."""
    assert each.snippet
    assert len(each.snippet) <= _LONGEST
    assert not re.search(r"[\n\r\t]|  ", each.snippet)
    assert each.marks
    behind = 0
    for start, end in each.marks:
        assert behind <= start < end <= len(each.snippet)
        behind = end
    assert each.said_at.tzinfo is not None
    assert (each.turn_cursor is None) == (each.position == 0)


def refused(error: InvalidRequest) -> None:
    """An error that says what to do next."""
    check_error(error)
    assert error.hint


def marked(each: Occurrence) -> list[str]:
    """The parts of the snippet that are marked."""
    return [each.snippet[start:end] for start, end in each.marks]


async def said(store: ThreadStore, clock: ManualClock, *said: str, **new: Any) -> str:
    """A cold thread in which the assistant said this; its id."""
    return await with_items(store, clock, [items.agent_message(text) for text in said], **new)


async def with_items(
    store: ThreadStore, clock: ManualClock, added: Sequence[RolloutItem], **new: Any
) -> str:
    """A cold thread with a first turn that says nothing of interest, and these items behind it."""
    thread = await record_thread(store, clock, "begin", live=True, **new)
    await store.append_items(thread.id, added)
    await store.shutdown_thread(thread.id)
    return thread.id
