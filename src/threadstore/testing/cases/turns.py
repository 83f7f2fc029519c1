"""Pages of turns and items."""

from __future__ import annotations

import pytest

from threadstore.errors import InvalidRequest
from threadstore.metadata import NewThread
from threadstore.store import ThreadStore
from threadstore.testing import items
from threadstore.testing.cases.base import Cases
from threadstore.testing.seeds import empty_thread

__all__ = ["TurnTests"]


async def _thread(store: ThreadStore, turns: int = 5) -> str:
    thread = await store.create_thread(NewThread(cwd="/repo"))
    for number in range(turns):
        await store.append_items(thread.id, items.turn(f"turn-{number}", f"text {number}"))
    await store.shutdown_thread(thread.id)
    return thread.id


async def _all_turns(
    store: ThreadStore, thread_id: str, limit: int, *, descending: bool
) -> list[str]:
    ids: list[str] = []
    cursor = None
    while True:
        page = await store.list_turns(thread_id, cursor=cursor, limit=limit, descending=descending)
        assert len(page.items) <= limit
        ids += (turn.id for turn in page.items)
        cursor = page.next_cursor
        if cursor is None:
            return ids


class TurnTests(Cases):
    """``list_turns`` and ``list_items``."""

    @pytest.mark.parametrize("limit", [1, 2, 5, 50])
    async def test_pages_hold_every_turn_once(self, store: ThreadStore, limit: int) -> None:
        thread_id = await _thread(store)
        expected = [f"turn-{number}" for number in range(5)]
        assert await _all_turns(store, thread_id, limit, descending=False) == expected
        assert await _all_turns(store, thread_id, limit, descending=True) == expected[::-1]

    async def test_a_turn_knows_its_state_and_its_items(self, store: ThreadStore) -> None:
        thread_id = await _thread(store, 1)
        await store.resume_thread(thread_id)
        await store.append_items(
            thread_id,
            [items.task_started("late"), items.user_message("x"), items.turn_aborted("late")],
        )
        page = await store.list_turns(thread_id, descending=False)
        assert [turn.status for turn in page.items] == ["completed", "interrupted"]
        first, second = page.items
        assert first.first_position < first.last_position < second.first_position
        assert [item.kind for item in second.items] == [
            "task_started",
            "user_message",
            "turn_aborted",
        ]

    async def test_turns_that_were_rolled_back_are_gone(self, store: ThreadStore) -> None:
        thread_id = await _thread(store)
        await store.resume_thread(thread_id)
        await store.append_items(thread_id, [items.thread_rolled_back(2)])
        await store.append_items(thread_id, items.turn("again", "once more"))
        turns = await _all_turns(store, thread_id, 2, descending=False)
        assert turns == ["turn-0", "turn-1", "turn-2", "again"]

    async def test_paging_can_turn_round(self, store: ThreadStore) -> None:
        thread_id = await _thread(store)
        first = await store.list_turns(thread_id, limit=2)
        assert [turn.id for turn in first.items] == ["turn-4", "turn-3"]
        second = await store.list_turns(thread_id, limit=2, cursor=first.next_cursor)
        assert [turn.id for turn in second.items] == ["turn-2", "turn-1"]
        back = await store.list_turns(
            thread_id, limit=2, cursor=second.backwards_cursor, descending=False
        )
        assert [turn.id for turn in back.items] == ["turn-2", "turn-3"]

    async def test_pages_stay_in_step_while_the_thread_grows(self, store: ThreadStore) -> None:
        thread_id = await _thread(store, 4)
        first = await store.list_turns(thread_id, limit=2)
        await store.resume_thread(thread_id)
        await store.append_items(thread_id, items.turn("new", "more"))
        second = await store.list_turns(thread_id, limit=2, cursor=first.next_cursor)
        assert [turn.id for turn in second.items] == ["turn-1", "turn-0"]

    async def test_items_come_in_pages(self, store: ThreadStore) -> None:
        thread_id = await _thread(store, 3)
        whole = [item.line() for item in (await store.load_history(thread_id)).items]
        page = await store.list_items(thread_id, limit=4)
        lines = [item.line() for item in page.items]
        while page.next_cursor is not None:
            page = await store.list_items(thread_id, limit=4, cursor=page.next_cursor)
            lines += (item.line() for item in page.items)
        assert lines == whole
        last = await store.list_items(thread_id, limit=4, descending=True)
        assert [item.line() for item in last.items] == whole[:-5:-1]

    async def test_items_of_one_turn(self, store: ThreadStore) -> None:
        thread_id = await _thread(store, 3)
        page = await store.list_items(thread_id, turn_id="turn-1", limit=100)
        turns = (await store.list_turns(thread_id, descending=False)).items
        assert page.items == turns[1].items
        assert page.next_cursor is None

    async def test_an_unknown_turn_is_an_invalid_request(self, store: ThreadStore) -> None:
        thread_id = await _thread(store, 1)
        with pytest.raises(InvalidRequest):
            await store.list_items(thread_id, turn_id="no such turn")

    async def test_a_thread_without_turns_has_an_empty_page(self, store: ThreadStore) -> None:
        thread = await empty_thread(store)
        page = await store.list_turns(thread.id)
        assert (page.items, page.next_cursor, page.backwards_cursor) == ((), None, None)

    @pytest.mark.parametrize("limit", [0, -1])
    async def test_a_bad_limit_of_turns_and_items_is_an_invalid_request(
        self, store: ThreadStore, limit: int
    ) -> None:
        thread_id = await _thread(store, 1)
        with pytest.raises(InvalidRequest):
            await store.list_turns(thread_id, limit=limit)
        with pytest.raises(InvalidRequest):
            await store.list_items(thread_id, limit=limit)

    async def test_a_bad_cursor_is_an_invalid_request(self, store: ThreadStore) -> None:
        thread_id, other = await _thread(store, 3), await _thread(store, 3)
        good = (await store.list_turns(thread_id, limit=1)).next_cursor
        assert good is not None
        for cursor in ("", "nonsense", good[:-4], f"{good}AAAA"):
            with pytest.raises(InvalidRequest):
                await store.list_turns(thread_id, cursor=cursor)
            with pytest.raises(InvalidRequest):
                await store.list_items(thread_id, cursor=cursor)
        with pytest.raises(InvalidRequest):
            await store.list_turns(other, cursor=good)
        with pytest.raises(InvalidRequest):
            await store.list_items(thread_id, cursor=good)
