"""The harness of the PostgreSQL store: a database of its own, looked at as the superuser."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import sql

from threadstore.config import PostgresStoreConfig
from threadstore.store import Capabilities, Durability, ThreadStore
from threadstore.stores.postgres.store import PostgresThreadStore
from threadstore.testing.harness import Corruption, StoreHarness
from threadstore.testing.harnesses import damage
from threadstore.testing.postgres_server import OWNER, PostgresServer

__all__ = ["PostgresHarness"]


class PostgresHarness(StoreHarness):
    """Stores of one tenant in a fresh database of *server*, which :meth:`close` drops; or in
    *database*, which it empties."""

    def __init__(
        self, server: PostgresServer, *, database: str | None = None, **options: Any
    ) -> None:
        super().__init__()
        self._server = server
        self._mine = database is None
        self.database = database or server.new_database()
        self.config = PostgresStoreConfig(dsn=server.dsn(self.database), **options)

    def close(self) -> None:
        """Drop the database, or empty it."""
        if self._mine:
            self._server.drop_database(self.database)
            return
        self.look(
            "WITH threads AS (DELETE FROM threadstore.threads),"
            " logs AS (DELETE FROM threadstore.thread_logs),"
            " items AS (DELETE FROM threadstore.thread_items),"
            " texts AS (DELETE FROM threadstore.thread_texts),"
            " marks AS (DELETE FROM threadstore.thread_text_marks)"
            " DELETE FROM threadstore.thread_receipts RETURNING 1"
        )

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            durability=Durability.POWER,
            permanent_idempotency_keys=True,
            fork_by_reference=True,
            exclusive_writers=True,
            search_threads=True,
            watch_thread=True,
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[ThreadStore]:
        async with PostgresThreadStore(self.config, clock=self.clock) as store:
            yield store

    def raw_history(self, thread_id: str) -> list[bytes]:
        query = "SELECT line FROM threadstore.thread_items WHERE thread_id = %s ORDER BY position"
        return [row[0] for row in self.look(query, thread_id)]

    def raw_metadata(self, thread_id: str) -> dict[str, Any] | None:
        query = "SELECT to_json(t) FROM threadstore.threads AS t WHERE thread_id = %s"
        for (row,) in self.look(query, thread_id):
            return dict(row)
        return None

    def traces(self, thread_id: str) -> list[str]:
        places = [
            table
            for table in ("threads", "thread_items", "thread_receipts")
            if self.look(f"SELECT FROM threadstore.{table} WHERE thread_id = %s", thread_id)
        ]
        # The head of an empty log is the lock of its writer.
        query = "SELECT FROM threadstore.thread_logs WHERE thread_id = %s"
        lines = self.look(f"{query} AND (position > base_position OR holder IS NULL)", thread_id)
        return [*places, "thread_logs"] if lines else places

    def corrupt(self, thread_id: str, how: Corruption) -> None:
        if how is Corruption.EVERY_LINE:
            self.look(
                "UPDATE threadstore.thread_items SET line = %s WHERE thread_id = %s RETURNING 1",
                self.GARBAGE,
                thread_id,
            )
            return
        self.look(
            "WITH log AS (UPDATE threadstore.thread_logs SET position = position + 1"
            " WHERE thread_id = %s RETURNING tenant, thread_id, position)"
            " INSERT INTO threadstore.thread_items (tenant, thread_id, position, line)"
            " SELECT tenant, thread_id, position, %s FROM log RETURNING 1",
            thread_id,
            damage(how),
        )

    def crash(self) -> None:
        # What a crash leaves are leases that nobody renews; here their time has run out.
        self.look(
            "UPDATE threadstore.thread_logs SET epoch = epoch + 1, expires_at = now() RETURNING 1"
        )

    def look(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement as the superuser, whom row-level security does not hold."""
        dsn = self._server.dsn(self.database, user=OWNER)
        with psycopg.connect(dsn, autocommit=True) as connection:
            return connection.execute(sql.SQL(query), values).fetchall()
