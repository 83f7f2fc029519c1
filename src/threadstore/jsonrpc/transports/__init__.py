"""What carries messages between two peers: four ways, one behaviour."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

from threadstore.jsonrpc.framing import TooLarge

__all__ = ["Close", "Listener", "Serve", "Transport"]


class Close(enum.Enum):
    """Why a connection ends, as the close code and reason of a WebSocket (RFC 6455)."""

    DONE = (1000, "")
    STOPPING = (1001, "the server stops")
    SLOW = (1008, "too slow in reading")
    FULL = (1013, "too many connections")


class Transport(ABC):
    """Messages in both directions, whole and in order, encoded as JSON."""

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether what is sent may still arrive. True after the end of the input of a pipe."""

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[bytes | TooLarge]:
        """What comes in, until the peer ends it or is gone; once. Never raises for either."""

    @abstractmethod
    async def send(self, messages: Sequence[bytes]) -> None:
        """Return when the peer takes more. Raises :class:`ConnectionClosed` if it is gone."""

    @abstractmethod
    async def close(self, reason: Close = Close.DONE) -> None:
        """Say goodbye, and release everything. Idempotent."""


class Listener(Protocol):
    """Where connections come from."""

    def close(self) -> None:
        """Accept no more. The connections there are stay."""
        ...

    async def wait_closed(self) -> None:
        """Return when every connection has ended."""
        ...


Serve: TypeAlias = Callable[[Transport], Awaitable[None]]
"""Serves one connection until it ends, and closes it: ``Server.serve``."""
