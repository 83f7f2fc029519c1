"""Two stores on one home change the same thread: what was said last stands, for both."""

from __future__ import annotations

from pathlib import Path

from threadstore import LiveThread, MetadataOrigin, NewThread, ThreadMetadataPatch, open_store
from threadstore.metadata import StoredThread
from threadstore.store import ThreadStore
from threadstore.testing import items

PAGINATED = NewThread(cwd="", history_mode="paginated")


async def say(store: ThreadStore, thread_id: str, patch: ThreadMetadataPatch) -> None:
    await store.update_thread_metadata(thread_id, patch, origin=MetadataOrigin.EXPLICIT)


async def only(store: ThreadStore) -> StoredThread:
    (thread,) = (await store.list_threads()).items
    return thread


async def test_a_value_that_another_process_sets_back_does_not_return(tmp_path: Path) -> None:
    url = f"local:{tmp_path}/home"
    off, on = (
        ThreadMetadataPatch(memory_mode="disabled"),
        ThreadMetadataPatch(memory_mode="enabled"),
    )
    async with open_store(url) as ours, open_store(url) as theirs:
        live = await LiveThread.create(ours, PAGINATED)
        await live.append_items([items.user_message("hello")])
        await live.shutdown()
        for store, patch in ((ours, off), (theirs, on)):
            await say(store, live.id, patch)
        for store in (ours, theirs):
            assert (await only(store)).memory_mode == "enabled"
            assert (await store.read_thread(live.id)).memory_mode == "enabled"
    async with open_store(url) as store:
        assert (await only(store)).memory_mode == "enabled"


async def test_a_writer_does_not_take_back_what_others_say_meanwhile(tmp_path: Path) -> None:
    url = f"local:{tmp_path}/home"
    async with open_store(url) as ours, open_store(url) as theirs:
        live = await LiveThread.create(ours, PAGINATED)
        await live.append_items([items.user_message("hello")])
        await say(theirs, live.id, ThreadMetadataPatch(name="theirs", memory_mode="disabled"))
        await live.append_items([items.turn_context(model="gpt-new")])
        for _ in range(2):
            thread = await only(theirs)
            assert (thread.name, thread.memory_mode) == ("theirs", "disabled")
            assert thread.model == "gpt-new"
            await live.shutdown()
        for store in (ours, theirs):
            assert await only(store) == await store.read_thread(live.id) == thread
