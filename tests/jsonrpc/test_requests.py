"""Requests, answers and notifications, the same over every transport."""

from __future__ import annotations

import logging

import pytest
from tests.jsonrpc.desk import Desk
from tests.jsonrpc.peers import Peer, Wire, until


@pytest.mark.parametrize("request_id", [0, -7, 2**63 - 1, "a", "", "7", "ü\n"])
async def test_a_request_is_answered_under_its_own_id(peer: Peer, request_id: object) -> None:
    await peer.send({"id": request_id, "method": "echo", "params": {"word": "hé\n"}})
    assert await peer.next() == {"id": request_id, "result": {"word": "hé\n"}}


async def test_the_answer_has_no_jsonrpc_member_whether_or_not_the_request_has_one(
    peer: Peer,
) -> None:
    await peer.send({"jsonrpc": "2.0", "id": 1, "method": "any", "params": [1], "trace": {}})
    assert await peer.raw() == b'{"id":1,"result":[1]}'


@pytest.mark.parametrize("message", [{"id": 1, "method": "any"}, None])
async def test_absent_and_null_parameters_are_an_empty_object(peer: Peer, message: object) -> None:
    await peer.send(message or {"id": 1, "method": "any", "params": None})
    assert await peer.next() == {"id": 1, "result": {}}


async def test_requests_start_in_order_and_run_side_by_side(peer: Peer, desk: Desk) -> None:
    for n, word in enumerate("abc"):
        await peer.send({"id": n, "method": "wait", "params": {"word": word}})
    await until(lambda: desk.started == ["a", "b", "c"])
    assert (await peer.ask("echo", {"word": "quick"}))["result"] == {"word": "quick"}
    desk.gate.set()
    assert [(await peer.next())["id"] for _ in "abc"] == [0, 1, 2]


async def test_serial_requests_of_a_connection_take_turns(transport: Wire, desk: Desk) -> None:
    first, second = await transport.connect(), await transport.connect()
    for n, word in enumerate(["a", "b"]):
        await first.send({"id": n, "method": "inLine", "params": {"word": word}})
    await second.send({"id": 9, "method": "inLine", "params": {"word": "c"}})
    await until(lambda: sorted(desk.started) == ["a", "c"])
    desk.gate.set()
    assert [(await first.next())["result"] for _ in "ab"] == ["a", "b"]


async def test_a_serial_key_made_of_parameters_holds_up_only_its_own(
    peer: Peer, desk: Desk
) -> None:
    for n, word in enumerate(["a1", "a2", "b1"]):
        await peer.send({"id": n, "method": "byWord", "params": {"word": word}})
    await until(lambda: desk.started == ["a1", "b1"])
    await peer.send({"method": "$/cancelRequest", "params": {"id": 1}})
    assert (await peer.next())["error"]["code"] == -32800
    desk.gate.set()
    assert [(await peer.next())["result"] for _ in "ab"] == ["a1", "b1"]
    assert desk.started == ["a1", "b1"]


async def test_an_unknown_method_is_said_to_be_one(peer: Peer) -> None:
    answer = await peer.ask("nope")
    assert answer["error"] == {"code": -32601, "message": "Method not found: nope"}
    assert (await peer.ask("hear", {"word": "w"}))["error"]["code"] == -32601


@pytest.mark.parametrize(
    ("params", "what"),
    [
        ({}, "Object missing required field `word`"),
        ([], "Expected `object`, got `array`"),
        ({"word": 5}, "Expected `str`, got `int` - at `$.word`"),
    ],
)
async def test_parameters_of_another_shape_are_named(peer: Peer, params: object, what: str) -> None:
    answer = await peer.ask("echo", params)
    assert answer["error"] == {"code": -32602, "message": f"Invalid params: {what}"}


async def test_an_error_of_a_handler_is_the_answer(peer: Peer) -> None:
    answer = await peer.ask("refuse")
    assert answer["error"] == {"code": -32600, "message": "no thread", "data": {"why": "gone"}}


@pytest.mark.parametrize("method", ["fail", "unsendable"])
async def test_what_is_unexpected_is_logged_and_not_told(
    peer: Peer, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    answer = await peer.ask(method)
    assert answer["error"] == {"code": -32603, "message": "Internal error"}
    assert [record.levelno for record in caplog.records if record.exc_info] == [logging.ERROR]
    assert (await peer.ask("any", 1))["result"] == 1


async def test_an_early_reply_stands_between_what_is_told(peer: Peer) -> None:
    await peer.send({"id": 1, "method": "replyFirst"})
    assert [await peer.raw() for _ in range(3)] == [
        b'{"method":"before","params":{"n":0}}',
        b'{"id":1,"result":"answer"}',
        b'{"method":"after","params":{"n":1},"emittedAtMs":5}',
    ]
    assert (await peer.ask("any", 1))["result"] == 1


async def test_notifications_are_heard_in_order_and_never_answered(peer: Peer, desk: Desk) -> None:
    await peer.send(
        {"method": "hear", "params": {"word": "a"}, "emittedAtMs": 12},
        {"method": "hear", "params": {}},
        {"method": "unknown"},
        {"method": "hear", "params": {"word": "b"}, "emittedAtMs": "odd"},
    )
    await peer.send({"id": 1, "method": "any"})
    assert await peer.next() == {"id": 1, "result": {}}
    assert desk.heard == ["a", "b"]


async def test_the_server_asks_its_client(peer: Peer) -> None:
    await peer.send({"id": "q", "method": "question"})
    assert await peer.next() == {"method": "client/ask", "id": 0, "params": {"q": 1}}
    await peer.send({"id": 99, "result": "to nothing"}, {"id": 0, "result": [1, 2]})
    assert await peer.next() == {"id": "q", "result": {"answer": [1, 2]}}


async def test_a_clients_error_and_an_unusable_answer_reach_who_asked(peer: Peer) -> None:
    await peer.send({"id": "q", "method": "question"})
    await peer.next()
    await peer.send({"id": 0, "error": {"code": -5, "message": "no", "data": [1]}})
    problem = {"code": -5, "message": "no", "data": [1]}
    assert await peer.next() == {"id": "q", "error": problem}
    await peer.send({"id": "r", "method": "question"})
    await peer.next()
    await peer.send({"id": 1, "result": "three"})
    answer = await peer.next()
    assert answer["error"]["code"] == -32600
    assert answer["error"]["message"].startswith("Invalid answer to client/ask: Expected `array`")


async def test_a_running_request_can_be_cancelled(peer: Peer, desk: Desk) -> None:
    await peer.send({"id": "w", "method": "wait", "params": {"word": "long"}})
    await peer.send({"method": "$/cancelRequest", "params": {"id": "w"}})
    problem = {"code": -32800, "message": "Request cancelled"}
    assert await peer.next() == {"id": "w", "error": problem}
    assert desk.stopped == ["long"]
    useless: list[object] = [{"id": "w"}, {"id": []}, None, {}]
    for params in useless:
        await peer.send({"method": "$/cancelRequest", "params": params})
    assert (await peer.ask("any", 1))["result"] == 1


async def test_more_requests_than_a_connection_may_run_are_overload(peer: Peer, desk: Desk) -> None:
    for n in range(5):
        await peer.send({"id": n, "method": "wait", "params": {"word": str(n)}})
    assert await peer.next() == {
        "id": 4,
        "error": {
            "code": -32001,
            "message": "Server overloaded; retry later.",
            "data": {"errorInfo": "server_overloaded"},
        },
    }
    desk.gate.set()
    assert {(await peer.next())["id"] for _ in range(4)} == {0, 1, 2, 3}
    assert (await peer.ask("any", 1))["result"] == 1


async def test_more_requests_than_a_server_may_run_are_overload(
    transport: Wire, desk: Desk
) -> None:
    peers = [await transport.connect() for _ in range(3)]
    for peer in peers[:2]:
        for n in range(3):
            await peer.send({"id": n, "method": "wait", "params": {"word": "w"}})
    await until(lambda: len(desk.started) == 6)
    assert (await peers[2].ask("any"))["error"]["code"] == -32001
    await peers[0].close()
    await until(lambda: len(desk.stopped) == 3)
    assert (await peers[2].ask("any", 1))["result"] == 1
