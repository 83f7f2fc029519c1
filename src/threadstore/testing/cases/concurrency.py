"""Many tasks on one store: order, isolation, cancellation."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from threadstore.errors import Conflict
from threadstore.metadata import GitInfoPatch, NewThread
from threadstore.store import ThreadStore
from threadstore.testing import items
from threadstore.testing.cases.base import Cases, explicit, history_bodies, listed, observed
from threadstore.testing.clock import ManualClock
from threadstore.testing.harness import StoreHarness
from threadstore.testing.seeds import empty_thread, record_thread

__all__ = ["ConcurrencyTests"]


def _texts(bodies: list[tuple[str, dict[str, str]]]) -> list[str]:
    return [payload["message"] for _, payload in bodies]


class ConcurrencyTests(Cases):
    """Safe for concurrent use from one event loop."""

    async def test_appends_to_one_thread_keep_the_order_of_the_calls(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        # Of very different sizes, so that a small one would overtake if it could.
        batches = [
            [f"{call}.{n} {'x' * (997 * call % 5000)}" for n in range(3)] for call in range(40)
        ]
        calls = [
            store.append_items(thread.id, [items.agent_message(text) for text in batch])
            for batch in batches
        ]
        receipts = await asyncio.gather(*calls)
        expected = [text for batch in batches for text in batch]
        assert _texts(await history_bodies(store, thread.id)) == expected
        assert [receipt.position for receipt in receipts] == list(range(4, 122, 3))
        assert len(harness.raw_history(thread.id)) == 121

    async def test_many_threads_are_written_at_once(self, store: ThreadStore) -> None:
        async def write(number: int) -> str:
            thread = await store.create_thread(NewThread(cwd="/repo"))
            for part in range(5):
                await store.append_items(thread.id, [items.agent_message(f"{number}.{part}")])
            await store.shutdown_thread(thread.id)
            return thread.id

        ids = await asyncio.gather(*(write(number) for number in range(20)))
        assert set(await listed(store)) == set(ids)
        for number, thread_id in enumerate(ids):
            texts = _texts(await history_bodies(store, thread_id))
            assert texts == [f"{number}.{part}" for part in range(5)]

    async def test_one_expected_position_has_one_winner(self, store: ThreadStore) -> None:
        thread = await empty_thread(store)
        await store.resume_thread(thread.id)
        results = await asyncio.gather(
            *(
                store.append_items(thread.id, [items.agent_message("x")], expected_position=1)
                for _ in range(8)
            ),
            return_exceptions=True,
        )
        conflicts = [result for result in results if isinstance(result, BaseException)]
        assert len(conflicts) == 7
        assert all(isinstance(conflict, Conflict) for conflict in conflicts)
        assert len(await history_bodies(store, thread.id)) == 1

    async def test_one_key_is_written_once(self, store: ThreadStore) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        receipts = await asyncio.gather(
            *(
                store.append_items(thread.id, [items.agent_message("x")], idempotency_key="k")
                for _ in range(8)
            )
        )
        assert len({receipt.position for receipt in receipts}) == 1
        assert len(await history_bodies(store, thread.id)) == 1

    async def test_one_id_is_created_once(self, store: ThreadStore) -> None:
        new = NewThread(cwd="/repo", id="01a201e5-a996-7a61-8db2-c256091e8939")
        results = await asyncio.gather(
            *(store.create_thread(new) for _ in range(6)), return_exceptions=True
        )
        assert sum(isinstance(result, Conflict) for result in results) == 5
        assert sum(not isinstance(result, BaseException) for result in results) == 1

    async def test_one_thread_is_resumed_once(self, store: ThreadStore) -> None:
        thread = await empty_thread(store)
        results = await asyncio.gather(
            *(store.resume_thread(thread.id) for _ in range(6)), return_exceptions=True
        )
        assert sum(isinstance(result, Conflict) for result in results) == 5

    async def test_patches_of_different_fields_all_arrive(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread = await empty_thread(store)
        await asyncio.gather(
            explicit(store, thread.id, name="work"),
            explicit(store, thread.id, memory_mode="disabled"),
            explicit(store, thread.id, git=GitInfoPatch(branch="topic")),
            explicit(store, thread.id, git=GitInfoPatch(sha="a1")),
            observed(store, thread.id, model="gpt-5.1"),
            observed(store, thread.id, approval_mode="never"),
        )
        after = await store.read_thread(thread.id)
        assert (after.name, after.memory_mode) == ("work", "disabled")
        assert after.git is not None
        assert (after.git.branch, after.git.sha) == ("topic", "a1")
        if not {"model", "approval_mode"} & harness.volatile_facts("legacy"):
            assert (after.model, after.approval_mode) == ("gpt-5.1", "never")

    async def test_patches_of_one_field_end_with_the_last_call(self, store: ThreadStore) -> None:
        thread = await empty_thread(store)
        await asyncio.gather(
            *(explicit(store, thread.id, name=f"name {number}") for number in range(10))
        )
        assert (await store.read_thread(thread.id)).name == "name 9"

    async def test_edits_and_appends_of_a_live_thread_do_not_meet(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        await store.persist_thread(thread.id)
        await asyncio.gather(
            *(
                call
                for number in range(10)
                for call in (
                    store.append_items(thread.id, [items.agent_message(f"{number}")]),
                    explicit(store, thread.id, git=GitInfoPatch(branch=f"b{number}")),
                )
            )
        )
        texts = _texts(await history_bodies(store, thread.id))
        assert texts == [f"{number}" for number in range(10)]
        after = await store.read_thread(thread.id)
        assert after.git is not None
        assert after.git.branch == "b9"
        history = await store.load_history(thread.id)
        assert history.damage == ()
        assert history.position == len(harness.raw_history(thread.id))

    async def test_readers_run_beside_writers(self, store: ThreadStore, clock: ManualClock) -> None:
        thread = await record_thread(store, clock, live=True)

        async def write() -> None:
            for number in range(20):
                await store.append_items(thread.id, [items.agent_message(f"{number}")])

        async def read() -> None:
            for _ in range(20):
                history = await store.load_history(thread.id)
                assert history.damage == ()
                assert (await store.read_thread(thread.id)).preview == thread.preview
                assert await listed(store) == [thread.id]

        await asyncio.gather(write(), read(), read())

    @pytest.mark.parametrize("steps", range(4))
    async def test_a_cancelled_append_is_whole_or_nothing(
        self, store: ThreadStore, harness: StoreHarness, steps: int
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        batch = [items.agent_message(f"{number}") for number in range(50)]
        task = asyncio.create_task(store.append_items(thread.id, batch))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        history = await store.load_history(thread.id)
        assert history.damage == ()
        assert len(await history_bodies(store, thread.id)) in (0, 50)
        assert history.position == len(harness.raw_history(thread.id)) in (0, 51)
        receipt = await store.append_items(
            thread.id, [items.agent_message("after")], expected_position=history.position
        )
        assert receipt.position == len(harness.raw_history(thread.id))

    @pytest.mark.parametrize("steps", range(4))
    async def test_a_cancelled_release_can_be_repeated(
        self, store: ThreadStore, clock: ManualClock, steps: int
    ) -> None:
        thread = await record_thread(store, clock, live=True)
        task = asyncio.create_task(store.shutdown_thread(thread.id))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await store.shutdown_thread(thread.id)
        await store.resume_thread(thread.id)

    @pytest.mark.parametrize("steps", range(4))
    async def test_a_cancelled_edit_is_whole_or_nothing(
        self, store: ThreadStore, steps: int
    ) -> None:
        thread = await empty_thread(store)
        task = asyncio.create_task(explicit(store, thread.id, name="new", memory_mode="disabled"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await explicit(store, thread.id, git=GitInfoPatch(branch="after"))
        after = await store.read_thread(thread.id)
        assert (after.name, after.memory_mode) in ((None, "enabled"), ("new", "disabled"))
        assert after.git is not None
