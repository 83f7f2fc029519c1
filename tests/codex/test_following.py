"""Our app server follows a thread while a real Codex writes it, and takes it over."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.appserver.processes import server_process
from tests.codex.app_server import AppServer, write_config
from tests.codex.cells import Cells
from tests.codex.model_server import ModelServer
from tests.codex.releases import Release

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]


async def test_a_thread_that_codex_writes_is_followed_and_taken_over(
    release: Release, cells: Cells, model: ModelServer, tmp_path: Path
) -> None:
    home, cwd = tmp_path / "home", tmp_path / "work"
    cwd.mkdir()
    write_config(home, model.url)
    with release.serve(home, cwd) as codex:
        thread_id = await asyncio.to_thread(_thread, codex, cwd)
        async with server_process(f"local:{home}", model.url, cwd=cwd) as server:
            client = await server.connect()
            answer = await client.ask("thread/resume", threadId=thread_id)
            assert len(answer["thread"]["turns"]) == 1
            await client.settle()
            joined = len(client.heard)
            await asyncio.to_thread(codex.run_turn, thread_id, "[scene tool] go")
            completed = await client.note("turn/completed", joined)
            assert completed["turn"]["status"] == "completed"
            items = [note["item"] for note in client.notes("item/completed", joined)]
            read = await client.ask("thread/read", threadId=thread_id, includeTurns=True)
            shown = read["thread"]["turns"][-1]["items"]
            assert [item["id"] for item in items] == [item["id"] for item in shown]
            assert items[-1]["text"] == shown[-1]["text"]
            given = [{"type": "text", "text": "me too"}]
            refused = await client.refusal("turn/start", threadId=thread_id, input=given)
            assert f"process {codex.pid}" in refused.message
            await asyncio.to_thread(codex.close)
            turn = await client.turn(thread_id, "[scene plain] mine")
            assert turn["status"] == "completed"
            client.check()
    cells.works("together", "thread that Codex writes: followed live by our app server, taken over")


def _thread(codex: AppServer, cwd: Path) -> str:
    thread_id = codex.start_thread(cwd)
    codex.run_turn(thread_id, "[scene plain] hi")
    return thread_id
