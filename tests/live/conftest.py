"""A memory store with faults on demand, a clock by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from threadstore.stores.memory import MemoryThreadStore
from threadstore.testing import ManualClock
from threadstore.testing.faults import FaultyStore


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(clock: ManualClock) -> AsyncIterator[FaultyStore]:
    async with FaultyStore(MemoryThreadStore(clock=clock)) as store:
        store.calls.clear()
        yield store
