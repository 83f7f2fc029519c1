"""Followers on PostgreSQL: woken by NOTIFY, right without it, and gone without a trace."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import psycopg
import pytest
from psycopg import sql
from tests.stores.postgres.conftest import OpenStore

from threadstore.history.items import DamagedLine, RolloutItem
from threadstore.metadata import NewThread
from threadstore.store import ThreadStore
from threadstore.stores.postgres.notify import LOOK, channel_of
from threadstore.testing import items
from threadstore.testing.postgres_harness import PostgresHarness
from threadstore.testing.postgres_server import PostgresServer

Watch = AsyncGenerator[RolloutItem | DamagedLine, None]
PATIENCE = 60.0
LISTENERS = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND query LIKE 'LISTEN%%'"


async def positions(watch: Watch, count: int) -> list[int | None]:
    async with asyncio.timeout(PATIENCE):
        return [(await anext(watch)).position for _ in range(count)]


def message(text: object) -> RolloutItem:
    return items.agent_message(str(text))


def listeners(harness: PostgresHarness) -> list[int]:
    """The server's processes that listen for somebody."""
    return [pid for (pid,) in harness.look(LISTENERS, harness.database)]


async def until(harness: PostgresHarness, count: int, *, without: int = 0) -> list[int]:
    """Wait until so many listen, and a certain one does not."""
    async with asyncio.timeout(PATIENCE):
        while len(found := listeners(harness)) != count or without in found:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found


def memory_in_use() -> int:
    """Bytes of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def append_and_follow(writing: ThreadStore, reading: ThreadStore, thread_id: str) -> None:
    """One item goes from one store object to another one."""
    position = (await writing.load_history(thread_id)).position
    async with aclosing(reading.watch_thread(thread_id, after=position)) as watch:
        waiting = asyncio.ensure_future(positions(watch, 3))
        await asyncio.sleep(0)
        for number in range(3):
            await writing.append_items(thread_id, [message(number)])
        assert await waiting == [position + 1, position + 2, position + 3]


@pytest.fixture
async def writing(open_with: OpenStore) -> AsyncIterator[ThreadStore]:
    async with open_with() as store:
        yield store


@pytest.fixture
async def thread_id(writing: ThreadStore) -> str:
    """A live thread with one item."""
    thread = await writing.create_thread(NewThread(cwd=""))
    await writing.append_items(thread.id, [message("first")])
    return thread.id


async def test_without_listening_nothing_is_missed(
    open_with: OpenStore, harness: PostgresHarness, writing: ThreadStore, thread_id: str
) -> None:
    async with open_with(transaction_pooling=True) as reading:
        await append_and_follow(writing, reading, thread_id)
        async with aclosing(reading.watch_thread(thread_id)) as watch:
            await positions(watch, 5)
            assert listeners(harness) == []
    async with open_with(transaction_pooling=True) as pooled, open_with() as reading:
        await writing.shutdown_thread(thread_id)
        await pooled.resume_thread(thread_id)
        await append_and_follow(pooled, reading, thread_id)


async def test_a_server_without_notify_only_makes_followers_slower(
    open_with: OpenStore, harness: PostgresHarness, postgres_server: PostgresServer
) -> None:
    revoke = sql.SQL("REVOKE EXECUTE ON FUNCTION pg_notify FROM PUBLIC")
    postgres_server.admin(revoke, harness.database)
    async with open_with() as writing, open_with() as reading:
        thread = await writing.create_thread(NewThread(cwd=""))
        await writing.append_items(thread.id, [message("first")])
        await append_and_follow(writing, reading, thread.id)


async def test_one_connection_listens_while_there_are_followers(
    open_with: OpenStore, harness: PostgresHarness, writing: ThreadStore, thread_id: str
) -> None:
    async with open_with() as reading:
        for _ in range(2):
            first, second = (reading.watch_thread(thread_id) for _ in range(2))
            await positions(first, 2)
            await positions(second, 1)
            await until(harness, 1)
            await first.aclose()
            assert len(listeners(harness)) == 1
            await second.aclose()
            await until(harness, 0)


async def test_a_listener_that_is_cut_off_comes_back(
    open_with: OpenStore, harness: PostgresHarness, writing: ThreadStore, thread_id: str
) -> None:
    async with open_with() as reading, aclosing(reading.watch_thread(thread_id)) as watch:
        assert await positions(watch, 2) == [1, 2]
        (pid,) = await until(harness, 1)
        harness.look("SELECT pg_terminate_backend(%s)", pid)
        await writing.append_items(thread_id, [message("meanwhile")])
        assert await positions(watch, 1) == [3]
        await until(harness, 1, without=pid)
        await writing.append_items(thread_id, [message("later")])
        assert await positions(watch, 1) == [4]


async def test_a_follower_outlives_the_server() -> None:
    with PostgresServer() as server:
        harness = PostgresHarness(server)
        async with harness.open() as writing, harness.open() as reading:
            thread = await writing.create_thread(NewThread(cwd=""))
            await writing.append_items(thread.id, [message("before")])
            async with aclosing(reading.watch_thread(thread.id)) as watch:
                assert await positions(watch, 2) == [1, 2]
                waiting = asyncio.ensure_future(positions(watch, 2))
                await asyncio.sleep(0)
                await asyncio.to_thread(server.restart_after_kill)
                for number in range(2):
                    await writing.append_items(thread.id, [message(number)])
                assert await waiting == [3, 4]


async def test_notifications_are_few_and_tell_nothing(
    harness: PostgresHarness, writing: ThreadStore, thread_id: str
) -> None:
    heard: list[str] = []
    with psycopg.connect(harness.config.dsn, autocommit=True) as connection:
        connection.execute(f"LISTEN {channel_of('default')}".encode())
        began = time.monotonic()
        for number in range(200):
            await writing.append_items(thread_id, [message(number)])
        took = time.monotonic() - began
        await asyncio.sleep(LOOK)
        heard += (notice.payload for notice in connection.notifies(timeout=0.2))
    assert 1 <= len(heard) <= took / 0.05 + 3
    assert len(set(heard)) == 1
    assert channel_of("default") != channel_of("acme")
    assert "acme" not in channel_of("acme")
    for part in thread_id.split("-"):
        assert part not in heard[0]


async def test_a_hundred_thousand_items_are_caught_up_with_in_bounded_memory(
    open_with: OpenStore, writing: ThreadStore, thread_id: str
) -> None:
    batch = [message("x" * 600)] * 5_000
    for _ in range(20):
        await writing.append_items(thread_id, batch)
    expected, before, most = 2, memory_in_use(), 0
    async with open_with() as reading, aclosing(reading.watch_thread(thread_id, after=2)) as watch:
        async for entry in watch:
            expected += 1
            assert entry.position == expected
            if expected % 5_000 == 0:
                most = max(most, memory_in_use() - before)
            if expected == 100_002:
                break
        assert most < 40_000_000  # the lines alone are more than 70 MB
        await writing.append_items(thread_id, [message("live")])
        assert await positions(watch, 1) == [100_003]
