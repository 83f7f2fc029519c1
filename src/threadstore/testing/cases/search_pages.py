"""Searching: in which threads, in which order, page by page."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import pytest

from threadstore.errors import InvalidRequest, ThreadNotFound
from threadstore.metadata import GitInfo, NewThread
from threadstore.queries import SortKey, ThreadQuery
from threadstore.search import SearchPage, SearchQuery
from threadstore.store import ThreadStore
from threadstore.testing import items
from threadstore.testing.cases.base import (
    Cases,
    check_error,
    explicit,
    listed,
    observed,
    unknown_id,
    where,
)
from threadstore.testing.cases.search_base import (
    found,
    hits,
    occurrences,
    refused,
    said,
    search,
    with_items,
)
from threadstore.testing.clock import ManualClock
from threadstore.testing.seeds import empty_thread, record_thread, spawned_by

__all__ = ["SearchFilterTests", "SearchPageTests"]


@where("_searches")
class SearchFilterTests(Cases):
    """The filters of ``SearchQuery.threads``, and the times of texts."""

    async def test_search_among_archived_threads(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        active, archived = [await said(store, clock, "needle") for _ in range(2)]
        await store.archive_thread(archived)
        for ranked in (False, True):
            assert await found(store, "needle", ranked=ranked) == [active]
            assert await found(store, "needle", ranked=ranked, archived=True) == [archived]
            both = await found(store, "needle", ranked=ranked, archived=None)
            assert sorted(both) == sorted([active, archived])
        await store.unarchive_thread(archived)
        assert len(await found(store, "needle")) == 2
        await store.delete_thread(archived)
        assert await found(store, "needle", archived=None) == [active]

    async def test_search_with_each_filter(self, store: ThreadStore, clock: ManualClock) -> None:
        origin = "https://example.org/right.git"
        right: dict[str, Any] = {
            "cwd": "/right",
            "source": "exec",
            "model_provider": "mock",
            "git": GitInfo(origin_url=origin),
        }
        wanted = await said(store, clock, "needle", **right)
        clock.advance()
        other = await said(store, clock, "needle")
        silent = await said(store, clock, "hay", **right)
        for thread, model in ((other, "gpt-6"), (silent, "gpt-6")):
            await store.resume_thread(thread)
            await store.append_items(thread, items.turn("turn-2", "x", model=model))
            await observed(store, thread, model=model)
            await store.shutdown_thread(thread)
        filters: dict[str, Any] = {
            "cwds": ("/right/../right",),
            "sources": ("exec",),
            "model_providers": ("mock",),
            "git_origins": (origin,),
            "models": ("gpt-5.1",),
            "exclude_sources": ("cli",),
            "search_term": "begin",
            "only_displayable": True,
        }
        for ranked in (False, True):
            for name, value in filters.items():
                expected = [wanted] if name not in ("search_term", "only_displayable") else None
                result = await found(store, "needle", ranked=ranked, **{name: value})
                assert sorted(result) == sorted(expected or [wanted, other]), name
            assert await found(store, "needle", ranked=ranked, **filters) == [wanted]
            for name in ("cwds", "sources", "model_providers", "git_origins", "models"):
                assert await found(store, "needle", ranked=ranked, **{name: ()}) == []
                assert await found(store, "needle", ranked=ranked, **{name: ("x",)}) == []
            assert await found(store, "needle", ranked=ranked, search_term="absent") == []

    async def test_search_in_a_family(self, store: ThreadStore, clock: ManualClock) -> None:
        root = await said(store, clock, "needle")
        clock.advance()
        spawned = {"source": spawned_by(root), "parent_thread_id": root}
        child = await said(store, clock, "needle", **spawned)
        clock.advance()
        spawned = {"source": spawned_by(child), "parent_thread_id": child}
        grandchild = await said(store, clock, "needle", **spawned)
        for ranked in (False, True):
            assert await found(store, "needle", ranked=ranked, parent_id=root) == [child]
            both = await found(store, "needle", ranked=ranked, ancestor_id=root)
            assert sorted(both) == sorted([child, grandchild])
            assert await found(store, "needle", ranked=ranked, ancestor_id=unknown_id()) == []
        assert await found(store, "needle", ancestor_id=root) == [grandchild, child]

    async def test_search_by_time(self, store: ThreadStore, clock: ManualClock) -> None:
        thread = await record_thread(store, clock, "begin", name="needle", live=True)
        moments = [clock.now()]
        for number in range(3):
            clock.advance(60)
            moments.append(clock.now())
            await store.append_items(thread.id, [items.agent_message(f"needle {number}")])
        clock.advance(60)
        query = search("needle")
        every = await occurrences(store, thread.id, query)
        assert [_ms(each.said_at) for each in every] == [_ms(moment) for moment in moments]
        for since, until, expected in (
            (moments[0], None, every),
            (moments[1], None, every[1:]),
            (moments[1] + dt.timedelta(seconds=1), None, every[2:]),
            (None, moments[2], every[:2]),
            (moments[1], moments[3], every[1:3]),
            (moments[2], moments[2], []),
            (clock.now(), None, []),
            (None, moments[0], []),
        ):
            for zone in (dt.UTC, dt.timezone(dt.timedelta(hours=-7))):
                times = {
                    "since": since and since.astimezone(zone),
                    "until": until and until.astimezone(zone),
                }
                query = search("needle", **times)
                assert await occurrences(store, thread.id, query) == expected
                assert await found(store, "needle", **times) == [thread.id][: len(expected)]

    async def test_search_times_need_a_zone(self) -> None:
        for field in ("since", "until"):
            with pytest.raises(InvalidRequest):
                search("x", **{field: dt.datetime(2026, 1, 1)})  # noqa: DTZ001

    async def test_a_thread_of_which_nothing_is_stored_is_not_searched(
        self, store: ThreadStore
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        await observed(store, thread.id, title="needle", preview="needle")
        assert await found(store, "needle") == []
        await store.discard_thread(thread.id)
        assert await found(store, "needle") == []


@where("_searches")
class SearchPageTests(Cases):
    """Orders, pages and cursors."""

    @pytest.mark.parametrize("key", SortKey)
    @pytest.mark.parametrize("descending", [True, False])
    async def test_hits_come_in_the_order_of_the_list(
        self,
        store: ThreadStore,
        clock: ManualClock,
        key: SortKey,
        descending: bool,  # noqa: FBT001
    ) -> None:
        wanted = []
        for number in range(7):
            wanted.append(await said(store, clock, "needle" if number else "the needle is here"))
            await said(store, clock, "hay")
            clock.advance(0.001 if number % 2 else 0)
        order: dict[str, Any] = {"sort_key": key, "descending": descending}
        expected = [each for each in await listed(store, **order) if each in wanted]
        assert len(expected) == 7
        for limit in (1, 2, 3, 7, 8):
            assert await found(store, "needle", **order, limit=limit) == expected
        for hit in await hits(store, "needle", **order):
            assert hit.thread == await store.read_thread(hit.thread.id)

    @pytest.mark.parametrize("descending", [True, False])
    async def test_threads_that_come_while_searching_disturb_nothing(
        self,
        store: ThreadStore,
        clock: ManualClock,
        descending: bool,  # noqa: FBT001
    ) -> None:
        before = []
        for _ in range(6):
            before.append(await said(store, clock, "needle"))
            clock.advance()
        query = search("needle", limit=2, descending=descending, sort_key=SortKey.CREATED)
        page = await store.search_threads(query)
        result = [hit.thread.id for hit in page.items]
        for _ in range(6):
            await said(store, clock, "needle")
            clock.advance()
            page = await _next(store, query, page)
            result += [hit.thread.id for hit in page.items]
            if page.next_cursor is None:
                break
        old = [each for each in result if each in before]
        assert old == (before[::-1] if descending else before)
        assert len(set(result)) == len(result)

    async def test_ranked_pages_have_each_thread_once(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        wanted = set()
        for number in range(9):
            text = "needle " * (number % 4 + 1) + "hay " * (number % 3)
            wanted.add(await said(store, clock, text, f"a needle {number}"))
            await said(store, clock, "hay")
            clock.advance(number % 2)
        whole = await hits(store, "needle", ranked=True, limit=100)
        assert {hit.thread.id for hit in whole} == wanted
        assert len(whole) == len(wanted)
        for limit in (100, 1, 2, 4):
            assert await hits(store, "needle", ranked=True, limit=limit) == whole
        for hit in whole:
            assert hit.found in await occurrences(store, hit.thread.id, search("needle"))

    async def test_a_search_without_hits_is_an_empty_page(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        empty = SearchPage(())
        for _ in range(2):
            for ranked in (False, True):
                assert await store.search_threads(search("needle", ranked=ranked)) == empty
            await said(store, clock, "hay")

    async def test_a_cursor_of_another_search_is_refused(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        for _ in range(3):
            await said(store, clock, "needle", "hay")
            clock.advance()
        plain = (await store.search_threads(search("needle", limit=1))).next_cursor
        ranked = (await store.search_threads(search("needle", limit=1, ranked=True))).next_cursor
        assert plain is not None
        assert ranked is not None
        for query in (
            search("needle", cursor=plain, ranked=True),
            search("needle", cursor=plain, archived=None),
            search("needle", cursor=plain, descending=False),
            search("needle", cursor=ranked),
            search("hay", cursor=ranked, ranked=True),
            search("needle", cursor=ranked, ranked=True, literal=True),
            search("needle", cursor=ranked, ranked=True, roles=("assistant",)),
            search("needle", cursor=ranked, ranked=True, archived=None),
            *(
                search("needle", cursor=cursor, ranked=mode)
                for cursor in ("", "nonsense", plain[:-4], f"{ranked}AAAA", "\x00", "é")
                for mode in (False, True)
            ),
        ):
            with pytest.raises(InvalidRequest) as caught:
                await store.search_threads(query)
            refused(caught.value)

    async def test_the_last_days_move_on_between_two_pages(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        threads = {await said(store, clock, "needle", "a needle") for _ in range(2)}
        now = clock.now()
        seconds = [dt.timedelta(seconds=number) for number in (0, 1)]
        pages = [
            {"since": now - dt.timedelta(days=7) + each, "until": now + dt.timedelta(days=1) + each}
            for each in seconds
        ]
        for ranked in (False, True):
            queries = [search("needle", limit=1, ranked=ranked, **times) for times in pages]
            first = await store.search_threads(queries[0])
            second = await _next(store, queries[1], first)
            assert {hit.thread.id for hit in (*first.items, *second.items)} == threads
        thread = threads.pop()
        before = await store.search_occurrences(thread, queries[0], limit=1)
        behind = await store.search_occurrences(
            thread, queries[1], limit=1, cursor=before.next_cursor
        )
        snippets = [each.snippet for each in (*before.items, *behind.items)]
        assert snippets == ["needle", "a needle"]

    async def test_occurrences_in_both_directions(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        texts = [f"needle {number}" if number % 3 else "hay" for number in range(20)]
        thread = await said(store, clock, *texts)
        await explicit(store, thread, name="the needle")
        await said(store, clock, "needle")
        query = search("needle", archived=True, cwds=(), limit=1)  # which do not matter
        whole = await occurrences(store, thread, query, limit=100)
        assert [each.snippet for each in whole][1:] == [text for text in texts if text != "hay"]
        assert whole[0].role == "title"
        for limit in (1, 2, 5, 14, 15):
            assert await occurrences(store, thread, query, limit=limit) == whole
            backwards = await occurrences(store, thread, query, limit=limit, descending=True)
            assert backwards == whole[::-1]
        page = await store.search_occurrences(thread.upper(), query, limit=100)
        assert list(page.items) == whole

    async def test_occurrences_stay_in_step_while_the_thread_grows(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await said(store, clock, *["needle"] * 6)
        query = search("needle")
        for descending in (False, True):
            before = await occurrences(store, thread, query, descending=descending)
            first = await store.search_occurrences(thread, query, limit=2, descending=descending)
            await store.resume_thread(thread)
            await store.append_items(thread, [items.agent_message("needle")])
            await store.shutdown_thread(thread)
            second = await store.search_occurrences(
                thread, query, limit=2, cursor=first.next_cursor, descending=descending
            )
            assert [*first.items, *second.items] == before[:4]

    async def test_an_occurrence_leads_to_its_turn(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        added = [
            item
            for number in range(2, 7)
            for item in items.turn(f"turn-{number}", f"needle {number}", f"a needle {number}")
        ]
        added.insert(9, items.function_call("c", "shell", '{"command":["needle"]}'))
        thread = await with_items(store, clock, added)
        every = await occurrences(store, thread, search("needle"))
        assert len(every) == 11
        for each in every:
            page = await store.list_turns(thread, cursor=each.turn_cursor, limit=1, descending=True)
            (turn,) = page.items
            assert each.position in [item.position for item in turn.items]

    async def test_occurrences_of_an_unknown_thread(self, store: ThreadStore) -> None:
        with pytest.raises(ThreadNotFound) as missing:
            await store.search_occurrences(unknown_id(), search("x"))
        check_error(missing.value)
        with pytest.raises(InvalidRequest):
            await store.search_occurrences("no-id", search("x"))

    @pytest.mark.parametrize("limit", [0, -1, 10_001])
    async def test_a_bad_limit_of_occurrences(self, store: ThreadStore, limit: int) -> None:
        thread = await empty_thread(store)
        with pytest.raises(InvalidRequest):
            await store.search_occurrences(thread.id, search("x"), limit=limit)
        with pytest.raises(InvalidRequest):
            search("x", limit=limit)

    async def test_a_bad_cursor_of_occurrences(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread, other = [await said(store, clock, *["needle"] * 3) for _ in range(2)]
        query = search("needle")
        good = (await store.search_occurrences(thread, query, limit=1)).next_cursor
        assert good is not None
        for asked, text, cursor, down in (
            (other, "needle", good, False),
            (thread, "need*", good, False),
            (thread, "needle", good, True),
            *((thread, "needle", cursor, False) for cursor in ("", "nonsense", good[:-4], "é")),
        ):
            with pytest.raises(InvalidRequest):
                await store.search_occurrences(asked, search(text), cursor=cursor, descending=down)

    async def test_a_query_of_the_wrong_shape(self, store: ThreadStore) -> None:
        wrong: list[dict[str, Any]] = [
            {"roles": ("nobody",)},
            {"roles": "user"},
            {"tools": "shell"},
            {"text": 5},
            {"literal": "yes"},
            {"ranked": 1},
            {"threads": {}},
            {"since": "today"},
            {"until": "2026-03-04T05:06:07Z"},
        ]
        for fields in wrong:
            with pytest.raises(InvalidRequest):
                SearchQuery(**{"text": "x", **fields})
        for query in ("x", None, ThreadQuery()):
            with pytest.raises(InvalidRequest):
                await store.search_threads(query)  # type: ignore[arg-type]

    async def test_lists_are_welcome_in_a_search(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await said(store, clock, "needle")
        assert await found(store, "needle", roles=["assistant"]) == [thread]
        assert await found(store, "needle", tools=["shell"]) == []


async def _next(store: ThreadStore, query: SearchQuery, page: SearchPage) -> SearchPage:
    """The page behind a page."""
    threads = msgspec.structs.replace(query.threads, cursor=page.next_cursor)
    return await store.search_threads(msgspec.structs.replace(query, threads=threads))


def _ms(moment: dt.datetime) -> int:
    return round(moment.timestamp() * 1000)
