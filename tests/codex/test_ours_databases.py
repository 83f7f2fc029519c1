"""Our threads in a home whose state database was made or migrated by another release."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.codex.app_server import write_config
from tests.codex.model_server import ANSWERS
from tests.codex.ours import GIT, two_turns, write, write_threads
from tests.codex.ours_checks import SOURCE_KINDS, check_listed, list_all, rows, written_at
from tests.codex.releases import Release

from threadstore.factory import open_store
from threadstore.manager import ThreadManager
from threadstore.metadata import GitInfoPatch, ThreadMetadataPatch

if TYPE_CHECKING:
    from pathlib import Path

    from tests.codex.app_server import AppServer
    from tests.codex.cells import Cells
    from tests.codex.model_server import ModelServer

    from threadstore.metadata import StoredThread

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]

OLDER, NEWER = Release(0, 131, 0), Release(0, 169, 0)


async def test_releases_and_we_use_one_database_in_turn(
    release: Release, cells: Cells, model: ModelServer, tmp_path: Path
) -> None:
    home, cwd = tmp_path / "home", tmp_path / "work"
    cwd.mkdir()
    write_config(home, model.url)
    threads = await write_threads(home, cwd)
    for other in (OLDER, NEWER):
        with other.serve(home, cwd) as server:
            server.call("thread/resume", threadId=threads["renamed"].id)
            server.run_turn(threads["renamed"].id, "A turn by another release [scene plain]")
        threads = await edit(home, cwd, threads, str(other))
        with release.serve(home, cwd) as server:
            check_lists(server, threads)
            server.call("thread/resume", threadId=threads["named"].id)
            server.run_turn(threads["named"].id, f"After {other} [scene plain]")
            answer = server.call("thread/read", threadId=threads["named"].id, includeTurns=True)
            assert ANSWERS["plain"] in str(answer["thread"]["turns"][-1])
        threads = await edit(home, cwd, threads, f"{other} and {release}")
    modes = dict(rows(home / "state_5.sqlite", "SELECT id, memory_mode FROM threads"))
    assert modes == {thread.id: thread.memory_mode for thread in threads.values()}
    how = "Git facts and memory mode count as updates in lists, also when edited by itself"
    cells.differs("ours", "edits and the time of the last update", how)
    for other in (OLDER, NEWER):
        if other != release:
            how = "an older" if other < release else "a newer"
            cells.works("ours", f"state database used by {how} release and by us in between")


async def edit(
    home: Path, cwd: Path, threads: dict[str, StoredThread], after: str
) -> dict[str, StoredThread]:
    """Change what a user can, and add a thread; everything as it is then."""
    ids = {name: thread.id for name, thread in threads.items()}
    async with open_store(f"local:{home}") as store, ThreadManager(store) as manager:
        for name, patch in {
            "renamed": ThreadMetadataPatch(name=f"Renamed after {after}"),
            "git_set": ThreadMetadataPatch(git=GitInfoPatch(branch=f"after-{after}")),
            "plain": ThreadMetadataPatch(memory_mode="disabled"),
            "memory_mode": ThreadMetadataPatch(memory_mode="enabled"),
        }.items():
            await manager.update_thread_metadata(ids[name], patch)
        ids[after] = await write(manager, two_turns(after, cwd), cwd=str(cwd), git=GIT)
        await manager.archive(ids["parent"])
        await manager.unarchive(ids["parent"])
        await manager.close()
        return {name: await store.read_thread(thread_id) for name, thread_id in ids.items()}


def check_lists(server: AppServer, threads: dict[str, StoredThread]) -> None:
    """All of them, where they belong, from files and from the database."""
    names = {thread.id: name for name, thread in threads.items()}
    for filled in (True, False):
        for archived in (False, True):
            listed = list_all(
                server, archived=archived, sourceKinds=SOURCE_KINDS, useStateDbOnly=not filled
            )
            wanted = {name for name, thread in threads.items() if thread.archived is archived}
            assert {names[thread["id"]] for thread in listed} == wanted
            for thread in listed:
                name = names[thread["id"]]
                check_listed(name, threads[name], thread, filled=filled)
                if filled and name == "memory_mode":
                    assert abs(thread["updatedAt"] - written_at(threads[name])) <= 1
