"""A database of its own for each test, and stores on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import msgspec
import pytest

from threadstore.stores.postgres.store import PostgresThreadStore
from threadstore.testing.postgres_harness import PostgresHarness
from threadstore.testing.postgres_server import PostgresServer

OpenStore = Callable[..., AbstractAsyncContextManager[PostgresThreadStore]]


@pytest.fixture
def harness(postgres_server: PostgresServer) -> Iterator[PostgresHarness]:
    harness = PostgresHarness(postgres_server)
    yield harness
    harness.close()


@pytest.fixture
def open_with(harness: PostgresHarness) -> OpenStore:
    """Opens a store on the test's database, with other settings."""

    @asynccontextmanager
    async def open_it(**settings: Any) -> AsyncIterator[PostgresThreadStore]:
        config = msgspec.structs.replace(harness.config, **settings)
        async with PostgresThreadStore(config, clock=harness.clock) as store:
            yield store

    return open_it
