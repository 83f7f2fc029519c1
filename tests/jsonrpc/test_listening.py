"""What only sockets have: addresses, handshakes, close codes."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.jsonrpc.desk import Desk
from tests.jsonrpc.peers import Peer, serving, until
from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.exceptions import InvalidStatus

from threadstore.jsonrpc import MissingExtra, Server
from threadstore.jsonrpc.transports.unix import unix_listener
from threadstore.jsonrpc.transports.websocket import (
    WebSocketListener,
    WebSocketTransport,
    options,
    websocket_listener,
)

Listen = Callable[..., Awaitable[WebSocketListener]]


@pytest.fixture
async def listen(desk: Desk) -> AsyncIterator[Listen]:
    """Starts a listener with the given options; stopped at the end."""
    server = Server(desk.dispatcher)

    async def start(**kwargs: Any) -> WebSocketListener:
        listener = await websocket_listener(server.serve, "127.0.0.1", 0, **kwargs)
        server.add(listener)
        return listener

    yield start
    await server.stop(grace=0)


async def _status(port: int, path: str = "/", **headers: str) -> int:
    """The HTTP status of a handshake; 101 is an open WebSocket."""
    try:
        uri = f"ws://127.0.0.1:{port}{path}"
        async with connect(uri, additional_headers=headers, proxy=None) as client:
            return client.response.status_code if client.response else 0
    except InvalidStatus as error:
        return error.response.status_code


async def test_any_path_and_offer_is_taken_without_extensions(listen: Listen) -> None:
    port = (await listen()).port
    uri = f"ws://127.0.0.1:{port}/any/path"
    async with connect(uri, proxy=None, compression="deflate") as client:
        assert client.response is not None
        assert "Sec-WebSocket-Extensions" not in client.response.headers
    header = {"x-codex-app-server-compression": "zstd"}
    assert await _status(port, **header) == 101


async def test_browsers_are_refused_unless_their_origin_is_named(listen: Listen) -> None:
    port = (await listen(origins=["http://localhost:8000"])).port
    assert await _status(port, Origin="http://evil.example") == 403
    assert await _status(port, "/healthz", Origin="http://evil.example") == 403
    assert await _status(port, Origin="http://localhost:8000") == 101


async def test_who_is_not_authorized_gets_401_but_may_ask_for_health(listen: Listen) -> None:
    port = (await listen(authorize=lambda headers: headers.get("authorization") == "Bearer t")).port
    assert await _status(port) == 401
    assert await _status(port, Authorization="Bearer no") == 401
    assert await _status(port, Authorization="Bearer t") == 101
    assert await _status(port, "/healthz") == await _status(port, "/readyz") == 200


async def test_binary_frames_are_messages_too(listen: Listen) -> None:
    async with connect(f"ws://127.0.0.1:{(await listen()).port}", proxy=None) as client:
        await client.send(b'{"id":1,"method":"any","params":1}')
        assert await client.recv() == '{"id":1,"result":1}'


async def test_large_messages_are_fragmented_below_what_codex_takes(listen: Listen) -> None:
    uri = f"ws://127.0.0.1:{(await listen()).port}"
    async with connect(uri, proxy=None, max_size=(64 << 20, 16 << 20)) as client:
        await client.send('{"id":1,"method":"large","params":20000000}')
        assert len(await client.recv()) > 20_000_000


async def _code(peer: Peer) -> int | None:
    await peer.rest()
    assert isinstance(peer.transport, WebSocketTransport)
    connection = peer.transport._socket
    assert isinstance(connection, ClientConnection)
    return connection.close_code


@pytest.mark.parametrize("kind", ["unix", "websocket"])
async def test_the_close_code_says_why(kind: str, short_path: Path, desk: Desk) -> None:
    limits = {"connections": 3, "queued_bytes": 4096, "stall_seconds": 0.1}
    async with serving(kind, short_path, desk.dispatcher, **limits) as wire:
        slow, large, other = [await wire.connect() for _ in range(3)]
        await until(lambda: len(wire.server.connections) == 3)
        assert await _code(await wire.connect()) == 1013
        await large.send(b"x" * 100_000)
        assert await _code(large) == 1009
        await slow.send({"id": 1, "method": "flood"})
        await until(lambda: "stalled" in desk.stopped)
        assert await _code(slow) == 1008
        await other.ask("any")
        await wire.server.stop(grace=0)
        assert await _code(other) == 1001


@pytest.mark.parametrize("half", [b"GET / HTTP/1.1\r\nHost", b"", b"\x00\xff\r\n\r\n", b"{}\n"])
@pytest.mark.parametrize("kind", ["unix", "websocket"])
async def test_half_a_handshake_harms_nobody(
    kind: str, half: bytes, short_path: Path, desk: Desk
) -> None:
    async with serving(kind, short_path, desk.dispatcher) as wire:
        with wire.raw_socket() as raw:
            raw.sendall(half)
        assert (await (await wire.connect()).ask("any", 1))["result"] == 1


@pytest.mark.parametrize("kind", ["unix", "websocket"])
async def test_half_a_frame_is_not_heard(kind: str, short_path: Path, desk: Desk) -> None:
    async with serving(kind, short_path, desk.dispatcher) as wire:
        peer = await wire.connect()
        await peer.ask("any")
        assert isinstance(peer.transport, WebSocketTransport)
        raw = peer.transport._socket.transport
        raw.write(b"\x81\xfe\x10\x00mask{")  # 4 KiB of text announced, little of it sent
        raw.abort()
        await until(lambda: not wire.server.connections)
        assert (await (await wire.connect()).ask("any", 1))["result"] == 1


async def test_a_unix_socket_is_private_and_removed_at_the_end(
    short_path: Path, desk: Desk
) -> None:
    path = short_path / "d" / "s"
    server = Server(desk.dispatcher)
    server.add(await unix_listener(server.serve, str(path)))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    async with unix_connect(str(path), **options(1000)) as client:
        await client.send('{"id":1,"method":"any","params":1}')
        assert await client.recv() == '{"id":1,"result":1}'
    await server.stop(grace=0)
    assert not path.exists()


async def test_a_socket_of_a_dead_server_is_replaced(short_path: Path, desk: Desk) -> None:
    path = short_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = Server(desk.dispatcher)
    listener = await unix_listener(server.serve, str(path))
    server.add(listener)
    with pytest.raises(OSError, match="a server listens there already"):
        await unix_listener(server.serve, str(path))
    async with unix_connect(str(path)):
        pass  # the first server still answers
    path.unlink()
    other = Server(desk.dispatcher)
    other.add(await unix_listener(other.serve, str(path)))
    await server.stop(grace=0)
    assert path.exists()  # the other's
    await other.stop(grace=0)


async def test_a_path_that_can_not_be_listened_at_is_named(short_path: Path, desk: Desk) -> None:
    server = Server(desk.dispatcher)
    taken = short_path / "file"
    taken.write_text("mine")
    with pytest.raises(FileExistsError, match="no socket"):
        await unix_listener(server.serve, str(taken))
    assert taken.read_text() == "mine"
    with pytest.raises(OSError, match="too long"):
        await unix_listener(server.serve, str(short_path / ("x" * 200)))


async def test_a_port_in_use_is_an_os_error(listen: Listen, desk: Desk) -> None:
    port = (await listen()).port
    with pytest.raises(OSError, match=str(port)):
        await websocket_listener(Server(desk.dispatcher).serve, "127.0.0.1", port)


async def test_without_the_extra_the_error_names_it(
    monkeypatch: pytest.MonkeyPatch, desk: Desk, short_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "websockets.asyncio.server", None)
    server = Server(desk.dispatcher)
    with pytest.raises(MissingExtra, match=r"pip install 'threadstore\[server\]'"):
        await websocket_listener(server.serve, "127.0.0.1", 0)
    with pytest.raises(MissingExtra):
        await unix_listener(server.serve, str(short_path / "s"))
    assert not (short_path / "s").exists()


def test_the_base_install_serves_stdio() -> None:
    """Nothing loads the package ``websockets`` before a socket is listened on."""
    program = (
        "import sys; import threadstore.jsonrpc, threadstore.jsonrpc.transports.stdio,"
        "threadstore.jsonrpc.transports.unix; sys.exit('websockets' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=dict(os.environ))
