"""What no well-behaved client sends, and clients that go at the wrong moment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.appserver.clients import Client
from tests.appserver.world import UNKNOWN, World, gate, reached

from threadstore.testing.scripted_model import Call, Reply, Say

Json = dict[str, Any]

GARBAGE = [
    b"garbage",
    b"",
    b"{",
    b'{"id":1,"method":"thread/list","params":{',
    b"\xff\xfe\x00",
    b'{"id":1}' * 2,
    b"\x00" * 1000,
]
MALFORMED: list[Any] = [
    [],
    5,
    "text",
    None,
    [{"id": 1, "method": "thread/list"}],
    {"id": 1},
    {"id": None, "method": "thread/list"},
    {"id": {}, "method": "thread/list"},
    {"id": 1.5, "method": "thread/list"},
    {"id": True, "method": "thread/list"},
    {"id": 1, "method": 5},
    {"id": 1, "method": None},
    {"id": 1, "result": {}, "error": {}},
    {"error": "bad", "id": 1},
]


@pytest.mark.parametrize("raw", GARBAGE)
async def test_what_is_not_json_is_passed_over(client: Client, raw: bytes) -> None:
    seen = len(client.heard)
    await client.send(raw)
    await client.settle()
    assert client.methods(seen) == ["=thread/loaded/list"] * 3


@pytest.mark.parametrize("message", MALFORMED)
async def test_json_that_is_no_message_is_refused(client: Client, message: Any) -> None:
    await client.send(message)
    answer = await client.first(lambda m: "error" in m)
    assert answer["error"]["code"] == -32600
    await client.settle()


async def test_an_unknown_method_is_refused_as_codex_does(client: Client) -> None:
    refused = await client.refusal("no/such/method")
    assert refused.message == "Invalid request: unknown variant `no/such/method`"
    assert refused.code == -32600


async def test_an_unknown_notification_and_an_answer_to_nothing_are_passed_over(
    client: Client,
) -> None:
    await client.send({"method": "no/such/notification"}, {"method": "initialized", "params": 5})
    await client.send({"id": 99, "result": {}}, {"id": 98, "error": {"code": 1, "message": "x"}})
    await client.settle()


@pytest.mark.parametrize("params", [5, "text", [], [{}], True])
async def test_parameters_are_an_object(client: Client, params: Any) -> None:
    for method in ("thread/list", "thread/read", "turn/start", "initialize"):
        await client.send({"id": method, "method": method, "params": params})
        answer = await client.first(lambda m, wanted=method: m.get("id") == wanted)  # type: ignore[misc]
        assert answer["error"]["code"] == -32600


async def test_parameters_nested_too_deeply_are_refused(client: Client) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    await client.send(b'{"id":"d","method":"thread/start","params":{"config":' + deep + b"}}")
    answer = await client.first(lambda m: m.get("id") in ("d", None) and "error" in m)
    assert answer["error"]["code"] == -32600
    await client.settle()


async def test_ids_are_echoed_as_they_are(client: Client) -> None:
    for request_id in ("text", "", 0, -1, 2**63 - 1, -(2**63), "ünï\n"):
        await client.send({"id": request_id, "method": "thread/loaded/list"})
        answer = await client.first(lambda m, wanted=request_id: m.get("id") == wanted)  # type: ignore[misc]
        assert "result" in answer


async def test_an_id_is_used_again_after_its_answer_only(world: World) -> None:
    client = await world.connect()
    thread_id = await client.start(cwd="/a")
    pause = gate()
    world.says(Reply(Say("half"), pause))
    turn_id = await client.start_turn(thread_id)
    await reached(pause)
    ask = {"id": "same", "method": "thread/list", "params": {}}
    await client.send(ask, ask)
    await client.until(lambda: sum(m.get("id") == "same" for m in client.heard) == 2)
    await client.send(ask)
    await client.until(lambda: sum(m.get("id") == "same" for m in client.heard) == 3)
    assert "result" in client.heard[-1]
    pause.gate.set()
    await client.completed(turn_id)


async def test_a_client_that_goes_in_the_middle_of_a_turn_loses_nothing(any_world: World) -> None:
    first, second = await any_world.connect(), await any_world.connect()
    thread_id = await first.start(cwd="/a")
    pause = gate()
    any_world.says(Reply(Say("half "), pause, Say("and all")))
    turn_id = await first.start_turn(thread_id, "tell me")
    await reached(pause)
    await first.close()
    read = await second.ask("thread/read", threadId=thread_id)
    assert read["thread"]["status"]["type"] == "active"
    pause.gate.set()
    await second.note("thread/closed", threadId=thread_id)
    page = await second.ask("thread/turns/list", threadId=thread_id, itemsView="full")
    assert [(turn["id"], turn["status"]) for turn in page["data"]] == [(turn_id, "completed")]
    assert page["data"][0]["items"][-1]["text"] == "and all"
    assert (await second.ask("thread/loaded/list"))["data"] == []


async def test_a_client_that_goes_with_requests_open_does_no_harm(world: World) -> None:
    first, second = await world.connect(), await world.connect()
    thread_id = await first.start(cwd="/a")
    await first.turn(thread_id)
    for method in ("thread/list", "thread/read", "thread/archive", "thread/unarchive"):
        await first.begin(method, {"threadId": thread_id})
    await first.close()
    await second.settle()
    assert (await second.ask("thread/read", threadId=thread_id))["thread"]["preview"] == "hello"


async def test_a_client_that_goes_before_it_says_hello_does_no_harm(world: World) -> None:
    silent = await world.connect(None)
    await silent.close()
    half = await world.connect(None)
    await half.begin("initialize", {"clientInfo": {"name": "x", "version": "1"}})
    await half.close()
    await (await world.connect()).settle()


async def test_two_hundred_clients_are_served(world: World) -> None:
    clients = await asyncio.gather(*(world.connect(f"client-{i}") for i in range(200)))
    ids = await asyncio.gather(*(client.start(cwd="/a") for client in clients))
    turns = await asyncio.gather(
        *(client.turn(thread_id) for client, thread_id in zip(clients, ids, strict=True))
    )
    assert {turn["status"] for turn in turns} == {"completed"}
    await asyncio.gather(*(client.close() for client in clients[1:]))
    left = clients[0]
    await left.until(lambda: len(left.notes("thread/closed")) == 199)
    assert (await left.ask("thread/loaded/list"))["data"] == [ids[0]]
    assert len(world.server.connections) == 1


async def test_many_clients_follow_one_thread(world: World) -> None:
    clients = [await world.connect(f"client-{i}") for i in range(20)]
    thread_id = await clients[0].start(cwd="/a")
    for client in clients[1:]:
        await client.ask("thread/resume", threadId=thread_id)
    turn_id = await clients[7].start_turn(thread_id)
    for client in clients:
        await client.completed(turn_id)
    told = [
        [(m["method"], m["params"]) for m in client.heard if of_turn(m, turn_id)]
        for client in clients
    ]
    assert all(each == told[0] for each in told)


def of_turn(message: Json, turn_id: str) -> bool:
    """Whether a notification is about the turn."""
    if "method" not in message:
        return False
    params = message["params"]
    return turn_id in (params.get("turnId"), params.get("turn", {}).get("id"))


async def test_a_model_that_calls_what_does_not_exist_gets_told(world: World) -> None:
    client = await world.connect()
    thread_id = await client.start(cwd="/a")
    world.says(Reply(Call("launch", {"missiles": 1})), Reply(Call("launch", "{not json")))
    turn = await client.turn(thread_id)
    assert turn["status"] == "completed"
    assert (await client.refusal("thread/read", threadId=UNKNOWN)).code == -32600
