"""What a thread of Codex gives the model next: what Codex sends itself after a restart."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.codex.app_server import RpcError, write_config
from tests.codex.comparing import told
from tools.golden.scenes import roll_back

from threadstore.engine.loading import load_context
from threadstore.factory import open_store
from threadstore.history.context import request_input
from threadstore.testing import items as make

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.codex.app_server import AppServer
    from tests.codex.cells import Cells
    from tests.codex.model_server import ModelServer
    from tests.codex.releases import Release

    from threadstore.history.items import RolloutItem

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]

Json = dict[str, Any]

INSTRUCTIONS = "You are a scripted model."
ROW = "what the model is sent next: {}"
REWRITTEN = (
    "Codex sends outputs of apply_patch as text that stand in its history as JSON, we as JSON"
)


def _plain(server: AppServer, thread_id: str) -> None:
    server.run_turn(thread_id, "Say hello [scene plain]")


def _tool(server: AppServer, thread_id: str) -> None:
    server.run_turn(thread_id, "Run a command [scene tool]")


def _pair(server: AppServer, thread_id: str) -> None:
    server.run_turn(thread_id, "Run two [scene pair]")


def _toolbox(server: AppServer, thread_id: str) -> None:
    server.run_turn(thread_id, "Use every tool [scene toolbox]")


def _compacted(server: AppServer, thread_id: str) -> None:
    _tool(server, thread_id)
    seen = server.seen()
    server.call("thread/compact/start", threadId=thread_id)
    server.wait_turn(thread_id, seen)


def _interrupted(server: AppServer, thread_id: str) -> None:
    _tool(server, thread_id)
    seen = server.seen()
    turn_id = server.start_turn(thread_id, "Start and wait [scene gate]")
    server.wait_notification(lambda note: note["method"] == "item/agentMessage/delta", seen)
    server.call("turn/interrupt", threadId=thread_id, turnId=turn_id)
    server.wait_turn(thread_id, seen)


def _taken_back(server: AppServer, thread_id: str) -> None:
    turns = [server.run_turn(thread_id, f"Turn {number} [scene tool]") for number in range(3)]
    try:
        server.call("thread/revert", threadId=thread_id, beforeTurnId=turns[1])
    except RpcError:
        with contextlib.suppress(RpcError):  # 0.169 can no longer take back turns of legacy threads
            roll_back(server, thread_id)


SCENES: dict[str, Callable[[AppServer, str], None]] = {
    "an answer": _plain,
    "a tool call": _tool,
    "two calls side by side": _pair,
    "every kind of tool": _toolbox,
    "a compaction": _compacted,
    "an interrupted turn": _interrupted,
    "turns taken back": _taken_back,
}

CUT_SHORT = [
    make.task_started("cut-short"),
    make.user_response("Cut short"),
    make.user_message("Cut short"),
    make.function_call("one", "look"),
    make.function_call("two", "look"),
    make.response("custom_tool_call", call_id="three", name="look", input="here"),
    make.response("tool_search_call", call_id="four", execution="client", arguments={}),
    make.function_call_output("two", "seen"),
    make.function_call_output("nobody", "asked"),
    make.response("ghost_snapshot", ghost_commit={"id": "x"}),
]
STEERED = [
    *make.turn("whole", "A whole turn", "Answered", cwd="/"),
    make.task_started("steered"),
    *(make.user_response("Begun"), make.user_message("Begun")),
    *(make.agent_message("Said one"), make.assistant_response("Said one")),
    *(make.user_response("Steered"), make.user_message("Steered")),
    *(make.agent_message("Said two"), make.assistant_response("Said two")),
    make.task_complete("steered"),
    make.thread_rolled_back(1),
]
OLD_COMPACTION = [
    *make.turn("old-1", "Said before", cwd="/"),
    make.compacted("A summary of the old kind"),
    *make.turn("old-2", "Said after", cwd="/"),
]
ADDED: dict[str, list[RolloutItem]] = {
    "calls without outputs": CUT_SHORT,
    "a compaction of the old kind": OLD_COMPACTION,
}
"""Lines that are written behind a first answer in legacy threads."""


async def test_the_model_is_sent_what_codex_sends(
    release: Release, cells: Cells, model: ModelServer, tmp_path: Path
) -> None:
    home, cwd = tmp_path / "home", tmp_path / "cwd"
    cwd.mkdir()
    write_config(home, model.url)
    threads: list[tuple[str, str]] = []
    model.gate.clear()
    with release.serve(home, cwd) as server:
        for mode in release.modes:
            for what, scene in SCENES.items():
                thread_id = _start(server, cwd, mode)
                scene(server, thread_id)
                threads.append((what, thread_id))
        for what in ADDED:
            thread_id = _start(server, cwd, "legacy")
            _plain(server, thread_id)
            threads.append((what, thread_id))
    model.gate.set()  # nobody waits for what was interrupted
    for what, thread_id in threads[-len(ADDED) :]:
        _append(home, thread_id, ADDED[what])
    rewritten: set[str] = set()
    with release.serve(home, cwd) as server:
        for what, thread_id in threads:
            before = await _next_input(home, thread_id)
            sent = _next_request(server, model, thread_id)
            after = await _next_input(home, thread_id)
            assert before
            if _rewritten(before, sent) | _rewritten(after, sent):
                rewritten.add(what)
            # Behind what was there stands what the next turn adds, behind the request its answer.
            assert before == sent[: len(before)], what
            assert after[: len(sent)] == sent, what
            assert [item.get("role") for item in after[len(sent) :]] == ["assistant"]
    assert rewritten <= {"every kind of tool"}
    for what in [*SCENES, *ADDED]:
        if what in rewritten:
            cells.differs("theirs", ROW.format(what), REWRITTEN)
        else:
            cells.works("theirs", ROW.format(what))


async def test_a_turn_that_is_not_shown_any_more_is_not_sent_either(
    release: Release, cells: Cells, model: ModelServer, tmp_path: Path
) -> None:
    home, cwd = tmp_path / "home", tmp_path / "cwd"
    cwd.mkdir()
    write_config(home, model.url)
    with release.serve(home, cwd) as server:
        thread_id = _start(server, cwd, "legacy")
        _plain(server, thread_id)
    _append(home, thread_id, STEERED)
    ours = [_text(item) for item in await _next_input(home, thread_id)]
    with release.serve(home, cwd) as server:
        shown = server.call("thread/read", threadId=thread_id, includeTurns=True)["thread"]["turns"]
        sent = [_text(item) for item in _next_request(server, model, thread_id)]
    assert [texts[0] for _, texts in told(shown)] == ["Say hello [scene plain]", "A whole turn"]
    assert ours[-1] == "Answered"
    behind = sent[sent.index("Answered") + 1 :]
    assert behind[:2] == ["Begun", "Said one"]
    assert "Steered" not in behind
    how = "Codex still sends what was said before the second message, though it no longer shows it"
    cells.differs("theirs", ROW.format("a turn with two messages, taken back"), how)


def _text(item: Json) -> str:
    return str(item["content"][0]["text"])


def _start(server: AppServer, cwd: Path, mode: str) -> str:
    return server.start_thread(cwd, baseInstructions=INSTRUCTIONS, historyMode=mode)


def _append(home: Path, thread_id: str, items: Sequence[RolloutItem]) -> None:
    (path,) = home.glob(f"sessions/**/*{thread_id}.jsonl")
    with path.open("ab") as file:
        for item in items:
            file.write(item.encode("2026-11-22T05:00:00.000Z") + b"\n")


async def _next_input(home: Path, thread_id: str) -> list[Json]:
    async with open_store(f"local:{home}") as store:
        return request_input((await load_context(store, thread_id)).fold.items)


def _next_request(server: AppServer, model: ModelServer, thread_id: str) -> list[Json]:
    """What Codex sends to its model in the next turn, without what the API does not need."""
    server.call("thread/resume", threadId=thread_id)
    model.asked.clear()
    server.run_turn(thread_id, "And next? [scene plain]")
    sent = [_without_ids(item) for item in model.asked[0]["input"]]
    first = {"role": "developer", "content": [{"type": "input_text", "text": INSTRUCTIONS}]}
    # 0.169 says the instructions in the first message, too; no history has that.
    return sent[1:] if sent[0] == {"type": "message", **first} else sent


def _without_ids(item: Json) -> Json:
    unsent = {"id"}
    if item["type"] in ("message", "function_call"):
        unsent.add("status")
    return {key: value for key, value in item.items() if key not in unsent and value is not None}


def _rewritten(ours: list[Json], sent: list[Json]) -> bool:
    """Make outputs that Codex 0.131 puts into words on their way equal; whether there were any."""
    found = False
    for mine, theirs in zip(ours, sent, strict=False):
        if mine != theirs and mine["type"] == "custom_tool_call_output":
            assert json.loads(mine["output"])["output"] in theirs["output"]
            mine["output"] = theirs["output"]
            found = True
    return found
