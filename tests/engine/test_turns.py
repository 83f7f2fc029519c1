"""What a turn keeps, in which order, and who hears of it when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.helpers import (
    Gated,
    add,
    boom,
    history,
    outline,
    reply,
    said,
    say,
    started,
    texts,
    told,
    types,
)

from threadstore.engine import TaskComplete
from threadstore.testing.scripted_model import Call, Raw, Say, Think, rate_limits

if TYPE_CHECKING:
    from threadstore.manager import ThreadManager

OPENING = ["task_started", "ri:developer", "ri:user", "turn_context", "ri:user", "user_message"]
AGAIN = ["task_started", "turn_context", "ri:user", "user_message"]
ANSWER = ["agent_message", "ri:assistant", "token_count", "task_complete"]
ADD = Call("add", {"a": 1, "b": 2})


async def test_a_plain_turn_is_kept_in_the_order_of_codex(any_manager: ThreadManager) -> None:
    script = [reply(Think("**Hm**"), Say("Hello")), reply(Say("Again"))]
    session, _ = await started(any_manager, script)
    result = await say(session, "hi")
    assert (result.status, result.last_message, result.error) == ("completed", "Hello", None)
    first = [*OPENING, "agent_reasoning", "ri:reasoning", *ANSWER]
    assert await outline(any_manager, session.id) == first
    await say(session, "more")
    assert await outline(any_manager, session.id) == [*first, *AGAIN, *ANSWER]
    await session.close()


async def test_a_paginated_thread_keeps_completed_items_instead_of_events(
    any_manager: ThreadManager,
) -> None:
    script = [reply(Think("**Hm**"), ADD), reply(Say("Three"))]
    session, _ = await started(any_manager, script, tools=[add], history_mode="paginated")
    await say(session, "one and two?")
    assert await outline(any_manager, session.id) == [
        *("task_started", "ri:developer", "ri:user", "turn_context", "ri:user"),
        *("done:UserMessage", "done:Reasoning", "ri:reasoning", "function_call"),
        *("token_usage_record", "done:DynamicToolCall", "function_call_output", "token_count"),
        *("done:AgentMessage", "ri:assistant", "token_usage_record", "token_count"),
        "task_complete",
    ]
    await session.close()


async def test_outputs_stand_before_the_count_of_their_request(
    any_manager: ThreadManager,
) -> None:
    script = [reply(Think("**Hm**"), ADD), reply(Say("Three"))]
    session, model = await started(any_manager, script, tools=[add])
    await say(session, "one and two?")
    assert await outline(any_manager, session.id) == [
        *OPENING,
        *("agent_reasoning", "ri:reasoning", "function_call", "function_call_output"),
        "token_count",
        *ANSWER,
    ]
    assert said(model.requests[1]) == ["one and two?", "3"]
    await session.close()


async def test_outputs_of_parallel_calls_stand_in_the_order_of_the_calls(
    manager: ThreadManager,
) -> None:
    one, two, three = Gated("one"), Gated("two"), Gated("three")
    script = [reply(Call("one"), Call("two"), Call("three")), reply(Say("ok"))]
    session, model = await started(manager, script, tools=[g.tool for g in (one, two, three)])
    turn = await session.start_turn("go")
    for each in (one, two, three):
        await each.begun.wait()
    for each in (three, two, one):
        each.go_on.set()
    assert (await turn.result()).status == "completed"
    assert await outline(manager, session.id) == [
        *OPENING,
        *["function_call"] * 3,
        *["function_call_output"] * 3,
        "token_count",
        *ANSWER,
    ]
    assert said(model.requests[1]) == ["go", "one is done", "two is done", "three is done"]
    await session.close()


async def test_what_goes_wrong_in_a_call_is_an_output_for_the_model(manager: ThreadManager) -> None:
    calls = [Call("boom"), Call("nobody"), Call("add", "{broken"), Call("add", {"a": "x"})]
    session, model = await started(manager, [reply(*calls), reply(Say("ok"))], tools=[add, boom])
    assert (await say(session, "go")).status == "completed"
    outputs = said(model.requests[1])[1:]
    assert len(outputs) == 4
    assert "went wrong" in outputs[0]
    assert "no tool is named nobody" in outputs[1]
    assert all("add" in output for output in outputs[2:])
    assert [item["type"] for item in model.requests[1].input[-8:]] == [
        *["function_call"] * 4,
        *["function_call_output"] * 4,
    ]
    await session.close()


async def test_a_huge_output_loses_its_middle_before_it_is_kept(manager: ThreadManager) -> None:
    def flood() -> str:
        """Say a lot."""
        return "a" + "x" * 50_000_000 + "z"

    session, model = await started(manager, [reply(Call("flood")), reply(Say("ok"))], tools=[flood])
    assert (await say(session, "go")).status == "completed"
    output = said(model.requests[1])[1]
    assert len(output.encode()) <= 64 * 1024
    assert output[0] == "a"
    assert output[-1] == "z"
    raw = [chunk async for chunk in manager.store.raw_history(session.id)]
    assert sum(map(len, raw)) < 200_000
    await session.close()


async def test_items_of_the_server_are_kept_and_sent_again(manager: ThreadManager) -> None:
    search = {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {"type": "search", "query": "weather"},
    }
    session, model = await started(manager, [reply(Raw(search), Say("Sunny")), reply(Say("ok"))])
    await say(session, "weather?")
    assert await outline(manager, session.id) == [
        *OPENING,
        *("web_search_end", "web_search_call"),
        *ANSWER,
    ]
    await say(session, "thanks")
    assert {key: value for key, value in search.items() if key != "id"} in model.requests[1].input
    await session.close()


async def test_the_context_is_told_once_and_again_where_it_changed(manager: ThreadManager) -> None:
    session, model = await started(manager, lambda _: reply(Say("ok")))
    await say(session, "one")
    await say(session, "two")
    session.configure(developer_instructions="Be long.")
    await say(session, "three")
    opening = [text for text in texts(model.requests[2]) if text.startswith(("Be ", "<env"))]
    assert [text.partition("\n")[0] for text in opening] == [
        "Be brief.",
        "<environment_context>",
        "Be long.",
    ]
    assert "<cwd>/a</cwd>" in opening[1]
    await session.close()


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_whoever_hears_of_an_event_finds_it_in_the_history(
    any_manager: ThreadManager, mode: str
) -> None:
    """Only progress is never kept: starts of items, deltas, questions."""
    limits = rate_limits(1)
    script = [
        reply(Think("**Hm**"), Say("Look"), ADD, rate_limits=limits),
        reply(Say("Three")),
        reply(Say("Summary")),
    ]
    session, _ = await started(any_manager, script, tools=[add], history_mode=mode)
    kept_kinds = {
        *("task_started", "task_complete", "token_count"),
        *(("item_completed",) if mode == "paginated" else ()),
        *(
            ("user_message", "agent_message", "agent_reasoning", "context_compacted")
            if mode == "legacy"
            else ()
        ),
    }
    seen: dict[str, int] = {}
    for start in (session.start_turn("hi"), session.compact()):
        async for event in await start:
            payload = event.payload()
            if payload["type"] in kept_kinds:
                seen[payload["type"]] = seen.get(payload["type"], 0) + 1
                stored = [item.payload for item in await history(any_manager, session.id)]
                assert payload in stored
    assert set(seen) == kept_kinds
    await session.close()


async def test_events_come_in_the_order_of_codex(manager: ThreadManager) -> None:
    session, _ = await started(
        manager, [reply(Think("**Hm**"), ADD), reply(Say("Three", chunk=3))], tools=[add]
    )
    events = await told(await session.start_turn("hi"))
    assert types(events) == [
        *("task_started", "item_started", "item_completed", "user_message"),
        *("item_started", "reasoning_content_delta", "item_completed", "agent_reasoning"),
        *("item_started", "item_completed", "token_count"),
        *("item_started", "agent_message_content_delta", "agent_message_content_delta"),
        *("item_completed", "agent_message", "token_count", "task_complete"),
    ]
    ids: dict[str, list[str]] = {}
    for event in events:
        payload: dict[str, Any] = event.payload()
        if payload["type"] in ("item_started", "item_completed"):
            ids.setdefault(payload["item"]["id"], []).append(payload["type"])
    assert list(ids.values()) == [["item_started", "item_completed"]] * 4
    assert {event.turn_id for event in events} == {events[0].turn_id}
    await session.close()


async def test_the_end_of_a_turn_says_what_was_said_last_and_how_long_it_took(
    manager: ThreadManager,
) -> None:
    session, _ = await started(manager, [reply(Say("Look"), ADD), reply()], tools=[add])
    end = (await told(await session.start_turn("hi")))[-1]
    assert isinstance(end, TaskComplete)
    assert (end.last_agent_message, end.duration_ms) == ("Look", 0)
    assert end.payload()["time_to_first_token_ms"] == 0
    await session.close()
