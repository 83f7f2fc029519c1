"""Appends: what is stored, what is promised, what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from threadstore.clock import rfc3339_ms
from threadstore.errors import Conflict, InvalidRequest
from threadstore.history.items import RolloutItem
from threadstore.metadata import NewThread
from threadstore.store import ThreadStore
from threadstore.testing import items
from threadstore.testing.cases.base import Cases, bodies, check_error, history_bodies
from threadstore.testing.clock import ManualClock
from threadstore.testing.harness import StoreHarness
from threadstore.testing.seeds import USAGE, empty_thread, record_thread

__all__ = ["AppendTests"]

_LINES = (
    b'{"timestamp":"2026-03-04T05:06:07.000Z","type":"event_msg","payload":{"type":"novel"}}',
    b'{ "timestamp" : "2026-03-04T05:06:07Z", "type":"item_of_tomorrow", "payload":[1,2], "x":{} }',
    b'{"payload":{"b":1,"a":2,"a":3},"type":"response_item","timestamp":"not a time"}',
    b'{"timestamp":"2026-03-04T05:06:07.000Z","type":"compacted","payload":{"n":1e400,"z":-0.0}}',
    '{"timestamp":"2026-03-04","type":"x","payload":"\\u2028 \u2028 🧵 \\u0000"}'.encode(),
    StoreHarness.INVALID_UTF8_LINE,
    b'{"type":"message","role":"user","content":[]}',
)
"""Lines that Codex wrote, will write, or that an accident wrote."""


async def _live(store: ThreadStore, **new: Any) -> str:
    """A live thread that has its header."""
    thread = await store.create_thread(NewThread(**{"cwd": "/repo", **new}))
    await store.persist_thread(thread.id)
    return thread.id


class AppendTests(Cases):
    """``append_items``."""

    async def test_items_are_stored_in_order(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread_id = await _live(store)
        batches = [[items.agent_message(f"{b}.{i}") for i in range(3)] for b in range(4)]
        for batch in batches:
            await store.append_items(thread_id, batch)
        stored = [json.loads(line)["payload"] for line in harness.raw_history(thread_id)[1:]]
        assert stored == [item.payload for batch in batches for item in batch]

    async def test_the_receipt_tells_the_position(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        for size in (1, 2, 5):
            batch = [items.agent_message("x")] * size
            receipt = await store.append_items(thread.id, batch)
            assert receipt.position == len(harness.raw_history(thread.id))
            assert receipt.metadata == "none"

    async def test_no_items_change_nothing(self, store: ThreadStore, harness: StoreHarness) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        assert (await store.append_items(thread.id, [])).position == 0
        assert harness.traces(thread.id) == []
        await store.persist_thread(thread.id)
        assert (await store.append_items(thread.id, [])).position == 1
        assert len(harness.raw_history(thread.id)) == 1

    async def test_read_lines_are_stored_byte_for_byte(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread_id = await _live(store)
        await store.append_items(thread_id, [RolloutItem.parse(line) for line in _LINES])
        assert harness.raw_history(thread_id)[1:] == list(_LINES)
        loaded = await store.load_history(thread_id)
        assert [item.line() for item in loaded.items[1:]] == list(_LINES)

    async def test_missing_timestamps_are_stamped_and_present_ones_kept(
        self, store: ThreadStore, harness: StoreHarness, clock: ManualClock
    ) -> None:
        thread_id = await _live(store)
        now = rfc3339_ms(clock.advance(3.25))
        kept = RolloutItem("event_msg", {"type": "x"}, "2020-01-01T00:00:00.000Z")
        await store.append_items(thread_id, [items.agent_message("x"), kept])
        stamps = [json.loads(line)["timestamp"] for line in harness.raw_history(thread_id)[1:]]
        assert stamps == [now, "2020-01-01T00:00:00.000Z"]

    async def test_lines_of_a_paginated_thread_are_numbered(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread_id = await _live(store, history_mode="paginated")
        await store.append_items(thread_id, [items.unknown_item()] * 2)
        await store.shutdown_thread(thread_id)
        await store.resume_thread(thread_id)
        await store.append_items(thread_id, [items.unknown_item()])
        ordinals = [json.loads(line)["ordinal"] for line in harness.raw_history(thread_id)]
        assert ordinals == [0, 1, 2, 3]

    async def test_a_large_item_is_stored_whole(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread_id = await _live(store)
        text = "0123456789abcdef" * 200_000
        await store.append_items(thread_id, [items.agent_message(text), items.unknown_item()])
        assert json.loads(harness.raw_history(thread_id)[1])["payload"]["message"] == text
        assert len((await store.load_history(thread_id)).items) == 3

    async def test_a_large_batch_is_stored_whole(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread_id = await _live(store)
        batch = [items.agent_message(str(number)) for number in range(3000)]
        receipt = await store.append_items(thread_id, batch)
        assert receipt.position == len(harness.raw_history(thread_id)) == 3001
        assert await history_bodies(store, thread_id) == bodies(batch)

    @pytest.mark.parametrize(
        "bad",
        [
            RolloutItem("event_msg", {"type": "x", "value": object()}),
            RolloutItem("event_msg", {"type": "x"}, raw=b'{"type":"x","payload":1}\n{"type":"y"}'),
            RolloutItem("event_msg", {"type": "x"}, raw=b'{"type":"x",\n"payload":1}'),
        ],
        ids=["no JSON value", "two lines", "line break within"],
    )
    @pytest.mark.parametrize("state", ["new", "materialised"])
    async def test_a_bad_item_refuses_the_whole_batch(
        self, store: ThreadStore, harness: StoreHarness, bad: RolloutItem, state: str
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        if state == "materialised":
            await store.persist_thread(thread.id)
        before = harness.raw_history(thread.id)
        with pytest.raises(InvalidRequest) as caught:
            await store.append_items(thread.id, [items.agent_message("good"), bad])
        check_error(caught.value)
        assert harness.raw_history(thread.id) == before
        receipt = await store.append_items(thread.id, [items.agent_message("good")])
        assert receipt.position == len(harness.raw_history(thread.id)) == 2

    async def test_the_same_key_is_the_same_append(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread_id = await _live(store)
        batch = [items.agent_message("once")]
        first = await store.append_items(thread_id, batch, idempotency_key="a")
        await store.append_items(thread_id, [items.agent_message("between")])
        assert await store.append_items(thread_id, batch, idempotency_key="a") == first
        assert len(harness.raw_history(thread_id)) == 3
        other = await store.append_items(thread_id, batch, idempotency_key="b")
        assert other.position == 4

    async def test_the_same_key_wins_over_a_position_that_has_passed(
        self, store: ThreadStore
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        batch = [items.agent_message("once")]

        async def append() -> Any:
            return await store.append_items(
                thread.id, batch, idempotency_key="a", expected_position=0
            )

        assert await append() == await append()

    async def test_keys_of_two_threads_do_not_meet(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        one, two = await _live(store), await _live(store)
        await store.append_items(one, [items.agent_message("one")], idempotency_key="a")
        await store.append_items(two, [items.agent_message("two")], idempotency_key="a")
        assert len(harness.raw_history(two)) == 2

    async def test_a_failed_append_does_not_use_up_its_key(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread_id = await _live(store)
        batch = [items.agent_message("once")]
        with pytest.raises(Conflict):
            await store.append_items(thread_id, batch, idempotency_key="a", expected_position=9)
        await store.append_items(thread_id, batch, idempotency_key="a")
        assert len(harness.raw_history(thread_id)) == 2

    async def test_a_key_outlives_its_writer_only_where_declared(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread_id = await _live(store)
        batch = [items.agent_message("once")]
        first = await store.append_items(thread_id, batch, idempotency_key="a")
        await store.shutdown_thread(thread_id)
        await store.resume_thread(thread_id)
        again = await store.append_items(thread_id, batch, idempotency_key="a")
        assert (again == first) is store.capabilities.permanent_idempotency_keys
        assert len(harness.raw_history(thread_id)) == again.position

    async def test_the_expected_position_must_be_the_position(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        item = items.agent_message("x")
        for wrong in (1, 7):
            with pytest.raises(Conflict):
                await store.append_items(thread.id, [item], expected_position=wrong)
        assert harness.traces(thread.id) == []
        position = 0
        for _ in range(3):
            receipt = await store.append_items(thread.id, [item], expected_position=position)
            position = receipt.position
        with pytest.raises(Conflict) as caught:
            await store.append_items(thread.id, [item], expected_position=position - 1)
        check_error(caught.value)
        assert len(harness.raw_history(thread.id)) == position

    async def test_an_append_never_touches_metadata(
        self, store: ThreadStore, harness: StoreHarness, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock, name="work", live=True)
        metadata, before = harness.raw_metadata(thread.id), await store.read_thread(thread.id)
        clock.advance(60)
        await store.append_items(
            thread.id,
            [
                items.user_message("another message"),
                items.goal(thread.id, "another goal"),
                items.token_count(USAGE),
            ],
        )
        assert harness.raw_metadata(thread.id) == metadata
        after = await store.read_thread(thread.id)
        assert (after.name, after.preview, after.title) == (
            before.name,
            before.preview,
            before.title,
        )

    async def test_appends_to_two_threads_do_not_mix(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        one, two = await _live(store), await _live(store)
        for number in range(5):
            await store.append_items(one, [items.agent_message(f"one {number}")])
            await store.append_items(two, [items.agent_message(f"two {number}")])
        for thread_id, word in ((one, "one"), (two, "two")):
            texts = [json.loads(line)["payload"] for line in harness.raw_history(thread_id)[1:]]
            assert [text["message"] for text in texts] == [f"{word} {n}" for n in range(5)]

    async def test_a_stored_item_is_independent_of_the_one_that_was_given(
        self, store: ThreadStore
    ) -> None:
        thread = await empty_thread(store)
        await store.resume_thread(thread.id)
        payload = {"type": "agent_message", "message": "before"}
        await store.append_items(thread.id, [RolloutItem("event_msg", payload)])
        payload["message"] = "after"
        (body,) = await history_bodies(store, thread.id)
        assert body[1]["message"] == "before"
