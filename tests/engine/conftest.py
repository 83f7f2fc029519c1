"""A manager on each kind of store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest
from tests.engine.helpers import managed

from threadstore.manager import ThreadManager
from threadstore.stores.memory import MemoryThreadStore
from threadstore.testing import LocalHarness, MemoryHarness, StoreHarness
from threadstore.testing.postgres_harness import PostgresHarness

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
async def manager() -> AsyncIterator[ThreadManager]:
    """A manager of a memory store."""
    async with managed(MemoryThreadStore()) as manager:
        yield manager


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
async def any_manager(harness: StoreHarness) -> AsyncIterator[ThreadManager]:
    """A manager of each store there is."""
    async with harness.open() as store, ThreadManager(store, clock=harness.clock) as manager:
        yield manager
