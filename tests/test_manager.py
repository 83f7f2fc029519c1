"""ThreadManager: loaded and cold threads through one door."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from threadstore.errors import Conflict, InvalidRequest, StoreUnavailable, ThreadNotFound
from threadstore.live import LiveThread
from threadstore.manager import ThreadManager
from threadstore.metadata import MetadataOrigin, NewThread, ThreadMetadataPatch, TokenUsage
from threadstore.queries import ThreadQuery
from threadstore.stores.memory import MemoryThreadStore
from threadstore.testing import ManualClock, record_thread, spawned_by
from threadstore.testing.faults import FaultyStore
from threadstore.testing.items import agent_message, turn, turn_context, user_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NEW = NewThread(cwd="/repo")
UNKNOWN = "01a201e5-a996-7a61-8db2-c256091e8939"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(clock: ManualClock) -> AsyncIterator[FaultyStore]:
    async with FaultyStore(MemoryThreadStore(clock=clock)) as store:
        yield store


@pytest.fixture
def manager(store: FaultyStore, clock: ManualClock) -> ThreadManager:
    return ThreadManager(store, clock=clock)


def name(text: str | None) -> ThreadMetadataPatch:
    return ThreadMetadataPatch(name=text)


async def child_of(
    manager: ThreadManager, parent_id: str, *, materialised: bool = True
) -> LiveThread:
    child = await manager.create(NewThread(cwd="/repo", source=spawned_by(parent_id)))
    if materialised:
        await child.append_items([user_message("sub")])
    return child


async def listed(store: FaultyStore, *, archived: bool | None = False) -> set[str]:
    return {t.id for t in (await store.list_threads(ThreadQuery(archived=archived))).items}


# Opening


async def test_a_created_thread_is_loaded_until_it_is_shut_down(manager: ThreadManager) -> None:
    live = await manager.create(NEW)

    assert manager.get(live.id) is live
    assert manager.get(live.id.upper()) is live
    assert manager.loaded() == (live.id,)
    await live.shutdown()
    assert manager.get(live.id) is None
    assert manager.loaded() == ()


async def test_resuming_a_loaded_thread_gives_the_same_handle(manager: ThreadManager) -> None:
    live = await manager.create(NEW)

    assert await manager.resume(live.id) is live


async def test_a_cold_thread_is_resumed_once_for_all_callers(
    manager: ThreadManager, store: FaultyStore, clock: ManualClock
) -> None:
    thread = await record_thread(store, clock)

    first, second = await asyncio.gather(manager.resume(thread.id), manager.resume(thread.id))

    assert first is second
    assert store.calls.count("resume_thread") == 1


async def test_a_thread_being_shut_down_is_resumed_afresh(
    manager: ThreadManager, store: FaultyStore
) -> None:
    live = await manager.create(NEW)
    await live.append_items([user_message("hello")])
    pause = store.pause("shutdown_thread")
    shutdown = asyncio.create_task(live.shutdown())
    await pause.reached.wait()
    resume = asyncio.create_task(manager.resume(live.id))
    await asyncio.sleep(0)
    pause.release()
    await shutdown

    again = await resume

    assert again is not live
    await again.append_items([agent_message("x")])


async def test_ids_that_are_wrong_unknown_or_taken_are_refused(
    manager: ThreadManager, store: FaultyStore, clock: ManualClock
) -> None:
    live = await manager.create(NEW)
    archived = await record_thread(store, clock)
    await store.archive_thread(archived.id)

    with pytest.raises(InvalidRequest):
        await manager.resume("nonsense")
    with pytest.raises(InvalidRequest):
        manager.get("nonsense")
    with pytest.raises(InvalidRequest):
        await manager.resume(archived.id)
    with pytest.raises(ThreadNotFound):
        await manager.resume(UNKNOWN)
    with pytest.raises(Conflict):
        await manager.create(NewThread(cwd="/repo", id=live.id))
    with pytest.raises(Conflict):
        await manager.create(NewThread(cwd="/repo", id=archived.id))
    assert manager.loaded() == (live.id,)


async def test_a_child_starts_with_what_it_inherits(manager: ThreadManager) -> None:
    parent = await manager.create(NEW)
    await parent.append_items(turn("t", "the parent's"))
    inherited = (await parent.load_history()).items[1:]

    child = await manager.create(
        NewThread(cwd="/repo", parent_thread_id=parent.id), inherited=inherited
    )

    stored = await child.read()
    assert len((await child.load_history()).items) == len(inherited) + 1
    assert (stored.model, stored.preview) == (None, "")


# Metadata


@pytest.mark.parametrize("loaded", [True, False])
async def test_a_name_can_be_set_and_cleared_loaded_or_not(
    manager: ThreadManager, loaded: bool
) -> None:
    live = await manager.create(NEW)
    await live.append_items([user_message("hello")])
    if not loaded:
        await live.shutdown()

    named = await manager.update_thread_metadata(live.id, name("chosen"))
    cleared = await manager.update_thread_metadata(live.id, name(None))

    assert (named.name, cleared.name) == ("chosen", None)


async def test_the_origin_is_always_explicit(
    manager: ThreadManager, store: FaultyStore, clock: ManualClock
) -> None:
    thread = await record_thread(store, clock)
    store.writes.clear()
    await manager.update_thread_metadata(thread.id, ThreadMetadataPatch(model="m"))
    await manager.resume(thread.id)
    await manager.update_thread_metadata(thread.id, ThreadMetadataPatch(model="n"))

    assert [origin for origin, _ in store.writes] == [MetadataOrigin.EXPLICIT] * 2


async def test_an_edit_and_a_resume_of_one_thread_take_turns(
    manager: ThreadManager, store: FaultyStore, clock: ManualClock
) -> None:
    thread = await record_thread(store, clock)
    pause = store.pause("update_thread_metadata")
    edit = asyncio.create_task(
        manager.update_thread_metadata(thread.id, ThreadMetadataPatch(model="chosen"))
    )
    await pause.reached.wait()
    store.calls.clear()
    resume = asyncio.create_task(manager.resume(thread.id))
    for _ in range(10):
        await asyncio.sleep(0)
    assert store.calls == []

    pause.release()
    await edit
    live = await resume
    await live.append_items([agent_message("x")])

    assert (await live.read()).model == "chosen"


async def test_an_edit_during_a_resume_reaches_the_live_thread(
    manager: ThreadManager, store: FaultyStore, clock: ManualClock
) -> None:
    thread = await record_thread(store, clock)
    pause = store.pause("resume_thread", after=True)
    resume = asyncio.create_task(manager.resume(thread.id))
    await pause.reached.wait()
    edit = asyncio.create_task(
        manager.update_thread_metadata(thread.id, ThreadMetadataPatch(preview="chosen"))
    )
    for _ in range(10):
        await asyncio.sleep(0)
    assert not edit.done()
    pause.release()
    live = await resume
    await edit

    await live.append_items([user_message("later")])

    assert (await live.read()).preview == "chosen"


async def test_an_edit_of_a_thread_that_is_being_shut_down_is_not_lost(
    manager: ThreadManager, store: FaultyStore
) -> None:
    live = await manager.create(NEW)
    await live.append_items([user_message("hello")])
    pause = store.pause("shutdown_thread")
    shutdown = asyncio.create_task(live.shutdown())
    await pause.reached.wait()
    edit = asyncio.create_task(manager.update_thread_metadata(live.id, name("kept")))
    await asyncio.sleep(0)
    pause.release()
    await shutdown

    assert (await edit).name == "kept"


async def test_bad_edits_leave_nothing_behind(
    manager: ThreadManager, store: FaultyStore, clock: ManualClock
) -> None:
    thread = await record_thread(store, clock)
    await manager.archive(thread.id)

    with pytest.raises(ThreadNotFound):
        await manager.update_thread_metadata(UNKNOWN, name("n"))
    with pytest.raises(InvalidRequest):
        await manager.update_thread_metadata("nonsense", name("n"))
    with pytest.raises(InvalidRequest):
        await manager.update_thread_metadata(thread.id, name("n"))
    assert (await store.read_thread(thread.id)).name is None
    assert await listed(store, archived=None) == {thread.id}

    stored = await manager.update_thread_metadata(thread.id, name("n"), include_archived=True)
    assert (stored.name, stored.archived) == ("n", True)


# Archive, unarchive, delete


async def test_archiving_shuts_the_writers_of_the_whole_family_down(
    manager: ThreadManager, store: FaultyStore
) -> None:
    root = await manager.create(NEW)
    await root.append_items([user_message("hello")])
    child = await child_of(manager, root.id)
    grandchild = await child_of(manager, child.id)
    unborn = await child_of(manager, grandchild.id, materialised=False)
    other = await manager.create(NEW)

    ids = await manager.archive(root.id)

    assert ids[0] == root.id
    assert set(ids) == {root.id, child.id, grandchild.id}
    assert unborn.closed
    assert manager.loaded() == (other.id,)
    assert set(await manager.unarchive(root.id)) == set(ids)
    assert await listed(store) == set(ids)


async def test_archiving_a_thread_without_history_materialises_it(
    manager: ThreadManager, store: FaultyStore
) -> None:
    live = await manager.create(NEW)

    assert await manager.archive(live.id) == (live.id,)

    assert (await store.read_thread(live.id)).archived


async def test_a_shutdown_that_fails_stops_the_archiving_and_loses_nothing(
    manager: ThreadManager, store: FaultyStore
) -> None:
    live = await manager.create(NEW)
    await live.append_items([user_message("hello")])
    store.fail("shutdown_thread")

    with pytest.raises(StoreUnavailable):
        await manager.archive(live.id)
    store.heal("shutdown_thread")

    assert not (await store.read_thread(live.id)).archived
    assert manager.get(live.id) is live
    await live.append_items([agent_message("x")])


async def test_a_resume_waits_for_the_archiving_before_it(
    manager: ThreadManager, store: FaultyStore
) -> None:
    live = await manager.create(NEW)
    await live.append_items([user_message("hello")])
    pause = store.pause("archive_thread")
    archive = asyncio.create_task(manager.archive(live.id))
    await pause.reached.wait()
    resume = asyncio.create_task(manager.resume(live.id))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not resume.done()
    pause.release()
    await archive

    with pytest.raises(InvalidRequest, match="archived"):
        await resume


@pytest.mark.parametrize("change", [{"name": "n"}, {"memory_mode": "disabled"}], ids=", ".join)
async def test_changes_of_list_state_take_turns_among_all_threads(
    manager: ThreadManager, store: FaultyStore, clock: ManualClock, change: dict[str, Any]
) -> None:
    one = await record_thread(store, clock)
    two = await record_thread(store, clock)
    pause = store.pause("archive_thread")
    archive = asyncio.create_task(manager.archive(one.id))
    await pause.reached.wait()
    patch = ThreadMetadataPatch(**change)
    edit = asyncio.create_task(manager.update_thread_metadata(two.id, patch))
    for _ in range(20):
        await asyncio.sleep(0)
    await manager.update_thread_metadata(two.id, ThreadMetadataPatch(model="not waiting"))
    assert not edit.done()
    pause.release()

    await archive
    assert patch.apply(await edit) == await edit


async def test_deleting_takes_loaded_descendants_along(
    manager: ThreadManager, store: FaultyStore
) -> None:
    root = await manager.create(NEW)
    await root.append_items([user_message("hello")])
    child = await child_of(manager, root.id)

    ids = await manager.delete(root.id)

    assert ids == (root.id, child.id)
    assert manager.loaded() == ()
    assert await listed(store, archived=None) == set()


async def test_deleting_a_thread_without_history_ends_it(manager: ThreadManager) -> None:
    live = await manager.create(NEW)

    assert await manager.delete(live.id) == (live.id,)

    assert live.closed
    with pytest.raises(ThreadNotFound):
        await manager.delete(live.id)


async def test_a_delete_that_is_refused_loses_nothing(
    manager: ThreadManager, store: FaultyStore
) -> None:
    live = await manager.create(NEW)
    await live.append_items([user_message("hello")])
    fork = await manager.fork(live.id)

    with pytest.raises(Conflict):
        await manager.delete(live.id)

    assert (await store.read_thread(live.id)).preview == "hello"
    assert not fork.closed


# Closing


async def test_leaving_the_manager_shuts_every_thread_down(store: FaultyStore) -> None:
    async with ThreadManager(store) as manager:
        one = await manager.create(NEW)
        two = await manager.create(NEW, ephemeral=True)
        await one.append_items([user_message("hello")])

    assert one.closed
    assert two.closed
    with pytest.raises(StoreUnavailable):
        await manager.create(NEW)
    with pytest.raises(StoreUnavailable):
        await manager.resume(one.id)


async def test_close_goes_on_after_a_failure_and_can_be_repeated(
    manager: ThreadManager, store: FaultyStore
) -> None:
    live = await manager.create(NEW)
    await live.append_items([user_message("hello")])
    other = await manager.create(NEW, ephemeral=True)
    store.fail("shutdown_thread")
    with pytest.raises(StoreUnavailable):
        await manager.close()
    assert other.closed
    store.heal("shutdown_thread")

    await manager.close()

    assert live.closed


async def test_a_thread_that_was_being_opened_at_the_close_does_not_stay(
    manager: ThreadManager, store: FaultyStore
) -> None:
    pause = store.pause("create_thread")
    opening: asyncio.Task[Any] = asyncio.create_task(manager.create(NEW))
    await pause.reached.wait()
    await manager.close()
    pause.release()

    with pytest.raises(StoreUnavailable):
        await opening
    assert manager.loaded() == ()
    assert store.calls[-1] == "shutdown_thread"


async def test_unloading_keeps_the_thread_in_the_store(
    manager: ThreadManager, store: FaultyStore
) -> None:
    live = await manager.create(NEW)
    await live.append_items([turn_context(model="m")])

    await manager.unload(live.id)
    await manager.unload(live.id)

    assert manager.get(live.id) is None
    assert (await manager.read(live.id)).model == "m"
    assert [thread.id for thread in (await manager.list_threads()).items] == [live.id]


async def test_usage_of_a_child_stays_its_own(manager: ThreadManager) -> None:
    usage = TokenUsage(total_tokens=5)
    parent = await manager.create(NEW)
    await parent.append_items(turn("t", "hello", usage=usage))
    child = await manager.create(
        NewThread(cwd="/repo", parent_thread_id=parent.id),
        inherited=(await parent.load_history()).items,
    )

    assert (await parent.read()).token_usage == usage
    assert (await child.read()).token_usage is None


async def test_wrong_arguments_are_refused(manager: ThreadManager, clock: ManualClock) -> None:
    thread_id = (await record_thread(manager.store, clock)).id
    wrong: Any = {"cwd": "/repo"}
    for call in (
        manager.create(wrong),
        manager.create(wrong, ephemeral=True),
        manager.fork(thread_id, wrong),
        manager.update_thread_metadata(thread_id, wrong),
        manager.list_threads(wrong),
    ):
        with pytest.raises(InvalidRequest):
            await call
    assert manager.loaded() == ()
