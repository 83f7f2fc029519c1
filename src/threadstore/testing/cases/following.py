"""``watch_thread``: what is there, then what comes; nothing missing, nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import pytest

from threadstore.errors import InvalidRequest, StoreUnavailable, ThreadNotFound
from threadstore.history.items import DamagedLine, RolloutItem
from threadstore.metadata import HistoryBase, NewThread
from threadstore.store import ThreadStore
from threadstore.testing import items
from threadstore.testing.cases.base import Cases, bodies, check_error, unknown_id, where
from threadstore.testing.clock import ManualClock
from threadstore.testing.harness import Corruption, StoreHarness
from threadstore.testing.seeds import empty_thread, record_thread

__all__ = ["FollowingTests"]

_PATIENCE = 30.0
"""Seconds after which an entry does not come any more."""

Entries = list[RolloutItem | DamagedLine]
Watch = AsyncGenerator[RolloutItem | DamagedLine, None]


async def take(watch: Watch, count: int) -> Entries:
    """The next entries of a stream that goes on."""
    async with asyncio.timeout(_PATIENCE):
        return [await anext(watch) for _ in range(count)]


async def _follow(
    store: ThreadStore, thread_id: str, after: int, until: int, most: int = 1 << 30
) -> Entries:
    """What a follower sees up to a position, or of that at most so many."""
    found: Entries = []
    async with (
        asyncio.timeout(_PATIENCE),
        aclosing(store.watch_thread(thread_id, after=after)) as w,
    ):
        async for entry in w:
            found.append(entry)
            if (entry.position or 0) >= until or len(found) == most:
                return found
    raise AssertionError("the stream has ended")


def _message(text: object) -> RolloutItem:
    return items.agent_message(str(text))


def _positions(entries: Entries) -> list[int | None]:
    return [entry.position for entry in entries]


@where("_follows")
class FollowingTests(Cases):
    """The capability ``watch_thread``, where declared; the others are in ``CapabilityTests``."""

    async def test_what_is_there_comes_first(self, store: ThreadStore, clock: ManualClock) -> None:
        thread = await record_thread(store, clock)
        history = await store.load_history(thread.id)
        for after in (0, 1, 5):
            found = await _follow(store, thread.id, after, history.position)
            expected = [item for item in history.items if (item.position or 0) > after]
            assert [entry.line() for entry in found if isinstance(entry, RolloutItem)] == [
                item.line() for item in expected
            ]
            assert _positions(found) == [item.position for item in expected]

    async def test_what_is_appended_comes_then(self, store: ThreadStore) -> None:
        thread = await empty_thread(store)
        await store.resume_thread(thread.id)
        async with aclosing(store.watch_thread(thread.id.upper())) as watch:
            assert _positions(await take(watch, 1)) == [1]
            for number in range(5):
                receipt = await store.append_items(thread.id, [_message(number), _message("x")])
                found = await take(watch, 2)
                assert bodies(found) == bodies([_message(number), _message("x")])
                assert _positions(found) == [receipt.position - 1, receipt.position]

    async def test_a_follower_that_waits_is_woken(self, store: ThreadStore) -> None:
        thread = await empty_thread(store)
        await store.resume_thread(thread.id)
        async with aclosing(store.watch_thread(thread.id, after=1)) as watch:
            for number in range(5):
                waiting = asyncio.ensure_future(take(watch, 1))
                await asyncio.sleep(0)
                await store.append_items(thread.id, [_message(number)])
                assert bodies(await waiting) == bodies([_message(number)])

    async def test_another_store_object_follows(self, durable_harness: StoreHarness) -> None:
        async with durable_harness.open() as writing, durable_harness.open() as reading:
            thread = await empty_thread(writing)
            await writing.resume_thread(thread.id)
            async with aclosing(reading.watch_thread(thread.id, after=1)) as watch:
                for number in range(5):
                    waiting = asyncio.ensure_future(take(watch, 1))
                    await asyncio.sleep(0)
                    await writing.append_items(thread.id, [_message(number)])
                    assert bodies(await waiting) == bodies([_message(number)])

    async def test_every_follower_sees_everything(self, store: ThreadStore) -> None:
        thread = await empty_thread(store)
        await store.resume_thread(thread.id)
        batch = [_message(number) for number in range(20)]
        followers = [
            asyncio.ensure_future(_follow(store, thread.id, after, 21)) for after in (0, 1, 11)
        ]
        for item in batch:
            await store.append_items(thread.id, [item])
        everything, most, half = await asyncio.gather(*followers)
        assert bodies(everything) == bodies(most) == bodies(batch)
        assert bodies(half) == bodies(batch[10:])

    async def test_nothing_is_missing_or_twice_while_a_writer_writes(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))

        async def write() -> None:
            number = 0
            while number < 500:
                size = 1 + number % 7
                batch = [_message(n) for n in range(number, min(number + size, 500))]
                await store.append_items(thread.id, batch)
                number += size
                await asyncio.sleep(0)

        writer = asyncio.create_task(write())
        found: Entries = []
        while len(found) < 501:  # stops and goes on where it was
            after = found[-1].position if found else 0
            found += await _follow(store, thread.id, after or 0, 501, most=1 + len(found) % 90)
        await writer
        assert _positions(found) == list(range(1, 502))
        assert bodies(found) == bodies(_message(number) for number in range(500))
        assert len(harness.raw_history(thread.id)) == 501

    async def test_a_thread_without_history_is_followed_from_its_first_line(
        self, store: ThreadStore
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        waiting = asyncio.ensure_future(_follow(store, thread.id, 0, 2))
        await asyncio.sleep(0)
        await store.append_items(thread.id, [_message("first")])
        found = await waiting
        assert _positions(found) == [1, 2]
        assert bodies(found) == bodies([_message("first")])

    async def test_a_thread_that_never_has_history_is_gone_with_its_writer(
        self, store: ThreadStore
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        waiting = asyncio.ensure_future(take(store.watch_thread(thread.id), 1))
        await asyncio.sleep(0)
        await store.discard_thread(thread.id)
        with pytest.raises(ThreadNotFound) as caught:
            await waiting
        check_error(caught.value)

    async def test_unknown_threads_and_bad_arguments_are_refused_at_the_first_step(
        self, store: ThreadStore
    ) -> None:
        thread = await empty_thread(store)
        with pytest.raises(ThreadNotFound) as unknown:
            await take(store.watch_thread(unknown_id()), 1)
        with pytest.raises(InvalidRequest) as no_id:
            await take(store.watch_thread("no id"), 1)
        with pytest.raises(InvalidRequest) as no_position:
            await take(store.watch_thread(thread.id, after=-1), 1)
        for caught in (unknown, no_id, no_position):
            check_error(caught.value)

    async def test_a_thread_that_is_deleted_ends_its_followers(self, store: ThreadStore) -> None:
        thread = await empty_thread(store)
        watch = store.watch_thread(thread.id)
        assert _positions(await take(watch, 1)) == [1]
        waiting = asyncio.ensure_future(take(watch, 1))
        await asyncio.sleep(0)
        await store.delete_thread(thread.id)
        with pytest.raises(ThreadNotFound) as caught:
            await waiting
        check_error(caught.value)

    async def test_closing_the_store_ends_its_followers(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            thread = await empty_thread(store)
            watch = store.watch_thread(thread.id)
            assert _positions(await take(watch, 1)) == [1]
            waiting = asyncio.ensure_future(take(watch, 1))
            await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable) as caught:
            await waiting
        check_error(caught.value)
        with pytest.raises(StoreUnavailable):
            await take(store.watch_thread(thread.id), 1)

    async def test_archiving_makes_no_gap(self, store: ThreadStore) -> None:
        thread = await empty_thread(store)
        async with aclosing(store.watch_thread(thread.id)) as watch:
            assert _positions(await take(watch, 1)) == [1]
            for number in range(2):
                waiting = asyncio.ensure_future(take(watch, 1))
                await store.archive_thread(thread.id)
                await asyncio.sleep(0)
                await store.unarchive_thread(thread.id)
                await store.resume_thread(thread.id)
                await store.append_items(thread.id, [_message(number)])
                await store.shutdown_thread(thread.id)
                assert bodies(await waiting) == bodies([_message(number)])

    async def test_an_archived_thread_can_be_followed(self, store: ThreadStore) -> None:
        thread = await empty_thread(store)
        await store.archive_thread(thread.id)
        assert _positions(await _follow(store, thread.id, 0, 1)) == [1]

    async def test_stopping_leaves_nothing(self, store: ThreadStore) -> None:
        thread = await empty_thread(store)
        before = asyncio.all_tasks()
        watch = store.watch_thread(thread.id)
        await take(watch, 1)
        await watch.aclose()
        waiting = asyncio.ensure_future(take(store.watch_thread(thread.id), 2))
        await asyncio.wait((waiting,), timeout=0.1)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        assert asyncio.all_tasks() <= before
        assert _positions(await _follow(store, thread.id, 0, 1)) == [1]

    async def test_a_damaged_line_is_reported_in_its_place(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread = await empty_thread(store)
        harness.corrupt(thread.id, Corruption.GARBAGE_LINE)
        await store.resume_thread(thread.id)
        await store.append_items(thread.id, [_message("after")])
        found = await _follow(store, thread.id, 0, 3)
        assert _positions(found) == [1, 2, 3]
        assert [isinstance(entry, DamagedLine) for entry in found] == [False, True, False]

    async def test_a_fork_is_followed_across_its_base(self, store: ThreadStore) -> None:
        if not store.capabilities.fork_by_reference:
            pytest.skip("the store declares no fork_by_reference")
        source = await empty_thread(store, history_mode="paginated")
        await store.resume_thread(source.id)
        await store.append_items(source.id, [items.response("message", number=n) for n in range(4)])
        base = HistoryBase(thread_id=source.id, position=3)
        new = NewThread(cwd="/repo", history_mode="paginated", history_base=base)
        fork = await store.create_thread(new)
        waiting = asyncio.ensure_future(_follow(store, fork.id, 1, 5))
        await asyncio.sleep(0)
        await store.append_items(fork.id, [items.response("message", number=9)])
        await store.append_items(source.id, [items.response("message", number=10)])
        found = await waiting
        assert _positions(found) == [2, 3, 4, 5]
        assert [payload["number"] for _, payload in bodies(found)] == [0, 1, 9]
