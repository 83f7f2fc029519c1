"""An interrupted turn ends soon, keeps what there is, and says so."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.helpers import (
    SETTINGS,
    Gated,
    add,
    booked,
    gate,
    history,
    managed,
    outline,
    reached,
    reply,
    resumed,
    said,
    say,
    started,
    statuses,
    texts,
    told,
    totals,
    types,
)
from tests.engine.moments import check_pairs

from threadstore.engine import AskUser, RequestUserInput, StreamError, ToolCallRequest
from threadstore.engine.model import ModelError, ModelRequest
from threadstore.errors import InvalidRequest
from threadstore.stores.memory import MemoryThreadStore
from threadstore.testing.faults import FaultyStore
from threadstore.testing.scripted_model import Call, Reply, Say, Think, rate_limits

if TYPE_CHECKING:
    from threadstore.manager import ThreadManager

OPENING = ["task_started", "ri:developer", "ri:user", "turn_context", "ri:user", "user_message"]
ABORTED = ["ri:user", "turn_aborted"]
HALF = Say("half a message", chunk=5)


async def test_half_a_message_is_kept_and_sent_with_the_next_request(
    any_manager: ThreadManager,
) -> None:
    pause = gate()
    script = [
        Reply(HALF, pause, cut_after=1, hang=True, rate_limits=rate_limits(1)),
        reply(Say("ok")),
    ]
    session, model = await started(any_manager, script)
    turn = await session.start_turn("hi")
    async for event in turn:
        if event.payload()["type"] == "agent_message_content_delta":
            break
    result = await session.interrupt(turn.id)
    assert (result.status, result.last_message, result.error) == ("interrupted", "half ", None)
    assert await outline(any_manager, session.id) == [
        *OPENING,
        *("agent_message", "ri:assistant", "token_count"),
        *ABORTED,
    ]
    assert totals(await history(any_manager, session.id)) == [None]
    assert await statuses(any_manager, session.id) == ["interrupted"]
    await say(session, "go on")
    assert [text.partition("\n")[0] for text in said(model.requests[1])] == [
        *("hi", "half ", "<turn_aborted>", "go on"),
    ]
    await session.close()


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_a_tool_that_runs_is_stopped_and_its_output_says_so(
    any_manager: ThreadManager, mode: str
) -> None:
    slow = Gated()
    script = [reply(Call("slow")), reply(Say("ok"))]
    session, model = await started(any_manager, script, tools=[slow.tool], history_mode=mode)
    turn = await session.start_turn("hi")
    await slow.begun.wait()
    await booked(session)
    assert (await session.interrupt()).status == "interrupted"
    lines = await outline(any_manager, session.id)
    shown = ["token_usage_record", "done:DynamicToolCall"] if mode == "paginated" else []
    assert lines[lines.index("function_call") :] == [
        *("function_call", *shown, "function_call_output", "token_count"),
        *ABORTED,
    ]
    await say(session, "go on")
    assert said(model.requests[1])[1] == "aborted by user after 0.1s"
    assert turn.done
    await session.close()


async def test_of_several_calls_those_that_ended_keep_their_outputs(manager: ThreadManager) -> None:
    one, two, three = Gated("one"), Gated("two"), Gated("three")
    done = asyncio.Event()
    script = [reply(Call("one"), Call("two"), Call("three")), reply(Say("ok"))]
    session, model = await started(manager, script, tools=[g.tool for g in (one, two, three)])
    turn = await session.start_turn("hi")

    async def listen() -> None:
        async for event in turn:
            payload = event.payload()
            item = payload.get("item", {})
            if payload["type"] == "item_completed" and item.get("tool") == "two":
                done.set()

    listening = asyncio.create_task(listen())
    for each in (one, two, three):
        await each.begun.wait()
    two.go_on.set()
    await done.wait()
    await session.interrupt()
    await listening
    assert await outline(manager, session.id) == [
        *OPENING,
        *["function_call"] * 3,
        *["function_call_output"] * 3,
        "token_count",
        *ABORTED,
    ]
    await say(session, "go on")
    aborted = "aborted by user after 0.1s"
    assert said(model.requests[1])[1:4] == [aborted, "two is done", aborted]
    assert totals(await history(manager, session.id))[0] == 120
    await session.close()


async def test_a_turn_interrupted_before_it_began_keeps_what_the_user_said(
    any_manager: ThreadManager,
) -> None:
    session, model = await started(any_manager, [reply(Say("ok"))])
    turn = await session.start_turn("hi")
    result = await session.interrupt()
    assert result.status == "interrupted"
    assert types(await told(turn))[-1] == "turn_aborted"
    assert await outline(any_manager, session.id) == [*OPENING, *ABORTED]
    assert model.requests == []
    await say(session, "again")
    assert [text.partition("\n")[0] for text in said(model.requests[0])] == [
        *("hi", "<turn_aborted>", "again")
    ]
    assert await statuses(any_manager, session.id) == ["interrupted", "completed"]
    await session.close()


async def test_interrupting_twice_is_once(manager: ThreadManager) -> None:
    pause = gate()
    session, _ = await started(manager, [reply(pause)])
    turn = await session.start_turn("hi")
    await reached(pause)
    first, second = await asyncio.gather(session.interrupt(), session.interrupt(turn.id))
    assert first == second == await turn.result()
    assert (await outline(manager, session.id)).count("turn_aborted") == 1
    with pytest.raises(InvalidRequest, match="no active turn to interrupt"):
        await session.interrupt()
    await session.close()


async def test_another_turn_is_not_interrupted(manager: ThreadManager) -> None:
    pause = gate()
    session, _ = await started(manager, [reply(pause, Say("ok"))])
    turn = await session.start_turn("hi")
    await reached(pause)
    with pytest.raises(InvalidRequest, match=f"expected active turn id x but found {turn.id}"):
        await session.interrupt("x")
    pause.gate.set()
    assert (await turn.result()).status == "completed"
    await session.close()


async def test_waiting_for_another_try_ends_at_once(manager: ThreadManager) -> None:
    error = ModelError("busy", kind="server_overloaded", retryable=True, retry_after=59)
    session, _ = await started(manager, [Reply(Say("x"), error=error)])
    turn = await session.start_turn("hi")
    async for event in turn:
        if isinstance(event, StreamError):
            break
    assert (await session.interrupt()).status == "interrupted"
    assert (await outline(manager, session.id))[-2:] == ABORTED
    await session.close()


@pytest.mark.parametrize("by_user", [True, False])
async def test_a_compaction_that_is_interrupted_changes_nothing(
    manager: ThreadManager, *, by_user: bool
) -> None:
    pause = gate()
    script = [reply(Say("one")), reply(Say("summ"), pause, Say("ary")), reply(Say("ok"))]
    session, model = await started(manager, script)
    await say(session, "hi")
    if by_user:
        await session.compact()
    else:
        session.configure(compact_at=1)
        await session.start_turn("more")
    await reached(pause)
    assert (await session.interrupt()).status == "interrupted"
    assert "compacted" not in await outline(manager, session.id)
    assert (await outline(manager, session.id))[-2:] == ABORTED
    session.configure(compact_at=0)
    await say(session, "go on")
    heard = [text.partition("\n")[0] for text in said(model.requests[2])]
    more = [] if by_user else ["more"]
    assert heard == ["hi", "one", *more, "<turn_aborted>", "go on"]
    await session.close()


@pytest.mark.parametrize("after", [True, False])
async def test_a_line_that_is_being_written_is_written_to_its_end(*, after: bool) -> None:
    store = FaultyStore(MemoryThreadStore())
    async with managed(store) as manager:
        hold = gate()
        script = [reply(hold, Say("Hello"), Say("there")), reply(Say("ok"))]
        session, model = await started(manager, script)
        turn = await session.start_turn("hi")
        await reached(hold)
        pause = store.pause("append_items", after=after)
        hold.gate.set()
        await pause.reached.wait()
        ending = asyncio.create_task(session.interrupt())
        await asyncio.sleep(0)
        assert not turn.done
        pause.release()
        assert (await ending).status == "interrupted"
        assert await outline(manager, session.id) == [
            *OPENING,
            *("agent_message", "ri:assistant"),
            *ABORTED,
        ]
        await say(session, "go on")
        assert said(model.requests[1])[:2] == ["hi", "Hello"]
        await session.close()


async def test_a_tool_that_does_not_stop_is_left_alone(manager: ThreadManager) -> None:
    begun, stop = asyncio.Event(), asyncio.Event()

    async def stubborn() -> str:
        """Never stop."""
        begun.set()
        while not stop.is_set():
            try:
                await stop.wait()
            except asyncio.CancelledError:
                continue
        return "late"

    session, model = await started(
        manager, [reply(Call("stubborn")), reply(Say("ok"))], tools=[stubborn]
    )
    await session.start_turn("hi")
    await begun.wait()
    assert (await session.interrupt()).status == "interrupted"
    before = await outline(manager, session.id)
    assert before.count("function_call_output") == 1
    stop.set()
    await say(session, "go on")
    assert said(model.requests[1])[1] == "aborted by user after 0.1s"
    assert (await outline(manager, session.id)).count("function_call_output") == 1
    await session.close()


@pytest.mark.parametrize("tool", ["user", "client"])
async def test_a_question_nobody_needs_an_answer_to_any_more_is_withdrawn(
    manager: ThreadManager, tool: str
) -> None:
    asked: dict[str, Any] = {
        "questions": [
            {
                "id": "a",
                "header": "A",
                "question": "A?",
                "options": [{"label": "x", "description": "y"}],
            }
        ]
    }
    dynamic = ({"name": "look", "description": "", "inputSchema": {"type": "object"}},)
    call = Call("request_user_input", asked) if tool == "user" else Call("look")
    session, _ = await started(manager, [reply(call)], tools=[AskUser()], dynamic_tools=dynamic)
    async for event in await session.start_turn("hi"):
        if isinstance(event, RequestUserInput | ToolCallRequest):
            break
    assert [request.call_id for request in session.open_requests] == [event.payload()["call_id"]]
    await session.interrupt()
    assert session.open_requests == ()
    with pytest.raises(InvalidRequest, match="nothing waits"):
        session.answer(event.payload()["call_id"], "late")
    await session.close()


async def test_a_message_that_was_complete_is_not_kept_twice(manager: ThreadManager) -> None:
    pause = gate()
    session, model = await started(
        manager, [reply(Say("whole"), pause, Think("more")), reply(Say("ok"))]
    )
    await session.start_turn("hi")
    await reached(pause)
    assert (await session.interrupt()).last_message == "whole"
    await say(session, "go on")
    assert said(model.requests[1]).count("whole") == 1
    await session.close()


async def test_the_end_is_told_truthfully_after_a_restart(any_manager: ThreadManager) -> None:
    pause = gate()
    session, _ = await started(any_manager, [reply(Say("a")), reply(pause), Reply(error=_NO)])
    await say(session, "one")
    await session.start_turn("two")
    await reached(pause)
    await session.interrupt()
    await say(session, "three")
    await session.close()
    assert await statuses(any_manager, session.id) == ["completed", "interrupted", "failed"]
    session, model = await resumed(any_manager, session.id, [reply(Say("b"))], tools=[add])
    await say(session, "four")
    heard = [text.partition("\n")[0] for text in said(model.requests[0])]
    assert heard == ["one", "a", "two", "<turn_aborted>", "three", "four"]
    await session.close()


def _calls_first(request: ModelRequest) -> Reply:
    if any(item["type"] == "function_call" for item in request.input):
        return reply(Say("ok"))
    return reply(Think("**Hm**"), Say("Look"), *[Call("add", {"a": 1, "b": 2})] * 2)


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_a_turn_can_be_interrupted_at_every_moment(mode: str) -> None:
    """Whatever step of the loop it falls on, all is kept once, and a restart sends the same."""
    steps = 0
    while True:
        async with managed(MemoryThreadStore()) as manager:
            session, _ = await started(manager, _calls_first, tools=[add], history_mode=mode)
            turn = await session.start_turn("hi")
            for _ in range(steps):
                await asyncio.sleep(0)
            if turn.done:
                await session.close()
                break
            accepted = session.takes_input
            if accepted:
                await session.steer("also")
            result = await session.interrupt()
            items = await history(manager, session.id)
            assert [item.kind for item in items].count("task_started") == 1
            ends = [item.kind for item in items if item.kind in ("turn_aborted", "task_complete")]
            expected = "turn_aborted" if result.status == "interrupted" else "task_complete"
            assert ends == [expected]
            live = session._state.request()
            heard = texts(live, "user")
            assert (heard.count("hi"), heard.count("also")) == (1, accepted)
            check_pairs(live.input)
            used = len(totals(items))
            assert (totals(items) or [0])[-1] == 120 * used == session.usage.total.total_tokens
            assert result.usage == session.usage.total
            await session.close()
            again, _ = await resumed(manager, session.id, [], tools=[add])
            assert again._state.request() == live
            assert again.usage == session.usage
            await again.close()
        steps += 1
    assert steps > 30


async def test_whoever_stops_waiting_does_not_stop_the_interruption(manager: ThreadManager) -> None:
    pause = gate()
    session, _ = await started(manager, [reply(pause)], settings=SETTINGS)
    turn = await session.start_turn("hi")
    await reached(pause)
    waiting = asyncio.create_task(session.interrupt())
    await asyncio.sleep(0)
    waiting.cancel()
    assert (await turn.result()).status == "interrupted"
    await session.close()


_NO = ModelError("no", kind="bad_request", http_status=400)
