"""The PostgreSQL store keeps the contract, as a role that row-level security holds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from threadstore.testing import StoreHarness, ThreadStoreTests
from threadstore.testing.postgres_harness import PostgresHarness
from threadstore.testing.postgres_server import PostgresServer


class TestPostgresStore(ThreadStoreTests):
    @pytest.fixture
    def harness(
        self, postgres_server: PostgresServer, postgres_database: str
    ) -> Iterator[StoreHarness]:
        harness = PostgresHarness(postgres_server, database=postgres_database)
        yield harness
        harness.close()


@pytest.mark.cluster
class TestPostgresStoreAsOnShards(ThreadStoreTests):
    """As behind a pooler and on a sharded engine: the tenant said in each transaction, nothing
    prepared, statements for one thread at a time."""

    @pytest.fixture
    def harness(
        self, postgres_server: PostgresServer, postgres_database: str
    ) -> Iterator[StoreHarness]:
        harness = PostgresHarness(
            postgres_server,
            database=postgres_database,
            transaction_pooling=True,
            batch_threads=False,
        )
        yield harness
        harness.close()
