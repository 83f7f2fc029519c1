"""What waits to be sent to one peer: in order, bounded, with an end to patience."""

from __future__ import annotations

import asyncio
from typing import Final

from threadstore.jsonrpc.errors import ConnectionClosed
from threadstore.jsonrpc.limits import Limits
from threadstore.jsonrpc.transports import Close, Transport

__all__ = ["Outbox"]

_SLOWEST: Final = 64 * 1024
"""Bytes per second that a reader must take of a large message, beyond the time allowed to stall."""


class Outbox:
    """Messages leave in the order of their :meth:`put`, whoever waits for :meth:`room`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._messages: list[bytes] = []
        self._size = 0
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._finishing = False
        self.is_closed = False

    def put(self, message: bytes) -> None:
        """Accept *message*, never waiting; after the end it is dropped."""
        if self.is_closed:
            return
        self._messages.append(message)
        self._size += len(message)
        self._filled.set()
        if self._size > self._limits.queued_bytes:
            self._room.clear()

    async def room(self) -> None:
        """Return when there is room, or nothing matters any more."""
        await self._room.wait()

    def finish(self) -> None:
        """Let :meth:`run` return after what is there."""
        self._finishing = True
        self._filled.set()

    async def run(self, transport: Transport) -> Close:
        """Send until :meth:`finish`, or until the peer is gone or too slow; say which."""
        try:
            while await self._send(transport):
                pass
        except TimeoutError:
            return Close.SLOW
        except ConnectionClosed:
            pass
        finally:
            self.is_closed = True
            self._messages.clear()
            self._room.set()
        return Close.DONE

    async def _send(self, transport: Transport) -> bool:
        await self._filled.wait()
        batch, self._messages = self._messages, []
        if not batch:
            return False
        if not self._finishing:
            self._filled.clear()
        size = sum(map(len, batch))
        async with asyncio.timeout(self._limits.stall_seconds + size / _SLOWEST):
            await transport.send(batch)
        self._size -= size
        if self._size <= self._limits.queued_bytes:
            self._room.set()
        return True
