"""Behind pgbouncer, where it is installed: the same store, if it says ``transaction_pooling``."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.cluster.load import Ledger, write
from tests.cluster.pooler import PGBOUNCER, Pooler

from threadstore.errors import StoreUnavailable, ThreadNotFound
from threadstore.stores.postgres.store import PostgresThreadStore
from threadstore.testing import StoreHarness, ThreadStoreTests, items, record_thread
from threadstore.testing.postgres_harness import PostgresHarness
from threadstore.testing.postgres_server import PostgresServer

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        PGBOUNCER is None, reason="pgbouncer is not installed (apt-get install pgbouncer)"
    ),
]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def pooler(server: PostgresServer) -> Iterator[Pooler]:
    # The path of a socket must be short.
    with (
        tempfile.TemporaryDirectory(prefix="threadstore-pool-") as folder,
        Pooler(Path(folder), server, "transaction") as pooler,
    ):
        yield pooler


def _behind(pooler: Pooler, harness: PostgresHarness, **settings: Any) -> PostgresHarness:
    dsn = pooler.dsn(harness.database)
    harness.config = msgspec.structs.replace(harness.config, dsn=dsn, **settings)
    return harness


@pytest.fixture(scope="module")
def database(server: PostgresServer) -> str:
    return server.new_database()


@pytest.fixture
def pooled(server: PostgresServer, pooler: Pooler, database: str) -> Iterator[PostgresHarness]:
    harness = PostgresHarness(server, database=database)
    _behind(pooler, harness, transaction_pooling=True)
    yield harness
    harness.close()


class TestBehindPgbouncer(ThreadStoreTests):
    @pytest.fixture
    def harness(self, pooled: PostgresHarness) -> StoreHarness:
        return pooled


@asynccontextmanager
async def _store(harness: PostgresHarness, **settings: Any) -> AsyncIterator[PostgresThreadStore]:
    config = msgspec.structs.replace(harness.config, **settings)
    async with PostgresThreadStore(config, clock=harness.clock) as store:
        yield store


async def test_tenants_that_share_connections_are_kept_apart(pooled: PostgresHarness) -> None:
    async with _store(pooled, tenant="acme") as acme, _store(pooled, tenant="zeta") as zeta:
        ours = await record_thread(acme, pooled.clock)
        theirs = await record_thread(zeta, pooled.clock)

        async def look(store: PostgresThreadStore, mine: str, other: str) -> None:
            for _ in range(20):
                page = await store.list_threads()
                assert [thread.id for thread in page.items] == [mine]
                with pytest.raises(ThreadNotFound):
                    await store.load_history(other)

        await asyncio.gather(
            *(look(acme, ours.id, theirs.id) for _ in range(6)),
            *(look(zeta, theirs.id, ours.id) for _ in range(6)),
        )


async def test_a_server_that_is_killed_behind_it_loses_nothing(
    pooled: PostgresHarness, server: PostgresServer, tmp_path: Path
) -> None:
    path = tmp_path / "ledger"
    ledger, stop = Ledger(path), asyncio.Event()
    async with _store(pooled, retry_for=60, pool_timeout=60) as store:
        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(write(store, ledger, stop))
            for _ in range(4):
                size = Ledger.size(path)
                while Ledger.size(path) < size + 150:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                await asyncio.to_thread(server.restart_after_kill)
            stop.set()
        said, _ = Ledger.read(path)
        for thread_id, texts in said.items():
            history = await store.load_history(thread_id)
            assert [item.payload.get("message") for item in history.items[1:]] == texts
    ledger.close()


@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_a_pooler_of_which_the_store_knows_nothing_is_refused(
    server: PostgresServer, mode: str
) -> None:
    harness = PostgresHarness(server)
    with (
        tempfile.TemporaryDirectory(prefix="threadstore-pool-") as folder,
        Pooler(Path(folder), server, mode) as pooler,
    ):
        _behind(pooler, harness)
        with pytest.raises(StoreUnavailable) as caught:
            async with _store(harness):
                pass
        assert "transaction_pooling=true" in (caught.value.hint or "")
        async with _store(harness, transaction_pooling=True) as store:
            thread = await record_thread(store, harness.clock)
            await store.resume_thread(thread.id)
            await store.append_items(thread.id, [items.agent_message("x")])
    harness.close()
