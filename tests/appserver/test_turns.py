"""Turns: their notifications in order, steering, interrupting."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from tests.appserver.clients import Client, in_order
from tests.appserver.world import CONFIG, UNKNOWN, World, gate, reached, serving

from threadstore.engine import tool
from threadstore.engine.model import ModelError
from threadstore.stores.memory import MemoryThreadStore
from threadstore.testing.scripted_model import Call, Reply, Say, Think, rate_limits

Json = dict[str, Any]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture
async def tooled() -> AsyncIterator[World]:
    """A server whose threads have a tool."""
    async with serving(MemoryThreadStore(), tools=[add]) as world:
        yield world


def check_turn(client: Client, turn_id: str, *, broke_off: bool = False) -> None:
    """What holds of every turn that has ended, as this client heard it.

    What the model said until it *broke_off* is an item that started and never completes.
    """
    of_turn = [m for m in client.heard if turn_of(m) == turn_id and "id" not in m]
    words = [m["method"] for m in of_turn]
    assert words[0] == "turn/started"
    assert words[-1] == "turn/completed"
    assert words.count("turn/started") == words.count("turn/completed") == 1
    begun: list[str] = []
    done: list[str] = []
    for message in of_turn:
        item = message["params"].get("item", {}).get("id") or message["params"].get("itemId")
        if message["method"] == "item/started":
            assert item not in begun
            begun.append(item)
        elif message["method"] == "item/completed":
            assert item in begun
            done.append(item)
        elif message["method"].startswith("item/"):
            assert item in begun
            assert item not in done
    assert len(begun) == len(done) + broke_off


def turn_of(message: Json) -> str | None:
    """The turn that a message is about."""
    params = message.get("params") or {}
    found: str | None = params.get("turnId") or (params.get("turn") or {}).get("id")
    return found


async def test_a_turn_is_told_in_codexs_order(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await client.start(cwd="/a")
    await client.note("thread/started")
    any_world.says(Reply(Think("hm", "so"), Say("an answer"), rate_limits=rate_limits(5)))
    seen = len(client.heard)
    turn = await client.turn(thread_id)
    assert [word for word in client.methods(seen) if not word.endswith("elta")] == [
        "=turn/start",
        "thread/status/changed",
        "turn/started",
        "item/started",
        "item/completed",
        "item/started",
        "item/reasoning/summaryPartAdded",
        "item/reasoning/summaryPartAdded",
        "item/completed",
        "item/started",
        "item/completed",
        "thread/tokenUsage/updated",
        "account/rateLimits/updated",
        "thread/status/changed",
        "turn/completed",
    ]
    statuses = [note["status"]["type"] for note in client.notes("thread/status/changed", seen)]
    assert statuses == ["active", "idle"]
    deltas = "".join(note["delta"] for note in client.notes("item/agentMessage/delta", seen))
    assert deltas == "an answer"
    assert (turn["status"], turn["itemsView"], turn["error"]) == ("completed", "summary", None)
    assert [item["text"] for item in turn["items"]] == ["an answer"]
    check_turn(client, turn["id"])


async def test_usage_is_told_when_the_tools_of_a_response_are_done(tooled: World) -> None:
    client = await tooled.connect()
    thread_id = await client.start(cwd="/a")
    tooled.says(
        Reply(Say("let me add"), Call("add", {"a": 1, "b": 2}), Call("add", {"a": 3, "b": 4})),
        Reply(Say("3 and 7")),
    )
    seen = len(client.heard)
    turn = await client.turn(thread_id)
    words = client.methods(seen)
    usage = words.index("thread/tokenUsage/updated")
    tools = [
        index
        for index, message in enumerate(client.heard[seen:])
        if message.get("method") in ("item/started", "item/completed")
        and message["params"]["item"]["type"] == "dynamicToolCall"
    ]
    assert len(tools) == 4
    assert max(tools) < usage
    assert words.count("thread/tokenUsage/updated") == 2
    totals = [
        note["tokenUsage"]["total"]["totalTokens"]
        for note in client.notes("thread/tokenUsage/updated")
    ]
    assert totals == sorted(totals)
    assert turn["items"][0]["text"] == "3 and 7"
    check_turn(client, turn["id"])


@pytest.mark.parametrize(
    ("reply", "info"),
    [
        (Reply(error=ModelError("no", kind="usage_limit_exceeded")), "usageLimitExceeded"),
        (Reply(error=ModelError("no", kind="context_window_exceeded")), "contextWindowExceeded"),
        (Reply(error=ModelError("no")), "other"),
        (
            Reply(Say("half of it"), cut_after=0),
            {"responseStreamDisconnected": {"httpStatusCode": None}},
        ),
    ],
)
async def test_a_turn_that_fails_says_why(world: World, reply: Reply, info: Any) -> None:
    client = await world.connect()
    thread_id = await client.start(cwd="/a")
    world.says(reply)
    turn = await client.turn(thread_id)
    assert turn["status"] == "failed"
    assert turn["error"]["codexErrorInfo"] == info
    [error] = client.notes("error")
    assert (error["willRetry"], error["error"]) == (False, turn["error"])
    assert in_order(client.methods(), "error", "turn/completed")
    check_turn(client, turn["id"], broke_off=isinstance(info, dict))
    assert (await client.turn(thread_id, "again"))["status"] == "completed"


async def test_a_retry_is_told_and_no_failure() -> None:
    config = msgspec.structs.replace(CONFIG, max_retries=1)
    async with serving(MemoryThreadStore(), config=config) as world:
        client = await world.connect()
        thread_id = await client.start(cwd="/a")
        world.says(Reply(Say("half of it"), cut_after=0), Reply(Say("all of it")))
        turn = await client.turn(thread_id)
        assert turn["status"] == "completed"
        [error] = client.notes("error")
        assert error["willRetry"]
        check_turn(client, turn["id"], broke_off=True)


async def test_an_interruption_is_answered_before_the_turn_ends(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await client.start(cwd="/a")
    pause = gate()
    any_world.says(Reply(Say("half a thought", chunk=4), pause))
    turn_id = await client.start_turn(thread_id)
    await reached(pause)
    assert await client.ask("turn/interrupt", threadId=thread_id, turnId=turn_id) == {}
    turn = await client.completed(turn_id)
    assert (turn["status"], turn["error"]) == ("interrupted", None)
    assert in_order(client.methods(), "=turn/interrupt", "thread/status/changed", "turn/completed")
    check_turn(client, turn_id)
    seen = len(client.heard)
    await client.settle()
    assert [word for word in client.methods(seen) if not word.startswith("=")] == []
    assert (await client.turn(thread_id, "go on"))["status"] == "completed"


async def test_only_the_turn_that_runs_is_interrupted(world: World) -> None:
    client = await world.connect()
    thread_id = await client.start(cwd="/a")
    refused = await client.refusal("turn/interrupt", threadId=thread_id, turnId=UNKNOWN)
    assert refused.message == "no active turn to interrupt"
    pause = gate()
    world.says(Reply(pause, Say("late")))
    turn_id = await client.start_turn(thread_id)
    await reached(pause)
    refused = await client.refusal("turn/interrupt", threadId=thread_id, turnId=UNKNOWN)
    assert refused.message == f"expected active turn id {UNKNOWN} but found {turn_id}"
    pause.gate.set()
    assert (await client.completed(turn_id))["status"] == "completed"


async def test_two_interruptions_of_one_turn_are_both_answered(world: World) -> None:
    client, other = await world.connect(), await world.connect()
    thread_id = await client.start(cwd="/a")
    await other.ask("thread/resume", threadId=thread_id)
    pause = gate()
    world.says(Reply(Say("half"), pause))
    turn_id = await client.start_turn(thread_id)
    await reached(pause)
    params = {"threadId": thread_id, "turnId": turn_id}
    first, second = [await each.begin("turn/interrupt", params) for each in (client, other)]
    assert await client.answer_to(first) == {}
    assert await other.answer_to(second) == {}
    for each in (client, other):
        assert (await each.completed(turn_id))["status"] == "interrupted"
        assert in_order(each.methods(), "=turn/interrupt", "turn/completed")


async def test_a_turn_is_steered_into_its_next_request(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await client.start(cwd="/a")
    pause = gate()
    any_world.says(Reply(pause, Say("first")), Reply(Say("second")))
    turn_id = await client.start_turn(thread_id, "one")
    await reached(pause)
    given = [{"type": "text", "text": "and two"}]
    answer = await client.ask(
        "turn/steer",
        threadId=thread_id,
        input=given,
        expectedTurnId=turn_id,
        clientUserMessageId="mine",
    )
    assert answer == {"turnId": turn_id}
    pause.gate.set()
    await client.completed(turn_id)
    users = [
        note["item"]
        for note in client.notes("item/completed")
        if note["item"]["type"] == "userMessage"
    ]
    assert [item["content"][0]["text"] for item in users] == ["one", "and two"]
    assert users[1]["clientId"] == "mine"
    check_turn(client, turn_id)


async def test_a_start_while_a_turn_runs_is_steering(world: World) -> None:
    client = await world.connect()
    thread_id = await client.start(cwd="/a")
    pause = gate()
    world.says(Reply(pause, Say("first")), Reply(Say("second")))
    turn_id = await client.start_turn(thread_id, "one")
    await reached(pause)
    assert await client.start_turn(thread_id, "two") == turn_id
    pause.gate.set()
    await client.completed(turn_id)
    assert client.methods().count("turn/started") == 1


async def test_steering_names_the_turn_that_runs(world: World) -> None:
    client = await world.connect()
    thread_id = await client.start(cwd="/a")
    params = {"threadId": thread_id, "input": [{"type": "text", "text": "x"}]}
    refused = await client.refusal("turn/steer", expectedTurnId=UNKNOWN, **params)
    assert refused.message == "no active turn to steer"
    pause = gate()
    world.says(Reply(pause, Say("late")))
    turn_id = await client.start_turn(thread_id)
    await reached(pause)
    refused = await client.refusal("turn/steer", expectedTurnId=UNKNOWN, **params)
    assert refused.message == f"expected active turn id `{UNKNOWN}` but found `{turn_id}`"
    pause.gate.set()
    await client.completed(turn_id)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("turn/start", {"input": []}),
        ("turn/steer", {"input": [], "expectedTurnId": UNKNOWN}),
        ("turn/interrupt", {"turnId": UNKNOWN}),
    ],
)
async def test_only_a_loaded_thread_has_turns(world: World, method: str, params: Json) -> None:
    client = await world.connect()
    refused = await client.refusal(method, threadId=UNKNOWN, **params)
    assert (refused.message, refused.code) == (f"thread not found: {UNKNOWN}", -32600)
    assert (await client.refusal(method, threadId="x", **params)).message == "invalid thread id: x"
    assert (await client.refusal(method, threadId={}, **params)).code == -32600
    cold = await client.start(cwd="/a")
    await client.turn(cold)
    await client.ask("thread/unsubscribe", threadId=cold)
    await client.note("thread/closed")
    refused = await client.refusal(method, threadId=cold, **params)
    assert refused.message == f"thread not found: {cold}"


@pytest.mark.parametrize(
    "given",
    [
        "text",
        {},
        [5],
        ["text"],
        [{}],
        [{"type": "video"}],
        [{"type": "text"}],
        [{"type": "text", "text": 5}],
        [{"type": "text", "text": "x", "text_elements": 5}],
        [{"type": "text", "text": "x", "text_elements": [5]}],
        [{"type": "image"}],
        [{"type": "image", "url": 5}],
        [{"type": "localImage", "path": None}],
        [{"type": "mention", "name": "x"}],
        None,
    ],
)
async def test_input_of_a_wrong_kind_is_refused(client: Client, given: Any) -> None:
    thread_id = await client.start(cwd="/a")
    refused = await client.refusal("turn/start", threadId=thread_id, input=given)
    assert refused.code == -32600
    assert (await client.turn(thread_id))["status"] == "completed"


@pytest.mark.parametrize(
    "given",
    [
        [{"type": "text", "text": ""}],
        [],
        [{"type": "mention", "name": "file", "path": "/a/b"}],
        [{"type": "skill", "name": "s", "path": "/s"}],
        [{"type": "image", "url": "data:image/png;base64,iVBORw0KGgo="}],
        [
            {
                "type": "text",
                "text": "@a x",
                "text_elements": [{"byteRange": {"start": 0, "end": 2}, "placeholder": "a"}],
            }
        ],
    ],
)
async def test_unusual_input_ends_in_a_turn_or_an_error(client: Client, given: list[Json]) -> None:
    thread_id = await client.start(cwd="/a")
    request = await client.begin("turn/start", {"threadId": thread_id, "input": given})
    answer = await client.first(lambda m: m.get("id") == request and "method" not in m)
    if "error" in answer:
        assert answer["error"]["code"] == -32600
    else:
        turn_id = answer["result"]["turn"]["id"]
        assert (await client.completed(turn_id))["status"] == "completed"
        check_turn(client, turn_id)
    assert (await client.turn(thread_id))["status"] == "completed"


async def test_half_a_surrogate_pair_is_not_json_and_passed_over(client: Client) -> None:
    thread_id = await client.start(cwd="/a")
    text = (
        b'{"id":"s","method":"turn/start","params":{"threadId":"%s","input":' % thread_id.encode()
    )
    await client.send(text + b'[{"type":"text","text":"half \\ud83d"}]}}')
    assert (await client.turn(thread_id))["status"] == "completed"
    assert not [message for message in client.heard if message.get("id") == "s"]


async def test_outputs_of_tools_are_not_taken_from_clients(client: Client) -> None:
    thread_id = await client.start(cwd="/a")
    refused = await client.refusal(
        "turn/start", threadId=thread_id, input=[], toolOutput={"callId": "c", "output": "x"}
    )
    assert refused.code == -32600


async def test_a_schema_for_the_answer_holds_for_one_turn(world: World) -> None:
    client = await world.connect()
    thread_id = await client.start(cwd="/a")
    schema = {"type": "object"}
    await client.turn(thread_id, outputSchema=schema)
    await client.turn(thread_id)
    assert [request.output_schema for request in world.model.requests] == [schema, None]


async def test_the_effort_none_asks_for_none(world: World) -> None:
    client = await world.connect()
    thread_id = await client.start(cwd="/a")
    turn = await client.turn(thread_id, effort="none", summary="none")
    assert turn["status"] == "completed"
