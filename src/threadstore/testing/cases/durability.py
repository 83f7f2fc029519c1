"""What outlives a store object: restarts, crashes and second processes."""

from __future__ import annotations

import pytest

from threadstore.errors import Conflict, ThreadNotFound
from threadstore.history.items import History
from threadstore.metadata import GitInfoPatch, NewThread
from threadstore.store import Durability, ThreadStore
from threadstore.testing import items
from threadstore.testing.cases.base import (
    Cases,
    check_error,
    explicit,
    history_bodies,
    listed,
    observed,
    stable_facts,
)
from threadstore.testing.clock import ManualClock
from threadstore.testing.harness import Corruption, StoreHarness
from threadstore.testing.seeds import empty_thread, record_thread, spawned_by

__all__ = ["DurabilityTests"]


def _lines(history: History) -> list[bytes]:
    return [item.line() for item in history.items]


class DurabilityTests(Cases):
    """Restart and crash."""

    async def test_data_outlives_the_store_object_only_where_declared(
        self, harness: StoreHarness, clock: ManualClock
    ) -> None:
        async with harness.open() as store:
            thread = await record_thread(store, clock)
        async with harness.open() as store:
            if harness.capabilities.durability is Durability.NONE:
                with pytest.raises(ThreadNotFound):
                    await store.read_thread(thread.id)
            else:
                assert (await store.read_thread(thread.id)).preview == thread.preview

    async def test_a_restart_changes_nothing(
        self, durable_harness: StoreHarness, clock: ManualClock
    ) -> None:
        harness = durable_harness
        async with harness.open() as store:
            parent = await record_thread(store, clock, name="parent")
            child = await empty_thread(
                store, source=spawned_by(parent.id), parent_thread_id=parent.id
            )
            archived = await record_thread(store, clock, "old")
            await store.archive_thread(archived.id)
            threads = [await store.read_thread(t.id) for t in (parent, child, archived)]
            histories = [_lines(await store.load_history(t.id)) for t in threads]
            order = await listed(store, archived=None)
        clock.advance(3600)
        async with harness.open() as store:
            for thread, lines in zip(threads, histories, strict=True):
                read = await store.read_thread(thread.id)
                assert stable_facts(harness, read) == stable_facts(harness, thread)
                assert _lines(await store.load_history(thread.id)) == lines
            assert await listed(store, archived=None) == order
            assert await listed(store, ancestor_id=parent.id) == [child.id]

    async def test_what_users_said_outlives_restarts(
        self, durable_harness: StoreHarness, clock: ManualClock
    ) -> None:
        harness = durable_harness
        async with harness.open() as store:
            thread = await record_thread(store, clock, name="work")
            other = await record_thread(store, clock, name="cleared")
        async with harness.open() as store:
            await explicit(store, thread.id, memory_mode="disabled")
            await explicit(store, other.id, name=None)
        async with harness.open() as store:
            await explicit(store, thread.id, git=GitInfoPatch(branch="topic"))
        async with harness.open() as store:
            after = await store.read_thread(thread.id)
            assert (after.name, after.memory_mode) == ("work", "disabled")
            assert after.git is not None
            assert after.git.branch == "topic"
            assert (await store.read_thread(other.id)).name is None

    async def test_a_cursor_outlives_a_restart(
        self, durable_harness: StoreHarness, clock: ManualClock
    ) -> None:
        from threadstore.queries import ThreadQuery

        harness, ids = durable_harness, []
        async with harness.open() as store:
            for _ in range(4):
                ids.append((await record_thread(store, clock)).id)
                clock.advance()
            page = await store.list_threads(ThreadQuery(limit=2))
        async with harness.open() as store:
            page = await store.list_threads(ThreadQuery(limit=2, cursor=page.next_cursor))
            assert [thread.id for thread in page.items] == ids[1::-1]

    async def test_what_was_appended_outlives_a_crash(
        self, durable_harness: StoreHarness, clock: ManualClock
    ) -> None:
        harness = durable_harness
        async with harness.open() as store:
            thread = await store.create_thread(NewThread(cwd="/repo"))
            given = items.turn("t1", "hello", at=clock.now())
            receipt = await store.append_items(thread.id, given)
            lines = harness.raw_history(thread.id)
            harness.crash()
        async with harness.open() as store:
            history = await store.load_history(thread.id)
            assert _lines(history) == lines
            assert history.position == receipt.position
            assert await listed(store) == [thread.id]
            await store.resume_thread(thread.id)
            more = [items.agent_message("after")]
            await store.append_items(thread.id, more, expected_position=receipt.position)

    async def test_a_crash_before_any_history_leaves_no_trace(
        self, durable_harness: StoreHarness
    ) -> None:
        harness = durable_harness
        async with harness.open() as store:
            thread = await store.create_thread(NewThread(cwd="/repo"))
            await observed(store, thread.id, model="gpt-5.1")
            await store.flush_thread(thread.id)
            harness.crash()
        assert harness.traces(thread.id) == []
        async with harness.open() as store:
            assert await listed(store) == []
            await store.create_thread(NewThread(cwd="/repo", id=thread.id))

    async def test_an_explicit_change_outlives_a_crash(
        self, durable_harness: StoreHarness, clock: ManualClock
    ) -> None:
        harness = durable_harness
        async with harness.open() as store:
            cold = await record_thread(store, clock)
            live = await store.create_thread(NewThread(cwd="/repo"))
            for thread in (cold, live):
                await explicit(
                    store,
                    thread.id,
                    name="kept",
                    memory_mode="disabled",
                    git=GitInfoPatch(branch="topic"),
                )
            harness.crash()
        async with harness.open() as store:
            for thread in (cold, live):
                after = await store.read_thread(thread.id)
                assert (after.name, after.memory_mode) == ("kept", "disabled")
                assert after.git is not None
                assert after.git.branch == "topic"

    async def test_archiving_outlives_a_crash(
        self, durable_harness: StoreHarness, clock: ManualClock
    ) -> None:
        harness = durable_harness
        async with harness.open() as store:
            archived = await record_thread(store, clock)
            back = await record_thread(store, clock)
            gone = await record_thread(store, clock)
            await store.archive_thread(archived.id)
            await store.archive_thread(back.id)
            await store.unarchive_thread(back.id)
            await store.delete_thread(gone.id)
            harness.crash()
        assert harness.traces(gone.id) == []
        async with harness.open() as store:
            assert await listed(store, archived=True) == [archived.id]
            assert await listed(store) == [back.id]

    @pytest.mark.parametrize("how", [Corruption.TORN_TAIL, Corruption.GARBAGE_LINE])
    async def test_a_torn_line_of_a_crash_costs_only_itself(
        self, durable_harness: StoreHarness, clock: ManualClock, how: Corruption
    ) -> None:
        harness = durable_harness
        async with harness.open() as store:
            thread = await record_thread(store, clock, name="work", live=True)
            before = await history_bodies(store, thread.id)
            harness.crash()
        harness.corrupt(thread.id, how)
        async with harness.open() as store:
            assert [t.name for t in (await store.list_threads()).items] == ["work"]
            await store.resume_thread(thread.id)
            await store.append_items(thread.id, [items.agent_message("after")])
            history = await store.load_history(thread.id)
            assert len(history.damage) == 1
            assert len(await history_bodies(store, thread.id)) == len(before) + 1

    async def test_closing_shuts_writers_down(
        self, durable_harness: StoreHarness, clock: ManualClock
    ) -> None:
        async with durable_harness.open() as store:
            thread = await record_thread(store, clock, live=True)
            idle = await store.create_thread(NewThread(cwd="/repo"))
        assert durable_harness.traces(idle.id) == []
        async with durable_harness.open() as store:
            await store.resume_thread(thread.id)


class SharingTests(Cases):
    """Two store objects on the same data."""

    async def test_a_second_store_sees_what_the_first_wrote(
        self, durable_harness: StoreHarness, clock: ManualClock
    ) -> None:
        async with durable_harness.open() as one, durable_harness.open() as two:
            assert await listed(two) == []
            thread = await record_thread(one, clock, name="work", live=True)
            assert await listed(two) == [thread.id]
            assert (await two.read_thread(thread.id)).name == "work"
            seen = _lines(await two.load_history(thread.id))
            assert seen == _lines(await one.load_history(thread.id))
            await one.append_items(thread.id, [items.agent_message("more")])
            assert len((await two.load_history(thread.id)).items) == len(seen) + 1

    async def test_changes_of_cold_threads_are_seen_at_once(
        self, durable_harness: StoreHarness, clock: ManualClock
    ) -> None:
        async with durable_harness.open() as one, durable_harness.open() as two:
            thread = await record_thread(one, clock, name="before")
            assert [t.name for t in (await two.list_threads()).items] == ["before"]
            await explicit(one, thread.id, name="after")
            assert [t.name for t in (await two.list_threads()).items] == ["after"]
            await one.archive_thread(thread.id)
            assert await listed(two) == []
            assert (await two.read_thread(thread.id)).archived
            await two.unarchive_thread(thread.id)
            assert await listed(one) == [thread.id]
            await two.delete_thread(thread.id)
            assert await listed(one, archived=None) == []
            with pytest.raises(ThreadNotFound):
                await one.read_thread(thread.id)

    async def test_a_thread_that_only_one_store_knows_is_unknown_to_the_other(
        self, durable_harness: StoreHarness
    ) -> None:
        async with durable_harness.open() as one, durable_harness.open() as two:
            thread = await one.create_thread(NewThread(cwd="/repo"))
            with pytest.raises(ThreadNotFound):
                await two.read_thread(thread.id)
            with pytest.raises(ThreadNotFound):
                await observed(two, thread.id, model="x")
            assert durable_harness.traces(thread.id) == []

    @pytest.fixture
    def exclusive_harness(self, durable_harness: StoreHarness) -> StoreHarness:
        """A harness whose stores exclude each other's writers."""
        if not durable_harness.capabilities.exclusive_writers:
            pytest.skip("the store declares no exclusive_writers")
        return durable_harness

    async def test_one_thread_has_one_writer(
        self, exclusive_harness: StoreHarness, clock: ManualClock
    ) -> None:
        async with exclusive_harness.open() as one, exclusive_harness.open() as two:
            thread = await record_thread(one, clock, live=True)
            before = exclusive_harness.raw_history(thread.id)
            with pytest.raises(Conflict) as caught:
                await two.resume_thread(thread.id)
            check_error(caught.value)
            assert exclusive_harness.raw_history(thread.id) == before
            await one.append_items(thread.id, [items.agent_message("mine")])
            await one.shutdown_thread(thread.id)
            await two.resume_thread(thread.id)
            with pytest.raises(Conflict):
                await one.resume_thread(thread.id)

    async def test_a_new_id_has_one_writer(self, exclusive_harness: StoreHarness) -> None:
        async with exclusive_harness.open() as one, exclusive_harness.open() as two:
            thread = await one.create_thread(NewThread(cwd="/repo"))
            with pytest.raises(Conflict):
                await two.create_thread(NewThread(cwd="/repo", id=thread.id))
            await one.shutdown_thread(thread.id)
            await two.create_thread(NewThread(cwd="/repo", id=thread.id))

    async def test_a_writer_elsewhere_is_in_the_way_of_archive_and_delete(
        self, exclusive_harness: StoreHarness, clock: ManualClock
    ) -> None:
        async with exclusive_harness.open() as one, exclusive_harness.open() as two:
            parent = await record_thread(one, clock)
            child = await empty_thread(
                one, source=spawned_by(parent.id), parent_thread_id=parent.id
            )
            await one.resume_thread(child.id)
            before = exclusive_harness.raw_metadata(parent.id)
            for thread_id in (child.id, parent.id):
                with pytest.raises(Conflict) as caught:
                    await two.archive_thread(thread_id)
                check_error(caught.value)
                with pytest.raises(Conflict):
                    await two.delete_thread(thread_id)
            assert exclusive_harness.raw_metadata(parent.id) == before
            assert set(await listed(two)) == {parent.id, child.id}
            await one.append_items(child.id, [items.agent_message("still works")])

    async def test_a_crash_releases_the_writer(
        self, exclusive_harness: StoreHarness, clock: ManualClock
    ) -> None:
        async with exclusive_harness.open() as store:
            thread = await record_thread(store, clock, live=True)
            exclusive_harness.crash()
            async with exclusive_harness.open() as after:
                await after.resume_thread(thread.id)
                await after.append_items(thread.id, [items.agent_message("mine now")])

    async def test_resume_sees_what_another_writer_appended(
        self, durable_harness: StoreHarness, clock: ManualClock
    ) -> None:
        async with durable_harness.open() as one, durable_harness.open() as two:
            thread = await record_thread(one, clock)
            position = (await one.load_history(thread.id)).position
            await two.resume_thread(thread.id)
            receipt = await two.append_items(thread.id, [items.agent_message("two")])
            await two.shutdown_thread(thread.id)
            await one.resume_thread(thread.id)
            with pytest.raises(Conflict):
                await one.append_items(
                    thread.id, [items.agent_message("one")], expected_position=position
                )
            await one.append_items(
                thread.id, [items.agent_message("one")], expected_position=receipt.position
            )

    async def test_two_stores_write_two_threads_at_once(
        self, durable_harness: StoreHarness
    ) -> None:
        async with durable_harness.open() as one, durable_harness.open() as two:
            first = await one.create_thread(NewThread(cwd="/repo"))
            second = await two.create_thread(NewThread(cwd="/repo"))
            for number in range(5):
                await one.append_items(first.id, [items.agent_message(f"{number}")])
                await two.append_items(second.id, [items.agent_message(f"{number}")])
            stores: tuple[ThreadStore, ThreadStore] = (one, two)
            for store in stores:
                assert set(await listed(store)) == {first.id, second.id}
                assert len(await history_bodies(store, first.id)) == 5
                assert len(await history_bodies(store, second.id)) == 5
