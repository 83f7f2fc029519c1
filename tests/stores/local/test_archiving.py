"""Archive, unarchive and delete: copies, failures on the way and crashes in between."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.stores.local.homes import CodexHome, encode, header

from threadstore.config import LocalStoreConfig
from threadstore.errors import InvalidRequest, StoreUnavailable
from threadstore.ids import new_thread_id
from threadstore.store import Finding
from threadstore.stores.local.compression import zstd
from threadstore.stores.local.locks import WriterLock
from threadstore.stores.local.store import LocalThreadStore
from threadstore.testing import items
from threadstore.testing.cases.base import explicit

ASIDE = ".deleted.tmp"


@pytest.fixture
def codex(tmp_path: Path) -> CodexHome:
    return CodexHome(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> LocalThreadStore:
    return LocalThreadStore(LocalStoreConfig(home=str(tmp_path)))


def files(codex: CodexHome) -> dict[str, bytes]:
    """Every rollout and what stepped aside, with its content."""
    roots = (codex.home.sessions, codex.home.archived)
    return {
        str(path): path.read_bytes()
        for root in roots
        for path in Path(root).rglob("*")
        if path.is_file()
    }


def fail(
    monkeypatch: pytest.MonkeyPatch, name: str, wanted: Callable[..., bool], number: int = 5
) -> None:
    """From now on a call of the system fails for arguments that are *wanted*."""
    real = getattr(os, name)

    def call(*args: Any, **more: Any) -> Any:
        if wanted(*args):
            raise OSError(number, os.strerror(number))
        return real(*args, **more)

    monkeypatch.setattr(os, name, call)


# Copies


def two_copies(codex: CodexHome, active: int, archived: int) -> tuple[str, bytes]:
    """A thread in both places, with so many lines each; its id and the longer content."""
    thread_id = new_thread_id()
    lines = [header(thread_id), *items.turn("t1", "hello")]
    codex.write(lines[:active], thread_id)
    codex.write(lines[:archived], thread_id, archived=True)
    return thread_id, encode(lines[: max(active, archived)])


@pytest.mark.parametrize(("active", "archived"), [(5, 5), (5, 3), (3, 5), (5, 0)])
async def test_a_copy_that_says_nothing_more_is_no_hindrance(
    codex: CodexHome, store: LocalThreadStore, active: int, archived: int
) -> None:
    thread_id, content = two_copies(codex, active, archived)
    place = codex.path(thread_id, archived=True)
    async with store:
        assert await store.archive_thread(thread_id) == (thread_id,)
        thread = await store.read_thread(thread_id)
        assert (thread.archived, thread.rollout_path) == (True, place)
        assert files(codex) == {place: content}
        await store.unarchive_thread(thread_id)
        thread = await store.read_thread(thread_id)
        assert (thread.archived, thread.rollout_path) == (False, codex.path(thread_id))
        assert files(codex) == {codex.path(thread_id): content}
        assert len((await store.list_threads()).items) == 1


async def test_a_compressed_copy_is_compared_by_what_it_holds(
    codex: CodexHome, store: LocalThreadStore
) -> None:
    thread_id, content = two_copies(codex, 5, 3)
    place = Path(codex.path(thread_id, archived=True))
    Path(f"{place}.zst").write_bytes(zstd.compress(place.read_bytes()))
    place.unlink()
    async with store:
        await store.archive_thread(thread_id)
    assert files(codex) == {str(place): content}


@pytest.mark.parametrize("damaged", [False, True])
async def test_two_histories_are_never_made_one(
    codex: CodexHome, store: LocalThreadStore, damaged: bool
) -> None:
    thread_id, content = two_copies(codex, 5, 3)
    other = Path(codex.path(thread_id, archived=True))
    if damaged:
        Path(f"{other}.zst").write_bytes(zstd.compress(content)[:-20])
        other.unlink()
    else:
        other.write_bytes(other.read_bytes() + b"{}\n")
    before = files(codex)
    async with store:
        with pytest.raises(InvalidRequest, match="differ") as caught:
            await store.archive_thread(thread_id)
    assert codex.path(thread_id) in str(caught.value)
    assert str(other) in str(caught.value)
    assert "move" in (caught.value.hint or "")
    assert files(codex) == before


@pytest.mark.parametrize("archived", [False, True])
async def test_a_link_to_the_history_is_no_copy_of_it(
    codex: CodexHome, store: LocalThreadStore, archived: bool
) -> None:
    thread_id, content = two_copies(codex, 5, 5)
    link = codex.path(thread_id, archived=archived)
    os.unlink(link)
    os.symlink(codex.path(thread_id, archived=not archived), link)
    place = codex.path(thread_id, archived=True)
    async with store:
        await store.archive_thread(thread_id)
    assert files(codex) == {place: content}
    assert not os.path.islink(place)


async def test_a_copy_comes_back_when_the_move_fails(
    codex: CodexHome, store: LocalThreadStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread_id, _ = two_copies(codex, 5, 3)
    before = files(codex)
    active = codex.path(thread_id)
    async with store:
        fail(monkeypatch, "rename", lambda old, new: old == active)
        with pytest.raises(StoreUnavailable, match="cannot move"):
            await store.archive_thread(thread_id)
        monkeypatch.undo()
        assert files(codex) == before
        await store.archive_thread(thread_id)


@pytest.mark.parametrize("verb", ["archive", "delete"])
async def test_a_compressed_form_goes_where_its_plain_form_goes(
    codex: CodexHome, store: LocalThreadStore, verb: str
) -> None:
    thread_id = codex.thread()
    Path(f"{codex.path(thread_id)}.zst").write_bytes(zstd.compress(b"older"))
    place = codex.path(thread_id, archived=True)
    async with store:
        if verb == "archive":
            await store.archive_thread(thread_id)
            assert (await store.read_thread(thread_id)).archived
            assert files(codex).keys() == {place, f"{place}.zst"}
        else:
            await store.delete_thread(thread_id)
            assert files(codex) == {}


# Failures


async def test_what_cannot_be_removed_in_the_end_is_told(
    codex: CodexHome, store: LocalThreadStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread_id = codex.thread()
    async with store:
        fail(monkeypatch, "unlink", lambda path: path.endswith(ASIDE), errno.EACCES)
        with pytest.raises(StoreUnavailable, match="cannot remove") as caught:
            await store.delete_thread(thread_id)
        assert caught.value.hint
        monkeypatch.undo()
        assert (await store.list_threads()).items == ()
        assert files(codex).keys() == {codex.path(thread_id) + ASIDE}


async def test_a_folder_that_cannot_be_opened_is_told(
    codex: CodexHome, store: LocalThreadStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread_id = codex.thread()
    before = files(codex)
    async with store:
        folder = os.path.dirname(codex.path(thread_id))
        fail(
            monkeypatch,
            "open",
            lambda path, flags, *mode: path == folder and flags & os.O_DIRECTORY,
            errno.EMFILE,
        )
        for verb in (store.archive_thread, store.delete_thread):
            with pytest.raises(StoreUnavailable, match="cannot flush"):
                await verb(thread_id)
    assert files(codex) == before


async def test_the_way_back_goes_on_after_a_failure(
    codex: CodexHome, store: LocalThreadStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = codex.thread()
    spawn = {"subagent": {"thread_spawn": {"parent_thread_id": root, "depth": 1}}}
    children = [codex.thread(source=spawn) for _ in range(2)]
    stuck = codex.path(children[0])
    async with store:
        last = codex.path(children[1])

        def refused(old: str, new: str) -> bool:
            return old == last or new == stuck

        fail(monkeypatch, "rename", refused)
        with pytest.raises(StoreUnavailable, match="on the way back") as caught:
            await store.delete_thread(root)
        monkeypatch.undo()
    assert f"cannot move {last}" in str(caught.value)
    assert stuck in str(caught.value)
    assert files(codex).keys() == {codex.path(root), stuck + ASIDE, last}


# Crashes


def crash(codex: CodexHome, thread_id: str) -> str:
    """What a crash leaves that comes when the files have stepped aside."""
    path = codex.path(thread_id)
    os.rename(path, path + ASIDE)
    return path


async def interrupted(store: LocalThreadStore, *, fix: bool = False) -> list[Finding]:
    return [found for found in await store.inspect(fix=fix) if found.code == "interrupted_delete"]


@pytest.mark.parametrize("known_by", ["row", "name"])
async def test_a_delete_that_was_interrupted_is_undone(
    codex: CodexHome, store: LocalThreadStore, known_by: str
) -> None:
    thread_id = codex.thread()
    async with store:
        if known_by == "row":
            await store.inspect(fix=True)
            await explicit(store, thread_id, memory_mode="disabled")
        else:
            codex.name(thread_id, "kept")
        path = crash(codex, thread_id)
        (finding,) = await interrupted(store)
        assert (finding.severity, finding.subject) == ("error", path + ASIDE)
        assert (finding.thread_id, finding.fixed) == (thread_id, False)
        (finding,) = await interrupted(store, fix=True)
        assert finding.fixed
        assert files(codex).keys() == {path}
        assert [thread.id for thread in (await store.list_threads()).items] == [thread_id]
        assert await interrupted(store) == []


async def test_a_delete_that_was_all_but_done_is_left_to_the_user(
    codex: CodexHome, store: LocalThreadStore
) -> None:
    thread_id = codex.thread()
    path = crash(codex, thread_id)
    async with store:
        (finding,) = await interrupted(store, fix=True)
    assert (finding.fix, finding.fixed) == (None, False)
    assert "remove it" in finding.reason
    assert files(codex).keys() == {path + ASIDE}


@pytest.mark.parametrize("archived", [False, True])
async def test_nothing_comes_back_beside_another_copy(
    codex: CodexHome, store: LocalThreadStore, archived: bool
) -> None:
    thread_id = codex.thread()
    codex.name(thread_id, "kept")
    path = crash(codex, thread_id)
    codex.write([header(thread_id)], thread_id, archived=archived)
    before = files(codex)
    async with store:
        (finding,) = await interrupted(store, fix=True)
    assert finding.fix is None
    assert codex.path(thread_id, archived=archived) in finding.reason
    assert files(codex) == before
    assert path + ASIDE in before


async def test_a_delete_that_is_going_on_is_not_reported(
    codex: CodexHome, store: LocalThreadStore
) -> None:
    thread_id = codex.thread()
    codex.name(thread_id, "kept")
    crash(codex, thread_id)
    async with store:
        with WriterLock.acquire(codex.home, thread_id):
            assert await interrupted(store, fix=True) == []
