"""Arguments of a wrong type: always the contract's own error, before anything is changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from threadstore.errors import InvalidRequest
from threadstore.history.items import RolloutItem
from threadstore.metadata import GitInfo, HistoryBase, NewThread, ThreadMetadataPatch, TokenUsage
from threadstore.store import ThreadStore
from threadstore.testing import items
from threadstore.testing.cases.base import EXPLICIT, OBSERVED, Cases, check_error, listed
from threadstore.testing.harness import StoreHarness
from threadstore.testing.seeds import empty_thread

__all__ = ["ArgumentTests"]

_OTHERS: Final[list[Any]] = [{}, {"name": "x"}, "text", 5, object()]
"""Objects of no class of the contract."""
_NO_POSITIONS: Final[list[Any]] = [-1, True, 1.0, "1", None, object()]


def _item(**fields: Any) -> RolloutItem:
    return RolloutItem(**{"type": "event_msg", "payload": {"type": "x"}, **fields})


_NO_ITEMS: Final[dict[str, Callable[[], Any]]] = {
    "none": lambda: None,
    "an item alone": _item,
    "a text": lambda: "text",
    "a set": lambda: {_item()},
    "a generator": lambda: (_item() for _ in range(2)),
    "a dictionary": lambda: {0: _item()},
    "a dictionary inside": lambda: [_item(), {"type": "event_msg", "payload": {}}],
    "nothing inside": lambda: [_item(), None],
    "bytes inside": lambda: [_item().encode("2026-01-01T00:00:00.000Z")],
    "another type": lambda: [_item(), _item(type=5)],
    "a type that is a list": lambda: [_item(), _item(type=["x"])],
    "another timestamp": lambda: [_item(), _item(timestamp=5)],
    "a timestamp that is a list": lambda: [_item(), _item(timestamp=["x"])],
    "another raw": lambda: [_item(), _item(raw="text")],
}
_JUNK: Final[dict[str, Callable[[], object]]] = {
    "sandbox_policy": lambda: ThreadMetadataPatch(sandbox_policy={"type": object()}),
    "permission_profile": lambda: ThreadMetadataPatch(permission_profile={"a": [{"b": object()}]}),
    "approval_mode": lambda: ThreadMetadataPatch(approval_mode={"granular": {object(): 1}}),
    "patched source": lambda: ThreadMetadataPatch(source={"custom": object()}),
    "half a character": lambda: ThreadMetadataPatch(sandbox_policy={"type": "\ud800"}),
    "token_usage": lambda: ThreadMetadataPatch(token_usage=TokenUsage(total_tokens=_any("x"))),
    "source": lambda: NewThread(cwd="/repo", source={"custom": object()}),
    "dynamic_tools": lambda: NewThread(cwd="/repo", dynamic_tools=({"name": object()},)),
    "git": lambda: NewThread(cwd="/repo", git=GitInfo(sha=_any(5))),
    "history_base": lambda: NewThread(
        cwd="/repo", history_base=HistoryBase(thread_id="x", position=_any("x"))
    ),
}


def _any(value: Any) -> Any:
    return value


class ArgumentTests(Cases):
    """What a type checker would have refused."""

    @pytest.mark.parametrize("new", [None, *_OTHERS])
    async def test_only_a_new_thread_creates_one(self, store: ThreadStore, new: Any) -> None:
        with pytest.raises(InvalidRequest) as caught:
            await store.create_thread(new)
        check_error(caught.value)
        assert await listed(store, archived=None) == []

    @pytest.mark.parametrize("query", _OTHERS)
    async def test_only_a_query_is_one(self, store: ThreadStore, query: Any) -> None:
        with pytest.raises(InvalidRequest) as caught:
            await store.list_threads(query)
        check_error(caught.value)

    @pytest.mark.parametrize("patch", [None, *_OTHERS])
    @pytest.mark.parametrize("live", [True, False])
    async def test_only_a_patch_is_one(
        self,
        store: ThreadStore,
        harness: StoreHarness,
        patch: Any,
        live: bool,  # noqa: FBT001
    ) -> None:
        thread = await empty_thread(store)
        if live:
            await store.resume_thread(thread.id)
        before = harness.raw_history(thread.id), harness.raw_metadata(thread.id)
        for origin in (EXPLICIT, OBSERVED):
            with pytest.raises(InvalidRequest) as caught:
                await store.update_thread_metadata(thread.id, patch, origin=origin)
            check_error(caught.value)
        assert (harness.raw_history(thread.id), harness.raw_metadata(thread.id)) == before

    @pytest.mark.parametrize("after", _NO_POSITIONS)
    async def test_a_stream_starts_after_a_position_only(
        self, store: ThreadStore, after: Any
    ) -> None:
        thread = await empty_thread(store)
        for reverse in (False, True):
            with pytest.raises(InvalidRequest) as caught:
                async for _ in store.iter_history(thread.id, after=after, reverse=reverse):
                    pass
            check_error(caught.value)

    @pytest.mark.parametrize("thread_id", [None, *_OTHERS])
    async def test_only_an_id_is_one(self, store: ThreadStore, thread_id: Any) -> None:
        patch = ThreadMetadataPatch(name="x")
        for call in (
            store.resume_thread(thread_id),
            store.append_items(thread_id, [_item()]),
            store.persist_thread(thread_id),
            store.flush_thread(thread_id),
            store.shutdown_thread(thread_id),
            store.discard_thread(thread_id),
            store.load_history(thread_id),
            store.read_thread(thread_id),
            store.update_thread_metadata(thread_id, patch, origin=EXPLICIT),
            store.archive_thread(thread_id),
            store.unarchive_thread(thread_id),
            store.delete_thread(thread_id),
        ):
            with pytest.raises(InvalidRequest) as caught:
                await call
            check_error(caught.value)

    @pytest.mark.parametrize("wrong", list(_NO_ITEMS))
    @pytest.mark.parametrize("state", ["new", "materialised"])
    async def test_only_items_are_appended(
        self, store: ThreadStore, harness: StoreHarness, wrong: str, state: str
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        if state == "materialised":
            await store.persist_thread(thread.id)
        before = harness.raw_history(thread.id)
        with pytest.raises(InvalidRequest) as caught:
            await store.append_items(thread.id, _NO_ITEMS[wrong]())
        check_error(caught.value)
        assert harness.raw_history(thread.id) == before

    @pytest.mark.parametrize(
        "options",
        [
            *({"idempotency_key": key} for key in (5, b"key", ["key"], object())),
            *({"expected_position": place} for place in _NO_POSITIONS if place is not None),
        ],
    )
    async def test_options_of_an_append_are_what_they_should_be(
        self, store: ThreadStore, harness: StoreHarness, options: Any
    ) -> None:
        thread = await empty_thread(store)
        await store.resume_thread(thread.id)
        before = harness.raw_history(thread.id)
        with pytest.raises(InvalidRequest) as caught:
            await store.append_items(thread.id, [items.agent_message("x")], **options)
        check_error(caught.value)
        assert harness.raw_history(thread.id) == before

    @pytest.mark.parametrize("field", list(_JUNK))
    async def test_what_stands_inside_a_value_is_checked_too(
        self, store: ThreadStore, field: str
    ) -> None:
        with pytest.raises(InvalidRequest) as caught:
            _JUNK[field]()
        check_error(caught.value)
        assert await listed(store) == []
