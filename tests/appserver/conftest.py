"""Servers on each kind of store, and a first client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest
from tests.appserver.clients import Client
from tests.appserver.world import World, serving

from threadstore.stores.memory import MemoryThreadStore
from threadstore.testing import LocalHarness, MemoryHarness, StoreHarness
from threadstore.testing.postgres_harness import PostgresHarness

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A server on a memory store."""
    async with serving(MemoryThreadStore()) as world:
        yield world


@pytest.fixture
async def client(world: World) -> Client:
    """A client that has said hello."""
    return await world.connect()


@pytest.fixture(params=["memory", "local", "postgres"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreHarness]:
    """Each store there is."""
    made: StoreHarness
    if request.param == "memory":
        made = MemoryHarness()
    elif request.param == "local":
        made = LocalHarness(tmp_path)
    else:
        made = PostgresHarness(request.getfixturevalue("postgres_server"))
    yield made
    made.close()


@pytest.fixture
async def any_world(harness: StoreHarness) -> AsyncIterator[World]:
    """A server on each store there is."""
    async with serving(harness.open()) as world:
        yield world
