"""The text index is disposable: whatever befalls it, searches answer and say what is amiss."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.stores.local.conftest import Locked, RunWithoutRights
from tests.stores.local.homes import encode
from tests.stores.local.state_helpers import execute
from tests.stores.local.text_homes import (
    ChangingHome,
    check_home,
    check_same,
    config,
    open_home,
    text_file,
)

from threadstore import LiveThread, NewThread
from threadstore.queries import ThreadPage, ThreadQuery
from threadstore.search import SearchQuery
from threadstore.stores.local.compression import zstd
from threadstore.stores.local.paths import archived_path
from threadstore.stores.local.store import LocalThreadStore
from threadstore.testing import items

BUILD = """
import asyncio, sys
from threadstore import open_store
from threadstore.search import SearchQuery

async def main():
    async with open_store("local:" + sys.argv[1]) as store:
        print("ready", flush=True)
        await store.prepare_search()
        page = await store.search_threads(SearchQuery(text="needle"))
        print(len(page.items), page.degraded, flush=True)

asyncio.run(main())
"""
FULL = """
import asyncio, resource, sys
from threadstore import open_store
from threadstore.search import SearchQuery

async def main():
    async with open_store("local:" + sys.argv[1]) as store:
        await store.list_threads()
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
        page = await store.search_threads(SearchQuery(text="needle"))
        print(len(page.items), page.degraded, flush=True)

asyncio.run(main())
"""
READ_ONLY = """
import asyncio
from threadstore import open_store
from threadstore.search import SearchQuery

async def search(url):
    async with open_store(url) as store:
        page = await store.search_threads(SearchQuery(text="needle"))
        return f"{len(page.items)} {page.degraded}"

assert asyncio.run(search("local:OTHER")) == "1 None"
assert asyncio.run(search("local:OTHER?text_index=false")) == "1 None"
"""
NEEDLE = SearchQuery(text="needle")


def make_home(folder: Path, threads: int = 8, *, padding: int = 200) -> ChangingHome:
    """Threads of which each says the word."""
    home = ChangingHome(folder, random.Random(3))
    for _ in range(threads):
        home.grow()
        path = home.path(home.ids[-1], stamp=f"2026-05-04T03-{len(home.ids) % 60:02}-01")
        text = " ".join(f"word{number}" for number in range(padding))
        with open(path, "ab") as file:
            file.write(encode([items.agent_message(f"needle {text}")]))
    return home


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True
    )


async def answer(home: Path) -> tuple[int, str | None]:
    async with open_home(home) as store:
        page = await store.search_threads(NEEDLE)
    return len(page.items), page.degraded


@pytest.mark.parametrize(
    "content", [b"", b"no database at all, only text" * 300, b"SQLite format 3\0" + b"\xff" * 8192]
)
async def test_a_damaged_file_is_made_anew(tmp_path: Path, content: bytes) -> None:
    make_home(tmp_path)
    assert await answer(tmp_path) == (8, None)
    text_file(tmp_path).write_bytes(content)
    assert await answer(tmp_path) == (8, None)
    assert execute(str(text_file(tmp_path)), "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("seed", range(100 if os.environ.get("DEEP") else 12))
async def test_damage_inside_never_ends_a_search(tmp_path: Path, seed: int) -> None:
    make_home(tmp_path)
    assert await answer(tmp_path) == (8, None)
    rng = random.Random(seed)
    with open(text_file(tmp_path), "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        for _ in range(size // 4096):
            file.seek(rng.randrange(100, size - 64))
            file.write(rng.randbytes(64))
    found, _ = await answer(tmp_path)
    assert found <= 8  # bytes that stand for other words cannot be told from right ones


@pytest.mark.parametrize("version", [0, 99])
async def test_a_file_of_another_version_is_made_anew(tmp_path: Path, version: int) -> None:
    make_home(tmp_path)
    assert await answer(tmp_path) == (8, None)
    execute(str(text_file(tmp_path)), f"PRAGMA user_version = {version}", "DROP TABLE texts")
    assert await answer(tmp_path) == (8, None)


async def test_a_file_that_is_removed_while_open_is_made_anew(tmp_path: Path) -> None:
    make_home(tmp_path)
    async with open_home(tmp_path) as store:
        for suffixes in (("",), ("", "-wal", "-shm"), ("-wal", "")):
            assert len(await check_same(store, NEEDLE)) == 8
            for suffix in suffixes:
                Path(f"{text_file(tmp_path)}{suffix}").unlink(missing_ok=True)
        assert len(await check_same(store, NEEDLE)) == 8
        assert text_file(tmp_path).exists()


async def test_a_list_index_that_is_removed_changes_nothing(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    async with open_home(tmp_path) as store:
        for _ in range(3):
            assert len(await check_same(store, NEEDLE)) == 8
            for path in tmp_path.glob("threadstore_1.sqlite*"):
                path.unlink()
            home.grow()
            await check_home(store, random.Random(1), 2)


class LosingStore(LocalThreadStore):
    """Its list index is removed by somebody, so many times, as soon as it is up to date."""

    def __init__(self, home: Path) -> None:
        super().__init__(config(home))
        self.losses = 0
        self._lists = home

    async def list_threads(self, query: ThreadQuery | None = None) -> ThreadPage:
        page = await super().list_threads(query)
        if self.losses:
            self.losses -= 1
            for path in self._lists.glob("threadstore_1.sqlite*"):
                path.unlink()
        return page


@pytest.mark.parametrize("losses", [1, 2])
async def test_a_list_index_that_is_removed_in_a_search_hides_nothing(
    tmp_path: Path, losses: int
) -> None:
    make_home(tmp_path)
    assert await answer(tmp_path) == (8, None)
    async with LosingStore(tmp_path) as store:
        store.losses = losses
        page = await store.search_threads(NEEDLE)
        assert len(page.items) == 8
        assert (page.degraded is None) == (losses == 1)
        assert len(await check_same(store, NEEDLE)) == 8


async def test_a_file_that_is_locked_for_reading_is_left_alone(
    tmp_path: Path, locked: Locked
) -> None:
    make_home(tmp_path)
    assert await answer(tmp_path) == (8, None)
    with locked(str(text_file(tmp_path)), "PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE"):
        async with open_home(tmp_path, search_patience=0.1) as store:
            page = await store.search_threads(NEEDLE)
            assert len(page.items) == 8
            assert "searched without the text index" in (page.degraded or "")
            assert "locked" in (page.degraded or "")
            (hit, *_) = page.items
            places = await store.search_occurrences(hit.thread.id, NEEDLE)
            assert len(places.items) == 1
            assert "locked" in (places.degraded or "")
    assert await answer(tmp_path) == (8, None)


async def test_a_file_that_is_locked_for_writing_answers_with_what_is_there(
    tmp_path: Path, locked: Locked
) -> None:
    home = make_home(tmp_path)
    async with open_home(tmp_path, search_patience=0.1) as store:
        assert (await store.search_threads(NEEDLE)).degraded is None
        with locked(str(text_file(tmp_path)), "BEGIN IMMEDIATE"):
            assert (await store.search_threads(NEEDLE)).degraded is None  # nothing to write
            home.grow()
            page = await store.search_threads(NEEDLE)
            assert len(page.items) == 8
            assert "locked" in (page.degraded or "")
        assert (await store.search_threads(NEEDLE)).degraded is None


@pytest.mark.parametrize("size", [0, 4096, 40_000])
async def test_a_full_disk_costs_the_index_only(tmp_path: Path, size: int) -> None:
    make_home(tmp_path)
    process = await asyncio.to_thread(start, FULL, str(tmp_path), str(size))
    out, _ = await asyncio.to_thread(process.communicate)
    assert process.returncode == 0
    assert out.startswith("8 searched without the text index")
    assert await answer(tmp_path) == (8, None)


def test_a_read_only_home_is_searched(
    public_folder: str, run_without_rights: RunWithoutRights, tmp_path: Path
) -> None:
    make_home(Path(public_folder))
    make_home(tmp_path, 1)
    for path, _, _ in os.walk(public_folder):
        os.chmod(path, 0o555)
    imports = READ_ONLY.replace("OTHER", str(tmp_path))
    out = run_without_rights(imports, f'print(asyncio.run(search("local:{public_folder}")))')
    assert out.startswith("8 searched without the text index")


async def test_a_killed_feeder_leaves_nothing_half_done(tmp_path: Path) -> None:
    make_home(tmp_path, 60, padding=4_000)
    rng = random.Random(7)
    for _ in range(8):
        process = await asyncio.to_thread(start, BUILD, str(tmp_path))
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)
        await asyncio.sleep(rng.random() * 0.4)
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.communicate)
    async with open_home(tmp_path) as store:
        assert len(await check_same(store, NEEDLE)) == 60
        assert len(await check_same(store, SearchQuery(text="word3999"))) == 60


async def test_processes_feed_it_together(tmp_path: Path) -> None:
    make_home(tmp_path, 60, padding=4_000)
    every = [start(BUILD, str(tmp_path)) for _ in range(3)]
    for process in every:
        out, _ = await asyncio.to_thread(process.communicate)
        assert process.returncode == 0
        assert out.split("\n")[1].startswith("25 None")
    async with open_home(tmp_path) as store:
        await check_home(store, random.Random(2), 10)
    texts, docs, threads = (
        execute(str(text_file(tmp_path)), f"SELECT count(*) FROM {table}")[0][0]
        for table in ("texts_docsize", "docs", "threads")
    )
    assert texts == docs
    assert threads == 60


async def test_a_writer_at_full_speed_is_found_to_its_last_word(tmp_path: Path) -> None:
    make_home(tmp_path, 30, padding=2_000)
    async with open_home(tmp_path) as store:
        live = await LiveThread.create(store, NewThread(cwd=""))
        preparing = asyncio.create_task(store.prepare_search())
        for number in range(400):
            await live.append_items([items.agent_message(f"w{number} needle")])
            if number % 50 == 0:
                page = await store.search_threads(SearchQuery(text=f"w{number}"))
                assert [hit.thread.id for hit in page.items] == [live.id]
        await preparing
        assert len(await check_same(store, SearchQuery(text="w399"))) == 1
        history = await store.load_history(live.id)
        assert sum(item.kind == "agent_message" for item in history.items) == 400
        await live.shutdown()


async def test_files_that_move_between_index_and_answer_are_found(tmp_path: Path) -> None:
    home = make_home(tmp_path, 3)
    async with open_home(tmp_path, refresh_interval=3600.0) as store:
        query = SearchQuery(text="needle", threads=ThreadQuery(archived=None))
        assert len((await store.search_threads(query)).items) == 3
        paths = [
            home.path(each, stamp=f"2026-05-04T03-{n:02}-01") for n, each in enumerate(home.ids, 1)
        ]
        os.makedirs(home.home.archived)
        os.rename(paths[0], archived_path(home.home, paths[0]))
        Path(f"{paths[1]}.zst").write_bytes(zstd.compress(Path(paths[1]).read_bytes()))
        os.unlink(paths[1])
        data = Path(paths[2]).read_bytes()
        Path(paths[2]).write_bytes(data.replace(b"alpha", b"alpha needle"))
        assert len((await store.search_threads(query)).items) == 3
