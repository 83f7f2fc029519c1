"""What the server asks its clients while a turn runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.appserver.clients import Client, in_order
from tests.appserver.world import World, serving

from threadstore.engine import AskUser
from threadstore.stores.memory import MemoryThreadStore
from threadstore.testing.scripted_model import Call, Reply, Say

Json = dict[str, Any]

QUESTION = {
    "id": "color",
    "header": "Color",
    "question": "Which one?",
    "options": [{"label": "red", "description": "warm"}, {"label": "blue", "description": "cold"}],
}
ASK = Reply(Call("request_user_input", {"questions": [QUESTION]}))
TOOL = {
    "name": "weather",
    "description": "The weather.",
    "inputSchema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
CALL = Reply(Call("weather", {"city": "Rome"}))
USER_INPUT = "item/tool/requestUserInput"
TOOL_CALL = "item/tool/call"


@pytest.fixture
async def asking() -> AsyncIterator[World]:
    """A server whose models can ask the user."""
    async with serving(MemoryThreadStore(), tools=[AskUser()]) as world:
        yield world


def output(world: World) -> str:
    """What the model got for its last call."""
    return str(world.model.requests[-1].input[-1]["output"])


async def asked(world: World, client: Client, reply: Reply, method: str) -> tuple[str, str, Json]:
    """Thread, turn and the question that the client was asked."""
    tools = [TOOL] if method == TOOL_CALL else None
    thread_id = await client.start(cwd="/a", dynamicTools=tools)
    world.says(reply, Reply(Say("thanks")))
    turn_id = await client.start_turn(thread_id)
    return thread_id, turn_id, await client.question(method)


async def test_the_user_is_asked_and_the_model_gets_the_answer(asking: World) -> None:
    client = await asking.connect()
    thread_id, turn_id, question = await asked(asking, client, ASK, USER_INPUT)
    params = question["params"]
    assert (params["threadId"], params["turnId"]) == (thread_id, turn_id)
    assert params["questions"][0]["id"] == "color"
    read = await client.ask("thread/read", threadId=thread_id)
    assert read["thread"]["status"]["activeFlags"] == ["waitingOnUserInput"]
    await client.send(
        {"id": question["id"], "result": {"answers": {"color": {"answers": ["red"]}}}}
    )
    assert (await client.completed(turn_id))["status"] == "completed"
    assert "red" in output(asking)
    flags = [note["status"].get("activeFlags") for note in client.notes("thread/status/changed")]
    assert flags == [[], ["waitingOnUserInput"], [], None]
    assert in_order(client.methods(), "turn/started", USER_INPUT, "turn/completed")


async def test_the_clients_tool_is_called_and_the_model_gets_its_output(any_world: World) -> None:
    client = await any_world.connect()
    _, turn_id, question = await asked(any_world, client, CALL, TOOL_CALL)
    params = question["params"]
    assert (params["tool"], params["arguments"]) == ("weather", {"city": "Rome"})
    started = [
        note["item"]
        for note in client.notes("item/started")
        if note["item"]["type"] == "dynamicToolCall"
    ]
    assert [(item["id"], item["status"]) for item in started] == [(params["callId"], "inProgress")]
    answer = {"contentItems": [{"type": "inputText", "text": "sunny"}], "success": True}
    await client.send({"id": question["id"], "result": answer})
    assert (await client.completed(turn_id))["status"] == "completed"
    assert output(any_world) == "sunny"


async def test_a_picture_is_an_output_too(world: World) -> None:
    client = await world.connect()
    _, turn_id, question = await asked(world, client, CALL, TOOL_CALL)
    parts = [{"type": "inputText", "text": "see"}, {"type": "inputImage", "imageUrl": "data:,x"}]
    answer = {"contentItems": parts, "success": True}
    await client.send({"id": question["id"], "result": answer})
    await client.completed(turn_id)
    got = world.model.requests[-1].input[-1]["output"]
    assert [part["type"] for part in got] == ["input_text", "input_image"]


ANSWERS: list[Json] = [
    {"error": {"code": -32000, "message": "no weather today"}},
    {"result": None},
    {"result": {}},
    {"result": "sunny"},
    {"result": {"contentItems": "sunny", "success": True}},
    {"result": {"contentItems": [{"type": "inputText"}], "success": "yes"}},
    {"result": {"answers": None}},
    {"result": {"answers": {"color": "red"}}},
    {"result": {"answers": {"color": {"answers": [5]}}}},
]


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize(("reply", "method"), [(ASK, USER_INPUT), (CALL, TOOL_CALL)])
async def test_an_answer_of_any_shape_lets_the_turn_go_on(
    asking: World, reply: Reply, method: str, answer: Json
) -> None:
    client = await asking.connect()
    thread_id, turn_id, question = await asked(asking, client, reply, method)
    await client.send({"id": question["id"], **answer})
    assert (await client.completed(turn_id))["status"] == "completed"
    if method == TOOL_CALL and "error" in answer:
        assert "no weather today" in output(asking)
    assert (await client.turn(thread_id))["status"] == "completed"


@pytest.mark.parametrize(("reply", "method"), [(ASK, USER_INPUT), (CALL, TOOL_CALL)])
async def test_if_the_one_asked_goes_another_is_asked(
    asking: World, reply: Reply, method: str
) -> None:
    first, second = await asking.connect(), await asking.connect()
    thread_id, turn_id, _ = await asked(asking, first, reply, method)
    await second.ask("thread/resume", threadId=thread_id)
    await first.close()
    question = await second.question(method)
    await second.send({"id": question["id"], "error": {"code": 1, "message": "cannot"}})
    assert (await second.completed(turn_id))["status"] == "completed"


@pytest.mark.parametrize(("reply", "method"), [(ASK, USER_INPUT), (CALL, TOOL_CALL)])
async def test_if_nobody_is_left_whoever_comes_next_is_asked(
    asking: World, reply: Reply, method: str
) -> None:
    first, second = await asking.connect(), await asking.connect()
    thread_id, turn_id, _ = await asked(asking, first, reply, method)
    await first.close()
    await second.settle()
    await second.ask("thread/resume", threadId=thread_id)
    question = await second.question(method)
    await second.send({"id": question["id"], "error": {"code": 1, "message": "cannot"}})
    assert (await second.completed(turn_id))["status"] == "completed"


@pytest.mark.parametrize(("reply", "method"), [(ASK, USER_INPUT), (CALL, TOOL_CALL)])
async def test_an_interruption_takes_the_question_back(
    asking: World, reply: Reply, method: str
) -> None:
    client = await asking.connect()
    thread_id, turn_id, question = await asked(asking, client, reply, method)
    await client.ask("turn/interrupt", threadId=thread_id, turnId=turn_id)
    assert (await client.completed(turn_id))["status"] == "interrupted"
    status = client.notes("thread/status/changed")[-1]["status"]
    assert status == {"type": "idle"}
    seen = len(client.heard)
    await client.send({"id": question["id"], "result": {}})  # too late
    await client.settle()
    assert [word for word in client.methods(seen) if not word.startswith("=")] == []
    assert (await client.turn(thread_id))["status"] == "completed"
