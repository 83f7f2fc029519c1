"""Who is connected, and what they want to hear."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from threadstore.jsonrpc import ConnectionClosed

if TYPE_CHECKING:
    from threadstore.appserver.access import Allowance
    from threadstore.appserver.params import InitializeParams
    from threadstore.jsonrpc import Connection

__all__ = ["Peer"]

Json = dict[str, Any]


class Peer:
    """One client. What it is told waits in a queue of its own: a slow one holds nobody up."""

    def __init__(self, connection: Connection, allowance: Allowance) -> None:
        self.connection = connection
        self.allowance = allowance
        self.client = ""
        self.version = ""
        self.is_initialized = False
        self._unwanted: frozenset[str] = frozenset()
        self._queue: asyncio.Queue[tuple[str, Json, int]] = asyncio.Queue()
        self._sender: asyncio.Task[None] | None = None

    def initialize(self, params: InitializeParams) -> None:
        """Note who it is."""
        self.client, self.version = params.client_info.name, params.client_info.version
        capabilities = params.capabilities
        if capabilities is not None:
            self._unwanted = frozenset(capabilities.opt_out_notification_methods or ())
        self.is_initialized = True

    def tell(self, method: str, params: Json) -> None:
        """Send a notification, after all that it was told before."""
        if not self.is_initialized or method in self._unwanted:
            return
        self._queue.put_nowait((method, params, time.time_ns() // 1_000_000))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send())

    async def told(self) -> None:
        """Return when all that it was told so far is on its way."""
        if self._sender is not None:
            await asyncio.wait((self._sender,))

    async def _send(self) -> None:
        with suppress(ConnectionClosed):
            while not self._queue.empty():
                method, params, moment = self._queue.get_nowait()
                await self.connection.notify(method, params, emitted_at_ms=moment)
