"""Lists: every order, pages that neither skip nor repeat, cursors that know their query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from threadstore.errors import InvalidRequest
from threadstore.metadata import NewThread, StoredThread
from threadstore.queries import SortKey, ThreadQuery, encode_cursor
from threadstore.store import ThreadStore
from threadstore.testing import items
from threadstore.testing.cases.base import Cases, check_error, explicit, facts, listed, observed
from threadstore.testing.clock import ManualClock
from threadstore.testing.seeds import empty_thread, record_thread

__all__ = ["ListingTests"]


class _Order(NamedTuple):
    key: SortKey
    descending: bool

    @property
    def query(self) -> dict[str, Any]:
        return {"sort_key": self.key, "descending": self.descending}

    def __str__(self) -> str:
        return f"{self.key}-{'down' if self.descending else 'up'}"


_in_every_order = pytest.mark.parametrize(
    "order", [_Order(key, down) for key in SortKey for down in (True, False)], ids=str
)


async def _pages(
    store: ThreadStore, limits: Sequence[int], **query: Any
) -> list[tuple[StoredThread, ...]]:
    """All pages of a query; the limits are used in turn."""
    pages: list[tuple[StoredThread, ...]] = []
    cursor: str | None = None
    while True:
        limit = limits[len(pages) % len(limits)]
        page = await store.list_threads(ThreadQuery(limit=limit, cursor=cursor, **query))
        assert len(page.items) <= limit
        pages.append(page.items)
        cursor = page.next_cursor
        if cursor is None:
            return pages


async def _record(
    store: ThreadStore, clock: ManualClock, number: int, *, step: float = 1.0
) -> list[str]:
    """Threads with increasing times, oldest first."""
    ids = []
    for index in range(number):
        ids.append((await record_thread(store, clock, f"message {index}")).id)
        clock.advance(step)
    return ids


class ListingTests(Cases):
    """``list_threads`` without filters."""

    @_in_every_order
    async def test_every_order_pages_through_all_threads(
        self, store: ThreadStore, clock: ManualClock, order: _Order
    ) -> None:
        oldest_first = await _record(store, clock, 7)
        expected = oldest_first[::-1] if order.descending else oldest_first
        for limits in ([1], [2], [3], [7], [8], [2, 3, 1]):
            pages = await _pages(store, limits, **order.query)
            assert [thread.id for page in pages for thread in page] == expected
            assert all(pages)

    @_in_every_order
    async def test_threads_of_the_same_moment_are_neither_skipped_nor_repeated(
        self, store: ThreadStore, clock: ManualClock, order: _Order
    ) -> None:
        ids = set()
        for _ in range(3):
            ids |= {(await record_thread(store, clock)).id for _ in range(4)}
            clock.advance(2)
        for limit in (1, 3, 5):
            pages = await _pages(store, [limit], **order.query)
            threads = [thread for page in pages for thread in page]
            assert len(threads) == len(ids)
            assert {thread.id for thread in threads} == ids
            places = [(order.key.of(thread), thread.id) for thread in threads]
            assert places == sorted(places, reverse=order.descending)

    @_in_every_order
    async def test_milliseconds_decide(
        self, store: ThreadStore, clock: ManualClock, order: _Order
    ) -> None:
        oldest_first = await _record(store, clock, 4, step=0.001)
        pages = await _pages(store, [1], **order.query)
        found = [thread.id for page in pages for thread in page]
        assert found == (oldest_first[::-1] if order.descending else oldest_first)

    @_in_every_order
    async def test_threads_that_come_while_paging_disturb_nothing(
        self, store: ThreadStore, clock: ManualClock, order: _Order
    ) -> None:
        before = await _record(store, clock, 6)
        query = {**order.query, "limit": 2}
        page = await store.list_threads(ThreadQuery(**query))
        found = [thread.id for thread in page.items]
        while page.next_cursor is not None:
            await record_thread(store, clock)
            clock.advance()
            page = await store.list_threads(ThreadQuery(**query, cursor=page.next_cursor))
            found += (thread.id for thread in page.items)
            if len(found) > 30:
                break  # towards newer threads the list grows as fast as it is read
        old = [thread_id for thread_id in found if thread_id in before]
        assert old == (before[::-1] if order.descending else before)
        assert len(found) == len(set(found))

    async def test_threads_that_go_while_paging_disturb_nothing(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        ids = (await _record(store, clock, 6))[::-1]
        page = await store.list_threads(ThreadQuery(limit=2))
        await store.delete_thread(ids[1])
        await store.archive_thread(ids[2])
        page = await store.list_threads(ThreadQuery(limit=2, cursor=page.next_cursor))
        assert [thread.id for thread in page.items] == ids[3:5]

    async def test_the_default_is_active_threads_newest_use_first(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        ids = (await _record(store, clock, 27))[::-1]
        await store.archive_thread(ids[3])
        page = await store.list_threads()
        assert [thread.id for thread in page.items] == [*ids[:3], *ids[4:26]]
        assert page.next_cursor is not None
        assert page == await store.list_threads(ThreadQuery())

    async def test_an_empty_store_has_one_empty_page(self, store: ThreadStore) -> None:
        page = await store.list_threads()
        assert (page.items, page.next_cursor) == ((), None)

    async def test_a_page_that_is_just_full_is_the_last(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        await _record(store, clock, 4)
        first = await store.list_threads(ThreadQuery(limit=2))
        last = await store.list_threads(ThreadQuery(limit=2, cursor=first.next_cursor))
        assert len(last.items) == 2
        assert last.next_cursor is None

    async def test_a_list_shows_what_read_thread_shows(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        await record_thread(store, clock, name="named", source="exec")
        await empty_thread(store, memory_mode="disabled")
        page = await store.list_threads()
        assert len(page.items) == 2
        for thread in page.items:
            assert facts(await store.read_thread(thread.id)) == facts(thread)

    async def test_empty_and_live_threads_are_listed_once_they_have_history(
        self, store: ThreadStore
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        assert await listed(store) == []
        await store.append_items(thread.id, [items.unknown_item()])
        assert await listed(store) == [thread.id]
        empty = await empty_thread(store)
        assert set(await listed(store)) == {thread.id, empty.id}

    async def test_a_thread_that_was_only_named_is_listed(self, store: ThreadStore) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        await explicit(store, thread.id, name="only a name")
        await store.shutdown_thread(thread.id)
        assert await listed(store, only_displayable=True) == [thread.id]

    async def test_a_change_of_a_sort_value_moves_the_thread(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        one, two = await _record(store, clock, 2)
        now = clock.advance(10)
        await store.resume_thread(one)
        await store.append_items(one, items.turn("turn-2", "more", at=now))
        await observed(store, one, updated_at=now, advance_recency_at=now)
        for key in (SortKey.UPDATED, SortKey.RECENCY):
            assert await listed(store, sort_key=key) == [one, two]
        assert await listed(store, sort_key=SortKey.CREATED) == [two, one]

    @pytest.mark.parametrize("limit", [0, -1, 10_001, True, 2.5, "2"])
    async def test_a_bad_limit_is_an_invalid_request(self, limit: Any) -> None:
        with pytest.raises(InvalidRequest):
            ThreadQuery(limit=limit)

    async def test_what_is_no_cursor_is_an_invalid_request(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        await _record(store, clock, 3)
        good = (await store.list_threads(ThreadQuery(limit=1))).next_cursor
        assert good is not None
        fingerprint = ThreadQuery().fingerprint()
        bad = (
            "",
            "nonsense",
            "2026-03-04T05:06:07Z",
            good[:-3],
            good + "AAAA",
            "é",
            encode_cursor("turns", fingerprint, 1, "x"),
            encode_cursor("threads", fingerprint),
            encode_cursor("threads", fingerprint, "x", 1),
            encode_cursor("threads", fingerprint, 1, "x", 2),
        )
        for cursor in bad:
            with pytest.raises(InvalidRequest) as caught:
                await store.list_threads(ThreadQuery(cursor=cursor))
            check_error(caught.value)

    @pytest.mark.parametrize(
        "change",
        [
            {"sort_key": SortKey.CREATED},
            {"descending": False},
            {"archived": None},
            {"archived": True},
            {"cwds": ("/repo",)},
            {"model_providers": ("openai",)},
            {"models": ("gpt-5.1",)},
            {"git_origins": ("https://example.org/a.git",)},
            {"sources": ("cli",)},
            {"exclude_sources": ("exec",)},
            {"parent_id": "01a201e5-a996-7a61-8db2-c256091e8939"},
            {"ancestor_id": "01a201e5-a996-7a61-8db2-c256091e8939"},
            {"id_prefix": "01"},
            {"name": "message"},
            {"search_term": "message"},
            {"only_displayable": True},
        ],
        ids=lambda change: next(iter(change)),
    )
    async def test_a_cursor_of_another_query_is_an_invalid_request(
        self, store: ThreadStore, clock: ManualClock, change: dict[str, Any]
    ) -> None:
        await _record(store, clock, 3)
        cursor = (await store.list_threads(ThreadQuery(limit=1))).next_cursor
        with pytest.raises(InvalidRequest):
            await store.list_threads(ThreadQuery(cursor=cursor, **change))
        changed = await store.list_threads(ThreadQuery(limit=1, **change))
        if changed.next_cursor is not None:
            with pytest.raises(InvalidRequest):
                await store.list_threads(ThreadQuery(cursor=changed.next_cursor))

    async def test_listing_changes_nothing(self, store: ThreadStore, clock: ManualClock) -> None:
        ids = await _record(store, clock, 3)
        before = [await store.read_thread(thread_id) for thread_id in ids]
        clock.advance(60)
        for key in SortKey:
            await listed(store, sort_key=key, archived=None)
        assert [await store.read_thread(thread_id) for thread_id in ids] == before
