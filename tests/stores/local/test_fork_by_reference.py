"""Forks by reference: what the header says, and what stands in the way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from threadstore.errors import Conflict, InvalidRequest, Unsupported
from threadstore.factory import open_store
from threadstore.manager import ThreadManager
from threadstore.metadata import HistoryBase, NewThread
from threadstore.store import ThreadStore
from threadstore.testing import items

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from threadstore.metadata import StoredThread

TEXT = "what was asked"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ThreadStore]:
    async with open_store(f"local:{tmp_path}") as store:
        yield store


async def source(store: ThreadStore, mode: Any = "paginated") -> StoredThread:
    """A cold thread with two turns."""
    async with ThreadManager(store) as manager:
        live = await manager.create(NewThread(cwd="/repo", history_mode=mode))
        await live.append_items(items.turn("t1", TEXT, "first"))
        await live.append_items(items.turn("t2", "again", "second"))
    return await store.read_thread(live.id)


async def lines(store: ThreadStore, thread_id: str) -> list[dict[str, Any]]:
    """The thread's own file, line by line."""
    raw = b"".join([chunk async for chunk in store.raw_history(thread_id)])
    return [json.loads(line) for line in raw.splitlines()]


async def test_a_fork_says_where_it_left_its_source(store: ThreadStore) -> None:
    thread = await source(store)
    async with ThreadManager(store) as manager:
        fork = await manager.fork(thread.id, through_turn="t1")
        await fork.append_items([items.user_message("other")])

    kept = [json.dumps(line, separators=(",", ":")) for line in await lines(store, thread.id)]
    cut = next(n for n, line in enumerate(kept) if "task_complete" in line) + 1
    (header, *own) = await lines(store, fork.id)
    assert header["ordinal"] == cut
    assert header["payload"]["forked_from_ordinal_exclusive"] == cut
    assert header["payload"]["history_base"] == {
        "thread_id": thread.id,
        "end_ordinal_exclusive": cut,
        "end_byte_offset": sum(len(line) + 1 for line in kept[:cut]),
    }
    assert [line["ordinal"] for line in own] == list(range(cut + 1, cut + 1 + len(own)))
    assert (await store.read_thread(fork.id)).preview == TEXT


async def test_a_fork_at_the_end_of_what_a_fork_inherits_stands_on_the_first_thread(
    store: ThreadStore,
) -> None:
    thread = await source(store)
    async with ThreadManager(store) as manager:
        first = await manager.fork(thread.id)
        inherited = first.position - 1
        base = HistoryBase(thread_id=first.id, position=inherited)
        new = NewThread(cwd="/repo", history_mode="paginated", history_base=base)
        second = await manager.create(new)
        await second.persist()
    (header,) = await lines(store, second.id)
    assert header["payload"]["history_base"]["thread_id"] == thread.id
    assert (await store.load_history(second.id)).position == inherited + 1


async def test_a_torn_line_stays_with_its_owner(store: ThreadStore) -> None:
    thread = await source(store)
    position = (await store.load_history(thread.id)).position
    assert thread.rollout_path is not None
    with open(thread.rollout_path, "ab") as file:
        file.write(b'{"timestamp":"2026-01-01T00:00:00.000Z","ordi')
    async with ThreadManager(store) as manager:
        fork = await manager.fork(thread.id)
        await fork.append_items([items.user_message("on")])
    history = await store.load_history(fork.id)
    assert history.damage == ()
    assert history.items[position].type == "session_meta"
    assert history.items[position].payload["history_base"]["thread_id"] == thread.id


async def test_a_line_that_lacks_its_newline_is_copied(store: ThreadStore) -> None:
    thread = await source(store)
    said = (await store.load_history(thread.id)).items
    assert thread.rollout_path is not None
    with open(thread.rollout_path, "r+b") as file:
        file.truncate(file.seek(0, 2) - 1)
    async with ThreadManager(store) as manager:
        fork = await manager.fork(thread.id)
    copied = await lines(store, fork.id)
    assert "history_base" not in copied[0]["payload"]
    assert [line["payload"] for line in copied[-len(said) :]] == [item.payload for item in said]
    assert [line["ordinal"] for line in copied] == list(range(len(copied)))


async def test_legacy_history_is_copied(store: ThreadStore) -> None:
    thread = await source(store, "legacy")
    base = HistoryBase(thread_id=thread.id, position=2)
    with pytest.raises(Unsupported):
        await store.create_thread(NewThread(cwd="/repo", history_base=base))
    async with ThreadManager(store) as manager:
        fork = await manager.fork(thread.id)
    assert "history_base" not in (await lines(store, fork.id))[0]["payload"]


async def test_a_fork_cannot_take_more_than_there_is(store: ThreadStore) -> None:
    thread = await source(store)
    base = HistoryBase(thread_id=thread.id, position=1000)
    new = NewThread(cwd="/repo", history_mode="paginated", history_base=base)
    with pytest.raises(InvalidRequest, match="lines, not 1000"):
        await store.create_thread(new)


async def test_what_a_fork_without_history_stands_on_cannot_be_deleted(store: ThreadStore) -> None:
    thread = await source(store)
    base = HistoryBase(thread_id=thread.id, position=3)
    new = NewThread(cwd="/repo", history_mode="paginated", history_base=base)
    fork = await store.create_thread(new)
    with pytest.raises(Conflict, match=fork.id):
        await store.delete_thread(thread.id)
    await store.discard_thread(fork.id)
    await store.delete_thread(thread.id)
