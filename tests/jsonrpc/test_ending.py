"""Many connections, and the end of a server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.jsonrpc.desk import Desk
from tests.jsonrpc.peers import KINDS, Peer, Wire, serving, until

from threadstore.jsonrpc import Connection, ConnectionClosed, Dispatcher, Server
from threadstore.jsonrpc.transports.memory import memory_pair


async def test_stopping_lets_what_runs_finish_and_reads_no_more(
    transport: Wire, peer: Peer, desk: Desk
) -> None:
    await peer.send({"id": 1, "method": "wait", "params": {"word": "last"}})
    await until(lambda: desk.started == ["last"])
    stopping = asyncio.create_task(transport.server.stop(grace=30))
    await asyncio.wait([stopping], timeout=0.05)
    assert not stopping.done()
    await peer.send({"id": 2, "method": "wait", "params": {"word": "later"}})
    desk.gate.set()
    assert await peer.rest() == [{"id": 1, "result": "last"}]
    await stopping
    assert desk.started == ["last"]
    assert not transport.server.connections


async def test_stopping_tells_who_has_to_stop(transport: Wire, peer: Peer, desk: Desk) -> None:
    await peer.send({"id": 1, "method": "wait", "params": {"word": "w"}})
    await peer.send({"id": 2, "method": "question"})
    await peer.next()
    await until(lambda: desk.started == ["w"])
    await transport.server.stop(grace=0)
    answers = {answer["id"]: answer["error"]["code"] for answer in await peer.rest()}
    assert answers == {1: -32800, 2: -32800}


async def test_stopping_does_not_wait_for_who_does_not_read(transport: Wire, peer: Peer) -> None:
    await peer.send({"id": 1, "method": "flood"})
    await peer.next()
    async with asyncio.timeout(10):
        await transport.server.stop(grace=0)


async def test_a_stopped_server_takes_no_connection(transport: Wire) -> None:
    await transport.server.stop(grace=0)
    if transport.kind in {"memory", "stdio"}:
        assert await (await transport.connect()).next() is None
    else:
        with pytest.raises(OSError, match=r"Connect|No such file"):
            await transport.connect()


@pytest.mark.parametrize("kind", KINDS)
async def test_200_connections_are_served_at_once(kind: str, short_path: Path, desk: Desk) -> None:
    async with serving(kind, short_path, desk.dispatcher) as wire:
        peers = await asyncio.gather(*(wire.connect() for _ in range(200)))
        for n, peer in enumerate(peers):
            await peer.send({"id": n, "method": "wait", "params": {"word": str(n)}})
        await until(lambda: len(desk.started) == 200)
        desk.gate.set()
        answers = await asyncio.gather(*(peer.next() for peer in peers))
        assert answers == [{"id": n, "result": str(n)} for n in range(200)]


@pytest.mark.parametrize("kind", KINDS)
async def test_more_connections_than_allowed_are_closed(
    kind: str, short_path: Path, desk: Desk
) -> None:
    async with serving(kind, short_path, desk.dispatcher, connections=2) as wire:
        peers = [await wire.connect() for _ in range(2)]
        for peer in peers:
            assert (await peer.ask("any", 1))["result"] == 1
        assert await (await wire.connect()).next() is None
        await peers[0].close()
        await until(lambda: len(wire.server.connections) == 1)
        assert (await (await wire.connect()).ask("any", 1))["result"] == 1


async def test_both_ends_can_be_connections() -> None:
    """Each asks the other; what is asked of nobody fails when the other end goes."""
    theirs, ours = memory_pair()
    desk = Desk()
    server, client = Server(desk.dispatcher), Connection(ours, Dispatcher())
    serving, running = asyncio.create_task(server.serve(theirs)), asyncio.create_task(client.run())
    assert await client.request("echo", {"word": "w"}, result=dict) == {"word": "w"}
    waiting = asyncio.create_task(client.request("wait", {"word": "w"}))
    await until(lambda: desk.started == ["w"])
    client.close()
    with pytest.raises(ConnectionClosed):
        await waiting
    await asyncio.gather(serving, running)
    with pytest.raises(ConnectionClosed):
        await client.notify("hear", {"word": "w"})
    with pytest.raises(ConnectionClosed):
        await client.request("any")
