"""A long history is marked when its file is first read."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.homes import make_history

from threadstore.factory import open_store
from threadstore.history.turns import StoredTurn, build_turns
from threadstore.stores.local import derive


async def test_the_first_page_of_a_long_thread_finds_marks_that_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(derive, "LONG", 1 << 20)
    _, path = make_history(str(tmp_path), 2_000_000)
    thread_id = Path(path).stem[-36:]
    async with open_store(f"local:{tmp_path}") as store:
        await store.list_threads()
        assert store.turn_marks is not None
        known = await store.turn_marks.get(thread_id)
        assert len(known.marks) > 3
        expected = build_turns((await store.load_history(thread_id)).items)[::-1]
        assert (await store.list_turns(thread_id, limit=20)).items == expected[:20]
        assert await store.turn_marks.get(thread_id) == known  # nothing new had to be found
        found: list[StoredTurn] = []
        cursor = None
        while True:
            page = await store.list_turns(thread_id, limit=100, cursor=cursor)
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
        assert tuple(found) == expected


async def test_a_short_thread_is_not_marked_before_somebody_pages_it(tmp_path: Path) -> None:
    _, path = make_history(str(tmp_path), 1_000_000)
    async with open_store(f"local:{tmp_path}") as store:
        await store.list_threads()
        assert store.turn_marks is not None
        assert not (await store.turn_marks.get(Path(path).stem[-36:])).marks
