"""Items of an odd shape, from a model or from whoever injects them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.helpers import SETTINGS, Gated, add, history, reply, say, started

from threadstore.engine import Session
from threadstore.engine.model import Completed, ItemDone, ModelEvent, ModelRequest
from threadstore.engine.outputs import check_injected
from threadstore.errors import InvalidRequest
from threadstore.metadata import NewThread
from threadstore.testing.scripted_model import Call, Raw, Say

if TYPE_CHECKING:
    from threadstore.manager import ThreadManager

Json = dict[str, Any]

FUNCTION_OUTPUT = "function_call_output"
LOOK = {"name": "look", "description": "Look.", "inputSchema": {"type": "object"}}

TEXT: Json = {"type": "input_text", "text": "hi"}


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("text", "an object with a type"),
        ({"type": ["message"]}, "an object with a type"),
        ({"type": "message", "content": [TEXT]}, "no role of a message: None"),
        ({"type": "message", "role": ["user"], "content": [TEXT]}, "no role"),
        ({"type": "message", "role": "tool", "content": "x"}, "no role"),
        ({"type": "message", "role": "user"}, "content of an item of type message"),
        ({"type": "message", "role": "user", "content": 3}, "content of"),
        ({"type": "message", "role": "user", "content": ["hi"]}, "content of"),
        ({"type": "message", "role": "user", "content": [{"text": "hi"}]}, "content of"),
        ({"type": "reasoning", "content": [TEXT]}, "summary of"),
        ({"type": "reasoning", "summary": [], "content": 3}, "content of"),
        ({"type": "function_call", "call_id": "c", "name": "n"}, "the text arguments"),
        ({"type": "function_call", "call_id": "c", "name": "n", "arguments": {}}, "arguments"),
        ({"type": "function_call", "name": "n", "arguments": ""}, "the text call_id"),
        ({"type": "function_call", "call_id": "c", "arguments": ""}, "the text name"),
        ({"type": "custom_tool_call", "call_id": "c", "name": "n"}, "the text input"),
        ({"type": "function_call_output", "output": "x"}, "the text call_id"),
        ({"type": "function_call_output", "call_id": "c"}, "output of"),
        ({"type": "custom_tool_call_output", "call_id": "c", "output": {}}, "output of"),
    ],
)
def test_an_item_that_no_request_could_carry_is_not_injected(item: Any, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        check_injected(item)


@pytest.mark.parametrize(
    "item",
    [
        {"type": "message", "role": "user", "content": "hi"},
        {"type": "message", "role": "developer", "content": [TEXT], "id": "m"},
        {"type": "reasoning", "summary": [], "content": None, "encrypted_content": "x"},
        {"type": "function_call", "call_id": "c", "name": "n", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [TEXT]},
        {"type": "custom_tool_call", "call_id": "c", "name": "n", "input": ""},
        {"type": "web_search_call", "status": "completed"},
        {"type": "of_the_future"},
    ],
)
def test_an_item_of_the_api_is_injected_and_an_unknown_kind_let_pass(item: Json) -> None:
    check_injected(item)


# What a model says


async def test_a_call_that_is_nested_deeper_than_anybody_reads_is_answered(
    any_manager: ThreadManager,
) -> None:
    deep = "[" * 3000 + "]" * 3000
    calls = (Call("add", f'{{"a": {deep}}}', "c1"), Call("look", deep, "c2"))
    both = (*calls, Call("look", f'{{"a": {"[" * 200}{"]" * 200}}}', "c3"))
    for mode in ("legacy", "paginated"):
        session, model = await started(
            any_manager,
            [reply(*both), reply(Say("ok"))],
            tools=[add],
            dynamic_tools=(LOOK,),
            history_mode=mode,
        )
        assert (await say(session, "hi")).status == "completed"
        outputs = [item for item in model.requests[1].input if item["type"] == FUNCTION_OUTPUT]
        assert [item["call_id"] for item in outputs] == ["c1", "c2", "c3"]
        assert all("do not fit" in item["output"] for item in outputs)
        assert "more than 100 levels" in outputs[2]["output"]
        await session.close()


async def test_arguments_that_come_as_an_object_reach_the_tool(manager: ThreadManager) -> None:
    given = {"type": "function_call", "call_id": "c", "name": "add", "arguments": {"a": 1, "b": 2}}
    unnamed = {"type": "function_call", "call_id": "", "name": ["add"], "arguments": None}
    session, model = await started(
        manager, [reply(Raw(given), Raw(unnamed)), reply(Say("ok"))], tools=[add]
    )
    assert (await say(session, "hi")).status == "completed"
    call, other, output, second = model.requests[1].input[-4:]
    assert call["arguments"] == '{"a":1,"b":2}'
    assert output == {"type": FUNCTION_OUTPUT, "call_id": "c", "output": "3"}
    assert (other["name"], other["arguments"]) == ("unnamed", "{}")
    assert second["call_id"] == other["call_id"] != ""
    assert second["output"].startswith("error: no tool is named unnamed")
    await session.close()


@pytest.mark.parametrize(
    ("item", "kept"),
    [
        (
            {"type": "reasoning", "content": 3},
            {"type": "reasoning", "summary": []},
        ),
        (
            {"type": "reasoning", "summary": ["x", {"text": "y"}], "content": "z"},
            {
                "type": "reasoning",
                "summary": [{"type": "summary_text", "text": "y"}],
                "content": [{"type": "reasoning_text", "text": "z"}],
            },
        ),
        (
            {"type": "message", "role": 3, "content": "words", "phase": 5},
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "words"}],
            },
        ),
        (
            {"type": "message", "content": [{"type": "refusal"}, {"type": "output_text"}]},
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": ""}] * 2,
            },
        ),
        ({"type": "web_search_call", "action": 3}, {"type": "web_search_call"}),
        (
            {"type": "web_search_call", "action": {"type": "search", "query": [1]}},
            {"type": "web_search_call", "action": {"type": "search", "query": [1]}},
        ),
    ],
    ids=str,
)
async def test_an_item_of_another_shape_is_kept_in_that_of_the_api(
    manager: ThreadManager, item: Json, kept: Json
) -> None:
    session, _ = await started(manager, [reply(Raw(item), Say("ok"))])
    result = await say(session, "hi")
    assert (result.status, result.last_message) == ("completed", "ok")
    lines = [line.payload for line in await history(manager, session.id)]
    assert kept in lines
    await session.close()


@pytest.mark.parametrize("kind", [["message"], {"message": 1}, None, 5])
async def test_an_item_whose_type_is_no_word_is_passed_over(
    manager: ThreadManager, kind: Any
) -> None:
    session, _ = await started(manager, [reply(Raw({"type": kind}), Say("ok"))])
    assert (await say(session, "hi")).last_message == "ok"
    await session.close()


class Unreadable:
    """Calls a tool, then yields what no session can handle."""

    def __init__(self) -> None:
        self.requests: list[ModelRequest] = []

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        self.requests.append(request)
        if len(self.requests) == 1:
            call = {"type": "function_call", "call_id": "c", "name": "slow", "arguments": "{}"}
            yield ItemDone(call)
            yield ItemDone("what is no item")  # type: ignore[arg-type]
        yield Completed("r")


async def test_an_event_that_cannot_be_handled_costs_no_output_of_a_tool(
    manager: ThreadManager,
) -> None:
    slow = Gated()
    model = Unreadable()
    session = await Session.start(
        manager, NewThread(cwd="/a"), model, settings=SETTINGS, tools=[slow.tool]
    )
    turn = await session.start_turn("hi")
    await slow.begun.wait()
    slow.go_on.set()
    result = await turn
    assert result.status == "failed"
    assert result.error is not None
    assert (result.error.info, result.error.message[:9]) == ("other", "Attribute")
    await say(session, "more")
    outputs = [item for item in model.requests[1].input if item["type"] == FUNCTION_OUTPUT]
    assert [item["output"] for item in outputs] == ["slow is done"]
    await session.close()
