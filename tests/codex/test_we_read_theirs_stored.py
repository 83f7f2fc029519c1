"""Homes that a release keeps in another form: compressed, migrated, without its databases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.codex.app_server import RpcError
from tests.codex.theirs import MISSING, Answers, differences, our_answers
from tests.codex.theirs_scenes import Played, ask, explained, migrate
from tools.golden.recording import Recording
from tools.golden.scenes import compacted, compressed, failed, forked, tools

if TYPE_CHECKING:
    from pathlib import Path

    from tests.codex.cells import Cells
    from tests.codex.model_server import ModelServer
    from tests.codex.releases import Release

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]


async def proven(home: Played, release: Release) -> None:
    """Our answers are those of the release, but for what is known."""
    ours = await our_answers(home.home, home.answers)
    explained(home, release, differences(ours, home.answers), ours)
    assert set(home.recording.threads.values()) <= home.answers.threads.keys()
    assert all(ours.turns.values())


async def test_compressed_rollouts(
    tmp_path: Path, model: ModelServer, release: Release, cells: Cells
) -> None:
    recording = Recording(str(release), tmp_path, model.url)
    row = "compressed rollouts"
    if not knows(recording, "rollout/compress"):
        cells.unsupported("theirs", row, "the release does not compress")
        return
    compressed(recording)
    home = ask(recording)
    assert list(home.home.glob("*sessions/**/*.jsonl.zst"))
    assert not list(home.home.glob("*sessions/**/*.jsonl"))
    await proven(home, release)
    cells.works("theirs", row)


async def test_migrated_rollouts(
    tmp_path: Path, model: ModelServer, release: Release, cells: Cells
) -> None:
    recording = Recording(f"{release}-legacy", tmp_path, model.url)
    row = "migrated rollouts"
    if not knows(recording, "thread/revert"):
        with pytest.raises(AssertionError):
            migrate(recording)
        cells.unsupported("theirs", row, "the release does not migrate")
        return
    with recording.serve() as server:
        for scene in (tools, failed, compacted, forked):
            scene(recording, server)
    assert "migrated" in migrate(recording)
    home = ask(recording)
    modes = {thread["historyMode"] for thread in home.answers.threads.values()}
    assert modes == {"paginated"}
    await proven(home, release)
    cells.works("theirs", row)


async def test_paginated_threads_without_the_databases_of_codex(
    tmp_path: Path, model: ModelServer, release: Release, cells: Cells
) -> None:
    recording = Recording(str(release), tmp_path, model.url)
    row = "paginated threads without Codex's databases"
    if "paginated" not in release.modes:
        assert not knows(recording, "thread/revert")
        cells.unsupported("theirs", row, "the release has only legacy threads")
        return
    with recording.serve() as server:
        thread_id = server.start_thread(recording.folders / "repo", historyMode="paginated")
        server.run_turn(thread_id, "Two commands [scene pair]")
        recording.threads["alone"] = thread_id
    before = Answers({}, {}, {thread_id: ask(recording).answers.turns[thread_id]}, {}, {})
    for path in recording.home.glob("*.sqlite*"):
        path.unlink()
    with recording.serve() as server:
        read = server.call("thread/read", threadId=thread_id, includeTurns=True)["thread"]
    ours = await our_answers(recording.home, ask(recording).answers)
    assert before.turns[thread_id]
    for difference in differences(ours, before):
        assert (difference.theirs, release < (0, 169, 0)) == (MISSING, True)
    if read["turns"]:
        assert read["turns"] == before.turns[thread_id]
        cells.works("theirs", row)
    else:
        cells.differs("theirs", row, "it tells no turns until the thread is resumed, we tell all")


def knows(recording: Recording, method: str) -> bool:
    """Whether the release has a method (a call with nonsense is refused in another way)."""
    params: dict[str, Any] = {"threadId": "nonsense"}
    with recording.serve() as server:
        try:
            server.call(method, **params)
        except RpcError as error:
            return not error.unknown_method
    return True
