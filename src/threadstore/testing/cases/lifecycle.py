"""Writers: create, resume, persist, flush, shut down, discard; opening and closing a store."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from threadstore.errors import Conflict, InvalidRequest, StoreUnavailable, ThreadNotFound
from threadstore.metadata import GitInfo, NewThread, ThreadMetadataPatch
from threadstore.store import ThreadStore
from threadstore.testing import items
from threadstore.testing.cases.base import (
    EXPLICIT,
    Cases,
    check_error,
    explicit,
    facts,
    history_bodies,
    listed,
    unknown_id,
)
from threadstore.testing.clock import ManualClock
from threadstore.testing.harness import StoreHarness
from threadstore.testing.seeds import empty_thread, record_thread, spawned_by

__all__ = ["LifecycleTests"]


async def _iterate(store: ThreadStore, thread_id: str) -> None:
    async for _ in store.iter_history(thread_id):
        pass


async def _export(store: ThreadStore, thread_id: str) -> None:
    async for _ in store.raw_history(thread_id):
        pass


_BY_ID: dict[str, Callable[[ThreadStore, str], Awaitable[Any]]] = {
    "append_items": lambda store, id_: store.append_items(id_, [items.user_message("x")]),
    "append_lines": lambda store, id_: store.append_lines(id_, [b"{}"]),
    "archive_thread": lambda store, id_: store.archive_thread(id_),
    "delete_thread": lambda store, id_: store.delete_thread(id_),
    "flush_thread": lambda store, id_: store.flush_thread(id_),
    "history_base": lambda store, id_: store.history_base(id_),
    "iter_history": _iterate,
    "list_items": lambda store, id_: store.list_items(id_),
    "list_turns": lambda store, id_: store.list_turns(id_),
    "load_history": lambda store, id_: store.load_history(id_),
    "persist_thread": lambda store, id_: store.persist_thread(id_),
    "raw_history": _export,
    "read_thread": lambda store, id_: store.read_thread(id_),
    "resume_thread": lambda store, id_: store.resume_thread(id_),
    "unarchive_thread": lambda store, id_: store.unarchive_thread(id_),
    "update_thread_metadata": lambda store, id_: store.update_thread_metadata(
        id_, ThreadMetadataPatch(name="x"), origin=EXPLICIT
    ),
}
_RELEASING: dict[str, Callable[[ThreadStore, str], Awaitable[Any]]] = {
    "discard_thread": lambda store, id_: store.discard_thread(id_),
    "shutdown_thread": lambda store, id_: store.shutdown_thread(id_),
}
_NEED_A_WRITER = ("append_items", "append_lines", "flush_thread", "persist_thread")


class LifecycleTests(Cases):
    """From opening a writer to releasing it."""

    async def test_create_returns_what_was_asked_for(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        parent = unknown_id()
        new = NewThread(
            cwd="/repo",
            id=unknown_id(),
            session_id=parent,
            forked_from_id=unknown_id(),
            parent_thread_id=parent,
            source=spawned_by(parent),
            thread_source="subagent",
            agent_nickname="Ada",
            agent_role="explorer",
            agent_path="/main/ada",
            originator="suite",
            cli_version="0.131.0",
            model_provider="mock",
            memory_mode="disabled",
            git=GitInfo(sha="a1", branch="main", origin_url="https://example.org/r.git"),
        )
        thread = await store.create_thread(new)
        for field in set(new.__struct_fields__) & set(thread.__struct_fields__) - {"created_at"}:
            assert getattr(thread, field) == getattr(new, field), field
        assert thread.created_at == thread.updated_at == thread.recency_at == clock.now()
        await store.persist_thread(thread.id)
        await store.shutdown_thread(thread.id)
        assert facts(await store.read_thread(thread.id)) == facts(thread)

    async def test_create_fills_in_what_was_left_out(self, store: ThreadStore) -> None:
        thread = await store.create_thread(NewThread(cwd=""))
        assert uuid.UUID(thread.id).version == 7
        assert thread.cwd == ""
        assert thread.session_id == thread.id
        assert thread.model_provider
        assert thread.cli_version
        assert (thread.memory_mode, thread.history_mode) == ("enabled", "legacy")
        assert (thread.name, thread.title, thread.preview, thread.git) == (None, None, "", None)
        assert thread.archived_at is None

    async def test_ids_of_new_threads_differ_and_grow(self, store: ThreadStore) -> None:
        ids = [(await store.create_thread(NewThread(cwd=""))).id for _ in range(20)]
        assert ids == sorted(set(ids))

    async def test_an_id_may_be_spelled_in_any_way(self, store: ThreadStore) -> None:
        thread_id = unknown_id()
        thread = await store.create_thread(NewThread(cwd="", id=f"{{{thread_id.upper()}}}"))
        assert thread.id == thread_id
        other_spelling = thread_id.replace("-", "")
        await store.append_items(other_spelling, [items.user_message("hello")])
        await store.shutdown_thread(other_spelling)
        assert (await store.read_thread(other_spelling)).id == thread_id

    @pytest.mark.parametrize("verb", [*_BY_ID, *_RELEASING])
    async def test_what_is_no_uuid_is_an_invalid_request(
        self, store: ThreadStore, verb: str
    ) -> None:
        for text in ("", "no-id", "../../etc/passwd", "0" * 31):
            with pytest.raises(InvalidRequest) as caught:
                await {**_BY_ID, **_RELEASING}[verb](store, text)
            check_error(caught.value)

    async def test_create_refuses_what_is_no_uuid(self, store: ThreadStore) -> None:
        with pytest.raises(InvalidRequest):
            await store.create_thread(NewThread(cwd="", id="no-id"))

    @pytest.mark.parametrize("verb", _BY_ID)
    async def test_an_unknown_id_is_not_found_and_leaves_no_trace(
        self, store: ThreadStore, harness: StoreHarness, verb: str
    ) -> None:
        thread_id = unknown_id()
        with pytest.raises(ThreadNotFound) as caught:
            await _BY_ID[verb](store, thread_id)
        check_error(caught.value)
        assert caught.value.thread_id == thread_id
        assert harness.traces(thread_id) == []

    @pytest.mark.parametrize("verb", _RELEASING)
    async def test_releasing_what_is_not_live_does_nothing(
        self, store: ThreadStore, harness: StoreHarness, clock: ManualClock, verb: str
    ) -> None:
        thread_id = unknown_id()
        await _RELEASING[verb](store, thread_id)
        assert harness.traces(thread_id) == []
        cold = await record_thread(store, clock)
        before = harness.raw_history(cold.id)
        await _RELEASING[verb](store, cold.id)
        await _RELEASING[verb](store, cold.id)
        assert harness.raw_history(cold.id) == before

    @pytest.mark.parametrize("verb", _NEED_A_WRITER)
    async def test_a_cold_thread_has_no_writer(
        self, store: ThreadStore, harness: StoreHarness, clock: ManualClock, verb: str
    ) -> None:
        thread = await record_thread(store, clock)
        before = harness.raw_history(thread.id)
        with pytest.raises(ThreadNotFound) as caught:
            await _BY_ID[verb](store, thread.id)
        check_error(caught.value)
        assert harness.raw_history(thread.id) == before

    async def test_nothing_is_durable_before_the_first_item(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        await store.flush_thread(thread.id)
        assert facts(await store.read_thread(thread.id)) == facts(thread)
        assert harness.traces(thread.id) == []
        assert await listed(store) == []

    @pytest.mark.parametrize("verb", _RELEASING)
    async def test_a_writer_without_history_leaves_no_trace(
        self, store: ThreadStore, harness: StoreHarness, verb: str
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        await _RELEASING[verb](store, thread.id)
        assert harness.traces(thread.id) == []
        with pytest.raises(ThreadNotFound):
            await store.read_thread(thread.id)
        await store.create_thread(NewThread(cwd="/repo", id=thread.id))

    @pytest.mark.parametrize("verb", _RELEASING)
    async def test_releasing_a_writer_keeps_the_history(
        self, store: ThreadStore, verb: str
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        await store.append_items(thread.id, [items.user_message("hello")])
        await _RELEASING[verb](store, thread.id)
        assert len(await history_bodies(store, thread.id)) == 1

    async def test_persist_writes_the_header_once(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo", source="exec"))
        await store.persist_thread(thread.id)
        await store.persist_thread(thread.id)
        assert await listed(store) == [thread.id]
        (line,) = harness.raw_history(thread.id)
        header = json.loads(line)
        assert header["type"] == "session_meta"
        assert header["payload"]["id"] == thread.id
        assert (header["payload"]["cwd"], header["payload"]["source"]) == ("/repo", "exec")
        assert header["payload"]["cli_version"] == thread.cli_version

    async def test_the_first_append_writes_the_header_first(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        await store.append_items(thread.id, [items.user_message("hello")])
        header, line = map(json.loads, harness.raw_history(thread.id))
        assert header["payload"]["id"] == thread.id
        assert line["payload"]["message"] == "hello"

    async def test_a_thread_may_bring_its_own_header(
        self, store: ThreadStore, harness: StoreHarness, clock: ManualClock
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        own = items.session_meta(thread.id, created_at=clock.now(), field_of_tomorrow=1)
        await store.append_items(thread.id, [own, items.user_message("hello")])
        header, _ = map(json.loads, harness.raw_history(thread.id))
        assert header["payload"] == own.payload

    async def test_a_copied_header_of_another_thread_is_an_item_like_any_other(
        self, store: ThreadStore, harness: StoreHarness, clock: ManualClock
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        foreign = items.session_meta(unknown_id(), created_at=clock.now(), cwd="/elsewhere")
        await store.append_items(thread.id, [foreign])
        own, copied = map(json.loads, harness.raw_history(thread.id))
        assert own["payload"]["id"] == thread.id
        assert copied["payload"] == foreign.payload
        assert (await store.read_thread(thread.id)).cwd == "/repo"

    @pytest.mark.parametrize("state", ["live", "cold", "archived"])
    async def test_create_refuses_an_id_that_exists(
        self, store: ThreadStore, harness: StoreHarness, clock: ManualClock, state: str
    ) -> None:
        thread = await record_thread(store, clock, live=state == "live")
        if state == "archived":
            await store.archive_thread(thread.id)
        before = harness.raw_history(thread.id)
        with pytest.raises(Conflict) as caught:
            await store.create_thread(NewThread(cwd="/other", id=thread.id))
        check_error(caught.value)
        assert harness.raw_history(thread.id) == before
        assert (await store.read_thread(thread.id)).cwd == "/repo"

    async def test_create_refuses_an_id_that_is_live_without_history(
        self, store: ThreadStore
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        with pytest.raises(Conflict):
            await store.create_thread(NewThread(cwd="/repo", id=thread.id))
        with pytest.raises(Conflict):
            await store.resume_thread(thread.id)

    async def test_resume_goes_on_where_the_history_ended(
        self, store: ThreadStore, harness: StoreHarness, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock, name="work")
        before = harness.raw_history(thread.id)
        resumed = await store.resume_thread(thread.id)
        assert facts(resumed) == facts(await store.read_thread(thread.id))
        receipt = await store.append_items(thread.id, [items.user_message("again")])
        after = harness.raw_history(thread.id)
        assert after[: len(before)] == before
        assert len(after) == receipt.position == len(before) + 1

    async def test_resume_alone_changes_nothing(
        self, store: ThreadStore, harness: StoreHarness, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock, name="work")
        history, metadata = harness.raw_history(thread.id), harness.raw_metadata(thread.id)
        clock.advance(60)
        await store.resume_thread(thread.id)
        await store.flush_thread(thread.id)
        await store.persist_thread(thread.id)
        await store.shutdown_thread(thread.id)
        assert harness.raw_history(thread.id) == history
        assert harness.raw_metadata(thread.id) == metadata

    async def test_resume_tells_the_history_mode(self, store: ThreadStore) -> None:
        thread = await empty_thread(store, history_mode="paginated")
        assert (await store.resume_thread(thread.id)).history_mode == "paginated"

    async def test_a_live_thread_cannot_be_resumed(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock, live=True)
        with pytest.raises(Conflict) as caught:
            await store.resume_thread(thread.id)
        check_error(caught.value)
        await store.append_items(thread.id, [items.user_message("still mine")])

    async def test_an_archived_thread_cannot_be_resumed(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock)
        await store.archive_thread(thread.id)
        with pytest.raises(InvalidRequest) as caught:
            await store.resume_thread(thread.id)
        check_error(caught.value)
        await store.unarchive_thread(thread.id)
        await store.resume_thread(thread.id)

    async def test_a_deleted_id_can_be_used_again(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock, name="old")
        await store.delete_thread(thread.id)
        again = await store.create_thread(NewThread(cwd="/new", id=thread.id))
        assert (again.name, again.preview, again.cwd) == (None, "", "/new")
        await store.append_items(thread.id, [items.agent_message("fresh")])
        await store.shutdown_thread(thread.id)
        stored = await store.read_thread(thread.id)
        assert (stored.name, stored.preview, stored.cwd) == (None, "", "/new")

    async def test_opening_and_closing_twice_is_once(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.open()
            await empty_thread(store)
            await store.close()
            await store.close()

    async def test_closing_leaves_no_task_behind(
        self, harness: StoreHarness, clock: ManualClock
    ) -> None:
        before = asyncio.all_tasks()
        async with harness.open() as store:
            thread = await record_thread(store, clock, live=True)
            await store.list_turns(thread.id)
            await listed(store)
        assert asyncio.all_tasks() == before

    @pytest.mark.parametrize("verb", [*_BY_ID, *_RELEASING])
    async def test_a_closed_store_is_unavailable(self, harness: StoreHarness, verb: str) -> None:
        async with harness.open() as store:
            thread = await empty_thread(store)
        with pytest.raises(StoreUnavailable) as caught:
            await {**_BY_ID, **_RELEASING}[verb](store, thread.id)
        check_error(caught.value)
        with pytest.raises(StoreUnavailable):
            await store.create_thread(NewThread(cwd=""))
        with pytest.raises(StoreUnavailable):
            await store.list_threads()

    async def test_a_thread_can_be_named_and_resumed_many_times(self, store: ThreadStore) -> None:
        thread = await empty_thread(store)
        for number in range(5):
            await store.resume_thread(thread.id)
            await store.append_items(thread.id, [items.user_message(f"message {number}")])
            await store.shutdown_thread(thread.id)
            await explicit(store, thread.id, name=f"name {number}")
        assert len(await history_bodies(store, thread.id)) == 5
        assert (await store.read_thread(thread.id)).name == "name 4"
