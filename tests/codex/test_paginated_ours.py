"""Paginated threads that we make: Codex reads them, goes on, forks and deletes; and we do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.codex.app_server import RpcError
from tests.codex.comparing import facts, memory_modes, our_turns, told
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
from tests.history.test_completed import FORMS

from threadstore.errors import Conflict
from threadstore.factory import open_store
from threadstore.manager import ThreadManager
from threadstore.metadata import GitInfoPatch, NewThread, ThreadMetadataPatch
from threadstore.protocol.codex_thread import protocol_thread
from threadstore.testing.items import agent_message, user_message

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.codex.cells import Cells
    from tests.codex.model_server import ModelServer

    from threadstore.metadata import StoredThread

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]

MADE = "paginated thread made by us"
FORKED = "forked by us, whole, in part and twice"
EDITED = ("named", "git facts edited", "memory mode changed", "archived and unarchived")

EDITS = {
    "named": ThreadMetadataPatch(name="Named by us"),
    "git": ThreadMetadataPatch(git=GitInfoPatch(branch="edited", sha="0" * 40)),
    "memory": ThreadMetadataPatch(memory_mode="disabled"),
    "unarchived": ThreadMetadataPatch(name="Archived for a while"),
    "archived": ThreadMetadataPatch(name="Archived"),
    "source": ThreadMetadataPatch(name="Forked"),
}
SILENT = {"part_fork", "fork_of_fork"}
"""Forks in which nothing was said yet."""
FORKS_SHOWN = Release(0, 169, 0)
"""Lists them all the same."""
TURNS = {"whole_fork": 3, "part_fork": 1, "fork_of_fork": 3}
"""How many turns the forks have at first; all others have two."""


@pytest.fixture
def place(release: Release, model: ModelServer, tmp_path: Path) -> Place:
    return Place.make(release, model, tmp_path)


async def make(place: Place) -> dict[str, StoredThread]:
    """Threads of ours with two turns each, edited, and forks."""
    ids: dict[str, str] = {}
    new = NewThread(cwd=str(place.cwd), source="vscode", history_mode="paginated")
    async with open_store(f"local:{place.home}") as store, ThreadManager(store) as manager:
        for name, patch in EDITS.items():
            live = await manager.create(new)
            ids[name] = live.id
            for _ in range(2):
                await live.append_items(our_turn(place.cwd))
            await manager.update_thread_metadata(live.id, patch)
        whole = await manager.fork(ids["source"])
        page = await store.list_turns(ids["source"], descending=False)
        part = await manager.fork(ids["source"], through_turn=page.items[0].id)
        await whole.append_items(our_turn(place.cwd))
        second = await manager.fork(whole.id)
        ids |= {"whole_fork": whole.id, "part_fork": part.id, "fork_of_fork": second.id}
        for name in ("archived", "unarchived"):
            await manager.archive(ids[name])
        await manager.unarchive(ids["unarchived"])
        await manager.close()
        return {name: await store.read_thread(thread_id) for name, thread_id in ids.items()}


@pytest.mark.parametrize("database", ["of Codex", "ours"])
async def test_codex_reads_and_continues_paginated_threads_of_ours(
    place: Place, cells: Cells, database: str
) -> None:
    if database == "of Codex":
        with place.serve() as server:
            server.call("thread/list")
    threads = await make(place)
    if place.release < FIRST_PAGINATED:
        check_hidden(place, threads, cells)
        return
    archived = threads.pop("archived")
    modes = {thread.id: thread.memory_mode for thread in (*threads.values(), archived)}
    with place.serve() as server:
        # Names of paginated threads have a column that our own database has not.
        shown_names = database == "of Codex"
        hidden = {threads[name].id for name in SILENT if place.release < FORKS_SHOWN}
        known = as_codex_knows(threads.values(), names=shown_names)
        check_metadata(server, known, hidden=hidden)
        (found,) = server.call("thread/list", archived=True, useStateDbOnly=True)["data"]
        (thread,) = as_codex_knows([archived], names=shown_names)
        assert facts(found) == facts(protocol_thread(thread))
        for name, thread in threads.items():
            before = [BY_US] * TURNS.get(name, 2)
            read = server.call("thread/read", threadId=thread.id, includeTurns=True)
            if name not in TURNS:  # of a fork it shows what it has resumed of the source
                assert read["thread"]["turns"] == []
            server.call("thread/resume", threadId=thread.id)
            assert shown(server, thread.id) == before, name
            server.run_turn(thread.id, ASKED)
            assert shown(server, thread.id) == [*before, BY_CODEX], name
        check_metadata(server, as_codex_knows(threads.values(), names=shown_names))
        assert memory_modes(place.home) == modes
        server.call("thread/unarchive", threadId=archived.id)
        server.call("thread/resume", threadId=archived.id)
        assert shown(server, archived.id) == [BY_US] * 2
    check_projection(place.home)

    async with open_store(f"local:{place.home}") as store, ThreadManager(store) as manager:
        for thread in threads.values():
            live = await manager.resume(thread.id)
            await live.append_items(our_turn(place.cwd))
    with place.serve() as server:
        for name, thread in threads.items():
            expected = [*[BY_US] * TURNS.get(name, 2), BY_CODEX, BY_US]
            server.call("thread/resume", threadId=thread.id)
            assert shown(server, thread.id) == expected
            assert told(await our_turns(place.home, thread.id)) == expected
            check_ordinals(place, thread.id)
        check_metadata(server, threads.values())
    check_projection(place.home)
    if database == "ours":
        row = "paginated thread made and named by us before Codex made a database"
        cells.differs("ours", row, "the name is shown after our next write to the thread")
        return
    for what in (*EDITED, "resumed, continued, continued again by us"):
        cells.works("ours", f"{MADE}: {what}")
    cells.differs("ours", f"{MADE}: read", SHOWN_AFTER_RESUME)
    if hidden:
        cells.differs("ours", f"{MADE}: {FORKED}", "listed from their first turn on, as its own")
    else:
        cells.works("ours", f"{MADE}: {FORKED}")


def as_codex_knows(threads: Iterable[StoredThread], *, names: bool) -> list[StoredThread]:
    """The threads, without names if the release's database cannot know them."""
    return [thread if names else msgspec.structs.replace(thread, name=None) for thread in threads]


def check_hidden(place: Place, threads: dict[str, StoredThread], cells: Cells) -> None:
    """A release without paginated threads does not list ours, and finds no turns in them."""
    with place.serve() as server:
        assert server.call("thread/list", limit=100)["data"] == []
        for thread in threads.values():
            read = server.call("thread/read", threadId=thread.id, includeTurns=True)["thread"]
            assert not any(turn["items"] for turn in read["turns"])
    for row in (*EDITED, FORKED, "read", "resumed, continued, continued again by us"):
        cells.unsupported("ours", f"{MADE}: {row}", "does not list paginated threads")


async def test_codex_shows_all_that_events_of_legacy_threads_say(
    place: Place, cells: Cells
) -> None:
    if place.release < FIRST_PAGINATED:
        return
    new = NewThread(cwd=str(place.cwd), source="vscode", history_mode="paginated")
    async with open_store(f"local:{place.home}") as store, ThreadManager(store) as manager:
        live = await manager.create(new)
        start, context, *_, end = our_turn(place.cwd)
        await live.append_items([start, context])
        for source, _ in FORMS.values():
            await live.append_items([source])
        await live.append_items([end])
        await live.append_items([user_message("A turn by us"), agent_message("Answered by us")])
    ours = await our_turns(place.home, live.id)
    with place.serve() as server:
        server.call("thread/resume", threadId=live.id)
        theirs = server.call("thread/read", threadId=live.id, includeTurns=True)["thread"]["turns"]
    kinds = [[(item["type"], item["id"]) for item in turn["items"]] for turn in theirs]
    assert kinds == [[(item["type"], item["id"]) for item in turn["items"]] for turn in ours]
    assert len(kinds[0]) == len(FORMS)
    assert told(theirs[1:]) == [BY_US]
    cells.works("ours", f"{MADE}: messages and tools told in events, in turns and outside")


async def test_the_model_hears_all_that_a_fork_of_ours_inherits(
    place: Place, cells: Cells, model: ModelServer
) -> None:
    if place.release < FIRST_PAGINATED:
        return
    threads = await make(place)
    source, whole = threads["source"].id, threads["whole_fork"].id
    with place.serve() as server:
        server.call("thread/resume", threadId=whole)
        assert shown(server, whole) == [BY_US]
        server.run_turn(whole, ASKED)
        heard = json.dumps(model.asked[-1])
        assert heard.count("A turn by us") == heard.count("Answered by us") == 3
        server.call("thread/resume", threadId=source)
        assert shown(server, whole) == [*[BY_US] * 3, BY_CODEX]
    row = f"{MADE}: forked, the inherited turns"
    how = "heard by the model at once, shown once Codex has resumed the source, too"
    cells.differs("ours", row, how)


async def test_nobody_deletes_what_a_paginated_fork_stands_on(place: Place, cells: Cells) -> None:
    if place.release < FIRST_PAGINATED:
        return
    threads = await make(place)
    source, whole = threads["source"].id, threads["whole_fork"].id
    with place.serve() as server:
        server.call("thread/resume", threadId=whole)
        by_codex = server.call("thread/fork", threadId=threads["named"].id)["thread"]["id"]
        for standing_on in (source, whole, threads["named"].id):
            with pytest.raises(RpcError, match="forked history still references it"):
                server.call("thread/delete", threadId=standing_on)
        server.call("thread/delete", threadId=threads["git"].id)
    async with open_store(f"local:{place.home}") as store:
        for standing_on in (source, whole, threads["named"].id):
            with pytest.raises(Conflict):
                await store.delete_thread(standing_on)
        for thread_id in (by_codex, threads["named"].id, threads["fork_of_fork"].id):
            await store.delete_thread(thread_id)
    with place.serve() as server:
        listed = server.call("thread/list", limit=100, useStateDbOnly=True)["data"]
        left = {thread["id"] for thread in listed}
        assert left == {threads[name].id for name in threads} - {
            threads[name].id for name in ("archived", "git", "named", "fork_of_fork")
        }
        server.call("thread/resume", threadId=source)
        server.call("thread/resume", threadId=whole)
        assert shown(server, whole) == [BY_US] * 3
        server.call("thread/delete", threadId=threads["part_fork"].id)
        server.call("thread/delete", threadId=whole)
        server.call("thread/delete", threadId=source)
    cells.works("ours", f"{MADE}: deleted, never while a fork stands on it")
