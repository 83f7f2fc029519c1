"""LiveThread under concurrency and cancellation, step by step."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from threadstore.errors import ThreadNotFound
from threadstore.live import LiveThread
from threadstore.metadata import NewThread, ThreadMetadataPatch, TokenUsage
from threadstore.stores.memory import MemoryThreadStore
from threadstore.testing import ManualClock, ThreadStoreWrapper, record_thread
from threadstore.testing.items import agent_message, token_count, turn, user_message

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from threadstore.testing.faults import FaultyStore

T = TypeVar("T")

NEW = NewThread(cwd="/repo")
STEPS = range(24)
"""More turns of the event loop than any of the calls takes."""


class SlowStore(ThreadStoreWrapper):
    """Gives way before and after the work of each verb, so that it can be cancelled there."""

    async def run(self, verb: str, call: Coroutine[Any, Any, T]) -> T:
        try:
            await asyncio.sleep(0)
            result = await call
        finally:
            call.close()
        await asyncio.sleep(0)
        return result


async def cancel_after(steps: int, call: Coroutine[Any, Any, object]) -> bool:
    """Cancel *call* after so many turns of the event loop; whether it ended cancelled."""
    task = asyncio.create_task(call)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


async def test_concurrent_appends_keep_the_order_of_their_metadata(store: FaultyStore) -> None:
    live = await LiveThread.create(store, NEW)
    pause = store.pause("update_thread_metadata")
    older = asyncio.create_task(live.append_items([token_count(TokenUsage(total_tokens=1))]))
    await pause.reached.wait()
    newer = asyncio.create_task(live.append_items([token_count(TokenUsage(total_tokens=2))]))
    pause.release()
    await asyncio.gather(older, newer)

    assert [patch.token_usage for _, patch in store.writes] == [
        TokenUsage(total_tokens=1),
        TokenUsage(total_tokens=2),
    ]
    assert (await live.read()).token_usage == TokenUsage(total_tokens=2)


async def test_many_appends_land_in_the_order_of_the_calls(store: FaultyStore) -> None:
    live = await LiveThread.create(store, NEW)
    pause = store.pause("append_items")
    appends = [
        asyncio.create_task(live.append_items([agent_message(str(number))])) for number in range(20)
    ]
    await pause.reached.wait()
    pause.release()

    receipts = await asyncio.gather(*appends)

    assert [receipt.position for receipt in receipts] == list(range(2, 22))
    messages = [item.payload.get("message") for item in (await live.load_history()).items[1:]]
    assert messages == [str(number) for number in range(20)]


async def test_an_edit_made_during_an_append_comes_after_its_metadata(store: FaultyStore) -> None:
    live = await LiveThread.create(store, NEW)
    pause = store.pause("append_items", after=True)
    append = asyncio.create_task(live.append_items([user_message("observed")]))
    await pause.reached.wait()
    edit = asyncio.create_task(live.update_metadata(ThreadMetadataPatch(preview="explicit")))
    pause.release()
    await asyncio.gather(append, edit)

    assert (await live.read()).preview == "explicit"


async def test_a_shutdown_waits_for_the_append_before_it(store: FaultyStore) -> None:
    live = await LiveThread.create(store, NEW)
    pause = store.pause("append_items")
    before = asyncio.create_task(live.append_items([user_message("hello")]))
    await pause.reached.wait()
    shutdown = asyncio.create_task(live.shutdown())
    after = asyncio.create_task(live.append_items([user_message("too late")]))
    pause.release()

    await before
    await shutdown
    with pytest.raises(ThreadNotFound):
        await after

    assert (await store.read_thread(live.id)).preview == "hello"
    assert len((await store.load_history(live.id)).items) == 2


async def test_a_cancelled_waiter_appends_nothing(store: FaultyStore) -> None:
    live = await LiveThread.create(store, NEW)
    pause = store.pause("append_items")
    first = asyncio.create_task(live.append_items([user_message("one")]))
    await pause.reached.wait()
    waiting = asyncio.create_task(live.append_items([user_message("two")]))
    await asyncio.sleep(0)
    waiting.cancel()
    pause.release()
    await first
    with pytest.raises(asyncio.CancelledError):
        await waiting

    await live.append_items([agent_message("three")])

    assert live.position == 3


@pytest.mark.parametrize("verb", ["create_thread", "resume_thread"])
@pytest.mark.parametrize("after", [False, True])
async def test_a_caller_that_is_cancelled_twice_still_waits_for_the_writer(
    store: FaultyStore, verb: str, after: bool
) -> None:
    thread = await record_thread(store, ManualClock())
    pause = store.pause(verb, after=after)
    opening: asyncio.Task[LiveThread] = asyncio.create_task(
        LiveThread.create(store, NEW)
        if verb == "create_thread"
        else LiveThread.resume(store, thread.id)
    )
    await pause.reached.wait()
    opening.cancel()
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.sleep(0)
    assert not opening.done()
    pause.release()
    with pytest.raises(asyncio.CancelledError):
        await opening

    assert store.calls[-1] == "discard_thread"
    await store.resume_thread(thread.id)


@pytest.mark.parametrize("steps", STEPS)
async def test_a_create_cancelled_anywhere_leaves_no_writer(steps: int) -> None:
    async with MemoryThreadStore() as memory:
        new = NewThread(cwd="/repo", id="01a201e5-a996-7a61-8db2-c256091e8939")
        items = turn("t", "inherited")

        if await cancel_after(steps, LiveThread.create(SlowStore(memory), new, inherited=items)):
            assert not await is_live(memory, str(new.id))
        else:
            assert await is_live(memory, str(new.id))


@pytest.mark.parametrize("steps", STEPS)
async def test_a_resume_cancelled_anywhere_leaves_no_writer(steps: int) -> None:
    async with MemoryThreadStore() as memory:
        live = await LiveThread.create(memory, NEW)
        await live.append_items([agent_message("x")])
        await live.shutdown()

        cancelled = await cancel_after(steps, LiveThread.resume(SlowStore(memory), live.id))

        assert await is_live(memory, live.id) is not cancelled


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("key", [None, "k"])
async def test_an_append_cancelled_anywhere_leaves_all_or_nothing(
    steps: int, key: str | None
) -> None:
    async with MemoryThreadStore() as memory:
        live = await LiveThread.create(SlowStore(memory), NEW)
        items = turn("t", "hello", model="m")

        await cancel_after(steps, live.append_items(items, idempotency_key=key))
        if key is not None:
            await live.append_items(items, idempotency_key=key)
        await live.flush()

        count = len((await memory.load_history(live.id)).items)
        stored = await memory.read_thread(live.id)
        assert count in ((0, 1 + len(items)) if key is None else (1 + len(items),))
        assert (stored.preview, stored.model) == (("hello", "m") if count else ("", None))
        assert live.position == count


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("barrier", ["persist", "flush", "shutdown", "discard"])
async def test_a_barrier_cancelled_anywhere_can_be_repeated(steps: int, barrier: str) -> None:
    async with MemoryThreadStore() as memory:
        live = await LiveThread.create(SlowStore(memory), NEW)
        await live.append_items([user_message("hello")])
        await live.append_items([agent_message("x")])

        await cancel_after(steps, getattr(live, barrier)())
        await getattr(live, barrier)()
        await live.shutdown()

        assert not await is_live(memory, live.id)
        assert (await memory.read_thread(live.id)).preview == "hello"


@pytest.mark.parametrize("steps", STEPS)
async def test_an_edit_cancelled_anywhere_is_whole_or_absent(steps: int) -> None:
    async with MemoryThreadStore() as memory:
        live = await LiveThread.create(SlowStore(memory), NEW)
        patch = ThreadMetadataPatch(name="n", memory_mode="disabled")

        await cancel_after(steps, live.update_metadata(patch))
        await live.append_items([user_message("hello")])

        stored = await live.read()
        assert (stored.name, stored.memory_mode) in ((None, "enabled"), ("n", "disabled"))
        assert stored.preview == "hello"
        assert live.position == 2


@pytest.mark.parametrize("steps", STEPS)
async def test_a_context_left_by_cancellation_leaves_no_writer(steps: int) -> None:
    async with MemoryThreadStore() as memory:
        slow = SlowStore(memory)
        new = NewThread(cwd="/repo", id="01a201e5-a996-7a61-8db2-c256091e8939")

        async def work() -> None:
            async with await LiveThread.create(slow, new) as live:
                await live.append_items([user_message("hello")])
                await asyncio.Event().wait()

        assert await cancel_after(steps, work())

        assert not await is_live(memory, str(new.id))
        for thread in (await memory.list_threads()).items:
            assert thread.preview == "hello"


async def is_live(store: MemoryThreadStore, thread_id: str) -> bool:
    try:
        await store.append_items(thread_id, ())
    except ThreadNotFound:
        return False
    return True
