"""One writer a thread: leases, fencing, take-over."""

from __future__ import annotations

import asyncio

import pytest
from tests.stores.postgres.conftest import OpenStore

from threadstore.errors import Conflict, ThreadNotFound
from threadstore.metadata import NewThread
from threadstore.testing import items, record_thread
from threadstore.testing.postgres_harness import PostgresHarness

RUN_OUT = "UPDATE threadstore.thread_logs SET expires_at = now() RETURNING 1"
LEFT = "SELECT extract(epoch FROM expires_at - now())::float8 FROM threadstore.thread_logs"


async def test_the_holder_of_a_lease_is_named(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    async with open_with() as one, open_with() as two:
        thread = await record_thread(one, harness.clock)
        await one.resume_thread(thread.id)
        with pytest.raises(Conflict) as caught:
            await two.resume_thread(thread.id)
        assert "process" in (caught.value.holder or "")
        assert "process" in str(caught.value)
        await one.shutdown_thread(thread.id)
        await two.resume_thread(thread.id)


async def test_a_lease_without_a_heartbeat_is_taken_over_and_its_writer_fenced_off(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    async with open_with() as one, open_with() as two:
        thread = await record_thread(one, harness.clock)
        await one.resume_thread(thread.id)
        await one.append_items(thread.id, [items.agent_message("before")])
        harness.look(RUN_OUT)
        await two.resume_thread(thread.id)
        before = harness.raw_history(thread.id)
        for _ in range(2):
            with pytest.raises(Conflict) as caught:
                await one.append_items(thread.id, [items.agent_message("too late")])
            assert caught.value.holder
        assert harness.raw_history(thread.id) == before
        await one.shutdown_thread(thread.id)  # gives back nothing that is not its own
        with pytest.raises(Conflict):
            await one.resume_thread(thread.id)
        receipt = await two.append_items(thread.id, [items.agent_message("after")])
        assert receipt.position == len(before) + 1


async def test_a_late_writer_goes_on_if_nobody_took_over(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    async with open_with() as store:
        thread = await record_thread(store, harness.clock)
        await store.resume_thread(thread.id)
        harness.look(RUN_OUT)
        await store.append_items(thread.id, [items.agent_message("late, but alone")])
        assert harness.look(LEFT)[0][0] > 5


async def test_the_heartbeat_keeps_all_leases_of_a_store(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    async with open_with(heartbeat=0.05) as store:
        threads = [await record_thread(store, harness.clock) for _ in range(3)]
        for thread in threads:
            await store.resume_thread(thread.id)
        await store.create_thread(NewThread(cwd=""))  # without history it holds its id
        harness.look(RUN_OUT)
        async with asyncio.timeout(20):
            while not all(left > 5 for (left,) in harness.look(LEFT)):  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_two_writers_that_fight_for_a_lease_lose_nothing(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    acknowledged: list[str] = []

    async def fight(name: str) -> None:
        async with open_with() as store:
            for number in range(12):
                try:
                    await store.resume_thread(thread.id)
                    for part in range(3):
                        text = f"{name}-{number}-{part}"
                        await store.append_items(thread.id, [items.agent_message(text)])
                        acknowledged.append(text)
                        await asyncio.sleep(0)
                except Conflict:
                    harness.look(RUN_OUT)
                finally:
                    await store.shutdown_thread(thread.id)

    async with open_with() as store:
        thread = await record_thread(store, harness.clock)
        await asyncio.gather(fight("a"), fight("b"))
        history = await store.load_history(thread.id)
    said = [item.payload.get("message") for item in history.items if item.kind == "agent_message"]
    written = [text for text in said if text and text[:2] in ("a-", "b-")]
    assert written == acknowledged
    assert len(acknowledged) > 12
    positions = [item.position for item in history.items]
    assert positions == list(range(1, len(positions) + 1))


async def test_an_abandoned_id_can_be_created_again(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    async with open_with() as one, open_with() as two:
        thread = await one.create_thread(NewThread(cwd=""))
        with pytest.raises(Conflict) as caught:
            await two.create_thread(NewThread(cwd="", id=thread.id))
        assert "process" in (caught.value.holder or "")
        harness.look(RUN_OUT)
        await two.create_thread(NewThread(cwd="", id=thread.id))
        await two.append_items(thread.id, [items.agent_message("two")])
        with pytest.raises(Conflict):
            await one.append_items(thread.id, [items.agent_message("one")])
        assert len(harness.raw_history(thread.id)) == 2


async def test_a_thread_that_is_written_elsewhere_is_neither_archived_nor_deleted(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    async with open_with() as one, open_with() as two:
        thread = await record_thread(one, harness.clock)
        await one.resume_thread(thread.id)
        for verb in (two.archive_thread, two.delete_thread):
            with pytest.raises(Conflict) as caught:
                await verb(thread.id)
            assert "process" in (caught.value.holder or "")
        harness.look(RUN_OUT)
        await two.delete_thread(thread.id)
        with pytest.raises(ThreadNotFound):
            await one.append_items(thread.id, [items.agent_message("x")])
