"""What Codex keeps of a thread beside its state database goes with the thread."""

from __future__ import annotations

import contextlib
from pathlib import Path

import apsw
import pytest
from tests.stores.local.homes import CodexHome

from threadstore.config import LocalStoreConfig
from threadstore.errors import StoreUnavailable
from threadstore.stores.local.store import LocalThreadStore
from threadstore.testing.cases.base import explicit

TABLES = {
    "thread_history_1.sqlite": ("thread_turns", "thread_items"),
    "goals_1.sqlite": ("thread_goals",),
    "queue_1.sqlite": ("queued_items",),
    "logs_2.sqlite": ("logs",),
}


def fill(folder: Path, *thread_ids: str) -> None:
    """Databases of Codex in which the threads occur."""
    for name, tables in TABLES.items():
        with contextlib.closing(apsw.Connection(str(folder / name))) as database:
            database.execute("PRAGMA journal_mode = wal")
            for table in tables:
                database.execute(f"CREATE TABLE {table} (thread_id TEXT, said TEXT)")
                database.executemany(
                    f"INSERT INTO {table} VALUES (?, 'secret')", [(key,) for key in thread_ids]
                )


def kept(folder: Path) -> set[str]:
    """The threads that occur in any of them."""
    found: set[str] = set()
    for name, tables in TABLES.items():
        with contextlib.closing(apsw.Connection(str(folder / name))) as database:
            for table in tables:
                found |= {key for (key,) in database.execute(f"SELECT thread_id FROM {table}")}
    return found


async def test_a_deleted_thread_leaves_nothing_in_codex_s_other_databases(tmp_path: Path) -> None:
    codex = CodexHome(tmp_path)
    gone, stays = codex.thread(), codex.thread()
    fill(tmp_path, gone, stays)
    async with LocalThreadStore(LocalStoreConfig(home=str(tmp_path))) as store:
        await explicit(store, gone, name="there is a state database")
        await store.delete_thread(gone)
    assert kept(tmp_path) == {stays}


async def test_a_locked_database_of_codex_keeps_all_of_the_thread(tmp_path: Path) -> None:
    codex = CodexHome(tmp_path)
    thread_id = codex.thread()
    fill(tmp_path, thread_id)
    config = LocalStoreConfig(home=str(tmp_path), busy_timeout=0.05)
    async with LocalThreadStore(config) as store:
        await explicit(store, thread_id, name="kept")
        with contextlib.closing(apsw.Connection(str(tmp_path / "queue_1.sqlite"))) as locking:
            locking.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match=r"queue_1\.sqlite is locked"):
                await store.delete_thread(thread_id)
        assert (await store.read_thread(thread_id)).name == "kept"
    assert kept(tmp_path) == {thread_id}


async def test_a_broken_database_of_codex_hinders_no_delete(tmp_path: Path) -> None:
    codex = CodexHome(tmp_path)
    thread_id = codex.thread()
    (tmp_path / "thread_history_1.sqlite").write_bytes(b"no database at all " * 100)
    async with LocalThreadStore(LocalStoreConfig(home=str(tmp_path))) as store:
        await explicit(store, thread_id, name="there is a state database")
        await store.delete_thread(thread_id)
    assert not list(tmp_path.rglob(f"*{thread_id}*"))
