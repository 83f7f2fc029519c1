"""OpenAI's Python SDK runs on our server, and hears what it hears from Codex."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from openai_codex import Codex, CodexConfig
from tests.codex.app_server import environment, write_config
from tests.codex.clients.differences import (
    DIFFERENCES,
    differences,
    said_once,
    thread_words,
    turn_words,
)
from tests.codex.clients.scenes import PLAIN, SceneModel
from tests.codex.clients.sdk import Kind, play
from tests.codex.clients.sdk_options import DIFFERENT, play_options
from tests.codex.clients.serving import PROGRAM, TOOL, write_tool
from tests.codex.install import codex_binary

if TYPE_CHECKING:
    from threadstore.testing.postgres_server import PostgresServer

pytestmark = [
    pytest.mark.codex,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),  # the SDK's own pipes
]
RELEASE = "0.169.0"
TOOL_SAID = "The tool said: Dear Ada"
LISTEN = ("app-server", "--listen", "stdio://")


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_the_sdk_hears_the_same_from_both(kind: Kind, tmp_path: Path) -> None:
    theirs = await play(kind, tmp_path / "theirs", (str(codex_binary(RELEASE)), *LISTEN))
    ours = await play(kind, tmp_path / "ours", (PROGRAM, *LISTEN))
    assert ours.told == theirs.told
    assert ours.told["plain"] == ("completed", PLAIN, ["userMessage", "agentMessage"])
    assert turn_words(ours) == turn_words(theirs)
    assert thread_words(ours).split() == said_once(thread_words(theirs)).split()
    wrong, met = differences(ours, theirs)
    assert wrong == []
    assert met == set(DIFFERENCES)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_all_that_the_methods_take_has_the_same_effect(kind: Kind, tmp_path: Path) -> None:
    theirs = await play_options(kind, tmp_path / "theirs", codex_binary(RELEASE))
    ours = await play_options(kind, tmp_path / "ours", Path(PROGRAM))
    assert {name for name in theirs if ours.get(name) != theirs[name]} == DIFFERENT.keys()
    assert ours.keys() == theirs.keys()
    assert ours["no id"] == ("InvalidRequestError", "invalid thread id: nonsense")
    assert ours["not archived"] == ("InvalidRequestError", "thread is not archived: an id")


async def test_the_sdk_cannot_tell_a_database_from_files(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    files = await play("sync", tmp_path / "files", (PROGRAM, *LISTEN))
    store = ("--store", postgres_server.dsn(postgres_server.new_database()))
    database = await play("sync", tmp_path / "database", (PROGRAM, *store, *LISTEN))
    assert database.told == files.told
    assert turn_words(database) == turn_words(files)
    assert thread_words(database) == thread_words(files)
    wrong, _ = differences(database, files)
    assert [line for line in wrong if "/path:" not in line] == []


async def test_the_sdk_sees_our_tools_and_nothing_is_lost_when_it_leaves(tmp_path: Path) -> None:
    home, cwd = tmp_path / "home", tmp_path / "folder"
    cwd.mkdir()
    write_tool(cwd)
    with SceneModel() as model:
        write_config(home, model.base_url)
        config = CodexConfig(
            launch_args_override=(PROGRAM, *LISTEN, "--tools", TOOL),
            env={**environment(home), "PYTHONPATH": str(cwd)},
            cwd=str(cwd),
        )
        with Codex(config) as codex:
            thread = codex.thread_start(cwd=str(cwd))
            result = thread.run("Use it [scene tool]")
        assert result.final_response == TOOL_SAID
        kinds = [item.root.type for item in result.items]
        assert kinds == ["userMessage", "dynamicToolCall", "agentMessage"]
        with Codex(config) as codex:
            [turn] = codex.thread_resume(thread.id).read(include_turns=True).thread.turns
            shown = [item.root.type for item in turn.items]
            assert shown == ["userMessage", "agentMessage"]  # legacy histories hold no tool items
