"""How much a peer may ask for."""

from __future__ import annotations

import msgspec

__all__ = ["Limits", "Load"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What is more than this is refused, or waits. Transports limit the size of a message."""

    running: int = 128
    """Requests of one connection at a time; above: :class:`Overloaded`."""
    server_running: int = 2048
    """Requests of all connections of a server at a time; above: :class:`Overloaded`."""
    connections: int = 512
    """Of one server; above: closed at once."""
    queued_bytes: int = 16 * 1024 * 1024
    """Of one connection, not yet taken by the peer; above: who sends waits."""
    stall_seconds: float = 30.0
    """For the peer to take what is sent, plus the time that its size needs; above: closed."""
    grace_seconds: float = 10.0
    """For running requests to finish after the end of the input, while answers still arrive."""


class Load:
    """The number of requests that run now on all connections of a server."""

    def __init__(self) -> None:
        self.running = 0
