"""One home, Codex and threadstore in turn: each goes on where the other left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.codex.app_server import AppServer, write_config
from tests.codex.comparing import EVERYTHING, differences, facts, our_turns, told
from tests.codex.install import codex_binary
from tests.codex.model_server import ANSWERS, ModelServer
from tests.codex.turns import our_turn

from threadstore.factory import open_store
from threadstore.live import LiveThread
from threadstore.manager import ThreadManager
from threadstore.metadata import GitInfoPatch, ThreadMetadataPatch
from threadstore.protocol.codex_thread import protocol_thread

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]

EDITS = {
    "untouched": None,
    "named": ThreadMetadataPatch(name="Named by us"),
    "git_edited": ThreadMetadataPatch(git=GitInfoPatch(branch="edited", sha="0" * 40)),
    "memory_mode": ThreadMetadataPatch(memory_mode="disabled"),
    "torn": ThreadMetadataPatch(name="Torn and named"),
}


@pytest.mark.parametrize(
    ("version", "mode"),
    [("0.131.0", "legacy"), ("0.169.0", "legacy"), ("0.169.0", "paginated")],
)
async def test_codex_and_we_take_turns_on_the_same_threads(
    version: str, mode: str, model: ModelServer, tmp_path: Path
) -> None:
    binary = codex_binary(version)
    home, cwd = tmp_path / "home", tmp_path / "work"
    cwd.mkdir()
    write_config(home, model.url)
    with AppServer(binary, home, cwd) as server:
        ids = {name: server.start_thread(cwd, historyMode=mode) for name in EDITS}
        for thread_id in ids.values():
            server.run_turn(thread_id, "A turn by Codex [scene plain]")
    tear(home, ids["torn"])

    async with open_store(f"local:{home}") as store, ThreadManager(store) as manager:
        for name, patch in EDITS.items():
            live = await manager.resume(ids[name])
            assert isinstance(live, LiveThread)
            await live.append_items(our_turn(live.id, mode, str(cwd)))
            if patch is not None:
                await manager.update_thread_metadata(live.id, patch)
        await manager.close()
        ours = {name: await store.read_thread(thread_id) for name, thread_id in ids.items()}

    by_codex = ("completed", ["A turn by Codex [scene plain]", ANSWERS["plain"]])
    by_us = ("completed", ["A turn by us", "Answered by us"])
    with AppServer(binary, home, cwd) as server:
        listed = {thread["id"]: thread for thread in server.call("thread/list")["data"]}
        for name, thread in ours.items():
            wanted = {name: facts(protocol_thread(thread))}
            assert differences(wanted, {name: facts(listed[thread.id])}) == []
            # Before it resumes a paginated thread, Codex shows no more than its own projection.
            for known in (
                [by_codex] if mode == "paginated" else [by_codex, by_us],
                [by_codex, by_us],
            ):
                answer = server.call("thread/read", threadId=thread.id, includeTurns=True)
                assert told(answer["thread"]["turns"]) == known, name
                server.call("thread/resume", threadId=thread.id)
            server.run_turn(thread.id, "A turn by Codex [scene plain]")

    async with open_store(f"local:{home}") as store:
        page = await store.list_threads(EVERYTHING)
    now = {thread.id: thread for thread in page.items}
    for name, thread in ours.items():
        turns = await our_turns(home, thread.id, damaged=name == "torn")
        assert told(turns) == [by_codex, by_us, by_codex], name
        wanted, found = facts(protocol_thread(thread)), facts(protocol_thread(now[thread.id]))
        assert differences({name: wanted}, {name: found}) == []
        assert now[thread.id].memory_mode == thread.memory_mode


def tear(home: Path, thread_id: str) -> None:
    """Half a line at the end of a file, as a crash leaves it."""
    (path,) = home.glob(f"sessions/**/*{thread_id}.jsonl")
    with path.open("ab") as file:
        file.write(b'{"timestamp":"2026-01-01T00:00:00.000Z","type":"event_msg","payl')
