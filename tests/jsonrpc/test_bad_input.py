"""Whatever comes in: the right error or a clean end, and the server lives on."""

from __future__ import annotations

import contextlib
import tracemalloc

import msgspec
import pytest
from tests.jsonrpc.desk import Desk
from tests.jsonrpc.peers import SMALL, Peer, Wire, until

from threadstore.jsonrpc import ConnectionClosed


@pytest.mark.parametrize(
    "garbage",
    [b"", b"   ", b"garbage", b'{"id":1,"method":"any"', b"\xff\xfe", b"{}{}", b"NaN", b"'a'"],
)
async def test_what_is_not_json_is_passed_over(peer: Peer, garbage: bytes) -> None:
    await peer.send(garbage)
    await peer.send({"id": 1, "method": "any", "params": 1})
    assert await peer.next() == {"id": 1, "result": 1}


@pytest.mark.parametrize(
    ("message", "request_id"),
    [
        ([], None),
        ([{"id": 1, "method": "any"}], None),
        (5, None),
        ("text", None),
        (None, None),
        (True, None),
        ({}, None),
        ({"params": {}}, None),
        ({"id": 1}, 1),
        ({"id": "x", "params": {}}, "x"),
        ({"id": 1, "method": 7}, 1),
        ({"id": "m", "method": None}, "m"),
        ({"method": ["any"]}, None),
        ({"id": None, "method": "any"}, None),
        ({"id": 1.5, "method": "any"}, None),
        ({"id": 1.0, "method": "any"}, None),
        ({"id": True, "method": "any"}, None),
        ({"id": [1], "method": "any"}, None),
        ({"id": {}, "method": "any"}, None),
        ({"id": 2**63, "method": "any"}, None),
        ({"id": 1, "result": 1, "error": {"code": 1, "message": ""}}, None),
        ({"id": 1, "error": "no"}, None),
        ({"id": 1, "error": {"code": "one", "message": ""}}, None),
        ({"result": 1}, None),
        ({"id": None, "result": 1}, None),
        ({"id": [], "error": {"code": 1, "message": ""}}, None),
    ],
)
async def test_json_of_another_shape_is_an_invalid_request(
    peer: Peer, message: object, request_id: object
) -> None:
    await peer.send(msgspec.json.encode(message))
    answer = await peer.next()
    assert set(answer) == {"id", "error"}
    assert (answer["id"], answer["error"]["code"]) == (request_id, -32600)
    assert (await peer.ask("any", 1))["result"] == 1


async def test_an_error_without_an_id_is_not_answered(peer: Peer) -> None:
    """Two peers would tell each other for ever that they do not understand."""
    await peer.send({"id": None, "error": {"code": -32600, "message": "Invalid request"}})
    await peer.send({"id": 1, "method": "any", "params": 1})
    assert await peer.next() == {"id": 1, "result": 1}


@pytest.mark.parametrize("where", ["message", "params"])
async def test_what_is_nested_too_deeply_is_refused(peer: Peer, where: str) -> None:
    deep = b"[" * 20_000 + b"]" * 20_000
    await peer.send(deep if where == "message" else b'{"id":1,"method":"any","params":%b}' % deep)
    assert (await peer.next())["error"]["code"] in {-32600, -32602}
    assert (await peer.ask("any", 1))["result"] == 1


@pytest.mark.parametrize("text", [b'{"word":"\xff"}', b'{"word":"\\ud800"}', b'{"\xff":1}'])
async def test_text_that_is_no_unicode_is_refused(peer: Peer, text: bytes) -> None:
    await peer.send(b'{"id":"t","method":"echo","params":%b}' % text)
    await peer.send({"id": 1, "method": "any", "params": 1})
    answers = [await peer.next()]
    if answers[0]["id"] == "t":
        assert answers[0]["error"]["code"] == -32602
        answers.append(await peer.next())
    assert answers[-1] == {"id": 1, "result": 1}


async def test_the_id_of_a_running_request_is_refused_until_its_answer(
    peer: Peer, desk: Desk
) -> None:
    await peer.send({"id": 1, "method": "wait", "params": {"word": "first"}})
    await peer.send({"id": 1, "method": "wait", "params": {"word": "second"}})
    answer = await peer.next()
    assert (answer["id"], answer["error"]["code"]) == (1, -32600)
    assert (await peer.ask("any", "other type of id", id="1"))["result"] == "other type of id"
    desk.gate.set()
    assert await peer.next() == {"id": 1, "result": "first"}
    assert (await peer.ask("any", 3, id=1))["result"] == 3
    assert desk.started == ["first"]


async def test_a_message_of_100_mb_is_refused_and_the_server_lives_on(
    transport: Wire, peer: Peer
) -> None:
    large = b'{"id":1,"method":"any","params":"' + b"x" * 100_000_000 + b'"}'
    tracemalloc.start()
    with contextlib.suppress(ConnectionClosed):  # where the rest of a frame can not be skipped
        await peer.send(large)
    answer = await peer.next()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    if transport.kind in {"memory", "stdio"}:
        assert answer["error"]["message"] == f"Invalid request: a message has at most {SMALL} bytes"
        assert (await peer.ask("any", 1))["result"] == 1
    else:
        assert answer is None
    copies = {"memory": 0, "stdio": 1, "unix": 2, "websocket": 2}[transport.kind]  # the client's
    assert peak < copies * 101_000_000 + 10_000_000
    assert (await (await transport.connect()).ask("any", 1))["result"] == 1


async def test_a_message_at_the_limit_is_taken(peer: Peer) -> None:
    text = "x" * (SMALL - len(b'{"id":"good","method":"any","params":""}'))
    assert (await peer.ask("any", text))["result"] == text


async def test_a_client_that_goes_takes_its_requests_along(transport: Wire, desk: Desk) -> None:
    gone, other = await transport.connect(), await transport.connect()
    await gone.send({"id": 1, "method": "wait", "params": {"word": "w"}})
    await gone.send({"id": 2, "method": "question"})
    await until(lambda: desk.started == ["w"])
    await gone.close()
    await until(lambda: desk.stopped == ["w"] and len(transport.server.connections) == 1)
    assert (await other.ask("any", 1))["result"] == 1


async def test_a_client_that_does_not_read_is_closed(transport: Wire, desk: Desk) -> None:
    slow, other = await transport.connect(), await transport.connect()
    await slow.send({"id": 1, "method": "flood"})
    await until(lambda: len(transport.server.connections) == 1 and len(desk.heard) > 10)
    assert desk.stopped == ["stalled"]
    assert (await other.ask("any", 1))["result"] == 1


async def test_large_answers_arrive_whole(peer: Peer) -> None:
    assert len((await peer.ask("large", 20_000_000))["result"]) == 20_000_000
    assert (await peer.ask("any", 1))["result"] == 1
