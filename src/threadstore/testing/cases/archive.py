"""Archive, unarchive and delete: one thread, a family, all or nothing."""

from __future__ import annotations

import pytest

from threadstore.errors import Conflict, InvalidRequest, ThreadNotFound
from threadstore.metadata import NewThread, ThreadMetadataPatch
from threadstore.store import ThreadStore
from threadstore.testing import items
from threadstore.testing.cases.base import (
    EXPLICIT,
    OBSERVED,
    Cases,
    check_error,
    explicit,
    facts,
    history_bodies,
    listed,
    observed,
    stable_facts,
    unknown_id,
)
from threadstore.testing.clock import ManualClock
from threadstore.testing.harness import StoreHarness
from threadstore.testing.seeds import empty_thread, record_thread, spawned_by

__all__ = ["ArchiveTests"]


async def _child(store: ThreadStore, parent: str) -> str:
    return (await empty_thread(store, source=spawned_by(parent), parent_thread_id=parent)).id


async def _family(store: ThreadStore) -> tuple[str, str, str, str]:
    """A root, two children and a grandchild below the first."""
    root = (await empty_thread(store)).id
    child, other = await _child(store, root), await _child(store, root)
    return root, child, other, await _child(store, child)


class ArchiveTests(Cases):
    """The end of a thread, reversible and not."""

    async def test_archiving_marks_the_thread_and_keeps_the_rest(
        self, store: ThreadStore, harness: StoreHarness, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock, name="work")
        lines = harness.raw_history(thread.id)
        now = clock.advance(60)
        assert await store.archive_thread(thread.id) == (thread.id,)
        archived = await store.read_thread(thread.id)
        assert archived.archived
        if "archived_at" not in harness.volatile_facts("legacy"):
            assert archived.archived_at == now
        ignored = ("archived", "archived_at", "rollout_path")
        before = stable_facts(harness, thread, *ignored)
        assert stable_facts(harness, archived, *ignored) | {"archived": False} == before
        assert harness.raw_history(thread.id) == lines
        assert await store.unarchive_thread(thread.id) == (thread.id,)
        back = await store.read_thread(thread.id)
        assert stable_facts(harness, back) == stable_facts(harness, thread)
        assert harness.raw_history(thread.id) == lines

    async def test_archiving_what_is_archived_is_an_invalid_request(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock)
        with pytest.raises(InvalidRequest) as caught:
            await store.unarchive_thread(thread.id)
        check_error(caught.value)
        await store.archive_thread(thread.id)
        with pytest.raises(InvalidRequest) as caught:
            await store.archive_thread(thread.id)
        check_error(caught.value)
        assert await listed(store, archived=True) == [thread.id]

    async def test_deleting_leaves_nothing(
        self, store: ThreadStore, harness: StoreHarness, clock: ManualClock
    ) -> None:
        other = await record_thread(store, clock, name="other")
        thread = await record_thread(store, clock, name="work")
        await explicit(store, thread.id, memory_mode="disabled")
        assert await store.delete_thread(thread.id) == (thread.id,)
        assert harness.traces(thread.id) == []
        assert await listed(store, archived=None) == [other.id]
        for call in (store.read_thread, store.load_history, store.delete_thread):
            with pytest.raises(ThreadNotFound):
                await call(thread.id)
        assert facts(await store.read_thread(other.id)) == facts(other)

    async def test_an_archived_thread_can_be_deleted(
        self, store: ThreadStore, harness: StoreHarness, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock, name="work")
        await store.archive_thread(thread.id)
        await store.delete_thread(thread.id)
        assert harness.traces(thread.id) == []

    async def test_metadata_that_comes_after_the_end_changes_nothing(
        self, store: ThreadStore, harness: StoreHarness, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock, live=True)
        await store.shutdown_thread(thread.id)
        await store.delete_thread(thread.id)
        for late in (observed, explicit):
            with pytest.raises(ThreadNotFound):
                await late(store, thread.id, title="late", model="late", memory_mode="disabled")
        assert harness.traces(thread.id) == []
        assert await listed(store, archived=None) == []

    @pytest.mark.parametrize("materialised", ["materialised", "new"])
    async def test_a_live_thread_is_in_the_way(
        self, store: ThreadStore, harness: StoreHarness, materialised: str
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        if materialised == "materialised":
            await store.persist_thread(thread.id)
        lines = harness.raw_history(thread.id)
        for call in (store.archive_thread, store.delete_thread):
            with pytest.raises(Conflict) as caught:
                await call(thread.id)
            check_error(caught.value)
        with pytest.raises(InvalidRequest):
            await store.unarchive_thread(thread.id)
        assert harness.raw_history(thread.id) == lines
        assert not (await store.read_thread(thread.id)).archived
        await store.append_items(thread.id, [items.agent_message("still works")])

    async def test_spawned_threads_are_archived_along(self, store: ThreadStore) -> None:
        root, child, other, grandchild = await _family(store)
        stranger = (await empty_thread(store)).id
        ids = await store.archive_thread(root)
        assert ids[0] == root
        assert set(ids) == {root, child, other, grandchild}
        assert ids.index(child) < ids.index(grandchild)
        assert await listed(store) == [stranger]
        ids = await store.unarchive_thread(root)
        assert ids[0] == root
        assert set(ids) == {root, child, other, grandchild}
        assert await listed(store, archived=True) == []

    async def test_only_threads_below_go_along(self, store: ThreadStore) -> None:
        root, child, other, grandchild = await _family(store)
        assert set(await store.archive_thread(child)) == {child, grandchild}
        assert set(await listed(store)) == {root, other}
        assert set(await store.unarchive_thread(child)) == {child, grandchild}

    async def test_descendants_that_are_archived_already_are_left_alone(
        self, store: ThreadStore
    ) -> None:
        root, child, other, grandchild = await _family(store)
        await store.archive_thread(child)
        await store.unarchive_thread(grandchild)
        assert set(await store.archive_thread(root)) == {root, other, grandchild}
        assert set(await listed(store, archived=True)) == {root, child, other, grandchild}
        assert set(await store.unarchive_thread(root)) == {root, child, other, grandchild}

    async def test_active_descendants_are_left_alone_when_a_thread_comes_back(
        self, store: ThreadStore
    ) -> None:
        root, child, other, grandchild = await _family(store)
        await store.archive_thread(root)
        await store.unarchive_thread(child)
        assert set(await listed(store)) == {child, grandchild}
        assert set(await store.unarchive_thread(root)) == {root, other}

    async def test_a_live_descendant_does_not_keep_a_thread_in_the_archive(
        self, store: ThreadStore
    ) -> None:
        root = await empty_thread(store)
        await store.archive_thread(root.id)
        source = spawned_by(root.id)
        child = await store.create_thread(
            NewThread(cwd="/repo", source=source, parent_thread_id=root.id)
        )
        await store.persist_thread(child.id)
        assert await store.unarchive_thread(root.id) == (root.id,)
        await store.shutdown_thread(child.id)

    async def test_a_live_descendant_keeps_the_whole_family(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        family = await _family(store)
        root, *_, grandchild = family
        await store.resume_thread(grandchild)
        before = {member: harness.raw_metadata(member) for member in family}
        for call in (store.archive_thread, store.delete_thread):
            with pytest.raises(Conflict) as caught:
                await call(root)
            check_error(caught.value)
        assert {member: harness.raw_metadata(member) for member in family} == before
        assert set(await listed(store)) == set(family)
        await store.append_items(grandchild, [items.agent_message("still works")])

    async def test_a_live_descendant_without_history_keeps_the_family_too(
        self, store: ThreadStore
    ) -> None:
        root = (await empty_thread(store)).id
        new = NewThread(cwd="/repo", source=spawned_by(root), parent_thread_id=root)
        child = await store.create_thread(new)
        for call in (store.archive_thread, store.delete_thread):
            with pytest.raises(Conflict):
                await call(root)
        await store.discard_thread(child.id)
        assert await store.archive_thread(root) == (root,)

    async def test_spawned_threads_are_deleted_along(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        root, child, other, grandchild = await _family(store)
        stranger = (await empty_thread(store)).id
        await store.archive_thread(child)
        ids = await store.delete_thread(root)
        assert ids[0] == root
        assert set(ids) == {root, child, other, grandchild}
        assert [trace for member in ids for trace in harness.traces(member)] == []
        assert await listed(store, archived=None) == [stranger]

    async def test_a_copied_fork_is_no_spawned_thread(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock)
        fork = await empty_thread(store, forked_from_id=thread.id)
        assert await store.archive_thread(thread.id) == (thread.id,)
        assert await store.delete_thread(thread.id) == (thread.id,)
        assert await listed(store) == [fork.id]

    async def test_explicit_metadata_of_an_archived_thread_needs_a_word(
        self, store: ThreadStore, harness: StoreHarness, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock, name="work")
        await store.archive_thread(thread.id)
        metadata, lines = harness.raw_metadata(thread.id), harness.raw_history(thread.id)
        before = await store.read_thread(thread.id)
        for fields in ({"name": "x"}, {"memory_mode": "disabled"}, {"model": "x", "name": None}):
            with pytest.raises(InvalidRequest) as caught:
                await explicit(store, thread.id, **fields)
            check_error(caught.value)
        assert harness.raw_metadata(thread.id) == metadata
        assert harness.raw_history(thread.id) == lines
        assert facts(await store.read_thread(thread.id)) == facts(before)
        patch = ThreadMetadataPatch(name="new", memory_mode="disabled")
        after = await store.update_thread_metadata(
            thread.id, patch, origin=EXPLICIT, include_archived=True
        )
        assert (after.name, after.memory_mode, after.archived) == ("new", "disabled", True)

    async def test_observed_metadata_reaches_an_archived_thread(
        self, store: ThreadStore, harness: StoreHarness, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock)
        await store.archive_thread(thread.id)
        patch = ThreadMetadataPatch(model="late")
        after = await store.update_thread_metadata(thread.id, patch, origin=OBSERVED)
        assert after.archived
        if "model" not in harness.volatile_facts("legacy"):
            assert after.model == "late"

    async def test_names_survive_the_archive(self, store: ThreadStore) -> None:
        thread = await empty_thread(store)
        await explicit(store, thread.id, name="first")
        await store.archive_thread(thread.id)
        assert (await store.read_thread(thread.id)).name == "first"
        await store.unarchive_thread(thread.id)
        await explicit(store, thread.id, name="second")
        await store.archive_thread(thread.id)
        assert (await store.read_thread(thread.id)).name == "second"

    async def test_a_thread_goes_on_after_the_archive(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock)
        await store.archive_thread(thread.id)
        await store.unarchive_thread(thread.id)
        before = await history_bodies(store, thread.id)
        await store.resume_thread(thread.id)
        await store.append_items(thread.id, [items.agent_message("more")])
        assert len(await history_bodies(store, thread.id)) == len(before) + 1

    async def test_unknown_parents_do_no_harm(self, store: ThreadStore) -> None:
        parent = unknown_id()
        orphan = await _child(store, parent)
        assert await store.archive_thread(orphan) == (orphan,)
        assert await store.delete_thread(orphan) == (orphan,)
        with pytest.raises(ThreadNotFound):
            await store.archive_thread(parent)
