"""Settings: when they count, what is kept of them, and how small a window may be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from tests.engine.helpers import (
    SETTINGS,
    USAGE,
    Gated,
    counts,
    gate,
    history,
    outline,
    reached,
    reply,
    resumed,
    say,
    started,
    statuses,
)

from threadstore.engine import Session
from threadstore.engine.model import ModelError, ModelRequest
from threadstore.metadata import TokenUsage
from threadstore.testing.scripted_model import Call, Incomplete, Reply, Say, ScriptedModel

if TYPE_CHECKING:
    from threadstore.manager import ThreadManager

OVERFLOW = ModelError("too long", kind="context_window_exceeded")


async def test_settings_change_between_turns_and_usage_is_that_of_the_model_that_was_asked(
    manager: ThreadManager,
) -> None:
    slow = Gated()
    script = [reply(Call("slow", {})), reply(Say("a")), reply(Say("b"))]
    session, model = await started(manager, script, tools=[slow.tool])
    turn = await session.start_turn("one")
    await slow.begun.wait()
    session.configure(model="m2", tool_output_limit=300)
    assert session.settings.model == "m2"
    slow.go_on.set()
    await turn
    assert [request.model for request in model.requests] == ["m1", "m1"]
    await say(session, "two")
    assert model.requests[2].model == "m2"
    assert session.usage.own == {"m1": USAGE + USAGE, "m2": USAGE}
    await session.close()


async def test_a_new_limit_of_outputs_counts_from_the_next_turn(manager: ThreadManager) -> None:
    def long() -> str:
        return "x" * 5000

    script = [reply(Call("long", {})), reply(Say("a")), reply(Call("long", {})), reply(Say("b"))]
    session, model = await started(manager, script, tools=[long])
    await say(session, "one")
    session.configure(tool_output_limit=300)
    await say(session, "two")
    outputs = [item["output"] for item in model.requests[3].input if "output" in item]
    assert len(outputs[0]) == 5000
    assert len(outputs[1]) <= 300
    await session.close()


async def test_changed_instructions_and_folders_hold_after_a_restart(
    any_manager: ThreadManager,
) -> None:
    session, model = await started(any_manager, [reply(Say("a")), reply(Say("b"))])
    await say(session, "one")
    session.configure(instructions="Be loud.", cwd="/elsewhere")
    await say(session, "two")
    before = session._state.request()
    await session.close()
    session, _ = await resumed(any_manager, session.id, [])
    assert session._state.request() == before
    assert before.instructions == "Be loud."
    assert session._state.cwd == "/elsewhere"
    await session.close()
    assert "/elsewhere" in str(model.requests[1].input)


async def test_a_fork_goes_by_its_own_folder(any_manager: ThreadManager) -> None:
    session, _ = await started(any_manager, [reply(Say("a"))])
    session.configure(cwd="/elsewhere")
    await say(session, "one")
    fork = await Session.fork(any_manager, session.id, ScriptedModel([]), cwd="/third")
    assert fork._state.cwd == "/third"
    await fork.close()
    await session.close()


async def test_a_small_window_is_never_filled_by_what_is_kept_of_it(manager: ThreadManager) -> None:
    """The model counts four bytes a token, and refuses what does not fit."""

    def answer(request: ModelRequest) -> Reply:
        tokens = len(msgspec.json.encode(request.input)) // 4
        if tokens > 2000:
            return Reply(error=OVERFLOW)
        used = TokenUsage(input_tokens=tokens, output_tokens=5, total_tokens=tokens + 5)
        return Reply(Say("In short."), usage=used)

    settings = msgspec.structs.replace(SETTINGS, context_window=2000, compact_at=None)
    session, _ = await started(manager, answer, settings=settings)
    for number in range(8):
        assert (await say(session, f"{number} " + "word " * 900)).status == "completed"
    await session.close()


async def test_a_compacted_context_is_not_counted_twice(manager: ThreadManager) -> None:
    settings = msgspec.structs.replace(SETTINGS, context_window=8000, compact_at=1500)
    session, model = await started(manager, lambda _: reply(Say("short")), settings=settings)
    await say(session, "word " * 800)
    await (await session.compact())
    asked = len(model.requests)
    await say(session, "two")
    assert len(model.requests) == asked + 1
    await session.close()


async def test_an_overflow_in_a_compaction_is_told(
    any_manager: ThreadManager,
) -> None:
    script = [
        reply(Say("a")),
        *(Reply(error=OVERFLOW) for _ in range(5)),
    ]
    session, _ = await started(any_manager, script, tools=[])
    await say(session, "one")
    turn = await session.compact()
    result = await turn
    lines = await outline(any_manager, session.id)
    assert (result.status, result.error and result.error.info) == (
        "failed",
        "context_window_exceeded",
    )
    assert lines[-2:] == ["token_count", "task_complete"]
    info = counts(await history(any_manager, session.id))[-1]["info"]
    assert info["total_token_usage"]["total_tokens"] == session.settings.reported_window
    await session.close()


async def test_an_incomplete_summary_is_counted(manager: ThreadManager) -> None:
    used = TokenUsage(input_tokens=900, output_tokens=100, total_tokens=1000)
    cut = Reply(Say("In"), Incomplete("max_output_tokens"), usage=used)
    session, _ = await started(manager, [reply(Say("a")), cut])
    await say(session, "one")
    result = await (await session.compact())
    assert (result.status, result.usage) == ("failed", used)
    assert session.usage.own_total == USAGE + used
    await session.close()


async def test_a_revert_that_cannot_read_the_history_again_is_found_out_by_the_next_turn(
    manager: ThreadManager,
) -> None:
    """The marker reaches behind what was read when the thread was resumed."""
    session, _ = await started(manager, [reply(Say(word)) for word in ("a", "b", "In short.", "c")])
    for text in ("one", "two"):
        await say(session, text)
    await (await session.compact())
    await say(session, "three")
    await session.close()
    session, model = await resumed(manager, session.id, [reply(Say("d"))])
    await session.revert(turns=3)
    await say(session, "again")
    assert [item["role"] for item in model.requests[0].input if "role" in item].count("user") >= 2
    assert "one" in str(model.requests[0].input)
    await session.close()


# Closing


async def test_closing_goes_on_when_who_asked_for_it_is_cancelled(manager: ThreadManager) -> None:
    pause = gate()
    session, _ = await started(manager, [reply(pause)])
    await session.start_turn("hi")
    await reached(pause)
    closing = asyncio.ensure_future(session.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait((closing,))
    assert closing.cancelled()
    await asyncio.gather(session.close(), session.close())
    assert manager.loaded() == ()
    assert await statuses(manager, session.id) == ["interrupted"]
    session, _ = await resumed(manager, session.id, [])
    await session.close()
