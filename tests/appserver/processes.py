"""App servers as processes of their own, with a model server beside them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.appserver.clients import ENOUGH, Client
from websockets.asyncio.client import connect, unix_connect

from threadstore.jsonrpc import Close, Transport
from threadstore.jsonrpc.transports.stdio import StdioTransport
from threadstore.jsonrpc.transports.websocket import WebSocketTransport, options

COMMAND = (sys.executable, "-m", "threadstore")
_LIMIT = 64 * 1024 * 1024


class Pipes(StdioTransport):
    """The client's ends of standard input and output."""

    async def close(self, reason: Close = Close.DONE) -> None:
        self.end_input()
        await super().close(reason)

    def end_input(self) -> None:
        """Say no more, and go on listening."""
        if self._target >= 0:
            os.close(self._target)
            self._target = -1
        if self._pipe is not None:  # the same end, opened once more
            os.close(self._pipe)
            self._pipe = None


class ServerProcess:
    """``threadstore app-server``, and who is connected to it."""

    def __init__(
        self, process: subprocess.Popen[bytes], listen: str, ends: tuple[int, int]
    ) -> None:
        self.process = process
        self.url = listen
        self._reading_rest = threading.Lock()
        self.errors = b""
        """What it said on standard error so far."""
        self._ends = ends
        self._clients: list[Client] = []

    async def said(self, text: str) -> str:
        """The line with *text* on standard error; waits for it."""
        assert self.process.stderr is not None
        async with asyncio.timeout(ENOUGH):
            while line := await asyncio.to_thread(self.process.stderr.readline):
                self.errors += line
                if text in line.decode():
                    return line.decode()
        raise AssertionError(f"it ended: {self.errors.decode()}")

    async def connect(self, *, initialize: bool = True, **handshake: Any) -> Client:
        """A client."""
        client = Client(await self.transport(**handshake))
        self._clients.append(client)
        if initialize:
            await client.initialize()
        return client

    async def transport(self, **handshake: Any) -> Transport:
        """A connection that nobody reads yet."""
        if self.url == "stdio://":
            return Pipes(*self._ends, limit=_LIMIT)
        if self.url.startswith("unix://"):
            path = self.url.removeprefix("unix://")
            return WebSocketTransport(await unix_connect(path, **options(_LIMIT)))
        socket = await connect(self.url, proxy=None, **{**options(_LIMIT), **handshake})
        return WebSocketTransport(socket)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    async def ended(self, *, within: float = ENOUGH) -> int:
        """Its exit code; fails if it takes longer."""
        async with asyncio.timeout(within):
            return await asyncio.to_thread(self._rest)

    def _rest(self) -> int:
        assert self.process.stderr is not None
        with self._reading_rest:  # who gave up waiting left its thread behind
            if not self.process.stderr.closed:
                self.errors += self.process.stderr.read()
                self.process.stderr.close()
        return self.process.wait()

    async def close(self) -> None:
        """Whatever it does, it ends."""
        for client in self._clients:
            await client.close()
        if self._ends[0] >= 0:
            os.close(self._ends[0])
        self.process.kill()
        await asyncio.to_thread(self._rest)


@asynccontextmanager
async def server_process(
    store: str, model_url: str, *arguments: str, listen: str = "ws://127.0.0.1:0", cwd: Path
) -> AsyncIterator[ServerProcess]:
    """A server that answers."""
    theirs = (subprocess.DEVNULL, subprocess.DEVNULL)
    ours = (-1, -1)
    if listen == "stdio://":
        (server_reads, client_writes), (client_reads, server_writes) = os.pipe(), os.pipe()
        theirs, ours = (server_reads, server_writes), (client_reads, client_writes)
    process = _launch(store, model_url, arguments, listen, theirs, cwd)
    for end in theirs:
        if end >= 0:
            os.close(end)
    server = ServerProcess(process, listen, ours)
    try:
        if listen != "stdio://":
            server.url = (await server.said("listening on")).split()[-1]
        yield server
    finally:
        await server.close()


def _launch(
    store: str,
    model_url: str,
    arguments: Sequence[str],
    listen: str,
    ends: tuple[int, int],
    cwd: Path,
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            *(*COMMAND, "--store", store, "app-server", "--listen", listen),
            *("--config", 'model="m1"', "--config", "model_provider=scripted"),
            *("--config", f'model_providers.scripted.base_url="{model_url}"'),
            *arguments,
        ],
        stdin=ends[0],
        stdout=ends[1],
        stderr=subprocess.PIPE,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "CODEX_HOME": str(cwd)},
    )
