"""Paginated threads of Codex that we continue and edit, and Codex and we go on in turn."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import pytest
from tests.codex.app_server import AppServer, RpcError, write_config
from tests.codex.comparing import differences, facts, our_turns, told
from tests.codex.model_server import ANSWERS
from tests.codex.releases import FIRST_PAGINATED, Release

from threadstore.factory import open_store
from threadstore.ids import new_thread_id
from threadstore.manager import ThreadManager
from threadstore.metadata import GitInfoPatch, NewThread, ThreadMetadataPatch
from threadstore.protocol.codex_thread import protocol_thread
from threadstore.testing import items

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.codex.cells import Cells
    from tests.codex.model_server import ModelServer

    from threadstore.history.items import RolloutItem
    from threadstore.metadata import StoredThread

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]

ASKED, ANSWERED = "A turn by Codex [scene plain]", ANSWERS["plain"]
BY_CODEX = ("completed", [ASKED, ANSWERED])
BY_US = ("completed", ["A turn by us", "Answered by us"])

NAMED = ThreadMetadataPatch(name="Named by us")
GIT = ThreadMetadataPatch(git=GitInfoPatch(branch="edited", sha="0" * 40))
MEMORY = ThreadMetadataPatch(memory_mode="disabled")

SHAPES: dict[str, str] = {
    "plain": "paginated thread",
    "fork": "paginated thread: a fork",
    "fork_of_fork": "paginated thread: a fork of a fork",
    "reverted": "paginated thread: one with a reverted turn",
    "compressed": "paginated thread: a compressed one",
    "torn": "paginated thread: one with a torn last line",
}
"""What Codex makes, each with the row that says what became of it after we went on."""


class Place(NamedTuple):
    """A home with its working directory and a release that works in it."""

    release: Release
    home: Path
    cwd: Path

    def serve(self) -> AppServer:
        return self.release.serve(self.home, self.cwd)

    def path(self, thread_id: str) -> Path:
        """The newest file of a thread."""
        return max(self.home.glob(f"sessions/**/*{thread_id}*"), key=lambda path: path.name)


@pytest.fixture
def place(release: Release, model: ModelServer, tmp_path: Path) -> Place:
    home, cwd = tmp_path / "home", tmp_path / "work"
    cwd.mkdir()
    write_config(home, model.url)
    return Place(release, home, cwd)


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


def our_turn(cwd: Path) -> list[RolloutItem]:
    """A turn in the words of legacy threads, as a caller of ours may say it."""
    return items.turn(new_thread_id(), "A turn by us", "Answered by us", cwd=str(cwd))


async def continue_all(place: Place, ids: Iterable[str]) -> dict[str, StoredThread]:
    """A turn of ours in each thread; how we see the threads then."""
    async with open_store(f"local:{place.home}") as store, ThreadManager(store) as manager:
        for thread_id in ids:
            live = await manager.resume(thread_id)
            await live.append_items(our_turn(place.cwd))
        await manager.close()
        return {thread_id: await store.read_thread(thread_id) for thread_id in ids}


def shown(server: AppServer, thread_id: str) -> list[tuple[str, list[str]]]:
    """The turns that Codex shows, the same by every method."""
    read = server.call("thread/read", threadId=thread_id, includeTurns=True)["thread"]["turns"]
    listed = server.call("thread/turns/list", threadId=thread_id, itemsView="full", limit=100)
    assert told(sorted(listed["data"], key=lambda turn: str(turn["id"]))) == told(
        sorted(read, key=lambda turn: str(turn["id"]))
    )
    found = server.call("thread/items/list", threadId=thread_id, limit=100)["data"]
    ids = {item["id"] for turn in read for item in turn["items"]}
    assert {entry["item"]["id"] for entry in found} == ids
    return told(read)


def check_metadata(server: AppServer, threads: Iterable[StoredThread]) -> None:
    """Codex lists and reads the threads with the facts that we know.

    Its default list takes the preview of a fork or a reverted thread from the newest file alone, in
    homes of its own as well (0.169); what it reads, and its list from the database, is what counts.
    """
    ours = {thread.id: facts(protocol_thread(thread)) for thread in threads}
    ids = {thread["id"] for thread in server.call("thread/list", limit=100)["data"]}
    assert ids >= ours.keys()
    listed = server.call("thread/list", limit=100, useStateDbOnly=True)["data"]
    assert differences(ours, {thread["id"]: facts(thread) for thread in listed}) == []
    for thread_id, known in ours.items():
        read = server.call("thread/read", threadId=thread_id)["thread"]
        assert differences({thread_id: known}, {thread_id: facts(read)}) == []


async def test_we_continue_paginated_threads_of_codex_and_codex_goes_on(
    place: Place, cells: Cells
) -> None:
    if place.release < FIRST_PAGINATED:
        await check_not_known(place, cells)
        return
    threads = codex_threads(place)
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
        check_metadata(server, now.values())
    for shape in threads:
        cells.works("ours", f"{SHAPES[shape]}: continued, continued by Codex, continued again")
    cells.differs(
        "ours",
        "paginated thread: turns that we appended",
        "shown once Codex resumes or forks the thread, as turns of another Codex are",
    )


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
