"""The PostgreSQL store beside pgbench, bare queries and COPY on the same server.

The server is one of its own, syncs to the disk, and shares the machine with its clients.
"""

from __future__ import annotations

import asyncio
import glob
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import sql

from benchmarks.measure import Result, in_turn, seconds
from threadstore import LiveThread, NewThread, RolloutItem, ThreadQuery
from threadstore.config import PostgresStoreConfig
from threadstore.stores.postgres.store import PostgresThreadStore
from threadstore.stores.postgres.thread_query import select
from threadstore.testing.postgres_server import OWNER, PostgresServer, binaries

THREADS: Final = 100
APPENDS: Final = 40
ITEMS: Final = 10_000
LISTED: Final = 1_000_000
ROUNDS: Final = 5

_MANY_THREADS: Final = """
INSERT INTO threadstore.threads (
    tenant, thread_id, version, created_at, updated_at, recency_at, cwd, model_provider,
    source_kind, displayable, search_text, record
)
SELECT 'default', id, 1, at, at, at, '/home/ada/code/api', 'openai', 'cli', true, preview,
    json_build_object(
        'id', id, 'session_id', id, 'preview', preview, 'first_user_message', preview,
        'title', preview, 'created_at', at, 'updated_at', at, 'recency_at', at,
        'cwd', '/home/ada/code/api', 'git', json_build_object('branch', 'main'),
        'model_provider', 'openai', 'model', 'gpt-5.5', 'cli_version', '0.169.0', 'source', 'cli'
    )
FROM (
    SELECT gen_random_uuid() AS id, 'Fix the flaky test number ' || number AS preview,
        timestamptz '2026-01-01' + number * interval '7 seconds' AS at
    FROM generate_series(1, %s) AS number
) AS made
"""


def _item() -> RolloutItem:
    text = "All work and no play makes Jack a dull boy. " * 22
    return RolloutItem("event_msg", {"type": "agent_message", "message": text})


@contextmanager
def _server() -> Iterator[tuple[PostgresServer, str]]:
    with PostgresServer("shared_buffers=256MB", "max_wal_size=4GB", durable=True) as server:
        database = server.new_database()
        table = "CREATE TABLE bare (id bigserial PRIMARY KEY, thread integer, line text)"
        server.admin(sql.SQL(table), database)
        script = server.folder / "insert.sql"
        script.write_text("INSERT INTO bare (thread, line) VALUES (1, repeat('x', 1050));\n")
        yield server, database


def _pgbench(server: PostgresServer, database: str, clients: int) -> tuple[float, float]:
    """Rows per second, and the median latency in seconds, of single inserts."""
    for old in glob.glob(f"{server.folder}/latency*"):
        os.unlink(old)
    command = [str(binaries() / "pgbench"), "-n", "-M", "prepared", "-T", "2"]
    command += ["-f", str(server.folder / "insert.sql"), "-c", str(clients), "-l"]
    command += ["--log-prefix", str(server.folder / "latency"), "-h", str(server.folder)]
    done = subprocess.run([*command, "-U", OWNER, database], capture_output=True, check=True)
    tps = next(line for line in done.stdout.splitlines() if line.startswith(b"tps"))
    latencies: list[float] = []
    for path in glob.glob(f"{server.folder}/latency*"):
        with open(path, encoding="ascii") as log:
            latencies += (int(line.split()[2]) / 1e6 for line in log)
    return float(tps.split()[2]), statistics.median(latencies)


def _with_store(
    server: PostgresServer,
    database: str,
    work: Callable[[PostgresThreadStore], Coroutine[Any, Any, float]],
) -> float:
    async def run() -> float:
        async with PostgresThreadStore(PostgresStoreConfig(dsn=server.dsn(database))) as store:
            return await work(store)

    return asyncio.run(run())


async def _median(append: Callable[[], Coroutine[Any, Any, object]]) -> float:
    """Median seconds of a call, when statements have been prepared."""
    for _ in range(20):
        await append()
    times = []
    for _ in range(600):
        start = time.perf_counter()
        await append()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


async def _append_one(store: PostgresThreadStore) -> float:
    thread, batch = await store.create_thread(NewThread(cwd="")), [_item()]
    return await _median(lambda: store.append_items(thread.id, batch))


async def _append_live(store: PostgresThreadStore) -> float:
    batch = [_item()]
    async with await LiveThread.create(store, NewThread(cwd="")) as live:
        return await _median(lambda: live.append_items(batch))


async def _append_many(store: PostgresThreadStore) -> float:
    """Rows per second of 100 threads that append one item at a time."""
    batch = [_item()]
    ids = [(await store.create_thread(NewThread(cwd=""))).id for _ in range(THREADS)]

    async def work(thread_id: str) -> None:
        for _ in range(APPENDS):
            await store.append_items(thread_id, batch)

    for thread_id in ids:
        await store.append_items(thread_id, batch)
    start = time.perf_counter()
    await asyncio.gather(*map(work, ids))
    return THREADS * APPENDS / (time.perf_counter() - start)


def appends(folder: str) -> Iterator[Result]:
    """Items of 1 KB, beside pgbench inserting rows of 1 KB."""
    del folder
    with _server() as (server, database):
        for name, work, goal in (
            ("postgres: append_items / pgbench insert", _append_one, 3),
            ("postgres: LiveThread append / pgbench insert", _append_live, 5),
        ):
            ours, limit = in_turn(
                lambda work=work: _with_store(server, database, work),  # type: ignore[misc]
                lambda: _pgbench(server, database, 1)[1],
                best=min,
                rounds=ROUNDS,
            )
            yield Result(
                name=name, ours=ours, limit=limit, unit="s", goal=goal, higher_is_better=False
            )
        ours, limit = in_turn(
            lambda: _with_store(server, database, _append_many),
            lambda: _pgbench(server, database, 32)[0],
            best=max,
            rounds=ROUNDS,
        )
        yield Result(
            name=f"postgres: {THREADS} threads at once / pgbench -c 32",
            ours=ours,
            limit=limit,
            unit="rows/s",
            goal=1,
            higher_is_better=True,
        )


def lists(folder: str) -> Iterator[Result]:
    """The first 50 of a million threads, beside the same query without the store."""
    del folder
    with _server() as (server, database):
        with psycopg.connect(server.dsn(database, user=OWNER), autocommit=True) as admin:
            admin.execute(_MANY_THREADS, [LISTED])
            admin.execute("VACUUM ANALYZE threadstore.threads")
        with asyncio.Runner() as runner:
            store = PostgresThreadStore(PostgresStoreConfig(dsn=server.dsn(database)))
            query = ThreadQuery(limit=50)
            runner.run(store.open())
            text, values = select(query, "default", None)

            async def connect() -> psycopg.AsyncConnection[Any]:
                connection = await psycopg.AsyncConnection.connect(
                    server.dsn(database), autocommit=True
                )
                await connection.execute("SET threadstore.tenant = 'default'")
                return connection

            async def page() -> None:
                assert len((await store.list_threads(query)).items) == 50

            async def bare() -> None:
                assert len(await (await connection.execute(text, values)).fetchall()) == 51

            connection = runner.run(connect())
            ours, limit = in_turn(
                lambda: runner.run(_median(page)),
                lambda: runner.run(_median(bare)),
                best=min,
                rounds=ROUNDS,
            )
            runner.run(connection.close())
            runner.run(store.close())
    yield Result(
        name="postgres: first 50 of 1,000,000 / bare query",
        ours=ours,
        limit=limit,
        unit="s",
        goal=2,
        higher_is_better=False,
    )


def history(folder: str) -> Iterator[Result]:
    """Loading 10,000 items, beside COPY TO of the same rows; and what they take on the disk."""
    del folder
    with _server() as (server, database), asyncio.Runner() as runner:
        store = PostgresThreadStore(PostgresStoreConfig(dsn=server.dsn(database)))
        runner.run(store.open())
        thread = runner.run(store.create_thread(NewThread(cwd="")))
        for _ in range(ITEMS // 100):
            runner.run(store.append_items(thread.id, [_item()] * 100))
        admin = psycopg.connect(server.dsn(database, user=OWNER), autocommit=True)
        rows = "SELECT position, line FROM threadstore.thread_items ORDER BY position"

        def load() -> None:
            assert len(runner.run(store.load_history(thread.id)).items) == ITEMS + 1

        def copy() -> None:
            with admin.cursor().copy(f"COPY ({rows}) TO STDOUT (FORMAT binary)") as chunks:
                assert sum(map(len, chunks)) > ITEMS * 900

        ours, limit = in_turn(
            lambda: ITEMS / seconds(load), lambda: ITEMS / seconds(copy), best=max
        )
        size, payload = admin.execute(
            "SELECT pg_total_relation_size('threadstore.thread_items'),"
            " (SELECT sum(octet_length(line)) FROM threadstore.thread_items)"
        ).fetchall()[0]
        admin.close()
        runner.run(store.close())
    yield Result(
        name="postgres: load 10,000 items / COPY TO",
        ours=ours,
        limit=limit,
        unit="items/s",
        goal=0.5,
        higher_is_better=True,
    )
    yield Result(
        name="postgres: size on disk / payload",
        ours=float(size),
        limit=float(payload),
        unit="bytes",
        goal=1.5,
        higher_is_better=False,
    )


BENCHES: Final[list[Callable[[str], Iterator[Result]]]] = [appends, lists, history]
