"""The PostgreSQL store keeps the contract, as a role that row-level security holds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from threadstore.testing import StoreHarness, ThreadStoreTests
from threadstore.testing.postgres_harness import PostgresHarness
from threadstore.testing.postgres_server import PostgresServer


class TestPostgresStore(ThreadStoreTests):
    @pytest.fixture
    def harness(self, postgres_server: PostgresServer) -> Iterator[StoreHarness]:
        harness = PostgresHarness(postgres_server)
        yield harness
        harness.close()
