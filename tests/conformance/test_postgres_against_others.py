"""The PostgreSQL store does what the other stores do, in any order of verbs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings

from threadstore.testing import (
    LocalHarness,
    MemoryHarness,
    StoreHarness,
    ThreadStoreMachine,
    run_differential,
)
from threadstore.testing.postgres_harness import PostgresHarness
from threadstore.testing.postgres_server import PostgresServer


async def test_one_script_has_the_same_results_on_all_stores(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    postgres = PostgresHarness(postgres_server)
    harnesses: dict[str, StoreHarness] = {
        "memory": MemoryHarness(),
        "local": LocalHarness(tmp_path),
        "postgres": postgres,
    }
    results = await run_differential(harnesses)
    assert results["postgres"] == results["memory"]
    postgres.close()


class PostgresMachine(ThreadStoreMachine):
    server: ClassVar[PostgresServer]

    @staticmethod
    def make_harness(folder: str) -> StoreHarness:
        return PostgresHarness(PostgresMachine.server)


@pytest.fixture(scope="module", autouse=True)
def _server(postgres_server: PostgresServer) -> Iterator[None]:
    PostgresMachine.server = postgres_server
    yield
    del PostgresMachine.server


TestPostgres = PostgresMachine.TestCase
TestPostgres.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
