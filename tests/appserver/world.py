"""An app server in this process, on any store, with a scripted model."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from tests.appserver.clients import Client

from threadstore.appserver import AppServer, Provider, ServerConfig
from threadstore.engine import ModelRequest
from threadstore.jsonrpc import Server
from threadstore.jsonrpc.transports.memory import memory_pair
from threadstore.manager import ThreadManager
from threadstore.store import ThreadStore
from threadstore.testing.scripted_model import Pause, Reply, Say, ScriptedModel

PROVIDER = Provider(id="scripted", name="Scripted", base_url=None)
CONFIG = ServerConfig(
    model="m1", provider=PROVIDER, providers=(PROVIDER,), home="/home/a/.codex", max_retries=0
)
UNKNOWN = "01a201e7-0000-7000-8000-000000000000"
"""The id of no thread."""


class World:
    """The server, its model and its clients."""

    def __init__(self, manager: ThreadManager, config: ServerConfig, tools: Sequence[Any]) -> None:
        self.manager = manager
        self.model = ScriptedModel(self._reply)
        self.app = AppServer(manager, config, models=lambda _: self.model, tools=tools)
        self.server = Server(self.app.dispatcher, session=self.app.session)
        self.clients: list[Client] = []
        self._replies: deque[Reply] = deque()
        self._serving: list[asyncio.Task[None]] = []

    def says(self, *replies: Reply) -> None:
        """What the model answers next; after that it says "fine"."""
        self._replies.extend(replies)

    def _reply(self, _request: ModelRequest) -> Reply:
        return self._replies.popleft() if self._replies else Reply(Say("fine"))

    async def connect(self, name: str | None = "tests", **capabilities: Any) -> Client:
        """Another client; *name* ``None``: one that has not said hello."""
        theirs, ours = memory_pair()
        self._serving.append(asyncio.create_task(self.server.serve(theirs)))
        client = Client(ours)
        self.clients.append(client)
        if name is not None:
            await client.initialize(name, **capabilities)
        return client

    async def stop(self) -> None:
        """Everybody goes; what failed, or was not as the schemas say, fails the test."""
        for client in self.clients:
            await client.close()
        await self.server.stop(grace=0)
        await self.app.close()
        await asyncio.gather(*self._serving)
        for client in self.clients:
            client.check()


@asynccontextmanager
async def serving(
    opening: AbstractAsyncContextManager[ThreadStore],
    *,
    tools: Sequence[Any] = (),
    config: ServerConfig = CONFIG,
) -> AsyncIterator[World]:
    """A server on the store that *opening* opens."""
    async with opening as store, ThreadManager(store) as manager:
        world = World(manager, config, tools)
        try:
            yield world
        finally:
            await world.stop()


def gate() -> Pause:
    """A pause in what the model says: set its ``gate`` to let it go on."""
    return Pause(asyncio.Event(), asyncio.Event())


async def reached(pause: Pause) -> None:
    """Wait until the model has come to *pause*."""
    assert isinstance(pause.reached, asyncio.Event)
    await pause.reached.wait()
