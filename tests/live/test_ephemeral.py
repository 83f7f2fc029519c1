"""Ephemeral threads: known to a manager, to no store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from threadstore.errors import Conflict, InvalidRequest, ThreadNotFound
from threadstore.manager import ThreadManager
from threadstore.metadata import NewThread, ThreadMetadataPatch
from threadstore.testing.items import agent_message, user_message

if TYPE_CHECKING:
    from threadstore.testing import ManualClock
    from threadstore.testing.faults import FaultyStore

NEW = NewThread(cwd="/repo")


@pytest.fixture
def manager(store: FaultyStore, clock: ManualClock) -> ThreadManager:
    return ThreadManager(store, clock=clock)


async def test_an_ephemeral_thread_never_reaches_the_store(
    manager: ThreadManager, store: FaultyStore
) -> None:
    store.calls.clear()
    thread = await manager.create(NEW, ephemeral=True)
    await thread.append_items([user_message("hello"), agent_message("x")], idempotency_key="k")
    again = await thread.append_items([user_message("hello")], idempotency_key="k")
    await thread.persist()
    await thread.flush()

    assert again.position == thread.position == 2
    assert len((await thread.load_history()).items) == 2
    assert (await manager.read(thread.id)).cwd == "/repo"
    assert await manager.resume(thread.id) is thread
    assert store.calls == []


async def test_an_ephemeral_thread_refuses_metadata_archive_and_fork(
    manager: ThreadManager,
) -> None:
    thread = await manager.create(NEW, ephemeral=True)

    with pytest.raises(InvalidRequest, match="ephemeral thread does not support metadata updates"):
        await manager.update_thread_metadata(thread.id, ThreadMetadataPatch(name="n"))
    with pytest.raises(InvalidRequest):
        await manager.archive(thread.id)
    with pytest.raises(InvalidRequest):
        await manager.unarchive(thread.id)
    with pytest.raises(InvalidRequest):
        await manager.fork(thread.id)


async def test_a_closed_ephemeral_thread_is_gone(manager: ThreadManager) -> None:
    async with await manager.create(NEW, ephemeral=True) as thread:
        pass

    assert manager.get(thread.id) is None
    with pytest.raises(ThreadNotFound):
        await thread.append_items([user_message("x")])
    with pytest.raises(ThreadNotFound):
        await manager.read(thread.id)

    deleted = await manager.create(NEW, ephemeral=True)
    assert await manager.delete(deleted.id) == (deleted.id,)
    assert manager.loaded() == ()


async def test_an_ephemeral_thread_holds_to_the_rules_of_appending(manager: ThreadManager) -> None:
    thread = await manager.create(NEW, ephemeral=True, inherited=[user_message("theirs")])

    with pytest.raises(Conflict):
        await thread.append_items([agent_message("x")], expected_position=0)
    with pytest.raises(Conflict):
        await manager.create(NewThread(cwd="/repo", id=thread.id))
    await thread.append_items([agent_message("x")], expected_position=1)

    assert thread.position == 2
