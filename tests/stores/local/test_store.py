"""Calls of a local store that are cancelled or fail half-way: what is left behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from tests.stores.local.conftest import Locked, RunWithoutRights
from tests.stores.local.state_helpers import execute

from threadstore.clock import SystemClock
from threadstore.config import LocalStoreConfig
from threadstore.errors import InvalidRequest, StoreUnavailable
from threadstore.factory import open_store
from threadstore.metadata import NewThread, ThreadMetadataPatch
from threadstore.queries import ThreadQuery
from threadstore.stores.local.locks import WriterLock
from threadstore.stores.local.paths import Home
from threadstore.stores.local.recorder import Recorder
from threadstore.stores.local.store import LocalThreadStore
from threadstore.stores.local.waiting import in_worker
from threadstore.testing import items
from threadstore.testing.cases.base import explicit


@pytest.fixture
def store(tmp_path: Path) -> LocalThreadStore:
    return LocalThreadStore(LocalStoreConfig(home=str(tmp_path)), clock=SystemClock())


async def live_thread(store: LocalThreadStore) -> str:
    thread = await store.create_thread(NewThread(cwd=""))
    await store.append_items(thread.id, [items.user_message("hello")])
    return thread.id


async def test_cancelled_resume_leaves_no_writer(
    store: LocalThreadStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with store:
        thread_id = await live_thread(store)
        await store.shutdown_thread(thread_id)
        locked, go_on = threading.Event(), threading.Event()
        acquire = WriterLock.acquire

        def acquire_slowly(home: Home, thread_id: str) -> WriterLock:
            lock = acquire(home, thread_id)
            locked.set()
            go_on.wait(10)
            return lock

        monkeypatch.setattr(WriterLock, "acquire", acquire_slowly)
        call = asyncio.create_task(store.resume_thread(thread_id))
        await asyncio.to_thread(locked.wait, 10)
        call.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await call
        monkeypatch.undo()
        await store.resume_thread(thread_id)  # nobody holds it


async def test_work_that_is_cancelled_twice_is_waited_for() -> None:
    started, go_on = threading.Event(), threading.Event()
    ended: list[bool] = []

    def work() -> None:
        started.set()
        go_on.wait(10)
        ended.append(True)

    call = asyncio.create_task(in_worker(work))
    await asyncio.to_thread(started.wait, 10)
    for _ in range(3):
        call.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
    assert not call.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ended == [True]


async def test_close_flushes_every_thread_even_if_one_fails(
    store: LocalThreadStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.open()
    threads = [await live_thread(store) for _ in range(3)]
    broken = (await store.read_thread(threads[1])).rollout_path
    flushed: list[str] = []
    sync = Recorder.sync

    def sync_or_fail(recorder: Recorder) -> None:
        if recorder.path == broken:
            raise StoreUnavailable("the disk is gone")
        sync(recorder)
        flushed.append(recorder.path)

    monkeypatch.setattr(Recorder, "sync", sync_or_fail)
    with pytest.raises(StoreUnavailable, match="the disk is gone"):
        await store.close()
    assert len(flushed) == 2
    monkeypatch.undo()
    await store.close()
    async with store:
        for thread_id in threads:
            await store.resume_thread(thread_id)  # every lock was given back


async def named_thread(home: Path) -> str:
    async with LocalThreadStore(LocalStoreConfig(home=str(home))) as store:
        thread_id = await live_thread(store)
        await explicit(store, thread_id, name="old name")
    return thread_id


async def test_name_that_a_stuck_row_would_overrule_is_refused(tmp_path: Path) -> None:
    thread_id = await named_thread(tmp_path)
    execute(
        str(tmp_path / "state_5.sqlite"),
        "UPDATE _sqlx_migrations SET success = 0 WHERE version = 32",
    )
    index = (tmp_path / "session_index.jsonl").read_bytes()
    for name in ("new name", None):
        async with LocalThreadStore(LocalStoreConfig(home=str(tmp_path))) as store:
            with pytest.raises(StoreUnavailable, match="only partially applied"):
                await explicit(store, thread_id, name=name)
            await explicit(store, thread_id, name="old name")  # says the same
    assert (tmp_path / "session_index.jsonl").read_bytes().startswith(index)
    async with LocalThreadStore(LocalStoreConfig(home=str(tmp_path))) as store:
        assert (await store.read_thread(thread_id)).name == "old name"


async def test_locked_database_is_not_passed_by(tmp_path: Path, locked: Locked) -> None:
    """An edit that only waits for another program is refused, and is no lie afterwards."""
    thread_id = await named_thread(tmp_path)
    path = str(tmp_path / "state_5.sqlite")
    execute(path, "PRAGMA journal_mode = DELETE")
    config = LocalStoreConfig(home=str(tmp_path), busy_timeout=0.01)
    store = LocalThreadStore(config)
    with locked(path):
        await store.open()
        with pytest.raises(StoreUnavailable, match="locked"):
            await explicit(store, thread_id, name="new name")
        with pytest.raises(StoreUnavailable, match="locked"):
            await store.archive_thread(thread_id)
        with pytest.raises(StoreUnavailable, match="locked"):
            await store.delete_thread(thread_id)
        assert (await store.read_thread(thread_id)).name == "old name"
    assert (await explicit(store, thread_id, name="new name")).name == "new name"
    await store.archive_thread(thread_id)
    await store.close()
    assert execute(path, "SELECT title, archived FROM threads") == [("new name", 1)]


RESUME = """
async def main():
    async with LocalThreadStore(LocalStoreConfig(home=HOME, use_index_file=False)) as store:
        await store.resume_thread(THREAD)
try:
    asyncio.run(main())
except StoreUnavailable as error:
    print(error)
"""
IMPORTS = """
import asyncio, concurrent.futures.thread, encodings.ascii
from threadstore.config import LocalStoreConfig
from threadstore.errors import StoreUnavailable
from threadstore.stores.local.index_db import IndexDb
from threadstore.stores.local.store import LocalThreadStore
IndexDb(None).open()  # reads its schema
"""


@pytest.mark.parametrize("what", ["", "sessions", "archived_sessions", "file"])
async def test_what_may_not_be_read_is_an_error_and_not_nothing(
    public_folder: str, run_without_rights: RunWithoutRights, what: str
) -> None:
    home = Path(public_folder, "home")
    async with LocalThreadStore(LocalStoreConfig(home=str(home), use_state_db=False)) as store:
        thread_id = await live_thread(store)
        path = Path((await store.read_thread(thread_id)).rollout_path or "")
    for folder, _, names in os.walk(home):
        for entry in (folder, *(os.path.join(folder, name) for name in names)):
            os.chmod(entry, 0o777)
    (home / "archived_sessions").mkdir()
    secret = path if what == "file" else home / what
    os.chmod(secret, 0)
    try:
        variables = f"HOME, THREAD = {str(home)!r}, {thread_id!r}"
        said = run_without_rights(f"{IMPORTS}{variables}", RESUME)
    finally:
        os.chmod(secret, 0o700)
    assert said == f"cannot read {secret}: Permission denied"


async def test_names_that_are_no_text_cost_themselves_only(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    async with LocalThreadStore(LocalStoreConfig(home=str(tmp_path))) as store:
        thread_id = await live_thread(store)
        path = (await store.read_thread(thread_id)).rollout_path
        assert path is not None
        (tmp_path / "sessions" / odd).mkdir()
        shutil.copy(path, tmp_path / "sessions" / odd)
        shutil.copy(path, f"{os.path.dirname(path)}/rollout-{odd}.jsonl")
        assert [thread.id for thread in (await store.list_threads()).items] == [thread_id]
        findings = [finding for finding in await store.inspect() if "UTF-8" in finding.reason]
        assert len(findings) == 2
    with pytest.raises(InvalidRequest, match="UTF-8"):
        await LocalThreadStore(LocalStoreConfig(home=str(tmp_path / odd))).open()


@pytest.mark.parametrize("url", ["memory:", "local:"])
async def test_the_word_for_an_origin_is_never_taken_for_the_other(
    tmp_path: Path, url: str
) -> None:
    async with open_store(url if url == "memory:" else f"local:{tmp_path}") as store:
        thread_id = (await store.create_thread(NewThread(cwd=""))).id
        for word in ("Observed", "user", "", None):
            with pytest.raises(InvalidRequest, match="origin"):
                await store.update_thread_metadata(
                    thread_id, ThreadMetadataPatch(name="name"), origin=cast("Any", word)
                )
        patch = ThreadMetadataPatch(name="name", model="gpt-5")
        thread = await store.update_thread_metadata(
            thread_id, patch, origin=cast("Any", "observed")
        )
        assert (thread.name, thread.model) == (None, "gpt-5")
        assert (await store.list_threads()).items == ()  # it is not materialised either


async def test_an_index_that_cannot_follow_fails_no_change(tmp_path: Path, locked: Locked) -> None:
    config = LocalStoreConfig(home=str(tmp_path), busy_timeout=0.01, refresh_interval=0)
    async with LocalThreadStore(config) as store:
        named, archived, deleted, closed = [await live_thread(store) for _ in range(4)]
        for thread_id in (named, archived, deleted):
            await store.shutdown_thread(thread_id)
        everything = ThreadQuery(archived=None)
        changes: list[Callable[[], Awaitable[object]]] = [
            lambda: explicit(store, named, name="name"),
            lambda: store.archive_thread(archived),
            lambda: store.delete_thread(deleted),
            lambda: store.shutdown_thread(closed),
        ]
        for change in changes:
            await store.list_threads(everything)
            with locked(str(tmp_path / "threadstore_1.sqlite")):
                await change()
        found = {thread.id: thread for thread in (await store.list_threads(everything)).items}
        assert found.keys() == {named, archived, closed}
        assert found[named].name == "name"
        assert found[archived].archived
