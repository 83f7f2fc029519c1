"""Commits without an answer, leases lost meanwhile, calls that were cancelled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.stores.postgres.conftest import OpenStore
from tests.stores.postgres.proxy import Proxy

from threadstore.errors import Conflict, StoreUnavailable
from threadstore.history.items import RolloutItem
from threadstore.metadata import MetadataOrigin, NewThread, ThreadMetadataPatch
from threadstore.store import ThreadStore
from threadstore.stores.postgres.store import PostgresThreadStore
from threadstore.testing import Corruption, items, record_thread
from threadstore.testing.postgres_harness import PostgresHarness
from threadstore.testing.postgres_server import OWNER, PostgresServer

RUN_OUT = "UPDATE threadstore.thread_logs SET expires_at = now() RETURNING 1"
BLOCKED = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
PATIENCE = 20.0


def message(text: str) -> RolloutItem:
    return items.agent_message(text)


async def until(condition: Callable[[], object]) -> None:
    """Wait for what another task or the server does."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.fixture
async def proxy(
    harness: PostgresHarness, postgres_server: PostgresServer, tmp_path: Path
) -> AsyncIterator[Proxy]:
    folder = tmp_path / "s"
    folder.mkdir()
    async with Proxy(folder, postgres_server.folder) as proxy:
        yield proxy


@pytest.fixture
async def open_through(
    open_with: OpenStore, harness: PostgresHarness, proxy: Proxy
) -> AsyncIterator[Callable[..., Any]]:
    """Opens a store with one connection, through the proxy."""
    async with AsyncExitStack() as stack:

        async def open_it(**settings: Any) -> ThreadStore:
            dsn = f"postgresql://app@/{harness.database}?host={proxy.folder}"
            store = open_with(dsn=dsn, pool_size=1, **settings)
            return await stack.enter_async_context(store)

        yield open_it


@pytest.fixture
def admin(harness: PostgresHarness, postgres_server: PostgresServer) -> Any:
    """A session of an administrator, with a transaction of its own."""
    with psycopg.connect(postgres_server.dsn(harness.database, user=OWNER)) as connection:
        yield connection


async def test_a_writer_that_was_replaced_is_told_of_what_it_had_written(
    open_through: Callable[..., Any], open_with: OpenStore, harness: PostgresHarness, proxy: Proxy
) -> None:
    store = await open_through()
    async with open_with() as other:
        thread = await record_thread(other, harness.clock)
        await store.resume_thread(thread.id)
        position = (await other.load_history(thread.id)).position
        proxy.cut_at_next_answer()
        proxy.shut = True
        append = asyncio.create_task(store.append_items(thread.id, [message("mine")]))
        await until(lambda: proxy.cuts)
        harness.look(RUN_OUT)
        await other.resume_thread(thread.id)
        await other.append_items(thread.id, [message("other")])
        proxy.shut = False
        assert (await append).position == position + 1
        with pytest.raises(Conflict):
            await store.append_items(thread.id, [message("too late")])
        said = [line for line in harness.raw_history(thread.id) if b'"mine"' in line]
        assert len(said) == 1


async def test_a_writer_goes_on_after_an_append_that_arrived_late(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    async with open_with() as store:
        thread = await record_thread(store, harness.clock)
        await store.resume_thread(thread.id)
        position = (await store.load_history(thread.id)).position
        harness.corrupt(thread.id, Corruption.GARBAGE_LINE)  # a line under the writer's own lease
        with pytest.raises(Conflict, match=f"at position {position + 1}, not {position}"):
            await store.append_items(thread.id, [message("x")])
        assert (await store.append_items(thread.id, [message("y")])).position == position + 2


async def test_a_change_of_a_new_thread_that_fails_leaves_nothing(
    open_through: Callable[..., Any], open_with: OpenStore, harness: PostgresHarness, proxy: Proxy
) -> None:
    store = await open_through(retry_for=0)
    thread = await store.create_thread(NewThread(cwd=""))
    proxy.cut_at_next_answer()
    with pytest.raises(StoreUnavailable):
        await store.update_thread_metadata(
            thread.id, ThreadMetadataPatch(name="n"), origin=MetadataOrigin.EXPLICIT
        )
    assert (await store.read_thread(thread.id)).name is None
    await store.shutdown_thread(thread.id)
    assert harness.traces(thread.id) == []
    async with open_with() as other:
        await other.create_thread(NewThread(cwd="", id=thread.id))


async def test_what_is_observed_of_a_new_thread_is_kept_if_its_first_lines_were_written(
    open_through: Callable[..., Any], harness: PostgresHarness, proxy: Proxy
) -> None:
    store = await open_through(retry_for=0)
    thread = await store.create_thread(NewThread(cwd=""))
    proxy.cut_at_next_answer(after=3)  # begin, lines, metadata, commit
    with pytest.raises(StoreUnavailable):
        await store.append_items(thread.id, [message("first")])
    assert len(harness.raw_history(thread.id)) == 2
    await store.update_thread_metadata(
        thread.id, ThreadMetadataPatch(title="t"), origin=MetadataOrigin.OBSERVED
    )
    assert (await store.append_items(thread.id, [message("second")])).position == 3
    assert (await store.read_thread(thread.id)).title == "t"


async def test_an_append_that_comes_when_the_last_flights_end_is_not_forgotten(
    open_with: OpenStore,
) -> None:
    async with open_with() as store:
        threads = [(await store.create_thread(NewThread(cwd=""))).id for _ in range(5)]

        async def write(thread_id: str) -> None:
            await store.append_items(thread_id, [message("x")])
            await asyncio.sleep(0)
            await store.append_items(thread_id, [message("y")])

        async with asyncio.timeout(PATIENCE):
            for _ in range(60):
                await asyncio.gather(*map(write, threads))


async def test_nobody_waits_for_appends_that_were_cancelled_with_their_loop(
    open_with: OpenStore,
) -> None:
    async with open_with() as store:
        threads = [(await store.create_thread(NewThread(cwd=""))).id for _ in range(8)]
        for thread_id in threads:
            await store.persist_thread(thread_id)
        before = asyncio.all_tasks()
        for thread_id in threads:
            asyncio.create_task(store.append_items(thread_id, [message("x")]))  # noqa: RUF006
            for _ in range(3):  # the first ones are on their way, the others wait for them
                await asyncio.sleep(0)
        mine = asyncio.all_tasks() - before
        for task in mine:
            task.cancel()
        _, pending = await asyncio.wait(mine, timeout=PATIENCE)
        assert not pending


async def test_a_thread_that_others_change_meanwhile_is_archived_all_the_same(
    open_with: OpenStore, harness: PostgresHarness, admin: psycopg.Connection[Any]
) -> None:
    async with open_with() as store:
        thread = await record_thread(store, harness.clock)
        admin.execute("UPDATE threadstore.threads SET version = version + 1")
        archive = asyncio.create_task(store.archive_thread(thread.id))
        await until(lambda: harness.look(BLOCKED, harness.database))
        admin.commit()
        assert await archive == (thread.id,)


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
async def test_a_fork_that_comes_while_its_base_is_deleted_keeps_it(
    open_with: OpenStore, harness: PostgresHarness, admin: psycopg.Connection[Any], isolation: str
) -> None:
    setting = f"SET default_transaction_isolation = '{isolation}'"
    admin.execute(f"ALTER DATABASE {harness.database} {setting}".encode())
    admin.commit()
    async with open_with() as store:
        thread = await record_thread(store, harness.clock)
        admin.execute("SELECT 1 FROM threadstore.thread_logs FOR SHARE")
        delete = asyncio.create_task(store.delete_thread(thread.id))
        await until(lambda: harness.look(BLOCKED, harness.database))
        admin.execute(
            "INSERT INTO threadstore.thread_logs SELECT tenant, gen_random_uuid(), position + 1,"
            " NULL, thread_id, position, 0, 1, NULL, NULL FROM threadstore.thread_logs"
        )
        admin.commit()
        with pytest.raises(Conflict, match="stands on it"):
            await delete


async def test_a_heartbeat_passes_over_what_is_being_written(
    open_with: OpenStore, harness: PostgresHarness, admin: psycopg.Connection[Any]
) -> None:
    async with open_with(heartbeat=0.05) as store:
        threads = [await record_thread(store, harness.clock) for _ in range(2)]
        for thread in threads:
            await store.resume_thread(thread.id)
        lock = "SELECT 1 FROM threadstore.thread_logs WHERE thread_id = %s FOR UPDATE"
        admin.execute(lock, [threads[0].id])
        run_out = "UPDATE threadstore.thread_logs SET expires_at = now() WHERE thread_id = %s"
        harness.look(f"{run_out} RETURNING 1", threads[1].id)
        renewed = (
            "SELECT 1 FROM threadstore.thread_logs WHERE thread_id = %s AND expires_at > now()"
        )
        await until(lambda: harness.look(renewed, threads[1].id))
        admin.commit()


async def test_a_store_without_a_server_is_closed_soon_however_many_threads_are_live() -> None:
    with PostgresServer() as server:
        config = PostgresHarness(server, retry_for=1.0, pool_timeout=0.2).config
        async with PostgresThreadStore(config) as store:
            for _ in range(12):
                await store.create_thread(NewThread(cwd=""))
            server.kill()
            began = time.monotonic()
        assert time.monotonic() - began < 8
