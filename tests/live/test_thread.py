"""LiveThread: what is written when, and what a caller is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from threadstore.errors import (
    Conflict,
    InvalidRequest,
    StoreUnavailable,
    ThreadNotFound,
)
from threadstore.history.items import RolloutItem
from threadstore.live import LiveThread
from threadstore.live._metadata_sync import TOUCH_INTERVAL
from threadstore.metadata import (
    MetadataOrigin,
    NewThread,
    ThreadMetadataPatch,
)
from threadstore.testing.faults import FaultyStore
from threadstore.testing.items import (
    agent_message,
    assistant_response,
    event,
    task_started,
    turn_context,
    unknown_item,
    user_item_completed,
    user_message,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from threadstore.store import AppendReceipt
    from threadstore.testing import ManualClock

UNSTORED = event("agent_message_delta", delta="x")


async def create(store: FaultyStore, clock: ManualClock, **new: Any) -> LiveThread:
    return await LiveThread.create(store, NewThread(**{"cwd": "/repo", **new}), clock=clock)


def observed(store: FaultyStore) -> list[dict[str, Any]]:
    """The fields of each observed write."""
    return [p.present() for origin, p in store.writes if origin is MetadataOrigin.OBSERVED]


# Append


async def test_an_append_writes_history_first_and_then_what_it_implies(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock)

    receipt = await live.append_items([user_message("hello")])

    assert store.calls == ["create_thread", "append_items", "update_thread_metadata"]
    assert (receipt.position, receipt.metadata) == (2, "written")
    assert live.position == 2
    assert (await live.read()).preview == "hello"
    assert (await live.read()).name is None


async def test_what_does_not_persist_never_reaches_the_store(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock)

    receipt = await live.append_items([UNSTORED])

    assert (receipt.position, receipt.metadata) == (0, "none")
    assert store.calls == ["create_thread"]
    await live.append_items([UNSTORED, user_message("hello"), UNSTORED])
    assert live.position == 2


async def test_a_paginated_thread_keeps_what_events_say_as_completed_items(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock, history_mode="paginated")

    await live.append_items([task_started("t"), user_message("old form")])
    await live.append_items([user_item_completed(live.id, "t", "new form")])

    kinds = [item.kind for item in (await live.load_history()).items[1:]]
    assert kinds == ["task_started", "item_completed", "item_completed"]
    assert (await live.read()).preview == "old form"
    assert live.history_mode == "paginated"


async def test_a_verbatim_append_keeps_every_item(store: FaultyStore, clock: ManualClock) -> None:
    live = await create(store, clock)
    lines = [UNSTORED, unknown_item(), user_message("hello")]

    await live.append_items(lines, verbatim=True)

    assert [item.payload for item in (await live.load_history()).items[1:]] == [
        item.payload for item in lines
    ]


async def test_items_without_facts_touch_at_most_every_five_seconds(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock)
    await live.append_items([user_message("hello")])
    store.writes.clear()

    receipts = []
    for _ in range(12):
        clock.advance()
        receipts.append((await live.append_items([assistant_response("x")])).metadata)

    assert receipts.count("written") == 2
    assert [patch.keys() for patch in observed(store)] == [{"updated_at"}] * 2


async def test_agent_output_advances_updated_at_but_not_recency(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock)
    await live.append_items([task_started(), user_message("hello")])
    began = clock.now()

    clock.advance(TOUCH_INTERVAL)
    await live.append_items([agent_message("hi")])

    stored = await live.read()
    assert (stored.recency_at, stored.updated_at) == (began, clock.now())


async def test_the_same_key_again_is_neither_stored_nor_observed_twice(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock)
    first = await live.append_items([turn_context(model="a")], idempotency_key="k")
    await live.append_items([turn_context(model="b")], idempotency_key="l")

    again = await live.append_items([turn_context(model="a")], idempotency_key="k")

    assert again.position == first.position
    assert live.position == 3
    assert (await live.read()).model == "b"


async def test_a_wrong_expected_position_changes_nothing(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock)
    await live.append_items([user_message("hello")])

    with pytest.raises(Conflict):
        await live.append_items([turn_context(model="m")], expected_position=1)

    await live.append_items([agent_message("x")], expected_position=live.position)
    assert (await live.read()).model is None
    assert live.position == 3


async def test_an_item_that_is_not_json_appends_nothing(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock)

    with pytest.raises(InvalidRequest):
        await live.append_items([user_message("hello"), RolloutItem("compacted", {"x": object()})])

    assert (await live.load_history()).items == ()
    await live.shutdown()
    with pytest.raises(ThreadNotFound):
        await store.read_thread(live.id)


# Barriers


@pytest.mark.parametrize("barrier", ["flush", "shutdown", "discard"])
async def test_an_idle_thread_leaves_no_trace(
    store: FaultyStore, clock: ManualClock, barrier: str
) -> None:
    live = await create(store, clock)

    await getattr(live, barrier)()

    assert store.writes == []
    assert (await store.list_threads()).items == ()


async def test_persist_materialises_and_writes_everything_known(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock, originator="atlas")

    await live.persist()
    await live.persist()

    assert live.position == 1
    assert [patch["originator"] for patch in observed(store)] == ["atlas"]
    assert [thread.id for thread in (await store.list_threads()).items] == [live.id]


async def test_a_held_back_touch_goes_out_with_a_flush(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock)
    await live.append_items([user_message("hello")])
    clock.advance()
    await live.append_items([assistant_response("x")])

    await live.flush()

    assert (await live.read()).updated_at == clock.now()


async def test_discard_drops_what_is_pending_and_keeps_what_is_durable(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock)
    store.fail("update_thread_metadata")
    await live.append_items([user_message("hello")])
    store.calls.clear()

    await live.discard()

    assert store.calls == ["discard_thread"]
    assert len((await store.load_history(live.id)).items) == 2


async def test_shutdown_and_discard_twice_is_once(store: FaultyStore, clock: ManualClock) -> None:
    live = await create(store, clock)
    await live.shutdown()
    await live.shutdown()
    await live.discard()

    assert store.calls.count("shutdown_thread") == 1
    assert "discard_thread" not in store.calls


@pytest.mark.parametrize("items", [[user_message("x")], []])
async def test_a_closed_thread_takes_no_more(
    store: FaultyStore, clock: ManualClock, items: list[RolloutItem]
) -> None:
    live = await create(store, clock)
    await live.shutdown()

    with pytest.raises(ThreadNotFound, match="not live"):
        await live.append_items(items)
    for barrier in (live.flush, live.persist):
        with pytest.raises(ThreadNotFound, match="not live"):
            await barrier()
    with pytest.raises(ThreadNotFound, match="not live"):
        await live.update_metadata(ThreadMetadataPatch(name="n"))


# Explicit metadata


async def test_an_explicit_edit_of_a_new_thread_creates_its_history_first(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock)

    stored = await live.update_metadata(ThreadMetadataPatch(memory_mode="disabled"))

    assert stored.memory_mode == "disabled"
    assert live.position == 1
    assert [origin for origin, _ in store.writes] == [
        MetadataOrigin.OBSERVED,
        MetadataOrigin.EXPLICIT,
    ]
    await live.shutdown()
    assert (await store.read_thread(live.id)).memory_mode == "disabled"
    assert len((await store.load_history(live.id)).items) == 1


async def test_what_is_said_explicitly_wins_over_what_was_pending(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock)
    store.fail("update_thread_metadata")
    await live.append_items([turn_context(model="observed")])
    store.heal("update_thread_metadata")

    await live.update_metadata(ThreadMetadataPatch(model="explicit"))
    await live.flush()

    assert (await live.read()).model == "explicit"


async def test_an_explicit_edit_is_not_applied_before_what_is_pending(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock)
    await live.append_items([user_message("hello")])
    store.fail("update_thread_metadata")
    await live.append_items([turn_context(model="observed")])

    with pytest.raises(StoreUnavailable):
        await live.update_metadata(ThreadMetadataPatch(model="explicit"))
    store.heal("update_thread_metadata")
    await live.flush()

    assert (await live.read()).model == "observed"


async def test_the_first_message_does_not_touch_an_explicit_name(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock)
    await live.update_metadata(ThreadMetadataPatch(name="hello"))

    await live.append_items([user_message("hello")])

    stored = await live.read()
    assert (stored.name, stored.title, stored.preview) == ("hello", "hello", "hello")


class PositionlessStore(FaultyStore):
    """Cannot tell the position while ``mute`` is set."""

    mute = False

    async def append_items(
        self, thread_id: str, items: Sequence[RolloutItem], **options: Any
    ) -> AppendReceipt:
        if self.mute and not items:
            raise StoreUnavailable("no position")
        return await super().append_items(thread_id, items, **options)


async def test_an_edit_that_was_written_does_not_fail_for_the_position(
    store: FaultyStore, clock: ManualClock
) -> None:
    mute = PositionlessStore(store)
    live = await create(mute, clock)
    mute.mute = True

    assert (await live.update_metadata(ThreadMetadataPatch(name="n"))).name == "n"
    mute.mute = False
    await live.append_items([user_message("hello")])

    assert live.position == 2


async def test_an_empty_patch_reads(store: FaultyStore, clock: ManualClock) -> None:
    live = await create(store, clock)

    stored = await live.update_metadata(ThreadMetadataPatch())

    assert stored.id == live.id
    assert live.position == 0
    assert store.writes == []


async def test_a_wrong_argument_is_refused_before_anything_is_written(
    store: FaultyStore, clock: ManualClock
) -> None:
    live = await create(store, clock)
    wrong: list[Any] = [("nobody", "name"), (MetadataOrigin.EXPLICIT, {"name": "n"})]
    for origin, said in wrong:
        patch = ThreadMetadataPatch(name="n") if said == "name" else said
        with pytest.raises(InvalidRequest):
            await live.update_metadata(patch, origin)
    items: list[Any] = [None, [{"type": "event_msg"}], [None], [RolloutItem("x", 1), 5], 5]
    items += [(agent_message(text) for text in "ab"), {agent_message("x")}]
    for some in items:
        with pytest.raises(InvalidRequest):
            await live.append_items(some)
    broken: Any = {"cwd": "/repo"}
    with pytest.raises(InvalidRequest):
        await LiveThread.create(store, broken)
    assert store.writes == []
    assert (await live.load_history()).items == ()


async def test_the_word_for_an_origin_will_do(store: FaultyStore, clock: ManualClock) -> None:
    live = await create(store, clock)
    word: Any = "explicit"
    assert (await live.update_metadata(ThreadMetadataPatch(name="n"), word)).name == "n"
    assert [origin for origin, _ in store.writes][-1] is MetadataOrigin.EXPLICIT
