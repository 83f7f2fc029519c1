"""A server and its clients over each transport. The clients are the package's own transports."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.client import connect, unix_connect

from threadstore.jsonrpc import Close, Dispatcher, Limits, Server, Transport
from threadstore.jsonrpc.framing import TooLarge
from threadstore.jsonrpc.transports.memory import memory_pair
from threadstore.jsonrpc.transports.stdio import StdioTransport
from threadstore.jsonrpc.transports.unix import unix_listener
from threadstore.jsonrpc.transports.websocket import (
    WebSocketTransport,
    options,
    websocket_listener,
)

KINDS = ["memory", "stdio", "unix", "websocket"]
SMALL = 64 * 1024
"""Limit of the messages that the server under test takes."""
_LARGE = 256 * 1024 * 1024


class Pipe(StdioTransport):
    """Closes its ends of the pipes, as the end of a process does."""

    def __init__(self, source: int, target: int, limit: int) -> None:
        super().__init__(source, target, limit=limit)
        self.ends = {source, target}

    async def close(self, reason: Close = Close.DONE) -> None:
        await super().close(reason)
        while self.ends:
            os.close(self.ends.pop())


class Peer:
    """The client's end, message by message."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self._messages = transport.__aiter__()

    async def send(self, *messages: object) -> None:
        """Send values as JSON, bytes as they are."""
        encoded = [m if isinstance(m, bytes) else msgspec.json.encode(m) for m in messages]
        await self.transport.send(encoded)

    async def raw(self) -> bytes:
        """The next message; empty at the end."""
        async with asyncio.timeout(30):
            message = await anext(self._messages, b"")
        assert not isinstance(message, TooLarge)
        return message

    async def next(self) -> Any:
        """The next message, decoded; ``None`` at the end."""
        raw = await self.raw()
        return msgspec.json.decode(raw) if raw else None

    async def rest(self) -> list[Any]:
        """All messages until the end."""
        return [message async for message in _until_none(self)]

    async def ask(self, method: str, params: object = None, id: object = "good") -> Any:  # noqa: A002
        """The answer to a request, whatever else comes before it."""
        await self.send({"id": id, "method": method, "params": params})
        while (message := await self.next()) is not None:
            if message.get("id") == id and "method" not in message:
                return message
        return None

    async def close(self) -> None:
        """Be gone."""
        await self.transport.close()


async def _until_none(peer: Peer) -> AsyncIterator[Any]:
    while (message := await peer.next()) is not None:
        yield message


class Wire:
    """A server on one kind of transport."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.kind = kind
        self.server: Server
        self._path = str(directory / "s")
        self._port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: list[Transport] = []

    async def start(self, dispatcher: Dispatcher, **limits: Any) -> None:
        """Serve *dispatcher*, and take small messages only."""
        self.server = Server(dispatcher, limits=Limits(**limits))
        if self.kind == "unix":
            self.server.add(await unix_listener(self.server.serve, self._path, limit=SMALL))
        elif self.kind == "websocket":
            listener = await websocket_listener(self.server.serve, "127.0.0.1", 0, limit=SMALL)
            self.server.add(listener)
            self._port = listener.port

    async def connect(self) -> Peer:
        """Another client."""
        transport = await self._connect()
        self._clients.append(transport)
        return Peer(transport)

    def raw_socket(self) -> socket.socket:
        """A connected socket without a handshake."""
        if self.kind == "websocket":
            return socket.create_connection(("127.0.0.1", self._port))
        raw = socket.socket(socket.AF_UNIX)
        raw.connect(self._path)
        return raw

    async def _connect(self) -> Transport:
        if self.kind == "unix":
            return WebSocketTransport(await unix_connect(self._path, **options(_LARGE)))
        if self.kind == "websocket":
            uri = f"ws://127.0.0.1:{self._port}"
            return WebSocketTransport(await connect(uri, proxy=None, **options(_LARGE)))
        theirs, ours = self._pair()
        task = asyncio.create_task(self.server.serve(theirs))
        self._tasks.add(task)
        return ours

    def _pair(self) -> tuple[Transport, Transport]:
        return memory_pair((SMALL, _LARGE), capacity=8) if self.kind == "memory" else _pipes()

    async def stop(self) -> None:
        """Everybody goes; what failed in serving fails the test."""
        for client in self._clients:
            await client.close()
        await self.server.stop(grace=0)
        await asyncio.gather(*self._tasks)


def _pipes() -> tuple[Pipe, Pipe]:
    (server_reads, client_writes), (client_reads, server_writes) = os.pipe(), os.pipe()
    return Pipe(server_reads, server_writes, SMALL), Pipe(client_reads, client_writes, _LARGE)


@asynccontextmanager
async def serving(
    kind: str, directory: Path, dispatcher: Dispatcher, **limits: Any
) -> AsyncIterator[Wire]:
    """A started :class:`Wire`."""
    wire = Wire(kind, directory)
    await wire.start(dispatcher, **limits)
    try:
        yield wire
    finally:
        await wire.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until *condition* is true."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for is in the server
            await asyncio.sleep(0)
