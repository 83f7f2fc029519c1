"""LiveThread when the store fails: what a caller is told, and what is made up for later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from threadstore.errors import InvalidRequest, StoreUnavailable, Unsupported
from threadstore.live import LiveThread
from threadstore.metadata import NewThread
from threadstore.testing.faults import FaultyStore
from threadstore.testing.items import (
    agent_message,
    assistant_response,
    turn,
    turn_context,
    user_message,
)

if TYPE_CHECKING:
    from threadstore.testing import ManualClock


async def create(store: FaultyStore, clock: ManualClock, **new: Any) -> LiveThread:
    return await LiveThread.create(store, NewThread(**{"cwd": "/repo", **new}), clock=clock)


# Metadata that cannot be written


async def test_durable_history_is_never_reported_as_failed(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock)
    store.fail("update_thread_metadata")

    receipt = await live.append_items([user_message("hello")])

    assert (receipt.position, receipt.metadata) == (2, "deferred")
    assert len((await live.load_history()).items) == 2


@pytest.mark.parametrize("error", [StoreUnavailable("x"), Unsupported("x"), InvalidRequest("x")])
async def test_deferred_metadata_goes_out_with_the_next_append(
    store: FaultyStore, clock: ManualClock, error: StoreUnavailable
) -> None:
    live = await create(store, clock)
    store.fail("update_thread_metadata", error)
    await live.append_items([user_message("hello"), turn_context(model="a")])
    await live.append_items([turn_context(model="b")])
    store.heal("update_thread_metadata")

    receipt = await live.append_items([assistant_response("x")])

    assert receipt.metadata == "written"
    stored = await live.read()
    assert (stored.preview, stored.model) == ("hello", "b")


@pytest.mark.parametrize("barrier", ["flush", "persist", "shutdown"])
async def test_deferred_metadata_goes_out_with_the_next_barrier(
    store: FaultyStore, clock: ManualClock, barrier: str
) -> None:
    live = await create(store, clock)
    store.fail("update_thread_metadata")
    await live.append_items([user_message("hello")])
    store.heal("update_thread_metadata")

    await getattr(live, barrier)()

    assert (await store.read_thread(live.id)).preview == "hello"


async def test_a_flush_is_done_with_history_before_it_reports_metadata(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock)
    store.fail("update_thread_metadata")
    await live.append_items([user_message("hello")])
    store.calls.clear()

    with pytest.raises(StoreUnavailable):
        await live.flush()

    assert store.calls == ["flush_thread", "update_thread_metadata"]


async def test_a_shutdown_releases_the_writer_although_metadata_fails(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock)
    store.fail("update_thread_metadata")
    await live.append_items(turn("t", "hello", model="m"))

    with pytest.raises(StoreUnavailable):
        await live.shutdown()
    store.heal("update_thread_metadata")

    assert live.closed
    resumed = await LiveThread.resume(store, live.id, clock=clock)
    await resumed.append_items([agent_message("x")])
    stored = await resumed.read()
    assert (stored.preview, stored.title, stored.model) == ("hello", "hello", "m")


async def test_a_shutdown_that_cannot_flush_keeps_the_thread_open(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock)
    await live.append_items([user_message("hello")])
    store.fail("shutdown_thread")
    with pytest.raises(StoreUnavailable):
        await live.shutdown()
    store.heal("shutdown_thread")

    await live.append_items([agent_message("x")])
    await live.shutdown()

    assert live.closed


# History that could not be written, or nobody knows


async def test_items_that_were_stored_although_the_append_failed_are_observed(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock)
    store.fail("append_items", after=True)
    with pytest.raises(StoreUnavailable):
        await live.append_items([user_message("hello")])
    store.heal("append_items")

    await live.flush()

    assert (await live.read()).preview == "hello"
    assert live.position == 2


async def test_items_that_were_not_stored_are_not_observed(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock)
    store.fail("append_items")
    with pytest.raises(StoreUnavailable):
        await live.append_items([user_message("lost")])
    store.heal("append_items")

    await live.append_items([user_message("hello")])

    assert (await live.read()).preview == "hello"
    assert live.position == 2


async def test_a_retry_with_the_key_of_an_append_that_was_stored_after_all_changes_nothing(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock)
    store.fail("append_items", after=True)
    with pytest.raises(StoreUnavailable):
        await live.append_items([turn_context(model="m")], idempotency_key="k")
    store.heal("append_items")

    receipt = await live.append_items([turn_context(model="m")], idempotency_key="k")

    assert (receipt.position, receipt.metadata) == (2, "written")
    assert live.position == 2
    assert (await live.read()).model == "m"
