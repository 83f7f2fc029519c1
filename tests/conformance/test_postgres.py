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


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> Iterator[str]:
    database = postgres_server.new_database()
    yield database
    postgres_server.drop_database(database)


@pytest.mark.cluster
class TestPostgresStoreAsOnShards(ThreadStoreTests):
    """As behind a pooler and on a sharded engine: the tenant said in each transaction, nothing
    prepared, statements for one thread at a time. One database for all tests saves a minute."""

    @pytest.fixture
    def harness(self, postgres_server: PostgresServer, database: str) -> Iterator[StoreHarness]:
        harness = PostgresHarness(
            postgres_server, database=database, transaction_pooling=True, batch_threads=False
        )
        yield harness
        harness.close()
