"""The text index finds what reading everything finds, whatever happens to the threads."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.stores.local.homes import encode
from tests.stores.local.state_helpers import execute
from tests.stores.local.text_homes import (
    ChangingHome,
    check_home,
    check_same,
    open_home,
    text_file,
)

from threadstore.metadata import HistoryBase, NewThread
from threadstore.search import SearchQuery
from threadstore.testing import items


@pytest.mark.parametrize("seed", range(1, 40) if os.environ.get("DEEP") else range(1, 4))
async def test_what_other_programs_do_is_found(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    home = ChangingHome(tmp_path, rng)
    for _ in range(6):
        home.grow()
    async with open_home(tmp_path) as store:
        for _ in range(25):
            for _ in range(rng.randint(1, 3)):
                home.change()
            await check_home(store, rng)
        assert text_file(tmp_path).exists()
    async with open_home(tmp_path) as store:
        await check_home(store, rng, 30)


async def test_threads_of_this_store_are_found(tmp_path: Path) -> None:
    async with open_home(tmp_path) as store:
        thread = await store.create_thread(NewThread(cwd="", history_mode="paginated"))
        await store.append_items(thread.id, items.turn("t1", "alpha"))
        receipt = await store.append_items(thread.id, items.turn("t2", "beta"))
        base = HistoryBase(thread_id=thread.id, position=receipt.position)
        fork = await store.create_thread(
            NewThread(cwd="", history_mode="paginated", history_base=base)
        )
        await store.append_items(fork.id, items.turn("t3", "gamma"))
        for text in ("alpha", "beta", "gamma"):
            await check_same(store, SearchQuery(text=text))
        await store.append_items(thread.id, items.turn("t4", "delta"))
        found = await check_same(store, SearchQuery(text="delta"))
        assert [hit.thread.id for hit in found] == [thread.id]


async def test_a_large_thread_is_read_in_portions(tmp_path: Path) -> None:
    home = ChangingHome(tmp_path, random.Random(1))
    home.grow()
    path = home.path(home.ids[0], stamp="2026-05-04T03-01-01")
    long = [items.agent_message(f"needle{number} " + "alpha beta " * 8_000) for number in range(60)]
    with open(path, "ab") as file:
        file.write(encode(long))
    seen: list[tuple[int, int]] = []
    async with open_home(tmp_path) as store:
        await store.prepare_search(lambda done, of: seen.append((done, of)))
        for number in (0, 30, 59):
            assert len(await check_same(store, SearchQuery(text=f"needle{number}"))) == 1
        with open(path, "ab") as file:
            file.write(encode([items.event("thread_rolled_back", num_turns=1)]))
        assert await check_same(store, SearchQuery(text="needle59")) == []
    assert seen[-1] == (1, 1)


async def test_a_search_without_patience_says_what_is_missing(tmp_path: Path) -> None:
    home = ChangingHome(tmp_path, random.Random(1))
    for _ in range(3):
        home.grow()
    async with open_home(tmp_path, search_patience=0.0) as store:
        page = await store.search_threads(SearchQuery(text="a*"))
        assert page.degraded == "3 of 3 threads are not indexed yet"
        await store.prepare_search()
        page = await store.search_threads(SearchQuery(text="a*"))
        assert page.degraded is None


async def test_the_background_catches_up(tmp_path: Path) -> None:
    home = ChangingHome(tmp_path, random.Random(1))
    for _ in range(3):
        home.grow()
    async with open_home(tmp_path, search_patience=0.0) as store:
        while (await store.search_threads(SearchQuery(text="a*"))).degraded is not None:
            await asyncio.to_thread(time.sleep, 0.01)


async def test_a_list_needs_no_text_index(tmp_path: Path) -> None:
    ChangingHome(tmp_path, random.Random(1)).grow()
    async with open_home(tmp_path) as store:
        await store.list_threads()
    assert not text_file(tmp_path).exists()


def test_a_start_does_not_load_the_text_index() -> None:
    code = "import sys, threadstore.stores.local.store as s; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "threadstore.stores.local.text_store" in loaded.stdout
    assert "threadstore.stores.local.text_verbs" not in loaded.stdout


async def test_without_a_text_index_everything_is_read(tmp_path: Path) -> None:
    home = ChangingHome(tmp_path, random.Random(1))
    home.grow()
    async with open_home(tmp_path, text_index=False) as store:
        page = await store.search_threads(SearchQuery(text="a*"))
        assert (len(page.items), page.degraded) == (1, None)
        await store.prepare_search()
    assert not text_file(tmp_path).exists()


async def test_the_texts_of_a_deleted_thread_are_gone_at_once(tmp_path: Path) -> None:
    home = ChangingHome(tmp_path, random.Random(1))
    for _ in range(2):
        home.grow()
    async with open_home(tmp_path) as store:
        await store.search_threads(SearchQuery(text="a*"))
        before = _texts(tmp_path)
        await store.delete_thread(home.ids[0])
        assert [thread_id for thread_id, _ in _texts(tmp_path)] == [home.ids[1]]
        assert _texts(tmp_path)[0] in before
        await check_home(store, random.Random(1))


def _texts(home: Path) -> list[tuple[str, int]]:
    sql = "SELECT thread_id, count(*) FROM threads JOIN docs ON docs.id >> 28 = no GROUP BY 1"
    return execute(str(text_file(home)), sql)
