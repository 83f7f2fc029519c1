"""``codex exec resume`` of threads that threadstore wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.codex.app_server import run_exec, write_config
from tests.codex.comparing import told
from tests.codex.model_server import ANSWERS
from tests.codex.ours import GIT, text_turn, two_turns, write
from tests.codex.ours_checks import heard, to_be_heard

from threadstore.factory import open_store
from threadstore.history.turns import build_turns
from threadstore.manager import ThreadManager
from threadstore.metadata import ThreadMetadataPatch
from threadstore.protocol.codex_thread import protocol_turn

if TYPE_CHECKING:
    from pathlib import Path

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
            thread_id = await write(manager, history, cwd=str(cwd), git=GIT, source="cli")
            await manager.update_thread_metadata(thread_id, ThreadMetadataPatch(name="For exec"))
        before = await store.read_thread(thread_id)

        prompt = "By exec [scene tool]"
        output = run_exec(release.binary, home, cwd, "resume", thread_id, prompt)
        assert ANSWERS["tool"] in output
        asked = [heard(request) for request in model.asked][-2]
        said = {"type": "message", "role": "user", "content": [prompt]}
        assert asked == [*to_be_heard(history), said]

        after = await store.read_thread(thread_id)
        assert (after.name, after.git, after.source) == (before.name, before.git, before.source)
        async with ThreadManager(store) as manager:
            live = await manager.resume(thread_id)
            await live.append_items(text_turn("And we go on", cwd))
        turns = build_turns((await store.load_history(thread_id)).items)
    assert told([protocol_turn(turn) for turn in turns])[2:] == [
        ("completed", [prompt, ANSWERS["tool"]]),
        ("completed", ["And we go on", "Answer to And we go on"]),
    ]

    output = run_exec(release.binary, home, cwd, "resume", thread_id, "Again [scene plain]")
    assert ANSWERS["plain"] in output
    assert "And we go on" in str(heard(model.asked[-1]))
    cells.works("ours", "codex exec resume ID")
