"""Migrations: one process at a time, under running stores, and equal to ``schema.sql``."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from tools.schema import SCHEMA, dump

from threadstore.config import PostgresStoreConfig
from threadstore.errors import StoreUnavailable
from threadstore.metadata import MetadataOrigin, NewThread, ThreadMetadataPatch
from threadstore.stores.postgres.migrate import Migration, migrate, migrations, pending
from threadstore.stores.postgres.store import PostgresThreadStore
from threadstore.testing import items
from threadstore.testing.postgres_harness import PostgresHarness
from threadstore.testing.postgres_server import OWNER, ROLE, PostgresServer

NEXT = Migration(
    len(migrations()) + 1,
    "notes",
    """
    ALTER TABLE threadstore.threads ADD COLUMN note text NOT NULL DEFAULT 'none';
    ALTER TABLE threadstore.thread_items ADD COLUMN seen boolean NOT NULL DEFAULT false;
    CREATE INDEX threads_note ON threadstore.threads (tenant, note, thread_id);
    """,
)
"""A step of a release to come: it only adds, and what it adds has defaults."""


@pytest.fixture
def empty(postgres_server: PostgresServer) -> Iterator[str]:
    """The name of a database without tables."""
    name = f"empty_{os.urandom(4).hex()}"
    create = sql.SQL("CREATE DATABASE {} OWNER {}")
    postgres_server.admin(create.format(sql.Identifier(name), sql.Identifier(ROLE)))
    yield name
    postgres_server.drop_database(name)


@pytest.fixture
def config(postgres_server: PostgresServer, empty: str) -> PostgresStoreConfig:
    """A store on that database."""
    return PostgresStoreConfig(dsn=postgres_server.dsn(empty))


def test_each_step_is_taken_once(config: PostgresStoreConfig) -> None:
    steps = migrations()
    assert [step.version for step in steps] == list(range(1, len(steps) + 1))
    assert pending(config) == steps
    assert migrate(config) == steps
    assert pending(config) == []
    assert migrate(config) == []
    with psycopg.connect(config.dsn) as connection:
        rows = connection.execute(
            "SELECT version, name, checksum FROM threadstore.migrations ORDER BY version"
        ).fetchall()
    assert rows == [(step.version, step.name, step.checksum) for step in steps]


def test_the_schema_file_is_the_sum_of_the_migrations(
    postgres_server: PostgresServer, config: PostgresStoreConfig, empty: str
) -> None:
    postgres_server.admin(sql.SQL(SCHEMA.read_text(encoding="utf-8")), empty)
    migrated = postgres_server.new_database()
    try:
        assert dump(postgres_server, empty) == dump(postgres_server, migrated)
    finally:
        postgres_server.drop_database(migrated)
    with psycopg.connect(postgres_server.dsn(empty, user=OWNER)) as connection:
        connection.execute("GRANT USAGE ON SCHEMA threadstore TO app")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA threadstore TO app")
    assert pending(config) == []


def test_a_failed_step_leaves_nothing(config: PostgresStoreConfig) -> None:
    migrate(config)
    broken = Migration(NEXT.version, "broken", NEXT.sql + "SELECT nonsense;")
    with pytest.raises(StoreUnavailable):
        migrate(config, [*migrations(), broken])
    assert migrate(config, [*migrations(), NEXT]) == [NEXT]


def test_a_step_that_was_changed_later_is_refused(config: PostgresStoreConfig) -> None:
    migrate(config)
    first, *rest = migrations()
    changed = [Migration(first.version, first.name, first.sql + "-- changed"), *rest]
    with pytest.raises(StoreUnavailable, match="is not the one of this release"):
        migrate(config, changed)


def test_a_newer_database_is_fine(config: PostgresStoreConfig) -> None:
    migrate(config, [*migrations(), NEXT])
    assert pending(config) == []
    assert migrate(config) == []


def test_two_processes_take_each_step_once(config: PostgresStoreConfig) -> None:
    """Both wait for the same lock; whoever gets it second finds nothing to do."""
    command = [sys.executable, "-m", "threadstore", "migrate", "--store", config.dsn]
    with psycopg.connect(config.dsn, autocommit=True) as gate:
        gate.execute("SELECT pg_advisory_lock(%s)", [0x7468_7265_6164])
        both = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while gate.execute(waiting).fetchone() != (2,):
            assert all(process.poll() is None for process in both)
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    lines = [line for output in outputs for line in output.decode().splitlines()]
    assert lines == [f"{step.version:04}_{step.name}" for step in migrations()]


def test_models_and_remotes_of_older_rows_are_copied(config: PostgresStoreConfig) -> None:
    first, *_ = migrations()
    migrate(config, [first])
    records = {
        "one": '{"model":"gpt-5.1","git":{"origin_url":"https://example.org/a.git"}}',
        "two": '{"name":"nul \\u0000","model":null,"git":null}',
    }
    with psycopg.connect(config.dsn) as connection:
        for tenant, record in records.items():
            connection.execute("SELECT set_config('threadstore.tenant', %s, true)", [tenant])
            connection.execute(
                "INSERT INTO threadstore.threads VALUES (%s, gen_random_uuid(), 1, now(), now(),"
                " now(), NULL, NULL, '', 'openai', 'cli', NULL, true, '', %s)",
                [tenant, record],
            )
    migrate(config)
    found = []
    with psycopg.connect(config.dsn) as connection:
        for tenant in records:
            connection.execute("SELECT set_config('threadstore.tenant', %s, true)", [tenant])
            found += connection.execute(
                "SELECT model, git_origin FROM threadstore.threads"
            ).fetchall()
    assert found == [("gpt-5.1", "https://example.org/a.git"), (None, None)]


async def test_a_database_without_tables_is_told_when_the_store_is_opened(
    config: PostgresStoreConfig,
) -> None:
    store = PostgresThreadStore(config)
    with pytest.raises(StoreUnavailable) as caught:
        await store.open()
    assert "threadstore migrate" in str(caught.value.hint)
    migrate(config)
    async with store:
        assert (await store.list_threads()).items == ()


async def test_an_upgrade_under_stores_that_are_at_work(
    postgres_server: PostgresServer,
) -> None:
    """Writers and readers of the release before go on while the step is taken, and after it."""
    harness = PostgresHarness(postgres_server)
    try:
        async with harness.open() as store:
            thread = await store.create_thread(NewThread(cwd="/repo"))
            upgraded = threading.Event()

            async def work() -> int:
                position, after = 0, 0
                while after < 20:
                    after += upgraded.is_set()
                    receipt = await store.append_items(thread.id, [items.agent_message("x")])
                    assert receipt.position == position + (1 if position else 2)
                    position = receipt.position
                    patch = ThreadMetadataPatch(name=f"at {position}")
                    await store.update_thread_metadata(
                        thread.id, patch, origin=MetadataOrigin.EXPLICIT
                    )
                    page = await store.list_threads()
                    assert [one.name for one in page.items] == [f"at {position}"]
                return position

            working = asyncio.create_task(work())
            steps = [*migrations(), NEXT]
            assert await asyncio.to_thread(migrate, harness.config, steps) == [NEXT]
            upgraded.set()
            position = await working
            assert len((await store.load_history(thread.id)).items) == position
        async with harness.open() as late:  # a program of the old release that starts now
            other = await late.create_thread(NewThread(cwd="/repo"))
            await late.append_items(other.id, [items.agent_message("x")])
        position += 2
        query = "SELECT DISTINCT note FROM threadstore.threads"
        assert harness.look(query) == [("none",)]
        query = "SELECT count(*) FROM threadstore.thread_items WHERE NOT seen"
        assert harness.look(query) == [(position,)]
    finally:
        harness.close()


async def test_a_statement_whose_columns_changed_is_prepared_again(
    postgres_server: PostgresServer,
) -> None:
    """PostgreSQL refuses a prepared statement whose answer would have other types."""
    harness = PostgresHarness(postgres_server)
    try:
        async with harness.open() as store:
            thread = await store.create_thread(NewThread(cwd="/repo"))
            await store.persist_thread(thread.id)
            for _ in range(50):  # enough for every connection to have it prepared
                await store.read_thread(thread.id)
            change = "ALTER TABLE threadstore.threads ALTER COLUMN version TYPE integer"
            postgres_server.admin(sql.SQL(change), harness.database)
            assert (await store.read_thread(thread.id)).id == thread.id
    finally:
        harness.close()
