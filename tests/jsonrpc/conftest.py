"""One suite over every transport."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.jsonrpc.desk import Desk
from tests.jsonrpc.peers import KINDS, Peer, Wire, serving


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose path is short enough for a unix socket."""
    with tempfile.TemporaryDirectory(prefix="ts") as path:
        yield Path(path)


@pytest.fixture
def desk() -> Desk:
    """What the server under test can do."""
    return Desk()


@pytest.fixture(params=KINDS)
async def transport(
    request: pytest.FixtureRequest, short_path: Path, desk: Desk
) -> AsyncIterator[Wire]:
    """A server that takes four requests at a time from a client, and six in all."""
    limits = {
        "running": 4,
        "server_running": 6,
        "queued_bytes": 4096,
        "stall_seconds": 0.3,
        "grace_seconds": 0.1,
    }
    async with serving(request.param, short_path, desk.dispatcher, **limits) as wire:
        yield wire
        desk.gate.set()


@pytest.fixture
async def peer(transport: Wire) -> Peer:
    """A client of it."""
    return await transport.connect()
