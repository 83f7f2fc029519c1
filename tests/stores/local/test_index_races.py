"""The index is deleted, damaged, locked and replaced while lists go on."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import msgspec
import pytest
from tests.stores.local.conftest import Locked
from tests.stores.local.watched import Watched

from threadstore.config import LocalStoreConfig
from threadstore.errors import StoreUnavailable, ThreadNotFound
from threadstore.queries import ThreadQuery
from threadstore.stores.local.index_db import IndexDb
from threadstore.stores.local.store import LocalThreadStore
from threadstore.testing import items

COUNT = 40
QUERY = ThreadQuery(limit=1000)

_LISTER = """
import asyncio, sys
from threadstore.stores.local.store import LocalThreadStore
from threadstore.config import LocalStoreConfig
from threadstore.queries import ThreadQuery

async def main():
    async with LocalThreadStore(LocalStoreConfig(home=sys.argv[1])) as store:
        print("ready", flush=True)
        for _ in range(int(sys.argv[2])):
            found = len((await store.list_threads(ThreadQuery(limit=1000))).items)
            assert found == int(sys.argv[3]), found

asyncio.run(main())
"""


@pytest.fixture
def home(tmp_path: Path) -> Watched:
    watched = Watched(tmp_path)
    for number in range(COUNT):
        watched.thread(f"number {number}")
    watched.close()
    return watched


@pytest.fixture
async def store(home: Watched) -> AsyncIterator[LocalThreadStore]:
    async with LocalThreadStore(LocalStoreConfig(home=str(home.folder))) as opened:
        yield opened


async def listed(store: LocalThreadStore) -> set[str]:
    return {thread.id for thread in (await store.list_threads(QUERY)).items}


def history(home: Watched) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path(home.home.sessions).rglob("*.jsonl")}


def _delete(path: str) -> None:
    for each in (path, f"{path}-wal", f"{path}-shm"):
        Path(each).unlink(missing_ok=True)


def _delete_main(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def _replace_by_garbage(path: str) -> None:
    Path(f"{path}.other").write_bytes(os.urandom(20_000))
    os.replace(f"{path}.other", path)


def _replace_by_nothing(path: str) -> None:
    Path(f"{path}.other").write_bytes(b"")
    os.replace(f"{path}.other", path)


def _newer_version(path: str) -> None:
    connection = apsw.Connection(f"{path}.other")
    connection.execute("PRAGMA user_version = 99; CREATE TABLE future (x)")
    connection.close()
    os.replace(f"{path}.other", path)


def _scribble(path: str) -> None:
    with open(path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(min(size, 100))
        file.write(b"\xff" * (size // 2))


HARMS = [_delete, _delete_main, _replace_by_garbage, _replace_by_nothing, _newer_version]


@pytest.mark.parametrize("harm", [*HARMS, _scribble])
async def test_a_list_is_whole_after_the_index_was_harmed(
    home: Watched, store: LocalThreadStore, harm: object
) -> None:
    before, whole = history(home), await listed(store)
    assert len(whole) == COUNT
    for _ in range(3):
        harm(home.home.index_db)  # type: ignore[operator]
        assert await listed(store) == whole
    assert history(home) == before


async def test_lists_are_whole_while_the_index_is_harmed(
    home: Watched, store: LocalThreadStore
) -> None:
    before, whole = history(home), await listed(store)
    rng, done = random.Random(1), threading.Event()
    counts = [rng.choice(HARMS) for _ in range(25)]

    def harm() -> None:
        for each in counts:
            each(home.home.index_db)
            done.wait(0.02)
        done.set()

    harming = threading.Thread(target=harm)
    harming.start()
    try:
        while not done.is_set():
            for found in await asyncio.gather(*(listed(store) for _ in range(4))):
                assert found == whole
    finally:
        done.set()
        harming.join()
    assert await listed(store) == whole
    assert history(home) == before


def test_processes_list_everything_while_the_index_is_harmed(home: Watched) -> None:
    command = [sys.executable, "-c", _LISTER, str(home.folder), "150", str(COUNT)]
    listers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)
    ]
    for lister in listers:
        assert lister.stdout is not None
        assert lister.stdout.readline() == b"ready\n"
    rng = random.Random(2)
    for _ in range(10):
        rng.choice(HARMS)(home.home.index_db)
    for lister in listers:
        _, errors = lister.communicate()
        assert lister.returncode == 0, errors.decode()


async def test_a_locked_index_is_served_as_it_is_and_follows_later(
    home: Watched, locked: Locked
) -> None:
    config = LocalStoreConfig(home=str(home.folder), refresh_interval=0.0)
    async with LocalThreadStore(config) as store:
        whole = await listed(store)
        with locked(home.home.index_db):
            new = home.thread("new")
            assert await listed(store) == whole
            assert await listed(store) == whole
    async with LocalThreadStore(config) as store:
        assert await listed(store) == whole | {new}


def test_a_list_waits_for_a_locked_index_once(home: Watched, locked: Locked) -> None:
    watched = Watched(home.folder)
    whole = watched.listed().keys()
    new = watched.thread("new")
    with locked(watched.home.index_db):
        assert watched.sync.due()
        watched.sync.follow()
        assert not watched.sync.due()
    watched.clock.advance(20)
    assert watched.sync.due()
    watched.sync.follow()
    assert watched.listed().keys() == whole | {new}
    watched.close()


def test_a_first_list_waits_while_another_process_fills_the_index(
    home: Watched, locked: Locked
) -> None:
    watched = Watched(home.folder)
    with ThreadPoolExecutor(1) as pool, locked(watched.home.index_db):
        following = pool.submit(watched.sync.follow)
        with pytest.raises(TimeoutError):
            following.result(1)  # longer than a list that can be served waits
    assert len(watched.listed()) == COUNT
    following.result()
    watched.close()


def test_an_index_that_was_never_complete_is_not_served(home: Watched, locked: Locked) -> None:
    watched = Watched(home.folder, busy_timeout=0.1)
    with locked(watched.home.index_db), pytest.raises(StoreUnavailable, match="locked"):
        watched.sync.follow()
    watched.sync.follow()
    assert len(watched.listed()) == COUNT
    watched.close()


def test_a_first_index_that_was_interrupted_is_not_taken_for_a_whole_one(home: Watched) -> None:
    watched = Watched(home.folder)

    class Stop(Exception):
        pass

    def stop(_done: int, _total: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        watched.sync.refresh(on_progress=stop)
    watched.sync = watched.new_sync()
    assert len(watched.listed()) == COUNT
    watched.close()


async def test_what_only_the_index_knows_is_back_with_the_file(
    home: Watched, store: LocalThreadStore, tmp_path: Path
) -> None:
    thread_id = min(await listed(store))
    home.name(thread_id, "spoken of")
    index = IndexDb(home.home.index_db)
    index.open()
    before = index.get(thread_id)
    assert before is not None
    index.upsert(msgspec.structs.replace(before, model="ours"))
    index.close()
    path = home.path(thread_id)
    os.rename(path, tmp_path / "aside")
    assert thread_id not in await listed(store)
    for reading in (store.read_thread, store.load_history, store.resume_thread):
        with pytest.raises(ThreadNotFound, match="is missing"):
            await reading(thread_id)
    os.rename(tmp_path / "aside", path)
    assert thread_id in await listed(store)
    after = await store.read_thread(thread_id)
    assert (after.model, after.name) == ("ours", "spoken of")


async def test_a_disk_that_is_not_mounted_takes_nothing_along(
    home: Watched, store: LocalThreadStore
) -> None:
    whole = await listed(store)
    os.rename(home.home.sessions, f"{home.folder}/aside")
    assert await listed(store) == set()
    os.rename(f"{home.folder}/aside", home.home.sessions)
    assert await listed(store) == whole
    first = min(whole)
    home.append(home.path(first), items.turn_context(model="later"))
    assert (await store.read_thread(first)).model == "later"
