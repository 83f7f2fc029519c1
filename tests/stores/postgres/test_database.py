"""Connections: outages, dropped sessions, and what the driver is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

import msgspec
import psycopg
import pytest

from threadstore.config import PostgresStoreConfig
from threadstore.errors import StoreUnavailable
from threadstore.metadata import NewThread
from threadstore.stores.postgres.database import conninfo_of
from threadstore.stores.postgres.store import PostgresThreadStore
from threadstore.testing import items
from threadstore.testing.postgres_harness import PostgresHarness
from threadstore.testing.postgres_server import PostgresServer


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


async def test_an_outage_may_be_longer_than_the_wait_for_a_connection(
    own_server: PostgresServer,
) -> None:
    harness = PostgresHarness(own_server, pool_timeout=0.2, retry_for=60)
    async with PostgresThreadStore(harness.config) as store:
        thread = await store.create_thread(NewThread(cwd=""))
        own_server.kill()
        calls = [
            asyncio.create_task(store.append_items(thread.id, [items.agent_message(text)]))
            for text in "ab"
        ] + [asyncio.create_task(store.list_threads()) for _ in range(8)]
        done, _ = await asyncio.wait(calls, timeout=1.0)
        assert not done
        own_server.start()
        await asyncio.gather(*calls)
        assert (await store.load_history(thread.id)).position == 3


async def test_without_a_server_the_error_says_so_and_not_that_all_is_in_use(
    own_server: PostgresServer,
) -> None:
    harness = PostgresHarness(own_server, pool_timeout=0.2, retry_for=0.5, pool_size=1)
    async with PostgresThreadStore(harness.config) as store:
        own_server.kill()
        with pytest.raises(StoreUnavailable, match="cannot connect"):
            await store.list_threads()
        own_server.start()
        assert (await store.list_threads()).items == ()


async def test_a_session_that_the_server_ended_is_replaced(harness: PostgresHarness) -> None:
    config = msgspec.structs.replace(
        harness.config,
        pool_size=1,
        dsn=f"{harness.config.dsn}&options=-cidle_session_timeout%3D500",
    )
    async with PostgresThreadStore(config) as store:
        query = "SELECT FROM pg_stat_activity WHERE application_name = 'threadstore'"
        async with asyncio.timeout(20):
            while harness.look(f"{query} AND datname = current_database()"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (await store.list_threads()).items == ()


def test_what_the_connection_string_says_wins() -> None:
    def said(dsn: str) -> Mapping[str, object]:
        return psycopg.conninfo.conninfo_to_dict(conninfo_of(PostgresStoreConfig(dsn=dsn)))

    assert said("postgresql://h/d")["application_name"] == "threadstore"
    assert said("postgresql://h/d")["keepalives_idle"] == "10"
    assert said("postgresql://h/d?application_name=x&keepalives_idle=99")["application_name"] == "x"
    assert said("postgresql://h/d?keepalives_idle=99")["keepalives_idle"] == "99"
    assert said("postgresql://a,b/d?target_session_attrs=read-write")["host"] == "a,b"
