"""Servers on each kind of store, and a first client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.appserver.clients import Client
from tests.appserver.world import World, serving

from threadstore.stores.memory import MemoryThreadStore
from threadstore.testing import StoreHarness


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A server on a memory store."""
    async with serving(MemoryThreadStore()) as world:
        yield world


@pytest.fixture
async def client(world: World) -> Client:
    """A client that has said hello."""
    return await world.connect()


@pytest.fixture
async def any_world(harness: StoreHarness) -> AsyncIterator[World]:
    """A server on each store there is."""
    async with serving(harness.open()) as world:
        yield world
