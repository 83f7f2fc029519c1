"""Threads that threadstore wrote, in the hands of real Codex releases (``make test-codex``)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import apsw
import pytest
from tests.codex.app_server import AppServer, write_config
from tests.codex.comparing import EVERYTHING, differences, facts, our_turns, told
from tests.codex.install import codex_binary
from tests.codex.model_server import ANSWERS, ModelServer

from threadstore.factory import open_store
from threadstore.ids import new_thread_id
from threadstore.manager import ThreadManager
from threadstore.metadata import GitInfo, GitInfoPatch, NewThread, ThreadMetadataPatch
from threadstore.protocol.codex_thread import protocol_thread
from threadstore.testing import items

if TYPE_CHECKING:
    from pathlib import Path

    from threadstore.metadata import StoredThread

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]

GIT = GitInfo(sha="0123456789abcdef0123456789abcdef01234567", branch="main")

EDITS = {
    "plain": [],
    "named": [ThreadMetadataPatch(name="A name of its own")],
    "renamed": [ThreadMetadataPatch(name="First name"), ThreadMetadataPatch(name="Second 🚀")],
    "name_cleared": [ThreadMetadataPatch(name="Not for long"), ThreadMetadataPatch(name=None)],
    "git_set": [ThreadMetadataPatch(git=GitInfoPatch(branch="edited"))],
    "git_cleared": [ThreadMetadataPatch(git=GitInfoPatch(branch=None))],
    "memory_mode": [ThreadMetadataPatch(memory_mode="disabled")],
    "all": [
        ThreadMetadataPatch(name="All edited"),
        ThreadMetadataPatch(git=GitInfoPatch(branch="edited")),
        ThreadMetadataPatch(memory_mode="disabled"),
    ],
    "archived": [ThreadMetadataPatch(name="Archived with a name")],
    "unarchived": [],
    "unicode": [ThreadMetadataPatch(name="Grüße שלום 你好")],
}
"""What a user says about the thread of that name."""


async def write_threads(home: Path, cwd: Path) -> dict[str, StoredThread]:
    """A home full of threads of ours, by name; half of the edits on live, half on cold threads."""
    ids: dict[str, str] = {}
    async with open_store(f"local:{home}") as store, ThreadManager(store) as manager:
        for number, (name, patches) in enumerate(EDITS.items()):
            live = await manager.create(NewThread(cwd=str(cwd), source="vscode", git=GIT))
            ids[name] = live.id
            for text in (f"First message of {name}: é 🚀", "Second message"):
                turn = items.turn(new_thread_id(), text, f"Answer to {text}", cwd=str(cwd))
                await live.append_items(turn)
            if number % 2:
                await manager.unload(live.id)
            for patch in patches:
                await manager.update_thread_metadata(live.id, patch)
        for name in ("archived", "unarchived"):
            await manager.archive(ids[name])
        await manager.unarchive(ids["unarchived"])
        ids["fork"] = (await manager.fork(ids["named"])).id
        await manager.close()
        return {name: await store.read_thread(thread_id) for name, thread_id in ids.items()}


@pytest.mark.parametrize("version", ["0.131.0", "0.169.0"])
@pytest.mark.parametrize("database", ["kept", "deleted"])
async def test_codex_lists_reads_and_continues_our_threads(
    version: str, database: str, model: ModelServer, tmp_path: Path
) -> None:
    binary = codex_binary(version)
    home, cwd = tmp_path / "home", tmp_path / "work"
    cwd.mkdir()
    write_config(home, model.url)
    threads = await write_threads(home, cwd)
    before = {name: await our_turns(home, thread.id) for name, thread in threads.items()}
    if database == "deleted":
        for path in home.glob("state_5.sqlite*"):
            path.unlink()

    with AppServer(binary, home, cwd) as server:
        check_lists(server, threads)
        for name, thread in threads.items():
            answer = server.call("thread/read", threadId=thread.id, includeTurns=True)
            assert facts(answer["thread"]) == facts(protocol_thread(thread)), name
            assert told(answer["thread"]["turns"]) == told(before[name]), name
        memory_modes = codex_memory_modes(home)
        for thread in threads.values():
            if not thread.archived:
                server.call("thread/resume", threadId=thread.id)
                server.run_turn(thread.id, "A turn by Codex [scene plain]")
        check_lists(server, threads)

    assert memory_modes == {thread.id: thread.memory_mode for thread in threads.values()}
    added = [("completed", ["A turn by Codex [scene plain]", ANSWERS["plain"]])]
    async with open_store(f"local:{home}") as store:
        page = await store.list_threads(EVERYTHING)
    after = {thread.id: thread for thread in page.items}
    for name, thread in threads.items():
        turns = told(await our_turns(home, thread.id))
        assert turns == told(before[name]) + ([] if thread.archived else added), name
        assert after[thread.id].memory_mode == thread.memory_mode, name
    now = {name: facts(protocol_thread(after[thread.id])) for name, thread in threads.items()}
    then = {name: facts(protocol_thread(thread)) for name, thread in threads.items()}
    assert differences(now, then) == []


def check_lists(server: AppServer, threads: dict[str, StoredThread]) -> None:
    """Codex lists exactly our threads, each with the facts that we know."""
    names = {thread.id: name for name, thread in threads.items()}
    for archived in (False, True):
        answer = server.call("thread/list", archived=archived, limit=100, sourceKinds=["vscode"])
        listed = {names[thread["id"]]: facts(thread) for thread in answer["data"]}
        ours = {
            name: facts(protocol_thread(thread))
            for name, thread in threads.items()
            if thread.archived is archived
        }
        assert sorted(listed) == sorted(ours)
        if not archived:
            # Codex's default list fills empty columns from the file's first line, so that a
            # cleared branch comes back there, in homes of its own as well (0.131, 0.169).
            assert listed["git_cleared"]["gitInfo"].pop("branch") == GIT.branch
            assert ours["git_cleared"]["gitInfo"].pop("branch") is None
        assert differences(ours, listed) == []


def codex_memory_modes(home: Path) -> dict[str, str]:
    """The memory modes in Codex's own table, which no method of its server answers."""
    connection = apsw.Connection(str(home / "state_5.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
    with contextlib.closing(connection):
        return dict(list(connection.execute("SELECT id, memory_mode FROM threads")))
