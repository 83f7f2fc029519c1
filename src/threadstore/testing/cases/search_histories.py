"""Searching: every form of history, and what becomes of it."""

from __future__ import annotations

import pytest

from threadstore.history.items import RolloutItem
from threadstore.history.rollback import removed_by_last_revert
from threadstore.ids import new_thread_id
from threadstore.metadata import HistoryBase, NewThread
from threadstore.store import Durability, ThreadStore
from threadstore.testing import items
from threadstore.testing.cases.base import Cases, explicit, observed, where
from threadstore.testing.cases.search_base import (
    found,
    hits,
    occurrences,
    said,
    search,
    with_items,
)
from threadstore.testing.clock import ManualClock
from threadstore.testing.harness import Corruption, StoreHarness
from threadstore.testing.seeds import empty_thread, record_thread

__all__ = ["SearchFreshnessTests", "SearchHistoryTests"]


async def _places(store: ThreadStore, thread_id: str, text: str) -> list[int]:
    """The positions at which a text is found in a thread."""
    return [each.position for each in await occurrences(store, thread_id, search(text))]


async def _said_at(store: ThreadStore, fork_id: str, text: str) -> list[int]:
    """The same without the title: whether a fork's repeats its source's is up to the store."""
    return [position for position in await _places(store, fork_id, text) if position]


@where("_searches")
class SearchFreshnessTests(Cases):
    """What was written is found at once, what is gone is not found any more."""

    async def test_an_append_is_found_at_once(self, store: ThreadStore) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        positions: list[int] = []
        for number in range(4):
            added = [items.agent_message(f"needle {number}"), items.agent_message(f"w{number}")]
            receipt = await store.append_items(thread.id, added)
            positions.append(receipt.position - 1)
            assert await found(store, f"w{number} ") == [thread.id]
            assert await found(store, f"needle {number}") == [thread.id]
            assert await _places(store, thread.id, "needle") == positions
            if number == 1:
                await store.flush_thread(thread.id)
            if number == 2:
                await store.shutdown_thread(thread.id)
                assert await _places(store, thread.id, "needle") == positions
                await store.resume_thread(thread.id)
        await store.discard_thread(thread.id)
        assert await _places(store, thread.id, "needle") == positions
        (hit,) = await hits(store, "needle")
        assert hit.found.position == positions[0]

    async def test_lines_that_are_copied_are_found(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        source = await said(store, clock, "needle")
        lines = [item.line() for item in (await store.load_history(source)).items]
        thread_id = new_thread_id()
        lines[0] = lines[0].replace(source.encode(), thread_id.encode())
        thread = await store.create_thread(NewThread(cwd="/repo", id=thread_id))
        await store.append_lines(thread.id, lines[:4])
        await store.append_lines(thread.id, lines[4:])
        assert sorted(await found(store, "needle")) == sorted([source, thread.id])
        assert await _places(store, thread.id, "needle") == [len(lines)]

    async def test_what_was_stored_is_found_after_a_restart(
        self, durable_harness: StoreHarness, clock: ManualClock
    ) -> None:
        async with durable_harness.open() as store:
            cold = await said(store, clock, "needle")
            clock.advance()
            live = await record_thread(store, clock, "the needle", live=True)
        async with durable_harness.open() as store:
            assert await found(store, "needle") == [live.id, cold]
            await store.resume_thread(cold)
            await store.append_items(cold, [items.agent_message("thread")])
            assert await found(store, "thread") == [cold]
        async with durable_harness.open() as store:
            assert await found(store, "thread") == [cold]
            assert await found(store, "needle") == [live.id, cold]

    async def test_what_was_stored_is_found_after_a_crash(
        self, durable_harness: StoreHarness, clock: ManualClock
    ) -> None:
        async with durable_harness.open() as store:
            thread = await said(store, clock, "needle")
            assert await found(store, "needle") == [thread]
            await store.resume_thread(thread)
            await store.append_items(thread, [items.agent_message("thread")])
            durable_harness.crash()
        async with durable_harness.open() as store:
            assert store.capabilities.durability is not Durability.NONE
            assert await found(store, "thread") == [thread]
            assert await found(store, "needle") == [thread]

    async def test_another_store_object_finds_what_one_has_stored(
        self, durable_harness: StoreHarness, clock: ManualClock
    ) -> None:
        async with durable_harness.open() as one, durable_harness.open() as other:
            thread = await said(one, clock, "needle")
            assert await found(other, "needle") == [thread]
            await one.resume_thread(thread)
            for number in range(3):
                await one.append_items(thread, [items.agent_message(f"thread{number}")])
                assert await found(other, f"thread{number}") == [thread]
            await one.shutdown_thread(thread)
            await one.delete_thread(thread)
            assert await found(other, "needle") == []

    async def test_a_name_is_found_until_it_is_another(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock, "begin", name="before")
        await record_thread(store, clock, "begin", name="bystander")
        (hit,) = await hits(store, "before")
        assert (hit.thread.id, hit.found.role, hit.found.position) == (thread.id, "title", 0)
        assert hit.found.turn_cursor is None
        await explicit(store, thread.id, name="after 黒猫")
        assert await found(store, "before") == []
        for text in ("after", "猫", "aft*", "after begin"):
            assert await found(store, text) == [thread.id], text
        await explicit(store, thread.id, name=None)
        assert await found(store, "after") == []
        assert len(await found(store, "begin", roles=("title",))) == 2

    async def test_the_name_of_a_live_thread_is_found(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock, "begin", live=True)
        await explicit(store, thread.id, name="needle")
        assert await found(store, "needle") == [thread.id]
        await explicit(store, thread.id, name="pin")
        assert await found(store, "needle") == []
        await store.append_items(thread.id, [items.agent_message("x")])
        await store.shutdown_thread(thread.id)
        assert await found(store, "pin") == [thread.id]

    async def test_what_was_archived_is_still_found(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await said(store, clock, "needle", "needle")
        before = await occurrences(store, thread, search("needle"))
        await store.archive_thread(thread)
        assert await occurrences(store, thread, search("needle")) == before
        await store.unarchive_thread(thread)
        assert await occurrences(store, thread, search("needle")) == before
        assert await found(store, "needle") == [thread]

    async def test_a_deleted_thread_leaves_nothing_to_find(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock, "needle", id=new_thread_id())
        other = await said(store, clock, "needle")
        await store.delete_thread(thread.id)
        assert await found(store, "needle", archived=None) == [other]
        again = await record_thread(store, clock, "hay", id=thread.id)
        assert await found(store, "needle", archived=None) == [other]
        assert await found(store, "hay") == [again.id]


@where("_searches")
class SearchHistoryTests(Cases):
    """Rollbacks, forks, old and paginated histories, damage."""

    async def test_what_was_rolled_back_is_not_found(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        kept = items.turn("turn-2", "needle", "stays")
        gone = items.turn("turn-3", "needle", "goes")
        tool = items.function_call("c", "shell", '{"command":["goes"]}')
        gone.insert(4, tool)
        thread = await with_items(store, clock, [*kept, *gone])
        two = await _places(store, thread, "needle")
        assert len(two) == 2
        await store.resume_thread(thread)
        await store.append_items(thread, [items.thread_rolled_back(1)])
        assert await found(store, "goes") == []
        assert await _places(store, thread, "needle") == two[:1]
        assert await found(store, "stays") == [thread]
        await store.append_items(thread, items.turn("turn-4", "needle", "another way"))
        assert await found(store, "another") == [thread]
        assert len(await _places(store, thread, "needle")) == 2
        await store.append_items(thread, [items.thread_rolled_back(2)])
        for text in ("needle", "goes", "stays", "another"):
            assert await found(store, text) == [], text
        await store.shutdown_thread(thread)
        assert await found(store, "needle") == []
        assert await found(store, "begin") == [thread]

    async def test_what_was_done_again_is_found_again(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await with_items(store, clock, items.turn("turn-2", "needle", "reply"))
        await store.resume_thread(thread)
        receipt = await store.append_items(thread, [items.thread_rolled_back(1)])
        assert await found(store, "needle") == []
        history = await store.load_history(thread)
        await store.append_items(thread, removed_by_last_revert(history.items))
        (position,) = await _places(store, thread, "needle")
        assert position > receipt.position
        assert await found(store, "reply") == [thread]
        (each,) = await occurrences(store, thread, search("reply"))
        page = await store.list_turns(thread, cursor=each.turn_cursor, limit=1)
        assert each.position in [item.position for item in page.items[0].items]

    async def test_a_history_without_events(self, store: ThreadStore, clock: ManualClock) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        header = {
            "id": thread.id,
            "timestamp": "2026-03-04T05:06:07.000Z",
            "instructions": None,
        }
        await store.append_items(
            thread.id,
            [
                RolloutItem("session_meta", header),
                items.user_response("<environment_context>hidden</environment_context>"),
                items.user_response("<user_instructions>hidden</user_instructions>"),
                items.user_response("needle one"),
                items.assistant_response("needle two"),
                items.function_call("c", "shell", '{"command":["needle"]}'),
                items.function_call_output("c", '{"output":"needle"}'),
            ],
        )
        every = await occurrences(store, thread.id, search("needle", roles=("user", "assistant")))
        assert [(each.position, each.role) for each in every] == [(4, "user"), (5, "assistant")]
        every = await occurrences(store, thread.id, search("needle", tools=("shell",)))
        assert [each.position for each in every] == [6, 7]
        assert await found(store, "hidden") == []
        # A later Codex goes on with it, with events beside the messages.
        await store.append_items(thread.id, items.turn("turn-2", "unheard", "of"))
        assert len(await _places(store, thread.id, "unheard")) == 1
        await store.shutdown_thread(thread.id)
        assert len(await _places(store, thread.id, "needle one")) >= 1

    async def test_a_paginated_history(self, store: ThreadStore, clock: ManualClock) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo", history_mode="paginated"))
        reply = {"type": "AgentMessage", "id": "a", "content": [{"type": "Text", "text": "needle"}]}
        plan = {"type": "Plan", "id": "p", "text": "the needle plan"}
        other = {"type": "Reasoning", "id": "r", "summary_text": ["needle"], "raw_content": []}
        await store.append_items(
            thread.id,
            [
                items.task_started("turn-1"),
                items.turn_context(),
                items.user_response("needle"),
                items.user_item_completed(thread.id, "turn-1", "a needle, 黒猫"),
                items.item_completed(thread.id, "turn-1", other),
                items.item_completed(thread.id, "turn-1", reply),
                items.item_completed(thread.id, "turn-1", plan),
                items.function_call("c", "shell", '{"command":["needle"]}'),
                items.task_complete("turn-1", message="needle"),
            ],
        )
        every = await occurrences(store, thread.id, search("needle", roles=("user", "assistant")))
        assert [(each.position, each.role) for each in every] == [
            (5, "user"),
            (7, "assistant"),
            (8, "assistant"),
        ]
        assert await found(store, "猫") == [thread.id]
        for each in await occurrences(store, thread.id, search("needle", roles=("assistant",))):
            page = await store.list_turns(thread.id, cursor=each.turn_cursor, limit=1)
            assert each.position in [item.position for item in page.items[0].items]

    async def test_a_fork_by_reference_has_the_texts_of_its_source(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        if not store.capabilities.fork_by_reference:
            pytest.skip("the store declares no fork_by_reference")
        source = await empty_thread(store, history_mode="paginated")
        await store.resume_thread(source.id)
        for text in ("needle one", "needle two", "needle three"):
            added = items.user_item_completed(source.id, text[7:], text)
            receipt = await store.append_items(source.id, [added])
        await store.shutdown_thread(source.id)
        clock.advance()
        base = HistoryBase(thread_id=source.id, position=receipt.position - 1)
        fork = await store.create_thread(
            NewThread(cwd="/repo", history_mode="paginated", history_base=base)
        )
        added = items.user_item_completed(fork.id, "own", "needle of its own")
        await store.append_items(fork.id, [added])
        assert sorted(await found(store, "needle two")) == sorted([source.id, fork.id])
        assert await found(store, "three") == [source.id]
        assert await found(store, "own") == [fork.id]
        assert await found(store, "one own") == []
        own = (await store.load_history(fork.id)).position
        assert await _said_at(store, fork.id, "needle") == [2, 3, own]
        await store.resume_thread(source.id)
        await store.append_items(
            source.id, [items.user_item_completed(source.id, "four", "needle four")]
        )
        assert await found(store, "four") == [source.id]
        assert await _said_at(store, fork.id, "needle") == [2, 3, own]

    @pytest.mark.parametrize("how", [Corruption.GARBAGE_LINE, Corruption.BLANK_LINE])
    async def test_damage_hides_nothing_else(
        self, store: ThreadStore, harness: StoreHarness, clock: ManualClock, how: Corruption
    ) -> None:
        thread = await said(store, clock, "needle one")
        before = await _places(store, thread, "needle")
        harness.corrupt(thread, how)
        await store.resume_thread(thread)
        receipt = await store.append_items(thread, [items.agent_message("needle two")])
        assert await _places(store, thread, "needle") == [*before, receipt.position]
        assert receipt.position == before[0] + 2
        await store.shutdown_thread(thread)
        assert await found(store, "two") == [thread]

    async def test_a_torn_last_line_hides_nothing_else(
        self, store: ThreadStore, harness: StoreHarness, clock: ManualClock
    ) -> None:
        thread = await said(store, clock, "needle one")
        harness.corrupt(thread, Corruption.TORN_TAIL)
        assert await found(store, "needle") == [thread]
        await store.resume_thread(thread)
        await store.append_items(thread, [items.agent_message("needle two")])
        assert await found(store, "two") == [thread]
        assert len(await _places(store, thread, "needle")) == 2

    async def test_a_thread_without_a_readable_line_does_not_end_a_search(
        self, store: ThreadStore, harness: StoreHarness, clock: ManualClock
    ) -> None:
        lost = await said(store, clock, "needle")
        kept = await said(store, clock, "needle")
        assert len(await found(store, "needle")) == 2
        harness.corrupt(lost, Corruption.EVERY_LINE)
        page = await store.search_threads(search("needle"))
        assert [hit.thread.id for hit in page.items] == [kept]

    async def test_a_title_that_only_metadata_knows(self, store: ThreadStore) -> None:
        thread = await empty_thread(store)
        await explicit(store, thread.id, name="needle")
        await observed(store, thread.id, model="gpt-5.1")
        (hit,) = await hits(store, "needle")
        assert (hit.thread.id, hit.found.role) == (thread.id, "title")
        assert await _places(store, thread.id, "needle") == [0]
