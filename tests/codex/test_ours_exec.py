"""``codex exec resume`` of threads that threadstore wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.codex.app_server import run_exec, write_config
from tests.codex.comparing import told as told_in
from tests.codex.model_server import ANSWERS
from tests.codex.ours import EDITS, GIT, text_turn, two_turns, write
from tests.codex.ours_checks import heard, list_all, to_be_heard

from threadstore.factory import open_store
from threadstore.history.turns import build_turns
from threadstore.manager import ThreadManager
from threadstore.metadata import NewThread, ThreadMetadataPatch
from threadstore.protocol.codex_thread import protocol_turn

if TYPE_CHECKING:
    from pathlib import Path

    from tests.codex.app_server import Json
    from tests.codex.cells import Cells
    from tests.codex.model_server import ModelServer
    from tests.codex.releases import Release

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]


async def test_codex_exec_resumes_a_thread_of_ours_and_we_go_on_with_it(
    release: Release, cells: Cells, model: ModelServer, tmp_path: Path
) -> None:
    home, cwd = tmp_path / "home", tmp_path / "work"
    cwd.mkdir()
    write_config(home, model.url)
    async with open_store(f"local:{home}") as store:
        async with ThreadManager(store) as manager:
            history = two_turns("exec", cwd)
            told = "You are an agent of ours."
            new: Json = {"cwd": str(cwd), "git": GIT, "source": "cli", "base_instructions": told}
            thread_id = await write(manager, history, **new)
            for patch in EDITS["all"]:
                await manager.update_thread_metadata(thread_id, patch)
        before = await store.read_thread(thread_id)

        model.asked.clear()
        prompt = "By exec [scene tool]"
        output = run_exec(release.binary, home, cwd, "resume", thread_id, prompt)
        assert ANSWERS["tool"] in output
        asked = [heard(request) for request in model.asked][-2]
        said = {"type": "message", "role": "user", "content": [prompt]}
        assert asked == [*to_be_heard(history), said]
        assert all(told in str(request) for request in model.asked)

        after = await store.read_thread(thread_id)
        assert (after.name, after.git, after.source) == (before.name, before.git, before.source)
        async with ThreadManager(store) as manager:
            live = await manager.resume(thread_id)
            await live.append_items(text_turn("And we go on", cwd))
        turns = build_turns((await store.load_history(thread_id)).items)
    assert told_in([protocol_turn(turn) for turn in turns])[2:] == [
        ("completed", [prompt, ANSWERS["tool"]]),
        ("completed", ["And we go on", "Answer to And we go on"]),
    ]

    output = run_exec(release.binary, home, cwd, "resume", thread_id, "Again [scene plain]")
    assert ANSWERS["plain"] in output
    assert "And we go on" in str(heard(model.asked[-1]))
    cells.works("ours", "codex exec resume ID")
    cells.works("ours", "base instructions, after edits")


async def test_codex_hides_a_thread_of_ours_until_somebody_said_something_in_it(
    release: Release, cells: Cells, model: ModelServer, tmp_path: Path
) -> None:
    home, cwd = tmp_path / "home", tmp_path / "work"
    cwd.mkdir()
    write_config(home, model.url)
    async with open_store(f"local:{home}") as store, ThreadManager(store) as manager:
        live = await manager.create(NewThread(cwd=str(cwd), source="vscode"))
        await live.persist()
        await manager.update_thread_metadata(live.id, ThreadMetadataPatch(name="Nothing said"))
        await manager.unload(live.id)
        with release.serve(home, cwd) as server:
            assert list_all(server) == []
            answer = server.call("thread/read", threadId=live.id)["thread"]
            assert (answer["name"], answer["preview"]) == ("Nothing said", "")
            server.call("thread/resume", threadId=live.id)
            server.run_turn(live.id, "The first message [scene plain]")
            (listed,) = list_all(server)
            assert listed["name"] == "Nothing said"
        after = await store.read_thread(live.id)
    assert (after.name, after.preview) == ("Nothing said", "The first message [scene plain]")
    how = "not listed before somebody says something, also of its own"
    cells.differs("ours", "thread without a message", how)
