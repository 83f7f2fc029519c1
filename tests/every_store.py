"""A fixture for tests of what stands on a store: they run on every one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from threadstore.testing import LocalHarness, MemoryHarness, StoreHarness
from threadstore.testing.postgres_harness import PostgresHarness

__all__ = ["harness"]


@pytest.fixture(params=["memory", "local", "postgres"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreHarness]:
    """Each store there is."""
    made: StoreHarness
    if request.param == "memory":
        made = MemoryHarness()
    elif request.param == "local":
        made = LocalHarness(tmp_path)
    else:
        server = request.getfixturevalue("postgres_server")
        made = PostgresHarness(server, database=request.getfixturevalue("postgres_database"))
    yield made
    made.close()
