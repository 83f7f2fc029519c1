"""Writers that lose, glue or share what they write, and calls that fail in the wrong way."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.bugs.places import columns, content, execute_in
from tests.stores.local.homes import CodexHome, header

from threadstore.errors import (
    Conflict,
    InvalidRequest,
    StoreUnavailable,
    ThreadNotFound,
    ThreadStoreError,
)
from threadstore.history.items import DamagedLine
from threadstore.ids import new_thread_id
from threadstore.live import LiveThread
from threadstore.manager import ThreadManager
from threadstore.metadata import GitInfoPatch, NewThread
from threadstore.queries import ThreadQuery
from threadstore.testing import LocalHarness, items
from threadstore.testing.cases.base import explicit, listed, observed
from threadstore.testing.seeds import record_thread

HOLDER = """
import os, sys
descriptor = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_open(path: str) -> Iterator[None]:
    """Another program writes the file and takes no lock, as releases before 0.150."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"ready\n"
        yield
        holder.stdin.close()


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The files and folders that Python code has forced to the disk."""
    paths: set[str] = set()
    for name in ("fsync", "fdatasync"):
        sync = getattr(os, name)

        def noted(descriptor: int, sync: Any = sync) -> None:
            sync(descriptor)
            paths.add(os.readlink(f"/proc/self/fd/{descriptor}"))

        monkeypatch.setattr(os, name, noted)
    return paths


async def test_what_was_flushed_is_on_the_disk_with_its_folders(
    harness: LocalHarness, synced: set[str]
) -> None:
    """Flushing handed bytes to the system and forced nothing to the disk (all releases)."""
    async with harness.open() as store:
        thread = await record_thread(store, harness.clock, live=True)
        assert thread.rollout_path is not None
        await store.flush_thread(thread.id)
        folder = Path(thread.rollout_path).parent
        home = Path(harness.home)
        above = {str(path) for path in (folder, *folder.parents) if path.is_relative_to(home)}
        assert {thread.rollout_path, *above} <= synced


async def test_moves_and_names_are_on_the_disk_when_they_are_told(
    harness: LocalHarness, synced: set[str]
) -> None:
    """Archiving a thread and rewriting the name index renamed files without forcing their folders
    to the disk (all releases)."""
    async with harness.open() as store:
        thread = await record_thread(store, harness.clock)
        assert thread.rollout_path is not None
        synced.clear()
        await explicit(store, thread.id, name="chosen")
        assert {harness.home, f"{harness.home}/session_index.jsonl"} <= synced
        synced.clear()
        await explicit(store, thread.id, git=GitInfoPatch(branch="b"))
        assert thread.rollout_path in synced
        folders = {f"{harness.home}/archived_sessions", os.path.dirname(thread.rollout_path)}
        for move in (store.archive_thread, store.unarchive_thread):
            synced.clear()
            await move(thread.id)
            assert folders <= synced
        synced.clear()
        await store.delete_thread(thread.id)
        assert harness.home in synced


@pytest.mark.parametrize("tail", [b'{"timestamp":"2026', b"\xff\xfe", b"{}"])
async def test_nothing_is_glued_to_a_torn_line(
    harness: LocalHarness, codex: CodexHome, tail: bytes
) -> None:
    """After a crash in the middle of a line, the next record was appended straight behind it, and
    both were lost without a word (0.131)."""
    thread_id = codex.thread()
    with open(codex.path(thread_id), "ab") as file:
        file.write(tail)
    async with harness.open() as store:
        async with await LiveThread.resume(store, thread_id, clock=harness.clock) as live:
            await live.append_items([items.agent_message("after the crash")])
        entries = [entry async for entry in store.iter_history(thread_id)]
    damage, last = entries[-2:]
    assert isinstance(damage, DamagedLine)
    assert damage.raw == tail
    assert not isinstance(last, DamagedLine)
    assert last.payload["message"] == "after the crash"


async def test_a_failed_append_is_told_at_once_and_comes_back_with_nothing(
    harness: LocalHarness,
) -> None:
    """Errors of writing showed at the next barrier only; what had failed stayed in a buffer without
    bounds and was written later, unseen by metadata (0.131)."""
    async with harness.open() as store:
        live = await LiveThread.create(
            store, NewThread(cwd="/repo"), clock=harness.clock, probe_git=False
        )
        blocked = Path(harness.home, "sessions")
        blocked.touch()
        with pytest.raises(StoreUnavailable):
            await live.append_items(items.turn("t1", "lost"))
        blocked.unlink()
        await live.append_items(items.turn("t2", "kept"))
        await live.shutdown()
        history = b"".join(harness.raw_history(live.id))
        assert (b"lost" in history, b"kept" in history) == (False, True)
        assert (await store.read_thread(live.id)).preview == "kept"


@pytest.mark.parametrize("verb", ["resume", "archive", "delete", "edit"])
async def test_a_thread_that_an_older_release_writes_is_left_alone(
    harness: LocalHarness, codex: CodexHome, verb: str
) -> None:
    """Two processes wrote one log; when one of them archived it, the other went on writing into the
    moved file (0.131, which takes no lock: its open file is the only sign)."""
    thread_id = codex.thread()
    async with harness.open() as store:
        calls: dict[str, Callable[[str], Awaitable[Any]]] = {
            "resume": store.resume_thread,
            "archive": store.archive_thread,
            "delete": store.delete_thread,
            "edit": lambda known: explicit(store, known, memory_mode="disabled"),
        }
        with held_open(codex.path(thread_id)):
            before = content(harness)
            with pytest.raises(Conflict) as error:
                await calls[verb](thread_id)
            assert error.value.holder is not None
            assert error.value.holder in str(error.value)  # what the command line shows
            assert content(harness) == before
        await calls[verb](thread_id)


async def test_no_id_on_disk_is_created_again(harness: LocalHarness, codex: CodexHome) -> None:
    """Creating a thread did not look whether its id existed, archived or not (0.131)."""
    active, archived, named = codex.thread(), new_thread_id(), new_thread_id()
    codex.write([header(archived)], archived, archived=True)
    codex.write([header(named)], path=codex.path(new_thread_id()))
    async with harness.open() as store:
        for thread_id in (active, archived, named):
            with pytest.raises(Conflict):
                await store.create_thread(NewThread(cwd="/repo", id=thread_id))


async def test_an_unknown_thread_is_the_same_error_everywhere(harness: LocalHarness) -> None:
    """An unknown thread was one of several errors with different texts, depending on the call, and
    in the command line of all releases a new session."""
    unknown = new_thread_id()
    async with harness.open() as store, ThreadManager(store, clock=harness.clock) as manager:
        errors = []
        for call in (
            store.read_thread(unknown),
            store.resume_thread(unknown),
            store.load_history(unknown),
            store.list_turns(unknown),
            store.list_items(unknown),
            store.archive_thread(unknown),
            store.unarchive_thread(unknown),
            store.delete_thread(unknown),
            explicit(store, unknown, name="x"),
            observed(store, unknown, model="x"),
            manager.resume(unknown),
            manager.fork(unknown),
            manager.archive(unknown),
            manager.delete(unknown),
        ):
            with pytest.raises(ThreadNotFound) as error:
                await call
            errors.append(str(error.value))
        assert len(set(errors)) == 1
        assert await listed(store, archived=None) == []
    assert content(harness) == {}


async def test_an_archived_thread_is_not_called_unknown(harness: LocalHarness) -> None:
    """Resuming or editing an archived thread was refused as if there were no such thread (0.131 to
    0.169), or after the edit had been written (0.131)."""
    async with harness.open() as store:
        thread = await record_thread(store, harness.clock)
        await store.archive_thread(thread.id)
        before = content(harness)
        for call in (
            store.resume_thread(thread.id),
            explicit(store, thread.id, name="x", memory_mode="disabled"),
            store.archive_thread(thread.id),
        ):
            with pytest.raises(InvalidRequest, match="archived"):
                await call
        assert content(harness) == before


async def test_a_log_that_was_archived_under_a_writer_keeps_one_row_that_is_true(
    harness: LocalHarness, codex: CodexHome
) -> None:
    """A process whose log another one had archived went on writing, and its row then named a file
    that did not exist (0.131)."""
    async with harness.open() as store:
        thread = await record_thread(store, harness.clock)
        live = await LiveThread.resume(store, thread.id, clock=harness.clock)
        await live.append_items(items.turn("t2", "before"))
        assert thread.rollout_path is not None
        target = codex.path(thread.id, archived=True)
        os.makedirs(os.path.dirname(target))
        os.rename(thread.rollout_path, target)
        row = f"archived = 1, archived_at = 1777863721, rollout_path = '{target}'"
        execute_in(harness, f"UPDATE threads SET {row}")
        with contextlib.suppress(ThreadStoreError):
            await live.append_items(items.turn("t3", "after"))
        with contextlib.suppress(ThreadStoreError):
            await live.shutdown()
        assert columns(harness, thread.id, "archived, rollout_path") == (1, target)
    async with harness.open() as store:
        assert await listed(store) == []
        (found,) = (await store.list_threads(ThreadQuery(archived=True))).items
        assert (found.archived, found.rollout_path) == (True, target)
        assert (await store.load_history(thread.id)).damage == ()
