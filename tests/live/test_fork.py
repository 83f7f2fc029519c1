"""Forks, by reference and by copy: the same result either way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from threadstore.errors import Conflict, InvalidRequest, StoreUnavailable, ThreadNotFound
from threadstore.history.items import RolloutItem
from threadstore.live import LiveThread
from threadstore.manager import ThreadManager
from threadstore.metadata import NewThread, ThreadMetadataPatch, TokenUsage
from threadstore.queries import ThreadQuery
from threadstore.stores.memory import MemoryThreadStore
from threadstore.testing import record_thread, spawned_by
from threadstore.testing.faults import FaultyStore
from threadstore.testing.items import (
    agent_message,
    event,
    task_started,
    turn,
    unknown_item,
    user_message,
    user_response,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from threadstore.store import Capabilities
    from threadstore.testing import ManualClock

NEW = NewThread(cwd="/repo", base_instructions="be kind", dynamic_tools=({"name": "t"},))
USAGE = TokenUsage(total_tokens=7)


class CopyingStore(FaultyStore):
    """A store that cannot refer to another thread's history."""

    @property
    def capabilities(self) -> Capabilities:
        return msgspec.structs.replace(self.inner.capabilities, fork_by_reference=False)


@pytest.fixture(params=[FaultyStore, CopyingStore], ids=["by_reference", "by_copy"])
async def store(request: pytest.FixtureRequest, clock: ManualClock) -> AsyncIterator[FaultyStore]:
    async with request.param(MemoryThreadStore(clock=clock)) as store:
        yield store


@pytest.fixture
def manager(store: FaultyStore, clock: ManualClock) -> ThreadManager:
    return ThreadManager(store, clock=clock)


async def two_turns(manager: ThreadManager) -> LiveThread:
    source = await manager.create(NEW)
    await source.append_items([*turn("t1", "first", usage=USAGE, model="a"), unknown_item()])
    await source.append_items(turn("t2", "second", model="b"))
    return source


async def said(store: FaultyStore, thread_id: str) -> list[str]:
    items = (await store.load_history(thread_id)).items
    return [item.payload["message"] for item in items if item.kind == "user_message"]


def lines(items: tuple[RolloutItem, ...]) -> set[bytes]:
    return {item.line() for item in items if item.type != "session_meta"}


async def test_a_fork_continues_the_whole_history_as_its_own_thread(
    manager: ThreadManager, store: FaultyStore
) -> None:
    source = await two_turns(manager)
    fork = await manager.fork(source.id)
    await fork.append_items([user_message("third")])
    await source.append_items([user_message("another third")])

    assert await said(store, fork.id) == ["first", "second", "third"]
    assert await said(store, source.id) == ["first", "second", "another third"]
    copied = lines((await source.load_history()).items[:-1])
    assert copied <= lines((await fork.load_history()).items)
    assert manager.get(fork.id) is fork


async def test_a_fork_shows_the_facts_of_its_history_and_its_origin(
    manager: ThreadManager, store: FaultyStore
) -> None:
    source = await two_turns(manager)
    await manager.update_thread_metadata(source.id, ThreadMetadataPatch(name="chosen"))

    fork = await manager.fork(source.id)

    stored = await store.read_thread(fork.id)
    assert (stored.preview, stored.title, stored.model) == ("first", "first", "b")
    assert (stored.name, stored.forked_from_id) == ("chosen", source.id)
    assert stored.token_usage == USAGE
    assert (await source.read()).name == "chosen"


async def test_a_whole_fork_is_shown_as_its_source_is_shown(manager: ThreadManager) -> None:
    source = await two_turns(manager)
    shown = ThreadMetadataPatch(preview="shown", title="shown")
    await manager.update_thread_metadata(source.id, shown)

    whole = await (await manager.fork(source.id)).read()
    part = await (await manager.fork(source.id, through_turn="t1")).read()

    assert (whole.preview, whole.title, whole.first_user_message) == ("shown", "shown", "first")
    assert (part.preview, part.title) == ("first", "first")


async def test_a_fork_of_a_history_without_events_shows_its_first_message(
    manager: ThreadManager, store: FaultyStore, clock: ManualClock
) -> None:
    source = await LiveThread.create(store, NewThread(cwd="/repo"), clock=clock)
    bare = {"id": source.id, "timestamp": "2025-08-01T10:00:00.000Z", "instructions": None}
    await source.append_items([RolloutItem("session_meta", bare), user_response("old words")])
    assert (await source.read()).preview == "old words"

    fork = await (await manager.fork(source.id)).read()

    assert (fork.preview, fork.title) == ("old words", "old words")


async def test_a_fork_is_durable_and_listed_at_once(
    manager: ThreadManager, store: FaultyStore, clock: ManualClock
) -> None:
    source = await record_thread(store, clock)
    store.calls.clear()

    fork = await manager.fork(source.id)

    assert store.calls[-1] == "flush_thread"
    ids = {thread.id for thread in (await store.list_threads()).items}
    assert ids == {source.id, fork.id}


@pytest.mark.parametrize(
    ("through", "before", "expected"),
    [
        ("t1", None, ["first"]),
        ("t2", None, ["first", "second"]),
        (None, "t2", ["first"]),
        (None, "t1", []),
    ],
)
async def test_a_fork_ends_where_it_is_told_to(
    manager: ThreadManager,
    store: FaultyStore,
    through: str | None,
    before: str | None,
    expected: list[str],
) -> None:
    source = await two_turns(manager)

    fork = await manager.fork(source.id, through_turn=through, before_turn=before)

    assert await said(store, fork.id) == expected
    assert (await fork.read()).preview == (expected[0] if expected else "")


async def test_a_fork_of_a_part_shows_the_settings_of_that_part(manager: ThreadManager) -> None:
    source = await two_turns(manager)

    fork = await manager.fork(source.id, through_turn="t1")

    assert (await fork.read()).model == "a"


async def test_a_turn_that_is_not_there_or_not_finished_is_no_end(manager: ThreadManager) -> None:
    source = await two_turns(manager)
    await source.append_items([task_started("t3"), user_message("running")])

    for through, before in (("t9", None), (None, "t9"), ("t3", None), ("t1", "t2")):
        with pytest.raises(InvalidRequest):
            await manager.fork(source.id, through_turn=through, before_turn=before)
    assert manager.loaded() == (source.id,)
    await manager.fork(source.id, before_turn="t3")


async def test_a_turn_that_was_rolled_back_is_no_end(manager: ThreadManager) -> None:
    source = await two_turns(manager)
    await source.append_items([event("thread_rolled_back", num_turns=1)])

    with pytest.raises(InvalidRequest, match="no such turn"):
        await manager.fork(source.id, through_turn="t2")


async def test_a_fork_is_like_its_source_unless_something_else_is_said(
    manager: ThreadManager, clock: ManualClock, store: FaultyStore
) -> None:
    source = await manager.create(
        NewThread(
            cwd="/repo",
            source=spawned_by("01a201e5-a996-7a61-8db2-c256091e8939"),
            model_provider="mock",
            memory_mode="disabled",
            history_mode="paginated",
        )
    )
    await source.append_items([agent_message("x"), unknown_item()])
    new = NewThread(cwd="/ignored", id="01a201e5-a996-7a61-8db2-c256091e8930", source="exec")

    plain = await (await manager.fork(source.id)).read()
    other = await (await manager.fork(source.id, new, cwd="/other")).read()

    assert (plain.cwd, plain.model_provider, plain.memory_mode) == ("/repo", "mock", "disabled")
    assert (plain.source, plain.parent_thread_id) == ("cli", None)
    assert (other.id, other.cwd, other.source) == (new.id, "/other", "exec")
    assert plain.history_mode == other.history_mode == "paginated"


async def test_a_fork_keeps_instructions_and_tools(manager: ThreadManager) -> None:
    source = await two_turns(manager)

    fork = await manager.fork(source.id)

    headers = [i for i in (await fork.load_history()).items if i.type == "session_meta"]
    own = next(item.payload for item in headers if item.payload["id"] == fork.id)
    assert own["base_instructions"]["text"] == "be kind"
    assert own["dynamic_tools"] == [{"name": "t"}]
    assert own["forked_from_id"] == source.id


async def test_a_fork_of_nothing_is_refused(
    manager: ThreadManager, store: FaultyStore, clock: ManualClock
) -> None:
    unborn = await manager.create(NEW)
    cold = await record_thread(store, clock)

    with pytest.raises(InvalidRequest, match="no history"):
        await manager.fork(unborn.id)
    with pytest.raises(ThreadNotFound):
        await manager.fork("01a201e5-a996-7a61-8db2-c256091e8939")
    with pytest.raises(Conflict):
        await manager.fork(cold.id, NewThread(cwd="/repo", id=unborn.id))
    with pytest.raises(Conflict):
        await manager.fork(cold.id, NewThread(cwd="/repo", id=cold.id))
    assert manager.loaded() == (unborn.id,)


@pytest.mark.parametrize("verb", ["create_thread", "persist_thread", "update_thread_metadata"])
async def test_a_fork_that_fails_leaves_nothing(
    manager: ThreadManager, store: FaultyStore, clock: ManualClock, verb: str
) -> None:
    source = await record_thread(store, clock, name="chosen")
    store.fail(verb)

    with pytest.raises(StoreUnavailable):
        await manager.fork(source.id)
    store.heal(verb)

    listed = await store.list_threads(ThreadQuery(archived=None))
    assert [thread.id for thread in listed.items] == [source.id]
    assert manager.loaded() == ()


@pytest.mark.parametrize("store", [CopyingStore], indirect=True)
async def test_a_copy_that_fails_leaves_nothing(
    manager: ThreadManager, store: FaultyStore, clock: ManualClock
) -> None:
    source = await record_thread(store, clock)
    store.fail("append_items")

    with pytest.raises(StoreUnavailable):
        await manager.fork(source.id)

    assert [thread.id for thread in (await store.list_threads()).items] == [source.id]


async def test_a_fork_of_a_fork_continues_both(manager: ThreadManager, store: FaultyStore) -> None:
    source = await two_turns(manager)
    first = await manager.fork(source.id, through_turn="t1")
    await first.append_items(turn("f1", "forked"))

    second = await manager.fork(first.id)

    assert await said(store, second.id) == ["first", "forked"]
    assert (await second.read()).forked_from_id == first.id
