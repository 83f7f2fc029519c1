"""Turns that are far larger than usual: they work, and their outputs take no more room than set."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.engine.helpers import USAGE, usage

from threadstore import LiveThread, NewThread, ThreadManager, open_store
from threadstore.engine import Session, SessionSettings, ToolCall, tool
from threadstore.engine.loading import load_context
from threadstore.engine.model import ModelRequest
from threadstore.history.items import RolloutItem
from threadstore.history.turns import build_turns
from threadstore.ids import new_thread_id
from threadstore.metadata import HistoryMode
from threadstore.store import ThreadStore
from threadstore.testing import items
from threadstore.testing.scripted_model import Call, Reply, Say, ScriptedModel

Json = dict[str, Any]

SETTINGS = SessionSettings(model="m-1", compact_at=0, context_window=100_000_000)
FINE = Reply(Say("fine"), usage=USAGE)
OUTPUT_SIZE = 50_000_000
MEMORY_LIMIT = 3 * OUTPUT_SIZE
"""How far the process may grow over an output of 50 MB: it holds the tool's own text and, while
the length is measured, its UTF-8 form. With one copy more for the line, the events or the request
it would be above."""


def outputs(request: ModelRequest) -> list[Json]:
    """What the tools have said so far."""
    return [item for item in request.input if item["type"] == "function_call_output"]


async def turns_of(store: ThreadStore, thread_id: str) -> list[str]:
    """How its turns ended, and that every line can be read."""
    history = await store.load_history(thread_id)
    assert not history.damage
    return [turn.status for turn in build_turns(history.items)]


async def measure(home: str) -> Json:
    """A turn with an output of 50 MB, and how far memory grew over it. Run as a program."""

    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    @tool
    def flood() -> str:
        """Say too much."""
        return "x" * OUTPUT_SIZE

    @tool
    def little() -> str:
        """Say little."""
        return "x"

    script = [Reply(Call("little"), usage=USAGE), FINE, Reply(Call("flood"), usage=USAGE), FINE]
    model = ScriptedModel(script)
    async with (
        open_store(f"local:{home}") as store,
        ThreadManager(store) as manager,
        await Session.start(
            manager, NewThread(cwd=""), model, settings=SETTINGS, tools=[flood, little]
        ) as session,
    ):
        await (await session.start_turn("warm up")).result()
        before = peak()
        result = await (await session.start_turn("go")).result()
        grown = peak() - before
        (_, output) = outputs(model.requests[-1])
        return {
            "status": result.status,
            "grown": grown,
            "output": len(output["output"]),
            "statuses": await turns_of(store, session.id),
        }


def test_an_output_of_50_mb_is_cut_and_takes_bounded_memory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.test_large", str(tmp_path / "home")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert said["statuses"] == ["completed", "completed"]
    assert SETTINGS.tool_output_limit * 0.9 < said["output"] <= SETTINGS.tool_output_limit
    assert said["grown"] < MEMORY_LIMIT, said
    (log,) = (tmp_path / "home" / "sessions").rglob("*.jsonl")
    assert log.stat().st_size < 4 * SETTINGS.tool_output_limit


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_a_message_of_5_mb_is_kept_whole(tmp_path: Path, mode: HistoryMode) -> None:
    text = "é" + "x" * 5_000_000
    model = ScriptedModel([Reply(Say(text, chunk=10_000), usage=USAGE), FINE])
    async with open_store(f"local:{tmp_path}") as store, ThreadManager(store) as manager:
        new = NewThread(cwd="", history_mode=mode)
        async with await Session.start(manager, new, model, settings=SETTINGS) as session:
            result = await (await session.start_turn("go")).result()
            assert result.last_message == text
        async with await Session.resume(manager, session.id, model, settings=SETTINGS) as session:
            await (await session.start_turn("and now?")).result()
        assert model.requests[1].input[-2]["content"][0]["text"] == text
        assert await turns_of(store, session.id) == ["completed", "completed"]


async def test_a_thousand_calls_in_one_turn(tmp_path: Path) -> None:
    ran = []

    @tool
    def note(number: int) -> str:
        """Note a number."""
        ran.append(number)
        return f"noted {number}"

    def script(request: ModelRequest) -> Reply:
        done = len(outputs(request))
        if done == 1000:
            return FINE
        return Reply(*(Call("note", {"number": n}, f"c{n}") for n in range(done, done + 5)))

    model = ScriptedModel(script)
    async with open_store(f"local:{tmp_path}") as store, ThreadManager(store) as manager:
        new = NewThread(cwd="")
        async with await Session.start(
            manager, new, model, settings=SETTINGS, tools=[note]
        ) as session:
            result = await (await session.start_turn("go")).result()
        assert (result.status, sorted(ran)) == ("completed", list(range(1000)))
        assert [item["call_id"] for item in outputs(model.requests[-1])] == [
            f"c{n}" for n in range(1000)
        ]
        assert len(model.requests) == 201
        assert await turns_of(store, session.id) == ["completed"]


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_200_parallel_calls_answer_in_the_order_of_the_calls(
    tmp_path: Path, mode: HistoryMode
) -> None:
    gone = [asyncio.Event() for _ in range(201)]
    gone[200].set()

    @tool
    async def meet(number: int, call: ToolCall) -> str:
        """Go when the next one has gone."""
        await gone[number + 1].wait()
        gone[number].set()
        return call.call_id

    calls = [Call("meet", {"number": n}, f"c{n}") for n in range(200)]
    model = ScriptedModel([Reply(*calls, usage=USAGE), FINE])
    async with open_store(f"local:{tmp_path}") as store, ThreadManager(store) as manager:
        new = NewThread(cwd="", history_mode=mode)
        async with await Session.start(
            manager, new, model, settings=SETTINGS, tools=[meet]
        ) as session:
            result = await (await session.start_turn("go")).result()
            assert session.usage.own == {"m-1": usage(2)}
        expected = [(f"c{n}", f"c{n}") for n in range(200)]
        kept = [(item["call_id"], item["output"]) for item in outputs(model.requests[1])]
        assert (result.status, kept) == ("completed", expected)
        assert await turns_of(store, session.id) == ["completed"]


async def test_a_history_of_20_000_lines_goes_on(tmp_path: Path) -> None:
    history: list[RolloutItem] = []
    while len(history) < 20_000:
        history += items.turn(new_thread_id(), f"question {len(history)}", "answer")
    turns = len(build_turns(history))
    model = ScriptedModel([FINE])
    async with open_store(f"local:{tmp_path}") as store, ThreadManager(store) as manager:
        live = await LiveThread.create(store, NewThread(cwd=""))
        for start in range(0, len(history), 500):
            await live.append_items(history[start : start + 500])
        await live.shutdown()
        fold = (await load_context(store, live.id)).fold
        async with await Session.resume(manager, live.id, model, settings=SETTINGS) as session:
            result = await (await session.start_turn("and now?")).result()
        assert result.status == "completed"
        assert list(model.requests[0].input[: len(fold.items)]) == fold.items
        assert (await turns_of(store, live.id)).count("completed") == turns + 1


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(measure(sys.argv[1]))))
