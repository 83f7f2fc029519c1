"""Many connections, and their end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext

from threadstore.jsonrpc.calls import Handle
from threadstore.jsonrpc.connection import Connection
from threadstore.jsonrpc.limits import Limits, Load
from threadstore.jsonrpc.transports import Close, Listener, Transport

__all__ = ["Server"]


class Server:
    """Serves every connection with *handle*. *session* is entered around each of them."""

    def __init__(
        self,
        handle: Handle,
        *,
        limits: Limits | None = None,
        session: Callable[[Connection], AbstractAsyncContextManager[object]] = nullcontext,
        cancel_method: str | None = "$/cancelRequest",
    ) -> None:
        self._handle = handle
        self._limits = limits or Limits()
        self._load = Load()
        self._session = session
        self._cancel_method = cancel_method
        self._listeners: list[Listener] = []
        self._served: dict[Connection, asyncio.Event] = {}
        self._is_stopping = False

    @property
    def connections(self) -> frozenset[Connection]:
        """Those that are served now."""
        return frozenset(self._served)

    def add(self, listener: Listener) -> None:
        """Close *listener* when the server stops."""
        self._listeners.append(listener)

    async def serve(self, transport: Transport) -> None:
        """Serve one connection until it ends; close its transport."""
        if self._is_stopping or len(self._served) >= self._limits.connections:
            await transport.close(Close.STOPPING if self._is_stopping else Close.FULL)
            return
        connection = Connection(
            transport,
            self._handle,
            limits=self._limits,
            load=self._load,
            cancel_method=self._cancel_method,
        )
        ended = self._served[connection] = asyncio.Event()
        try:
            async with self._session(connection):
                await connection.run()
        finally:
            del self._served[connection]
            ended.set()

    async def stop(self, *, grace: float = 10.0) -> None:
        """Accept and read no more, let what runs finish for *grace* seconds, send, and close."""
        self._is_stopping = True
        for listener in self._listeners:
            listener.close()
        served = [*self._served.items()]
        for connection, _ in served:
            connection.close(Close.STOPPING, grace=grace)
        for _, ended in served:
            await ended.wait()
        for listener in self._listeners:
            await listener.wait_closed()
