"""Pages of turns and items: complete, in both directions, also while the thread grows."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from threadstore import paging
from threadstore.errors import InvalidRequest, ThreadNotFound
from threadstore.history.items import RolloutItem
from threadstore.ids import new_thread_id
from threadstore.metadata import NewThread
from threadstore.store import ThreadStore
from threadstore.stores.memory import MemoryThreadStore


@pytest.fixture
async def store() -> AsyncIterator[ThreadStore]:
    async with MemoryThreadStore() as opened:
        yield opened


def _turn(turn_id: str) -> list[RolloutItem]:
    return [
        RolloutItem("event_msg", {"type": "task_started", "turn_id": turn_id}),
        RolloutItem("event_msg", {"type": "user_message", "message": turn_id}),
        RolloutItem("event_msg", {"type": "task_complete", "turn_id": turn_id}),
    ]


async def _thread(store: ThreadStore, turns: int) -> str:
    thread = await store.create_thread(NewThread(cwd="/a"))
    for number in range(turns):
        await store.append_items(thread.id, _turn(f"t{number}"))
    return thread.id


async def _walk_turns(store: ThreadStore, thread_id: str, limit: int, *, down: bool) -> list[str]:
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await store.list_turns(thread_id, cursor=cursor, limit=limit, descending=down)
        assert len(page.items) <= limit
        seen += [turn.id for turn in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return seen


async def _walk_items(
    store: ThreadStore, thread_id: str, limit: int, *, down: bool, turn_id: str | None = None
) -> list[int]:
    seen: list[int] = []
    cursor: str | None = None
    while True:
        page = await store.list_items(
            thread_id, turn_id=turn_id, cursor=cursor, limit=limit, descending=down
        )
        seen += [item.position or 0 for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return seen


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 5, 6, 100])
async def test_pages_of_any_size_show_every_turn_once(
    store: ThreadStore, limit: int, down: bool
) -> None:
    thread_id = await _thread(store, 5)
    expected = [f"t{number}" for number in range(5)]
    assert await _walk_turns(store, thread_id, limit, down=down) == (
        expected[::-1] if down else expected
    )


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("limit", [1, 3, 7, 100])
async def test_pages_of_any_size_show_every_item_once(
    store: ThreadStore, limit: int, down: bool
) -> None:
    thread_id = await _thread(store, 2)
    expected = list(range(1, 8))
    assert await _walk_items(store, thread_id, limit, down=down) == (
        expected[::-1] if down else expected
    )
    turn = await _walk_items(store, thread_id, limit, down=down, turn_id="t1")
    assert turn == ([7, 6, 5] if down else [5, 6, 7])


@pytest.mark.parametrize("down", [False, True])
async def test_nothing_is_skipped_or_repeated_while_items_are_appended(
    store: ThreadStore, down: bool
) -> None:
    thread_id = await _thread(store, 3)
    turns: list[str] = []
    items: list[int] = []
    turn_cursor: str | None = None
    item_cursor: str | None = None
    for number in range(3):
        page = await store.list_turns(thread_id, cursor=turn_cursor, limit=1, descending=down)
        turns += [turn.id for turn in page.items]
        turn_cursor = page.next_cursor
        part = await store.list_items(thread_id, cursor=item_cursor, limit=3, descending=down)
        items += [item.position or 0 for item in part.items]
        item_cursor = part.next_cursor
        await store.append_items(thread_id, _turn(f"late{number}"))
    assert turns == (["t2", "t1", "t0"] if down else ["t0", "t1", "t2"])
    assert items == (list(range(10, 1, -1)) if down else list(range(1, 10)))


async def test_the_backwards_cursor_starts_at_the_first_entry_in_the_other_direction(
    store: ThreadStore,
) -> None:
    thread_id = await _thread(store, 4)
    page = await store.list_turns(thread_id, limit=2, descending=True)
    assert [turn.id for turn in page.items] == ["t3", "t2"]
    await store.append_items(thread_id, _turn("t4"))
    newer = await store.list_turns(thread_id, cursor=page.backwards_cursor, descending=False)
    assert [turn.id for turn in newer.items] == ["t3", "t4"]
    part = await store.list_items(thread_id, limit=2)
    second = await store.list_items(thread_id, cursor=part.next_cursor, limit=2)
    back = await store.list_items(thread_id, cursor=second.backwards_cursor, descending=True)
    assert [item.position for item in back.items] == [3, 2, 1]


async def test_a_cursor_survives_the_rollback_of_the_turn_it_stands_on(store: ThreadStore) -> None:
    thread_id = await _thread(store, 4)
    page = await store.list_turns(thread_id, limit=1, descending=True)
    rollback = RolloutItem("event_msg", {"type": "thread_rolled_back", "num_turns": 2})
    await store.append_items(thread_id, [rollback])
    rest = await store.list_turns(thread_id, cursor=page.next_cursor, descending=True)
    assert [turn.id for turn in rest.items] == ["t1", "t0"]


async def test_an_empty_thread_has_empty_pages(store: ThreadStore) -> None:
    thread_id = await _thread(store, 0)
    turns = await store.list_turns(thread_id)
    items = await store.list_items(thread_id)
    assert (turns.items, turns.next_cursor, turns.backwards_cursor) == ((), None, None)
    assert (items.items, items.next_cursor, items.backwards_cursor) == ((), None, None)


async def test_a_cursor_belongs_to_its_thread_turn_direction_and_kind(store: ThreadStore) -> None:
    thread_id, other = await _thread(store, 3), await _thread(store, 3)
    turns = (await store.list_turns(thread_id, limit=1)).next_cursor
    items = (await store.list_items(thread_id, limit=1)).next_cursor
    assert turns is not None
    with pytest.raises(InvalidRequest):
        await store.list_turns(other, cursor=turns)
    with pytest.raises(InvalidRequest):
        await store.list_turns(thread_id, cursor=turns, descending=False)
    with pytest.raises(InvalidRequest):
        await store.list_items(thread_id, cursor=turns)
    with pytest.raises(InvalidRequest):
        await store.list_items(thread_id, cursor=items, turn_id="t1")
    with pytest.raises(InvalidRequest):
        await store.list_turns(thread_id, cursor="nonsense")
    assert (await store.list_turns(thread_id.upper(), cursor=turns)).items


@pytest.mark.parametrize("limit", [0, -1, 10_001, True])
async def test_a_bad_limit_is_refused(store: ThreadStore, limit: int) -> None:
    thread_id = await _thread(store, 1)
    with pytest.raises(InvalidRequest):
        await store.list_turns(thread_id, limit=limit)
    with pytest.raises(InvalidRequest):
        await store.list_items(thread_id, limit=limit)


async def test_unknown_threads_and_turns_are_named_errors(store: ThreadStore) -> None:
    thread_id = await _thread(store, 1)
    with pytest.raises(ThreadNotFound):
        await store.list_turns(new_thread_id())
    with pytest.raises(ThreadNotFound):
        await store.list_items(new_thread_id())
    with pytest.raises(InvalidRequest):
        await store.list_items(thread_id, turn_id="nope")
    with pytest.raises(InvalidRequest):
        await store.list_turns("no-id")


async def test_a_turn_is_in_progress_only_to_who_holds_the_thread_live(store: ThreadStore) -> None:
    thread_id = await _thread(store, 1)
    await store.append_items(thread_id, _turn("open")[:2])
    cold = await store.list_turns(thread_id)
    live = await paging.list_turns(
        store, thread_id, None, 10, descending=True, open_status="in_progress"
    )
    assert [turn.status for turn in cold.items] == ["interrupted", "completed"]
    assert [turn.status for turn in live.items] == ["in_progress", "completed"]
