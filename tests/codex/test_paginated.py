"""Paginated threads of Codex that we continue and edit, and Codex and we go on in turn."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tests.codex.app_server import RpcError
from tests.codex.comparing import memory_modes, our_turns, told
from tests.codex.paginated import (
    ASKED,
    BY_CODEX,
    BY_US,
    SHOWN_AFTER_RESUME,
    Place,
    check_metadata,
    check_ordinals,
    check_projection,
    our_turn,
    shown,
)
from tests.codex.releases import FIRST_PAGINATED, Release

from threadstore.factory import open_store
from threadstore.manager import ThreadManager
from threadstore.metadata import GitInfoPatch, NewThread, ThreadMetadataPatch

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.codex.cells import Cells
    from tests.codex.model_server import ModelServer

    from threadstore.metadata import StoredThread

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]

SHAPES: dict[str, str] = {
    "plain": "paginated thread",
    "fork": "paginated thread: a fork",
    "fork_of_fork": "paginated thread: a fork of a fork",
    "reverted": "paginated thread: one with a reverted turn",
    "compressed": "paginated thread: a compressed one",
    "torn": "paginated thread: one with a torn last line",
}
"""What Codex makes, each with the row that says what became of it after we went on."""


@pytest.fixture
def place(release: Release, model: ModelServer, tmp_path: Path) -> Place:
    return Place.make(release, model, tmp_path)


def codex_threads(place: Place) -> dict[str, tuple[str, int]]:
    """One thread of each shape that the release can make: its id and how many turns it has."""
    threads: dict[str, tuple[str, int]] = {}
    with place.serve() as server:
        for shape in ("plain", "torn", "compressed", "reverted"):
            thread_id = server.start_thread(place.cwd, historyMode="paginated")
            server.run_turn(thread_id, ASKED)
            threads[shape] = thread_id, 1
        reverted = threads["reverted"][0]
        turn_id = server.run_turn(reverted, "To be reverted [scene plain]")
        try:
            server.call("thread/revert", threadId=reverted, beforeTurnId=turn_id)
        except RpcError as error:
            if not error.unknown_method:
                raise
            del threads["reverted"]
        source = threads["plain"][0]
        for shape in ("fork", "fork_of_fork"):
            source = server.call("thread/fork", threadId=source)["thread"]["id"]
            threads[shape] = source, 2 if shape == "fork" else 3
            server.run_turn(source, ASKED)
    with place.path(threads["torn"][0]).open("ab") as file:
        file.write(b'{"timestamp":"2026-01-01T00:00:00.000Z","ordinal":99,"type":"event_msg","payl')
    if not compress(place, threads["compressed"][0]):
        del threads["compressed"]
    return threads


def compress(place: Place, thread_id: str) -> bool:
    """Let Codex's own worker compress a file as if it had rested for a month."""
    path = place.path(thread_id)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    config = place.home / "config.toml"
    plain = config.read_text()
    config.write_text(plain + "\n[features]\nlocal_thread_store_compression = true\n")
    packed = path.with_name(path.name + ".zst")
    with place.serve() as server:
        server.call("thread/list")
        try:
            server.wait_until(lambda: packed.exists() and not path.exists())
        except RuntimeError:
            return False
        finally:
            config.write_text(plain)
    return True


async def continue_all(place: Place, ids: Iterable[str]) -> dict[str, StoredThread]:
    """A turn of ours in each thread; how we see the threads then."""
    async with open_store(f"local:{place.home}") as store, ThreadManager(store) as manager:
        for thread_id in ids:
            live = await manager.resume(thread_id)
            await live.append_items(our_turn(place.cwd))
        await manager.close()
        return {thread_id: await store.read_thread(thread_id) for thread_id in ids}


async def test_we_continue_paginated_threads_of_codex_and_codex_goes_on(
    place: Place, cells: Cells
) -> None:
    if place.release < FIRST_PAGINATED:
        await check_not_known(place, cells)
        return
    threads = codex_threads(place)
    assert place.release < Release(0, 169, 0) or threads.keys() == SHAPES.keys()
    now = await continue_all(place, [thread_id for thread_id, _ in threads.values()])
    with place.serve() as server:
        check_metadata(server, now.values())
        for thread_id, turns in threads.values():
            before = shown(server, thread_id)
            assert before == [BY_CODEX] * turns
            server.call("thread/resume", threadId=thread_id)
            assert shown(server, thread_id) == [*before, BY_US]
            server.run_turn(thread_id, ASKED)
            assert shown(server, thread_id) == [*before, BY_US, BY_CODEX]
    now = await continue_all(place, now)
    with place.serve() as server:
        for shape, (thread_id, turns) in threads.items():
            expected = [*[BY_CODEX] * turns, BY_US, BY_CODEX, BY_US]
            server.call("thread/resume", threadId=thread_id)
            assert shown(server, thread_id) == expected
            ours = await our_turns(place.home, thread_id, damaged=shape == "torn")
            assert told(ours) == expected
            check_ordinals(place, thread_id)
        check_metadata(server, now.values())
    check_projection(place.home)
    for shape in threads:
        cells.works("ours", f"{SHAPES[shape]}: continued, continued by Codex, continued again")
    cells.differs("ours", "paginated thread: turns that we appended", SHOWN_AFTER_RESUME)


async def check_not_known(place: Place, cells: Cells) -> None:
    """A release without paginated threads hides them."""
    async with open_store(f"local:{place.home}") as store, ThreadManager(store) as manager:
        live = await manager.create(
            NewThread(cwd=str(place.cwd), source="vscode", history_mode="paginated")
        )
        await live.append_items(our_turn(place.cwd))
    with place.serve() as server:
        assert server.call("thread/list", limit=100)["data"] == []
    cells.unsupported("ours", SHAPES["plain"], "does not list paginated threads")


EDITS = {
    "name": ThreadMetadataPatch(name="Named by us"),
    "git facts": ThreadMetadataPatch(git=GitInfoPatch(branch="edited", sha="0" * 40)),
    "memory mode": ThreadMetadataPatch(memory_mode="disabled"),
}
CLEARED = ThreadMetadataPatch(name=None, git=GitInfoPatch(branch=None))


@pytest.mark.parametrize("loaded", [False, True], ids=["cold", "live"])
async def test_edits_of_paginated_threads_of_codex_are_in_its_row_alone(
    place: Place, cells: Cells, loaded: bool
) -> None:
    if place.release < FIRST_PAGINATED:
        await check_not_known(place, cells)
        return
    with place.serve() as server:
        ids = {what: server.start_thread(place.cwd, historyMode="paginated") for what in EDITS}
        for thread_id in ids.values():
            server.run_turn(thread_id, ASKED)
    before = {thread_id: place.path(thread_id).read_bytes() for thread_id in ids.values()}
    now = await edit(place, {ids[what]: patch for what, patch in EDITS.items()}, loaded=loaded)
    assert {key: place.path(key).read_bytes() for key in before} == before
    modes = {thread.id: thread.memory_mode for thread in now}
    with place.serve() as server:
        for _ in range(2):  # as it finds them, and after turns of its own
            check_metadata(server, now)
            assert memory_modes(place.home) == modes
            for thread_id in ids.values():
                server.call("thread/resume", threadId=thread_id)
                server.run_turn(thread_id, ASKED)
        check_metadata(server, now)
    cleared = await edit(place, dict.fromkeys(ids.values(), CLEARED), loaded=loaded)
    assert [thread.name for thread in cleared] == [None] * len(ids)
    with place.serve() as server:
        check_metadata(server, cleared)
    assert memory_modes(place.home) == modes
    row = "paginated thread: name, git facts and memory mode edited"
    cells.works("ours", f"{row} while it is {'live here' if loaded else 'cold'}")


async def edit(
    place: Place, patches: dict[str, ThreadMetadataPatch], *, loaded: bool
) -> list[StoredThread]:
    """Edit each thread; how we see the threads then."""
    async with open_store(f"local:{place.home}") as store, ThreadManager(store) as manager:
        for thread_id, patch in patches.items():
            if loaded:
                await manager.resume(thread_id)
            await manager.update_thread_metadata(thread_id, patch)
        await manager.close()
        return [await store.read_thread(thread_id) for thread_id in patches]
