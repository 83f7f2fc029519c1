"""LiveThread and ThreadManager on every store: nothing above a store depends on which it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import pytest

from threadstore.errors import Conflict, ThreadNotFound
from threadstore.live import LiveThread
from threadstore.manager import ThreadManager
from threadstore.metadata import GitInfoPatch, NewThread, ThreadMetadataPatch, TokenUsage
from threadstore.testing import LocalHarness, MemoryHarness, StoreHarness, spawned_by
from threadstore.testing.harnesses import Variant
from threadstore.testing.items import (
    agent_message,
    token_count,
    turn,
    turn_context,
    unknown_item,
    user_message,
)

if TYPE_CHECKING:
    from pathlib import Path

NEW = NewThread(cwd="/repo")
USAGE = TokenUsage(input_tokens=5, output_tokens=2, total_tokens=7)


@pytest.fixture(params=["memory", *get_args(Variant)])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> StoreHarness:
    if request.param == "memory":
        return MemoryHarness()
    return LocalHarness(tmp_path, variant=request.param)


async def test_a_thread_is_recorded_described_and_found_again(harness: StoreHarness) -> None:
    async with harness.open() as store, ThreadManager(store, clock=harness.clock) as manager:
        live = await manager.create(NEW)
        await live.append_items(turn("t1", "hello", usage=USAGE))
        await manager.update_thread_metadata(live.id, ThreadMetadataPatch(name="chosen"))
        await manager.unload(live.id)

        harness.clock.advance(60)
        again = await manager.resume(live.id)
        await again.append_items([unknown_item(), agent_message("x")])
        await again.flush()

        (found,) = (await manager.list_threads()).items
        assert (found.name, found.title, found.preview) == ("chosen", "hello", "hello")
        assert (found.model, found.token_usage) == ("gpt-5.1", USAGE)
        assert found == await manager.read(live.id)
        assert again.position == (await again.load_history()).position


async def test_an_idle_thread_leaves_no_trace(harness: StoreHarness) -> None:
    async with harness.open() as store:
        async with await LiveThread.create(store, NEW, clock=harness.clock) as live:
            assert (await live.read()).id == live.id
            assert (live.rollout_path is not None) is harness.capabilities.rollout_paths

        with pytest.raises(ThreadNotFound):
            await store.read_thread(live.id)
    assert harness.traces(live.id) == []


async def test_a_shutdown_makes_history_and_metadata_of_a_single_count_visible(
    harness: StoreHarness,
) -> None:
    async with harness.open() as store:
        async with await LiveThread.create(store, NEW, clock=harness.clock) as live:
            await live.append_items([token_count(None)])

        (found,) = (await store.list_threads()).items
        assert (found.id, found.rollout_path) == (live.id, live.rollout_path)


async def test_positions_stay_exact_across_explicit_edits(harness: StoreHarness) -> None:
    await edit_between_appends(harness, NEW)


@pytest.mark.parametrize("harness", ["memory", "plain"], indirect=True)
async def test_positions_of_paginated_threads_stay_exact_too(harness: StoreHarness) -> None:
    """Their edits are kept in the database only, so they need one that stays."""
    await edit_between_appends(harness, NewThread(cwd="/repo", history_mode="paginated"))


async def edit_between_appends(harness: StoreHarness, new: NewThread) -> None:
    async with harness.open() as store:
        live = await LiveThread.create(store, new, clock=harness.clock)
        await live.update_metadata(ThreadMetadataPatch(memory_mode="disabled"))
        await live.append_items([turn_context(model="a")], expected_position=live.position)
        await live.update_metadata(ThreadMetadataPatch(git=GitInfoPatch(branch="b"), name="n"))
        with pytest.raises(Conflict):
            await live.append_items([turn_context()], expected_position=live.position - 1)

        await live.append_items([turn_context(model="b")], expected_position=live.position)

        assert live.position == (await live.load_history()).position
        await live.shutdown()
        stored = await store.read_thread(live.id)
        assert stored.memory_mode == "disabled"
        assert stored.git is not None
        assert (stored.git.branch, stored.name) == ("b", "n")
        resumed = await LiveThread.resume(store, live.id, clock=harness.clock)
        assert (resumed.position, resumed.history_mode) == (live.position, new.history_mode)


async def test_a_cleared_value_does_not_come_back_after_a_resume(harness: StoreHarness) -> None:
    async with harness.open() as store, ThreadManager(store, clock=harness.clock) as manager:
        live = await manager.create(NEW)
        await live.append_items(turn("t1", "hello"))
        both = GitInfoPatch(branch="b", sha="1234567")
        await manager.update_thread_metadata(live.id, ThreadMetadataPatch(git=both, name="n"))
        await manager.unload(live.id)
        cleared = ThreadMetadataPatch(git=GitInfoPatch(branch=None), name=None)
        await manager.update_thread_metadata(live.id, cleared)

        again = await manager.resume(live.id)
        await again.append_items(turn("t2", "more"))

        stored = await manager.read(live.id)
        assert stored.name is None
        assert stored.git is not None
        assert (stored.git.branch, stored.git.sha) == (None, "1234567")


async def test_a_fork_is_a_thread_of_its_own(harness: StoreHarness) -> None:
    async with harness.open() as store, ThreadManager(store, clock=harness.clock) as manager:
        source = await manager.create(NEW)
        await source.append_items([*turn("t1", "first", usage=USAGE), unknown_item()])
        await source.append_items(turn("t2", "second"))
        await manager.update_thread_metadata(source.id, ThreadMetadataPatch(name="chosen"))

        fork = await manager.fork(source.id, through_turn="t1")
        await fork.append_items(turn("t3", "other"))

        stored = await manager.read(fork.id)
        turns = await store.list_turns(fork.id, descending=False)
        assert [turn.id for turn in turns.items] == ["t1", "t3"]
        assert (stored.name, stored.preview, stored.forked_from_id) == (
            "chosen",
            "first",
            source.id,
        )
        assert stored.token_usage == USAGE
        await manager.unload(fork.id)
        assert isinstance(await manager.resume(fork.id), LiveThread)


async def test_a_family_is_archived_brought_back_and_deleted(harness: StoreHarness) -> None:
    async with harness.open() as store, ThreadManager(store, clock=harness.clock) as manager:
        root = await manager.create(NEW)
        await root.append_items([user_message("hello")])
        child = await manager.create(
            NewThread(cwd="/repo", source=spawned_by(root.id)),
            inherited=turn("t", "the parent's"),
        )
        await child.append_items([turn_context(model="its own")])

        assert set(await manager.archive(root.id)) == {root.id, child.id}
        assert (await store.list_threads()).items == ()
        assert set(await manager.unarchive(root.id)) == {root.id, child.id}
        assert (await manager.read(child.id)).model == "its own"
        await manager.resume(child.id)
        assert set(await manager.delete(root.id)) == {root.id, child.id}
    for thread_id in (root.id, child.id):
        assert harness.traces(thread_id) == []
