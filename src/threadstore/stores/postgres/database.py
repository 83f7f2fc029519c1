"""Connections: the pool, the tenant, time-outs, another try after a failure that passes, and the
translation of every error of the driver."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias, TypeVar

import psycopg
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.types.numeric import Int8BinaryDumper
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from threadstore.config import PostgresStoreConfig
from threadstore.errors import InvalidRequest, StoreUnavailable, ThreadStoreError

__all__ = ["Connection", "Database", "Overtaken", "Row", "conninfo_of", "unavailable"]

T = TypeVar("T")
Row: TypeAlias = tuple[Any, ...]
Connection: TypeAlias = psycopg.AsyncConnection[Row]

_PASSING: Final = (
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.AdminShutdown,
    psycopg.errors.CrashShutdown,
    psycopg.errors.CannotConnectNow,
    psycopg.errors.IdleSessionTimeout,
    psycopg.errors.ReadOnlySqlTransaction,  # a standby that will be promoted
)
"""What another try a moment later may not meet again; so is a connection that was lost."""
_CONNECTION: Final = "08"  # the class of errors by which poolers say that they lost the server
_MOVED: Final = "cached plan must not change result type"  # a migration came in between
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
_CONNECT_PAUSE: Final = 0.25
_GRACE: Final = 5.0
"""Beyond ``statement_timeout``: a server that waits for its standbys heeds no time-out, and one
whose machine is gone says nothing at all."""
_KEEPALIVE: Final = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""A server that has gone without a word is noticed after some 25 seconds and not after hours."""
_SYNC_WAIT: Final = "SyncRepWaitForLSN"
_CONFIRM: Final = b"SELECT pg_logical_emit_message(true, 'threadstore', '')"
"""Changes nothing, but its commit waits until a standby has all that was committed before."""
_URL_FORM: Final = "its form is postgresql://user@host/database?option=value"
_UNKNOWN_OPTION: Final = re.compile(r'invalid (?:URI query parameter:|connection option) "(\w+)"')
_ESCAPE: Final = "in a password write @ as %40, / as %2F, % as %25, a blank as %20"
_NO_SCHEMA: Final = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InvalidSchemaName,
)


class _RawJson(Loader):
    """JSON as it stands: records are decoded into their own type."""

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


class Overtaken(psycopg.errors.SerializationFailure):
    """What was read has been changed by somebody else before it was written: try again."""


class _NotReplicated(psycopg.OperationalError):
    """A commit stands on this server, but whether a standby has it is not known."""


class Database:
    """One tenant's connections. Everything raises :class:`StoreUnavailable` when it cannot work."""

    def __init__(self, config: PostgresStoreConfig) -> None:
        self.tenant = config.tenant
        self._config = config
        self._conninfo = conninfo_of(config)
        self._pool: AsyncConnectionPool[Connection] | None = None
        self._unreachable = False

    @property
    def batch_threads(self) -> bool:
        """Whether one statement may change rows of several threads."""
        return self._config.batch_threads

    async def open(self) -> None:
        """Connect; wait at most ``connect_timeout`` for the first connection."""
        if self._pool is not None:
            return
        config = self._config
        # The pool only says that it has no connection; this one says why.
        async with await self.connect() as connection:
            await self._check_pooler(connection)
        pool = AsyncConnectionPool(
            self._conninfo,
            kwargs={
                "autocommit": True,
                "prepare_threshold": None if config.transaction_pooling else 5,
            },
            min_size=1,
            max_size=config.pool_size,
            timeout=config.pool_timeout,
            reconnect_timeout=0,
            reconnect_failed=self._connect_again,
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

        *work* may have been done although it failed, so it has to recognise its own results. If
        it was tried more than once, :meth:`confirm` comes before the answer.
        """
        deadline = None
        pause = _FIRST_PAUSE
        tries = 0
        while True:
            tries += 1
            try:
                return await self._once(work, deadline)
            except (psycopg.Error, PoolTimeout, PoolClosed, TimeoutError, OSError) as error:
                if isinstance(error, ThreadStoreError):
                    raise
                passes = await self._passes(error, again=deadline is not None)
                deadline = deadline or time.monotonic() + self._config.retry_for
                if not passes or time.monotonic() + pause > deadline:
                    raise await self._why(error) from error
            await asyncio.sleep(pause)
            if tries > self._config.pool_size:  # until then it may be one dead connection each
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def confirm(self) -> None:
        """Wait until everything that can be seen by now is as safe as an acknowledged commit.

        What another connection committed may be seen although its wait for a standby was broken
        off. Before that is said to be done, a commit of one's own has to come back.
        """
        await self.run(_confirm)

    async def connect(self) -> Connection:
        """A connection of its own, outside of the pool; the caller closes it."""
        try:
            return await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
        except psycopg.Error as error:
            raise unavailable(error, "cannot connect to PostgreSQL") from error

    async def _once(self, work: Callable[[Connection], Awaitable[T]], deadline: float | None) -> T:
        """*deadline*: of the tries, if this is not the first one."""
        if self._pool is None:
            raise StoreUnavailable.not_open()
        wait = self._config.pool_timeout
        if deadline is not None:
            wait = min(wait, max(_CONNECT_PAUSE, deadline - time.monotonic()))
        notices: list[str | None] = []
        async with (
            self._pool.connection(wait) as connection,
            self._within_time(connection, notices),
            self._as_tenant(connection),
        ):
            answer = await work(connection)
            if deadline is not None and work is not _confirm:
                await _confirm(connection)
        if _SYNC_WAIT in notices:
            raise _NotReplicated("committed, but it is not known whether a standby has it")
        return answer

    @asynccontextmanager
    async def _within_time(
        self, connection: Connection, notices: list[str | None]
    ) -> AsyncIterator[None]:
        """Bounds everything that a call does on the server; collects where its notices are from."""

        def note(diagnostic: psycopg.errors.Diagnostic) -> None:
            notices.append(diagnostic.source_function)

        limit = self._config.statement_timeout
        connection.add_notice_handler(note)
        try:
            async with asyncio.timeout(limit + _GRACE if limit else None):
                yield
        except (psycopg.errors.ReadOnlySqlTransaction, psycopg.errors.FeatureNotSupported):
            # The next one may find the server that takes writes, and prepares statements anew.
            await connection.close()
            raise
        finally:
            connection.remove_notice_handler(note)

    @asynccontextmanager
    async def _as_tenant(self, connection: Connection) -> AsyncIterator[None]:
        if not self._config.transaction_pooling:
            yield
            return
        # Behind a pooler, two transactions may run on two servers' connections; in a cluster,
        # only what is said with SET LOCAL is passed on to the other nodes.
        async with connection.transaction():
            await connection.execute(self._say_tenant(local=True))
            yield

    async def _connect_again(self, pool: AsyncConnectionPool[Connection]) -> None:
        """The pool cannot connect: let it try for as long as there is somebody to use it."""
        self._unreachable = True
        await asyncio.sleep(_CONNECT_PAUSE)
        if not pool.closed:
            # The one way to make it replace a connection that it has given up.
            await pool.resize(0, self._config.pool_size)
            await pool.resize(1, self._config.pool_size)

    async def _check_pooler(self, connection: Connection) -> None:
        """A pooler gives the session, and with it the tenant, to others between transactions."""
        if self._config.transaction_pooling:
            return
        rows = await (await connection.execute("SELECT pg_backend_pid()")).fetchall()
        if rows != [(connection.info.backend_pid,)]:
            raise StoreUnavailable(
                "there is a connection pooler before this server",
                hint="say transaction_pooling=true in the URL, whatever mode the pooler is in",
            )

    async def _passes(self, error: BaseException, *, again: bool) -> bool:
        """Whether another try may help; *again*: this was not the first one."""
        if not isinstance(error, PoolTimeout):
            return _passes(error)
        if again or self._unreachable:
            return True
        try:  # the pool need not know yet that the server has gone
            await (await self.connect()).close()
        except StoreUnavailable:
            return True
        return False

    async def _why(self, error: BaseException) -> StoreUnavailable:
        """The error for the caller; the pool does not say why it has no connection."""
        if isinstance(error, PoolTimeout) and self._unreachable:
            try:
                await (await self.connect()).close()
            except StoreUnavailable as reason:
                return reason
        return unavailable(error, "PostgreSQL cannot do this now")

    async def _configure(self, connection: Connection) -> None:
        self._unreachable = False
        # What an administrator's default may be: a family that is locked and then looked at again
        # has to be seen as it is by then.
        await connection.set_isolation_level(psycopg.IsolationLevel.READ_COMMITTED)
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
    """The connection string for the driver; names this program where the URL does not.

    Raises :class:`InvalidRequest` for one that makes no sense. What libpq says of it is not shown:
    it would quote the password, or what it took for the host.
    """
    try:
        said = psycopg.conninfo.conninfo_to_dict(config.dsn)
    except (psycopg.Error, UnicodeError) as error:
        unknown = _UNKNOWN_OPTION.search(str(error))
        raise InvalidRequest(
            f"unknown option in the URL of the database: {unknown[1]}"
            if unknown
            else "the URL of the database cannot be understood",
            hint=f"{_URL_FORM}; {_ESCAPE}",
        ) from None
    if "@" in str(said.get("host", "")):
        raise InvalidRequest("the URL of the database has more than one @", hint=_ESCAPE)
    ours = {"application_name": "threadstore", **_KEEPALIVE, **said}
    ours["connect_timeout"] = max(2, round(config.connect_timeout))
    return psycopg.conninfo.make_conninfo("", **ours)


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
    elif isinstance(error, TimeoutError):
        text = "the server did not answer in time"
        hint = "look whether it, or each standby that it waits for, is there; then try again"
    elif isinstance(error, _NotReplicated):
        hint = "look at the standbys; what was written may be lost if the server is lost now"
    elif isinstance(error, PoolTimeout):
        text, hint = "all connections are in use", "try again, or raise pool_size"
    else:
        hint = "look whether the server runs and the URL is right, then try again"
    return StoreUnavailable(f"{what}: {text}", hint=hint)


async def _confirm(connection: Connection) -> None:
    try:
        async with connection.transaction():
            await connection.execute(_CONFIRM)
    except psycopg.errors.UndefinedFunction:
        pass  # not PostgreSQL itself; such engines answer when their replicas agree


def _passes(error: BaseException) -> bool:
    if isinstance(error, (PoolTimeout, PoolClosed, TimeoutError, psycopg.errors.QueryCanceled)):
        return False
    if isinstance(error, psycopg.errors.FeatureNotSupported):
        return _MOVED in str(error)
    if isinstance(error, _PASSING):
        return True
    state = getattr(error, "sqlstate", None)
    lost = isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    return lost and (state is None or state.startswith(_CONNECTION))
