"""Connections: the pool, the tenant, time-outs, another try after a failure that passes, and the
translation of every error of the driver."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias, TypeVar

import psycopg
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.types.numeric import Int8BinaryDumper
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from threadstore.config import PostgresStoreConfig
from threadstore.errors import StoreUnavailable, ThreadStoreError

__all__ = ["Connection", "Database", "Row", "conninfo_of", "unavailable"]

T = TypeVar("T")
Row: TypeAlias = tuple[Any, ...]
Connection: TypeAlias = psycopg.AsyncConnection[Row]

_PASSING: Final = (
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.AdminShutdown,
    psycopg.errors.CrashShutdown,
    psycopg.errors.CannotConnectNow,
    psycopg.errors.ReadOnlySqlTransaction,  # a standby that will be promoted
)
"""What another try a moment later may not meet again; so is a connection that was lost."""
_MOVED: Final = "cached plan must not change result type"  # a migration came in between
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
_NO_SCHEMA: Final = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName)


class _RawJson(Loader):
    """JSON as it stands: records are decoded into their own type."""

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


class Database:
    """One tenant's connections. Everything raises :class:`StoreUnavailable` when it cannot work."""

    def __init__(self, config: PostgresStoreConfig) -> None:
        self.tenant = config.tenant
        self._config = config
        self._pool: AsyncConnectionPool[Connection] | None = None

    async def open(self) -> None:
        """Connect; wait at most ``connect_timeout`` for the first connection."""
        if self._pool is not None:
            return
        config = self._config
        # The pool only says that it has no connection; this one says why.
        await (await self.connect()).close()
        pool = AsyncConnectionPool(
            conninfo_of(config),
            kwargs={
                "autocommit": True,
                "prepare_threshold": None if config.transaction_pooling else 5,
            },
            min_size=1,
            max_size=config.pool_size,
            timeout=config.pool_timeout,
            reconnect_timeout=config.connect_timeout,
            configure=self._configure,
            open=False,
        )
        try:
            await pool.open(wait=True, timeout=config.connect_timeout)
        except (psycopg.Error, PoolTimeout) as error:
            await pool.close()
            raise unavailable(error, "cannot connect to PostgreSQL") from error
        self._pool = pool

    async def close(self) -> None:
        """Close all connections. Twice is once."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def rows(
        self, query: bytes, values: Mapping[str, Any], *, binary: bool = False
    ) -> list[Row]:
        """The rows that one statement answers with."""

        async def fetch(connection: Connection) -> list[Row]:
            cursor = await connection.execute(query, values, binary=binary)
            return await cursor.fetchall()

        return await self.run(fetch)

    async def change(self, query: bytes, values: Mapping[str, Any]) -> int:
        """How many rows one statement changed."""

        async def execute(connection: Connection) -> int:
            return (await connection.execute(query, values)).rowcount

        return await self.run(execute)

    async def transaction(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """*work* as one transaction; see :meth:`run`."""

        async def execute(connection: Connection) -> T:
            async with connection.transaction():
                return await work(connection)

        return await self.run(execute)

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """*work* with a connection; again, for ``retry_for`` seconds, after an error that passes.

        *work* may have been done although it failed, so it has to recognise its own results.
        """
        deadline = time.monotonic() + self._config.retry_for
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._once(work)
            except (psycopg.Error, PoolTimeout, PoolClosed, OSError) as error:
                if isinstance(error, ThreadStoreError):
                    raise
                if not _passes(error) or time.monotonic() + pause > deadline:
                    raise unavailable(error, "PostgreSQL cannot do this now") from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def connect(self) -> Connection:
        """A connection of its own, outside of the pool; the caller closes it."""
        try:
            return await psycopg.AsyncConnection.connect(conninfo_of(self._config), autocommit=True)
        except psycopg.Error as error:
            raise unavailable(error, "cannot connect to PostgreSQL") from error

    async def _once(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        if self._pool is None:
            raise StoreUnavailable("the store is not open", hint="use it within `async with`")
        async with self._pool.connection() as connection:
            if not self._config.transaction_pooling:
                return await work(connection)
            # Behind a pooler, two transactions may run on two servers' connections; in a cluster,
            # only what is said with SET LOCAL is passed on to the other nodes.
            async with connection.transaction():
                await connection.execute(self._say_tenant(local=True))
                return await work(connection)

    async def _configure(self, connection: Connection) -> None:
        connection.adapters.register_loader("json", _RawJson)
        # One size for all whole numbers, or each statement would be prepared once for each size.
        connection.adapters.register_dumper(int, Int8BinaryDumper)
        if not self._config.transaction_pooling:
            await connection.execute(self._say_tenant(local=False))

    def _say_tenant(self, *, local: bool) -> sql.Composed:
        scope = sql.SQL("LOCAL" if local else "SESSION")
        timeout = f"{self._config.statement_timeout * 1000:.0f}"
        return sql.SQL(
            "SET {scope} threadstore.tenant = {tenant}; SET {scope} statement_timeout = {timeout}"
        ).format(scope=scope, tenant=sql.Literal(self.tenant), timeout=sql.Literal(timeout))


def conninfo_of(config: PostgresStoreConfig) -> str:
    """The connection string for the driver; names this program where the URL does not."""
    return psycopg.conninfo.make_conninfo(
        config.dsn,
        connect_timeout=max(2, round(config.connect_timeout)),
        **({} if "application_name" in config.dsn else {"application_name": "threadstore"}),
    )


def unavailable(error: BaseException, what: str) -> StoreUnavailable:
    """The driver's error as ours; never with a password in it (libpq prints none)."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, _NO_SCHEMA):
        return StoreUnavailable(
            "the database has no threadstore tables, or those of another version",
            hint="run `threadstore migrate --store URL`",
        )
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        hint = "grant the role the rights that docs/postgres.md lists"
    elif isinstance(error, PoolTimeout):
        text, hint = "all connections are in use", "try again, or raise pool_size"
    else:
        hint = "look whether the server runs and the URL is right, then try again"
    return StoreUnavailable(f"{what}: {text}", hint=hint)


def _passes(error: BaseException) -> bool:
    if isinstance(error, (PoolTimeout, PoolClosed)):
        return False
    if isinstance(error, psycopg.errors.QueryCanceled):
        return False
    if isinstance(error, psycopg.errors.FeatureNotSupported):
        return _MOVED in str(error)
    if isinstance(error, _PASSING):
        return True
    lost = isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    return lost and getattr(error, "sqlstate", None) is None
