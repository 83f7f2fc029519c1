"""Reading history back: whole, as a stream, in both directions, damaged."""

from __future__ import annotations

import pytest

from threadstore.errors import Conflict, CorruptHistory, ThreadNotFound, Unsupported
from threadstore.history.items import DamagedLine, RolloutItem
from threadstore.metadata import HistoryBase, NewThread
from threadstore.store import ThreadStore
from threadstore.testing import items
from threadstore.testing.cases.base import (
    Cases,
    bodies,
    check_error,
    explicit,
    history_bodies,
    unknown_id,
)
from threadstore.testing.clock import ManualClock
from threadstore.testing.harness import Corruption, StoreHarness
from threadstore.testing.seeds import empty_thread, record_thread

__all__ = ["HistoryTests"]


async def _positions(
    store: ThreadStore, thread_id: str, *, after: int = 0, reverse: bool = False
) -> list[int | None]:
    stream = store.iter_history(thread_id, after=after, reverse=reverse)
    return [entry.position async for entry in stream]


class HistoryTests(Cases):
    """``load_history`` and ``iter_history``."""

    async def test_what_was_appended_is_what_is_loaded(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        given = [*items.turn("t1", "hello"), items.unknown_item(deep={"a": [1, None, True, "ü"]})]
        receipt = await store.append_items(thread.id, given)
        history = await store.load_history(thread.id)
        assert bodies(history.items) == bodies(given)
        assert history.damage == ()
        assert history.position == receipt.position == len(history.items)
        assert [item.line() for item in history.items] == harness.raw_history(thread.id)

    async def test_every_entry_tells_its_position(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock)
        history = await store.load_history(thread.id)
        assert [item.position for item in history.items] == list(range(1, history.position + 1))

    async def test_a_stream_starts_after_a_position(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock)
        end = (await store.load_history(thread.id)).position
        for after in (0, 1, 3, end - 1, end, end + 5):
            assert await _positions(store, thread.id, after=after) == list(
                range(after + 1, end + 1)
            )

    async def test_a_stream_can_run_backwards(self, store: ThreadStore, clock: ManualClock) -> None:
        thread = await record_thread(store, clock)
        end = (await store.load_history(thread.id)).position
        for after in (0, 1, end - 1, end, end + 5):
            backwards = await _positions(store, thread.id, after=after, reverse=True)
            assert backwards == list(range(end, after, -1))
        forwards = [entry async for entry in store.iter_history(thread.id)]
        backwards_entries = [entry async for entry in store.iter_history(thread.id, reverse=True)]
        assert forwards == backwards_entries[::-1]

    async def test_a_long_history_streams_completely_in_both_directions(
        self, store: ThreadStore
    ) -> None:
        thread = await empty_thread(store)
        await store.resume_thread(thread.id)
        for start in range(0, 2000, 500):
            batch = [
                items.agent_message(f"{n} " + "x" * (n % 700)) for n in range(start, start + 500)
            ]
            await store.append_items(thread.id, batch)
        expected = list(range(1, 2002))
        assert await _positions(store, thread.id) == expected
        assert await _positions(store, thread.id, reverse=True) == expected[::-1]
        texts = [body["message"].split()[0] for _, body in await history_bodies(store, thread.id)]
        assert texts == [str(n) for n in range(2000)]

    async def test_a_stream_may_be_left_early(self, store: ThreadStore, clock: ManualClock) -> None:
        thread = await record_thread(store, clock)
        stream = store.iter_history(thread.id)
        async for entry in stream:
            assert entry.position == 1
            break
        await stream.aclose()  # type: ignore[attr-defined]
        await store.delete_thread(thread.id)

    async def test_the_history_of_a_live_thread_grows(self, store: ThreadStore) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        assert await _positions(store, thread.id) == []
        assert (await store.load_history(thread.id)).items == ()
        assert (await store.load_history(thread.id)).position == 0
        for number in range(1, 4):
            await store.append_items(thread.id, [items.agent_message(str(number))])
            assert len(await history_bodies(store, thread.id)) == number

    async def test_an_unknown_thread_is_not_found_at_the_first_step(
        self, store: ThreadStore
    ) -> None:
        stream = store.iter_history(unknown_id())
        with pytest.raises(ThreadNotFound):
            await anext(stream)

    async def test_the_history_of_an_archived_thread_can_be_read(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock)
        before = await history_bodies(store, thread.id)
        await store.archive_thread(thread.id)
        assert await history_bodies(store, thread.id) == before

    @pytest.mark.parametrize("how", [Corruption.GARBAGE_LINE, Corruption.TORN_TAIL])
    async def test_a_damaged_line_costs_itself_and_is_reported(
        self, harness: StoreHarness, store: ThreadStore, clock: ManualClock, how: Corruption
    ) -> None:
        thread = await record_thread(store, clock, name="work")
        before = await history_bodies(store, thread.id)
        harness.corrupt(thread.id, how)
        lines = harness.raw_history(thread.id)
        history = await store.load_history(thread.id)
        assert bodies(history.items) == before
        (damage,) = history.damage
        assert (damage.position, damage.raw) == (len(lines), lines[-1])
        assert damage.reason
        assert history.position == len(lines)
        stored = await store.read_thread(thread.id)
        assert (stored.name, stored.preview) == ("work", thread.preview)

    @pytest.mark.parametrize("how", [Corruption.GARBAGE_LINE, Corruption.TORN_TAIL])
    async def test_an_append_after_damage_is_not_glued_to_it(
        self, harness: StoreHarness, store: ThreadStore, clock: ManualClock, how: Corruption
    ) -> None:
        thread = await record_thread(store, clock)
        before = await history_bodies(store, thread.id)
        harness.corrupt(thread.id, how)
        await store.resume_thread(thread.id)
        receipt = await store.append_items(thread.id, [items.agent_message("after")])
        history = await store.load_history(thread.id)
        assert bodies(history.items) == [*before, *bodies([items.agent_message("after")])]
        assert len(history.damage) == 1
        assert history.position == receipt.position == len(harness.raw_history(thread.id))

    async def test_damage_is_met_in_its_place_in_both_directions(
        self, harness: StoreHarness, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock)
        harness.corrupt(thread.id, Corruption.GARBAGE_LINE)
        await store.resume_thread(thread.id)
        await store.append_items(thread.id, [items.agent_message("after")])
        end = len(harness.raw_history(thread.id))
        kinds = {
            entry.position: type(entry)
            async for entry in store.iter_history(thread.id, reverse=True)
        }
        assert kinds.pop(end - 1) is DamagedLine
        assert set(kinds.values()) == {RolloutItem}

    async def test_bytes_that_are_not_utf8_do_not_cost_the_line(
        self, harness: StoreHarness, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock)
        harness.corrupt(thread.id, Corruption.INVALID_UTF8)
        history = await store.load_history(thread.id)
        assert history.damage == ()
        assert history.items[-1].raw == harness.INVALID_UTF8_LINE
        assert history.items[-1].payload["message"].startswith("caf")

    async def test_a_blank_line_is_nothing_but_counts(
        self, harness: StoreHarness, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock)
        before = await store.load_history(thread.id)
        harness.corrupt(thread.id, Corruption.BLANK_LINE)
        await store.resume_thread(thread.id)
        receipt = await store.append_items(
            thread.id, [items.agent_message("x")], expected_position=before.position + 1
        )
        after = await store.load_history(thread.id)
        assert after.damage == ()
        assert len(after.items) == len(before.items) + 1
        assert after.position == receipt.position == before.position + 2

    async def test_only_a_history_without_any_good_line_is_corrupt(
        self, harness: StoreHarness, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock, name="work")
        harness.corrupt(thread.id, Corruption.EVERY_LINE)
        with pytest.raises(CorruptHistory) as caught:
            await store.load_history(thread.id)
        check_error(caught.value)
        entries = [entry async for entry in store.iter_history(thread.id)]
        assert entries
        assert all(isinstance(entry, DamagedLine) for entry in entries)
        assert (await store.read_thread(thread.id)).name == "work"

    async def test_an_export_holds_every_line(
        self, harness: StoreHarness, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock)
        harness.corrupt(thread.id, Corruption.GARBAGE_LINE)
        harness.corrupt(thread.id, Corruption.INVALID_UTF8)
        chunks = [chunk async for chunk in store.raw_history(thread.id)]
        lines = b"".join(chunks).removesuffix(b"\n").split(b"\n")
        assert lines == harness.raw_history(thread.id)

    async def test_metadata_edits_keep_every_line(
        self, harness: StoreHarness, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock)
        before = harness.raw_history(thread.id)
        await explicit(store, thread.id, name="work", memory_mode="disabled")
        await store.archive_thread(thread.id)
        await store.unarchive_thread(thread.id)
        assert harness.raw_history(thread.id)[: len(before)] == before


class ForkTests(Cases):
    """``NewThread.history_base``: forks by reference, where declared."""

    @pytest.fixture
    def forking_store(self, store: ThreadStore) -> ThreadStore:
        """The store, if it forks by reference."""
        if not store.capabilities.fork_by_reference:
            pytest.skip("the store declares no fork_by_reference")
        return store

    async def _source(self, store: ThreadStore, replies: int = 4) -> tuple[str, int]:
        thread = await empty_thread(store, history_mode="paginated")
        await store.resume_thread(thread.id)
        batch = [items.response("message", number=number) for number in range(replies)]
        receipt = await store.append_items(thread.id, batch)
        await store.shutdown_thread(thread.id)
        return thread.id, receipt.position

    async def _fork(self, store: ThreadStore, source: str, position: int) -> str:
        base = HistoryBase(thread_id=source, position=position)
        new = NewThread(
            cwd="/repo", history_mode="paginated", history_base=base, forked_from_id=source
        )
        return (await store.create_thread(new)).id

    async def test_a_fork_is_refused_where_the_capability_is_not_declared(
        self, store: ThreadStore
    ) -> None:
        source, position = await self._source(store)
        if store.capabilities.fork_by_reference:
            await self._fork(store, source, position)
            return
        with pytest.raises(Unsupported) as caught:
            await self._fork(store, source, position)
        check_error(caught.value)

    async def test_a_fork_continues_the_history_of_its_source(
        self, forking_store: ThreadStore, harness: StoreHarness
    ) -> None:
        store = forking_store
        source, position = await self._source(store)
        inherited = [item.line() for item in (await store.load_history(source)).items]
        fork = await self._fork(store, source, position - 1)
        receipt = await store.append_items(fork, [items.response("message", number=9)])
        history = await store.load_history(fork)
        assert [item.line() for item in history.items[: position - 1]] == inherited[:-1]
        assert history.items[-1].payload["number"] == 9
        assert history.position == receipt.position
        assert [item.position for item in history.items] == list(range(1, history.position + 1))
        assert len(harness.raw_history(fork)) == history.position - (position - 1)

    async def test_a_fork_streams_across_its_base(self, forking_store: ThreadStore) -> None:
        store = forking_store
        source, position = await self._source(store)
        fork = await self._fork(store, source, position)
        await store.append_items(fork, [items.response("message", number=9)])
        end = (await store.load_history(fork)).position
        for after in (0, 2, position, position + 1):
            expected = list(range(after + 1, end + 1))
            assert await _positions(store, fork, after=after) == expected
            assert await _positions(store, fork, after=after, reverse=True) == expected[::-1]

    async def test_a_fork_is_not_changed_by_its_source(self, forking_store: ThreadStore) -> None:
        store = forking_store
        source, position = await self._source(store)
        fork = await self._fork(store, source, position)
        await store.append_items(fork, [items.response("message", number=9)])
        before = await history_bodies(store, fork)
        await store.resume_thread(source)
        await store.append_items(source, [items.response("message", number=10)])
        assert await history_bodies(store, fork) == before
        assert (await store.load_history(source)).position == position + 1

    async def test_a_fork_of_a_fork_has_the_whole_history(self, forking_store: ThreadStore) -> None:
        store = forking_store
        source, position = await self._source(store)
        fork = await self._fork(store, source, position)
        receipt = await store.append_items(fork, [items.response("message", number=9)])
        await store.shutdown_thread(fork)
        second = await self._fork(store, fork, receipt.position)
        await store.append_items(second, [items.response("message", number=10)])
        numbers = [body["number"] for _, body in await history_bodies(store, second)]
        assert numbers == [0, 1, 2, 3, 9, 10]

    async def test_a_base_must_exist(self, forking_store: ThreadStore) -> None:
        with pytest.raises(ThreadNotFound):
            await self._fork(forking_store, unknown_id(), 1)

    async def test_what_a_fork_stands_on_cannot_be_deleted(
        self, forking_store: ThreadStore, harness: StoreHarness
    ) -> None:
        store = forking_store
        source, position = await self._source(store)
        fork = await self._fork(store, source, position)
        await store.append_items(fork, [items.response("message", number=9)])
        await store.shutdown_thread(fork)
        before = harness.raw_history(source)
        with pytest.raises(Conflict) as caught:
            await store.delete_thread(source)
        check_error(caught.value)
        assert harness.raw_history(source) == before
        await store.delete_thread(fork)
        await store.delete_thread(source)
        assert harness.traces(source) == harness.traces(fork) == []

    async def test_a_fork_goes_with_its_base_when_it_was_spawned_by_it(
        self, forking_store: ThreadStore, harness: StoreHarness
    ) -> None:
        store = forking_store
        source, position = await self._source(store)
        base = HistoryBase(thread_id=source, position=position)
        new = NewThread(
            cwd="/repo", history_mode="paginated", history_base=base, parent_thread_id=source
        )
        child = (await store.create_thread(new)).id
        await store.persist_thread(child)
        await store.shutdown_thread(child)
        assert set(await store.delete_thread(source)) == {source, child}
        assert harness.traces(child) == []

    async def test_the_source_of_a_fork_can_be_archived(self, forking_store: ThreadStore) -> None:
        store = forking_store
        source, position = await self._source(store)
        fork = await self._fork(store, source, position)
        await store.append_items(fork, [items.response("message", number=9)])
        before = await history_bodies(store, fork)
        assert await store.archive_thread(source) == (source,)
        assert await history_bodies(store, fork) == before
