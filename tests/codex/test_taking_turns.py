"""One home, Codex and threadstore in turn: each goes on where the other left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.codex.app_server import RpcError, write_config
from tests.codex.comparing import (
    EVERYTHING,
    SHOWN_AFTER_RESUME,
    differences,
    facts,
    our_turns,
    told,
)
from tests.codex.model_server import ANSWERS, ModelServer
from tests.codex.turns import our_turn

from threadstore.factory import open_store
from threadstore.live import LiveThread
from threadstore.manager import ThreadManager
from threadstore.metadata import GitInfoPatch, ThreadMetadataPatch
from threadstore.protocol.codex_thread import protocol_thread

if TYPE_CHECKING:
    from pathlib import Path

    from tests.codex.app_server import AppServer
    from tests.codex.cells import Cells
    from tests.codex.releases import Release

    from threadstore.metadata import StoredThread

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]

EDITS = {
    "untouched": ("turns by both, alternating", None),
    "named": (
        "turns by both, alternating, and a name by us",
        ThreadMetadataPatch(name="Named by us"),
    ),
    "git_edited": (
        "turns by both, alternating, and git facts by us",
        ThreadMetadataPatch(git=GitInfoPatch(branch="edited", sha="0" * 40)),
    ),
    "memory_mode": (
        "turns by both, alternating, and a memory mode by us",
        ThreadMetadataPatch(memory_mode="disabled"),
    ),
    "torn": (
        "turns by both, alternating, and half a line of a crash",
        ThreadMetadataPatch(name="Torn and named"),
    ),
}
"""What is done with the thread of that name: in words of the page, and the edit."""


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_codex_and_we_take_turns_on_the_same_threads(
    mode: str, release: Release, cells: Cells, model: ModelServer, tmp_path: Path
) -> None:
    home, cwd = tmp_path / "home", tmp_path / "work"
    cwd.mkdir()
    write_config(home, model.url)
    if mode not in release.modes:
        await check_that_it_makes_legacy_threads_only(release, home, cwd)
        for row, _ in EDITS.values():
            cells.unsupported("together", f"paginated: {row}", "makes legacy threads only")
        return
    with release.serve(home, cwd) as server:
        ids = {name: server.start_thread(cwd, historyMode=mode) for name in EDITS}
        for thread_id in ids.values():
            server.run_turn(thread_id, "A turn by Codex [scene plain]")
    tear(home, ids["torn"])

    ours = await continue_all(home, ids, mode, cwd)
    with release.serve(home, cwd) as server:
        check_and_continue(server, ours, mode)
    await check_ours(home, ours)
    for row, _ in EDITS.values():
        if mode == "legacy":
            cells.works("together", row)
        else:
            cells.differs("together", f"paginated: {row}", SHOWN_AFTER_RESUME)


async def check_that_it_makes_legacy_threads_only(release: Release, home: Path, cwd: Path) -> None:
    """It refuses to make another (0.144), or does not know the word and makes a legacy one."""
    with release.serve(home, cwd) as server:
        try:
            made = server.start_thread(cwd, historyMode="paginated")
        except RpcError as error:
            if "not supported yet" in error.message:
                return
            raise
        server.run_turn(made, "A turn by Codex [scene plain]")
    async with open_store(f"local:{home}") as store:
        assert (await store.read_thread(made)).history_mode == "legacy"


async def continue_all(
    home: Path, ids: dict[str, str], mode: str, cwd: Path
) -> dict[str, StoredThread]:
    """A turn and an edit of ours in each thread."""
    async with open_store(f"local:{home}") as store, ThreadManager(store) as manager:
        for name, (_, patch) in EDITS.items():
            live = await manager.resume(ids[name])
            assert isinstance(live, LiveThread)
            await live.append_items(our_turn(live.id, mode, str(cwd)))
            if patch is not None:
                await manager.update_thread_metadata(live.id, patch)
        await manager.close()
        return {name: await store.read_thread(thread_id) for name, thread_id in ids.items()}


BY_CODEX = ("completed", ["A turn by Codex [scene plain]", ANSWERS["plain"]])
BY_US = ("completed", ["A turn by us", "Answered by us"])


def check_and_continue(server: AppServer, ours: dict[str, StoredThread], mode: str) -> None:
    """Codex sees what we see, and says one more thing in each thread."""
    listed = {thread["id"]: thread for thread in server.call("thread/list")["data"]}
    for name, thread in ours.items():
        wanted = {name: facts(protocol_thread(thread))}
        assert differences(wanted, {name: facts(listed[thread.id])}) == []
        # Before it resumes a paginated thread, Codex shows no more than its own projection.
        shown = [BY_CODEX] if mode == "paginated" else [BY_CODEX, BY_US]
        for known in (shown, [BY_CODEX, BY_US]):
            answer = server.call("thread/read", threadId=thread.id, includeTurns=True)
            assert told(answer["thread"]["turns"]) == known, name
            server.call("thread/resume", threadId=thread.id)
        server.run_turn(thread.id, "A turn by Codex [scene plain]")


async def check_ours(home: Path, ours: dict[str, StoredThread]) -> None:
    """After both have been there, everything said and edited is there."""
    async with open_store(f"local:{home}") as store:
        page = await store.list_threads(EVERYTHING)
    now = {thread.id: thread for thread in page.items}
    for name, thread in ours.items():
        turns = await our_turns(home, thread.id, damaged=name == "torn")
        assert told(turns) == [BY_CODEX, BY_US, BY_CODEX], name
        wanted, found = facts(protocol_thread(thread)), facts(protocol_thread(now[thread.id]))
        assert differences({name: wanted}, {name: found}) == []
        assert now[thread.id].memory_mode == thread.memory_mode


def tear(home: Path, thread_id: str) -> None:
    """Half a line at the end of a file, as a crash leaves it."""
    (path,) = home.glob(f"sessions/**/*{thread_id}.jsonl")
    with path.open("ab") as file:
        file.write(b'{"timestamp":"2026-01-01T00:00:00.000Z","type":"event_msg","payl')
