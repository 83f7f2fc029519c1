"""A thread that is taken up again stands where it stood, and no more is read than need be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import golden_homes
from tests.history.scripts import compaction, histories, message

from threadstore.engine.loading import load_context
from threadstore.errors import ThreadNotFound
from threadstore.factory import open_store
from threadstore.history.context import ContextFold
from threadstore.ids import new_thread_id
from threadstore.metadata import HistoryBase, NewThread, TokenUsage
from threadstore.stores.memory import MemoryThreadStore
from threadstore.testing import items as make

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from pathlib import Path

    from threadstore.history.items import DamagedLine, RolloutItem
    from threadstore.store import ThreadStore

COUNTED = make.token_count(TokenUsage(input_tokens=3, output_tokens=1))


class CountingStore(MemoryThreadStore):
    """Counts the entries that anyone reads."""

    read = 0

    async def iter_history(
        self, thread_id: str, *, after: int = 0, reverse: bool = False
    ) -> AsyncIterator[RolloutItem | DamagedLine]:
        async for entry in super().iter_history(thread_id, after=after, reverse=reverse):
            self.read += 1
            yield entry


def _state(fold: ContextFold) -> dict[str, Any]:
    return {
        name: getattr(fold, name)
        for name in (
            *("items", "turn_context", "last_turn_context", "token_info", "rate_limits"),
            *("model", "open_turn", "unreported"),
        )
    }


def _fold(items: Iterable[RolloutItem], fold: ContextFold | None = None) -> ContextFold:
    fold = fold or ContextFold()
    for item in items:
        fold.feed(item)
    return fold


async def _thread(store: ThreadStore, items: Sequence[RolloutItem], **new: Any) -> str:
    thread = await store.create_thread(NewThread(cwd="/a", **new))
    await store.append_items(thread.id, items)
    return thread.id


async def _resumed(items: Sequence[RolloutItem]) -> ContextFold:
    async with MemoryThreadStore() as store:
        return (await load_context(store, await _thread(store, items))).fold


@given(histories(), st.data())
def test_a_session_goes_on_anywhere_as_if_it_had_never_stopped(
    items: list[RolloutItem], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(items)))
    fold = asyncio.run(_resumed(items[:cut]))
    assert _state(fold) == _state(_fold(items[:cut]))
    assert not fold.stale
    _fold(items[cut:], fold)
    if not fold.stale:  # else a rollback reached behind what was read, and it is loaded again
        assert _state(fold) == _state(_fold(items))


async def test_no_more_is_read_than_the_turn_of_the_last_compaction() -> None:
    early = [item for number in range(200) for item in make.turn(f"t{number}", "asked")]
    late = [*make.turn("k", "two")[:-1], compaction(message("user", "left")), COUNTED]
    late += [make.task_complete("k"), *make.turn("z", "three")]
    async with CountingStore() as store:
        thread_id = await _thread(store, [*early, *late])
        loaded = await load_context(store, thread_id)
    assert _state(loaded.fold) == _state(_fold([*early, *late]))
    assert loaded.fold.items[0] == message("user", "left")
    assert store.read == len(late) + 1  # and the header


async def test_a_compaction_that_does_not_say_what_is_left_does_not_end_the_reading() -> None:
    items = [*make.turn("a", "one"), *make.turn("b", "two"), make.compacted("sum"), COUNTED]
    async with CountingStore() as store:
        thread_id = await _thread(store, items)
        assert _state((await load_context(store, thread_id)).fold) == _state(_fold(items))


async def test_a_rollback_behind_what_was_read_is_noticed() -> None:
    first = [*make.turn("a", "one"), COUNTED]
    second = [*make.turn("b", "two")[:-1], compaction(message("user", "left"))]
    fold = await _resumed([*first, *second])
    before = fold.stale
    fold.feed(make.thread_rolled_back(1))
    assert (before, fold.stale) == (False, True)
    fold.feed(make.compacted("summary"))
    assert fold.stale
    whole = await _resumed([*first, *second, make.thread_rolled_back(1)])
    assert whole.items == _fold(first).items


async def test_the_header_is_the_threads_own_also_behind_what_it_inherits() -> None:
    tools = ({"name": "look", "description": "", "inputSchema": {}},)
    async with MemoryThreadStore() as store:
        source = await _thread(store, make.turn("a", "one"), base_instructions="Of the source")
        position = (await store.load_history(source)).position
        new = NewThread(
            cwd="/a",
            history_mode="paginated",
            base_instructions="Of the fork",
            dynamic_tools=tools,
            history_base=HistoryBase(thread_id=source, position=position),
        )
        fork = await store.create_thread(new)
        await store.append_items(fork.id, make.turn("b", "two"))
        loaded = await load_context(store, fork.id)
        assert loaded.header.base_instructions == "Of the fork"
        assert loaded.header.dynamic_tools == tools
        assert [item["content"][0]["text"] for item in loaded.fold.items][::2] == ["one", "two"]
        assert (await load_context(store, source)).header.base_instructions == "Of the source"


async def test_a_thread_without_history_has_an_empty_context() -> None:
    async with MemoryThreadStore() as store:
        thread = await store.create_thread(NewThread(cwd="/a"))
        loaded = await load_context(store, thread.id)
        assert _state(loaded.fold) == _state(ContextFold())
        with pytest.raises(ThreadNotFound):
            await load_context(store, new_thread_id())


async def test_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    async with open_store(f"local:{tmp_path}") as store:
        thread_id = await _thread(store, make.turn("a", "one"))
        await store.shutdown_thread(thread_id)
        path = (await store.read_thread(thread_id)).rollout_path
        assert path is not None
        with open(path, "ab") as file:
            file.write(b'{"type":"response_it\n')
        await store.resume_thread(thread_id)
        await store.append_items(thread_id, make.turn("b", "two"))
        loaded = await load_context(store, thread_id)
    assert len(loaded.fold.items) == 4


@pytest.mark.parametrize("label", golden_homes.LABELS)
async def test_every_thread_of_codex_is_taken_up_where_it_stood(label: str, tmp_path: Path) -> None:
    golden = golden_homes.load(label)
    async with open_store(f"local:{golden.unpack(tmp_path)}") as store:
        for thread_id in sorted(golden.ids):
            whole = _fold((await store.load_history(thread_id)).items)
            assert _state((await load_context(store, thread_id)).fold) == _state(whole)
