"""A manager on each kind of store."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.engine.helpers import managed

from threadstore.manager import ThreadManager
from threadstore.stores.memory import MemoryThreadStore
from threadstore.testing import StoreHarness


@pytest.fixture
async def manager() -> AsyncIterator[ThreadManager]:
    """A manager of a memory store."""
    async with managed(MemoryThreadStore()) as manager:
        yield manager


@pytest.fixture
async def any_manager(harness: StoreHarness) -> AsyncIterator[ThreadManager]:
    """A manager of each store there is."""
    async with harness.open() as store, ThreadManager(store, clock=harness.clock) as manager:
        yield manager
