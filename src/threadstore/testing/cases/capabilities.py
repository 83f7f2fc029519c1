"""Declared means works; undeclared means Unsupported."""

from __future__ import annotations

import asyncio
import os

import pytest

from threadstore.errors import Unsupported
from threadstore.metadata import NewThread
from threadstore.search import SearchQuery
from threadstore.store import ThreadStore
from threadstore.testing import items
from threadstore.testing.cases.base import Cases, bodies, check_error
from threadstore.testing.clock import ManualClock
from threadstore.testing.harness import StoreHarness
from threadstore.testing.seeds import empty_thread, record_thread

__all__ = ["CapabilityTests"]


class CapabilityTests(Cases):
    """The capabilities that have no cases elsewhere."""

    async def test_the_store_declares_what_the_harness_declares(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        assert store.capabilities == harness.capabilities

    async def test_rollout_paths(self, store: ThreadStore, clock: ManualClock) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        if not store.capabilities.rollout_paths:
            assert thread.rollout_path is None
            return
        path = thread.rollout_path
        assert path is not None
        assert os.path.isabs(path)
        assert path.endswith(".jsonl")
        await store.append_items(thread.id, [items.agent_message("x")])
        assert (await store.read_thread(thread.id)).rollout_path == path
        await store.shutdown_thread(thread.id)
        assert (await store.resume_thread(thread.id)).rollout_path == path
        await store.shutdown_thread(thread.id)
        await store.archive_thread(thread.id)
        archived = (await store.read_thread(thread.id)).rollout_path
        assert archived not in (None, path)
        await store.unarchive_thread(thread.id)
        assert (await store.read_thread(thread.id)).rollout_path == path

    async def test_search_threads(self, store: ThreadStore, clock: ManualClock) -> None:
        wanted = await record_thread(store, clock)
        await record_thread(store, clock)
        await store.resume_thread(wanted.id)
        await store.append_items(wanted.id, [items.agent_message("a needle in the hay")])
        if not store.capabilities.search_threads:
            with pytest.raises(Unsupported) as caught:
                await store.search_threads(SearchQuery(text="needle"))
            check_error(caught.value)
            assert caught.value.operation == "search_threads"
            with pytest.raises(Unsupported):
                await store.search_occurrences(wanted.id, SearchQuery(text="needle"))
            return
        page = await store.search_threads(SearchQuery(text="needle"))
        assert [hit.thread.id for hit in page.items] == [wanted.id]

    async def test_watch_thread(self, store: ThreadStore) -> None:
        thread = await empty_thread(store)
        if not store.capabilities.watch_thread:
            with pytest.raises(Unsupported) as caught:
                await anext(store.watch_thread(thread.id))
            check_error(caught.value)
            assert caught.value.operation == "watch_thread"
            return
        await store.resume_thread(thread.id)
        watching = store.watch_thread(thread.id, after=1)
        step = asyncio.ensure_future(anext(watching))
        given = items.agent_message("news")
        await store.append_items(thread.id, [given])
        assert bodies([await step]) == bodies([given])
        await watching.aclose()

    async def test_inspecting_finds_nothing_in_sound_threads(
        self, store: ThreadStore, harness: StoreHarness, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock, name="work")
        before = harness.raw_history(thread.id), harness.raw_metadata(thread.id)
        findings = await store.inspect()
        assert [finding for finding in findings if finding.severity == "error"] == []
        assert (harness.raw_history(thread.id), harness.raw_metadata(thread.id)) == before
