"""LiveThread: how it is opened, what it starts from, and how a context ends it."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from threadstore.errors import (
    Conflict,
    InvalidRequest,
    StoreUnavailable,
    ThreadNotFound,
)
from threadstore.live import LiveThread
from threadstore.metadata import (
    GitInfoPatch,
    HistoryBase,
    MetadataOrigin,
    NewThread,
    ThreadMetadataPatch,
    TokenUsage,
)
from threadstore.testing import record_thread
from threadstore.testing.items import (
    agent_message,
    event,
    session_meta,
    token_count,
    turn,
    turn_context,
    user_item_completed,
    user_message,
)

if TYPE_CHECKING:
    from threadstore.testing import ManualClock
    from threadstore.testing.faults import FaultyStore

NEW = NewThread(cwd="/repo")
UNSTORED = event("agent_message_delta", delta="x")


async def create(store: FaultyStore, clock: ManualClock, **new: Any) -> LiveThread:
    return await LiveThread.create(store, NewThread(**{"cwd": "/repo", **new}), clock=clock)


def observed(store: FaultyStore) -> list[dict[str, Any]]:
    """The fields of each observed write."""
    return [p.present() for origin, p in store.writes if origin is MetadataOrigin.OBSERVED]


# Resume


async def test_a_resume_alone_writes_nothing(store: FaultyStore, clock: ManualClock) -> None:
    thread = await record_thread(store, clock)
    store.writes.clear()
    clock.advance()

    async with await LiveThread.resume(store, thread.id, clock=clock) as live:
        await live.flush()
        await live.persist()

    assert store.writes == []
    assert await store.read_thread(thread.id) == thread


async def test_the_first_append_after_a_resume_overwrites_nothing_written_while_cold(
    store: FaultyStore, clock: ManualClock
) -> None:
    thread = await record_thread(store, clock, name="kept")
    edit = ThreadMetadataPatch(
        model="chosen",
        memory_mode="disabled",
        git=GitInfoPatch(branch=None, sha="1234567"),
        cwd="/moved",
        token_usage=TokenUsage(total_tokens=99),
    )
    await store.update_thread_metadata(thread.id, edit, origin=MetadataOrigin.EXPLICIT)
    before = await store.read_thread(thread.id)

    live = await LiveThread.resume(store, thread.id, clock=clock)
    clock.advance()
    await live.append_items([agent_message("x")])

    assert [patch.keys() for patch in observed(store)[1:]] == [{"updated_at"}]
    after = await live.read()
    assert after.updated_at == clock.now()
    for field in before.__struct_fields__:
        if field != "updated_at":
            assert getattr(after, field) == getattr(before, field), field


async def test_complete_metadata_spares_reading_the_history(
    store: FaultyStore, clock: ManualClock
) -> None:
    thread = await record_thread(store, clock)
    store.calls.clear()

    live = await LiveThread.resume(store, thread.id, clock=clock)

    assert store.calls == ["resume_thread"]
    assert live.position == 9


async def test_a_resumed_thread_keeps_its_mode(store: FaultyStore, clock: ManualClock) -> None:
    live = await create(store, clock, history_mode="paginated")
    await live.append_items([user_item_completed(live.id, "t", "hello")])
    await live.shutdown()

    resumed = await LiveThread.resume(store, live.id, clock=clock)

    assert resumed.history_mode == "paginated"


@pytest.mark.parametrize("verb", ["resume_thread", "iter_history"])
async def test_a_failed_resume_leaves_no_writer(
    store: FaultyStore, clock: ManualClock, verb: str
) -> None:
    live = await create(store, clock)
    await live.append_items([agent_message("x")])
    await live.shutdown()
    store.fail(verb)

    with pytest.raises(StoreUnavailable):
        await LiveThread.resume(store, live.id, clock=clock)
    store.heal(verb)

    await store.resume_thread(live.id)


async def test_an_unknown_an_archived_and_a_live_thread_cannot_be_resumed(
    store: FaultyStore, clock: ManualClock
) -> None:
    archived = await record_thread(store, clock)
    await store.archive_thread(archived.id)
    live = await create(store, clock)
    await live.persist()

    for thread_id, error in [
        ("01a201e5-a996-7a61-8db2-c256091e8939", ThreadNotFound),
        ("nonsense", InvalidRequest),
        (archived.id, InvalidRequest),
        (live.id, Conflict),
    ]:
        with pytest.raises(error):
            await LiveThread.resume(store, thread_id, clock=clock)
    await live.append_items([user_message("still mine")])


# Children and forks by reference


async def test_inherited_items_say_nothing_about_the_child(
    store: FaultyStore, clock: ManualClock
) -> None:
    parent = await record_thread(store, clock, "the parent's")
    inherited = [UNSTORED, *turn("t", "the parent's", usage=TokenUsage(total_tokens=5))]

    child = await LiveThread.create(
        store, NewThread(cwd="/repo", parent_thread_id=parent.id), inherited=inherited, clock=clock
    )

    stored = await child.read()
    assert child.position == len(inherited)
    assert (stored.model, stored.preview, stored.token_usage) == (None, "", None)
    assert stored.parent_thread_id == child.parent_thread_id == parent.id
    await child.append_items([turn_context(model="its own"), user_message("the child's")])
    stored = await child.read()
    assert (stored.model, stored.preview) == ("its own", "the child's")


async def test_a_resumed_child_does_not_take_over_inherited_facts(
    store: FaultyStore, clock: ManualClock
) -> None:
    parent = await record_thread(store, clock)
    new = NewThread(cwd="/repo", parent_thread_id=parent.id)
    child = await LiveThread.create(store, new, inherited=turn("t", "theirs"), clock=clock)
    await child.shutdown()

    resumed = await LiveThread.resume(store, child.id, clock=clock)
    await resumed.append_items([agent_message("x")])

    stored = await resumed.read()
    assert (stored.model, stored.preview) == (None, "")


async def test_a_child_whose_inheritance_fails_leaves_no_trace(
    store: FaultyStore, clock: ManualClock
) -> None:
    store.fail("append_items")

    with pytest.raises(StoreUnavailable):
        await LiveThread.create(store, NEW, inherited=turn("t", "theirs"), clock=clock)

    assert store.calls[-1] == "discard_thread"
    assert (await store.list_threads()).items == ()


async def test_a_fork_by_reference_shows_what_its_part_of_the_history_says(
    store: FaultyStore, clock: ManualClock
) -> None:
    source = await record_thread(store, clock, "first")
    async with await LiveThread.resume(store, source.id, clock=clock) as live:
        await live.append_items(turn("t2", "second", model="later"))
    base = HistoryBase(thread_id=source.id, position=9)

    fork = await LiveThread.create(store, NewThread(cwd="/f", history_base=base), clock=clock)
    await fork.persist()

    stored = await fork.read()
    assert (stored.preview, stored.model, stored.cwd) == ("first", "gpt-5.1", "/f")
    assert fork.position == 10


# As a context manager


async def test_a_normal_exit_shuts_down(store: FaultyStore, clock: ManualClock) -> None:
    async with await create(store, clock) as live:
        await live.append_items([user_message("hello")])

    assert live.closed
    assert store.calls[-1] == "shutdown_thread"


async def test_a_failure_before_the_first_append_discards(
    store: FaultyStore, clock: ManualClock
) -> None:
    with pytest.raises(RuntimeError):
        async with await create(store, clock) as live:
            raise RuntimeError

    assert live.closed
    assert store.calls[-1] == "discard_thread"


async def test_a_failure_after_the_first_append_shuts_down(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock)
    await live.append_items([user_message("hello")])

    with pytest.raises(RuntimeError):
        async with live:
            raise RuntimeError

    assert store.calls[-1] == "shutdown_thread"


async def test_a_failure_is_not_hidden_by_a_shutdown_that_fails_too(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock)
    await live.append_items([user_message("hello")])
    store.fail("shutdown_thread")

    with pytest.raises(RuntimeError):
        async with live:
            raise RuntimeError

    assert live.closed


async def test_the_path_comes_from_the_store(store: FaultyStore, clock: ManualClock) -> None:
    live = await create(store, clock)

    assert live.rollout_path is None


async def test_times_are_those_of_the_store(store: FaultyStore, clock: ManualClock) -> None:
    created = clock.now()
    live = await create(store, clock)
    clock.advance(60)

    await live.append_items([user_message("hello")])

    stored = await live.read()
    assert stored.created_at == created
    assert stored.updated_at == created + dt.timedelta(seconds=60)


async def test_a_foreign_header_changes_nothing(store: FaultyStore, clock: ManualClock) -> None:
    live = await create(store, clock)
    other = session_meta(
        "01a201e5-a996-7a61-8db2-c256091e8939",
        created_at=clock.now(),
        cwd="/theirs",
        memory_mode="disabled",
    )

    await live.append_items([other, token_count(None)])

    stored = await live.read()
    assert (stored.cwd, stored.memory_mode) == ("/repo", "enabled")
