"""The file ``state_5.sqlite``: connecting to it, noticing what others do to it, creating it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import apsw

from threadstore.errors import StoreUnavailable
from threadstore.stores.local import state_schema
from threadstore.stores.local.database import (
    LOCKED,
    Database,
    DatabaseDamaged,
    TextDamaged,
    create_database,
    file_identity,
    fill_database,
)

__all__ = ["StateFile"]

_WAL_PAGES: Final = 4096


class StateFile:
    """A connection to Codex's state database that lasts through whatever happens to the file.

    A file that appears, goes, is replaced or migrated is noticed at the next call. The file is
    opened read-only until the first write.
    """

    def __init__(self, path: str, *, busy_timeout: float) -> None:
        self.path = path
        self.busy_timeout = busy_timeout
        self.readable = False
        self.writable = False
        self.reason: str | None = None
        self.schema = state_schema.Schema()
        self.connections = 0
        """How many times it has connected."""
        self._turn = threading.RLock()
        self._database: Database | None = None
        self._identity: tuple[int, ...] | None = None
        self._immutable = False
        self._locked = False

    @property
    def exists(self) -> bool:
        """Whether there was a file when it was last looked at."""
        return self._identity is not None

    @property
    def locked(self) -> bool:
        """Whether another program kept us from opening it when it was last looked at."""
        return self._locked

    def open(self) -> None:
        """Look at the file and connect if there is one. Never creates, never raises for what the
        file is like."""
        with self._turn:
            # Having waited for a locked file once is enough; from then on it is only tried.
            patience = 0.0 if self._locked else self.busy_timeout
            self.close()
            self.readable = self.writable = True
            try:
                self._identity = self._look()
                if self._identity is not None:
                    self._connect_for_reading(patience)
            except StoreUnavailable as error:
                self._locked = isinstance(error.__cause__, LOCKED)
                self._give_up(str(error))
            if self.readable and not _can_write(self.path):
                self._refuse_writes(f"no permission to write {self.path}")

    def look_again(self) -> None:
        """Open it again if it is another file than before, or was locked."""
        with self._turn:
            if self._database is not None and self._database.in_transaction:
                return
            try:
                changed = self._identity != self._look()
            except StoreUnavailable as error:
                self._give_up(str(error))
                return
            if changed or self._locked or not (self.readable or self.reason):
                self.open()

    def close(self) -> None:
        """Let go of the file. Twice is once."""
        with self._turn:
            database, self._database = self._database, None
            self.schema, self._identity = state_schema.Schema(), None
            self._immutable = self._locked = False
            self.readable = self.writable = False
            self.reason = None
            if database is not None:
                database.close(tidy=False)

    def _look(self) -> tuple[int, ...] | None:
        """What tells this file from another one, and an immutable one from a changed one."""
        identity = file_identity(self.path)
        if identity is None or not self._immutable:
            return identity
        status = os.stat(self.path)
        return *identity, status.st_size, status.st_mtime_ns, os.path.exists(f"{self.path}-wal")

    def _connect_for_reading(self, patience: float) -> None:
        try:
            database = Database(self.path, readonly=True, busy_timeout=patience)
            self._adopt(database)
            database.wait_at_most(self.busy_timeout)
        except StoreUnavailable as error:
            # With a write-ahead log even reading creates files; where we cannot, nobody writes.
            cannot_create = isinstance(error.__cause__, (apsw.CantOpenError, apsw.ReadOnlyError))
            if not cannot_create or os.access(os.path.dirname(self.path), os.W_OK):
                raise
            self._immutable = True
            self._identity = self._look()
            self._adopt(Database(self.path, immutable=True))

    def _adopt(self, database: Database) -> None:
        try:
            self.schema = state_schema.inspect(database)
        except StoreUnavailable:
            database.close(tidy=False)
            raise
        if self._database is not None:
            self._database.close(tidy=False)
        self._database = database
        self.connections += 1
        if self.schema.problem is not None:
            self._refuse_writes(self.schema.problem)

    def _give_up(self, reason: str) -> None:
        self.readable = self.writable = False
        self.reason = reason

    def _refuse_writes(self, reason: str) -> None:
        self.writable = False
        self.reason = reason

    def _use(self) -> Database | None:
        """The connection, if there is anything to read."""
        with self._turn:
            database = self._database
            if database is not None and database.in_transaction:
                return database
            self.look_again()
            if not self.readable:
                raise StoreUnavailable(
                    self.reason or f"{self.path} cannot be read", hint="run `threadstore doctor`"
                )
            database = self._database
            if database is not None:
                self._notice_migration(database)
            return database if self.schema.columns else None

    def _notice_migration(self, database: Database) -> None:
        with self._watching():
            if database.value("PRAGMA schema_version") != self.schema.version:
                self.schema = state_schema.inspect(database)
                if self.schema.problem is not None:
                    self._refuse_writes(self.schema.problem)

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        try:
            yield
        except TextDamaged:
            raise
        except DatabaseDamaged as error:
            self._give_up(str(error))
            raise

    def ensure(self) -> None:
        """Make the database if it is missing or empty and get ready to write.

        Raises StoreUnavailable if it is not writable, saying why.
        """
        with self._turn:
            database = self._use()
            self._check_writable()
            if database is None:
                if self._identity is None:
                    create_database(self.path, state_schema.build)
                else:
                    fill_database(self.path, state_schema.build)
                self.open()
                self._check_writable()
            if self._database is None or self._database.readonly:
                self._connect_for_writing()

    def _check_writable(self) -> None:
        if not self.writable:
            raise StoreUnavailable(
                f"the state database cannot be written: {self.reason}",
                hint="run `threadstore doctor` for details",
            )

    def _connect_for_writing(self) -> None:
        database = Database(self.path, busy_timeout=self.busy_timeout)
        database.run("PRAGMA foreign_keys = ON")
        # Codex folds its log at 1000 pages; this is for homes in which Codex does not run.
        database.run(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        self._adopt(database)
        if database.readonly:
            self._refuse_writes(f"no permission to write {self.path}")
        self._check_writable()

    def rows(
        self, sql: str | Callable[[state_schema.Schema], str], values: Sequence[Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Every row of a query; none if there is no database or nothing in it. What the query is
        may depend on what the file is like now; an empty one has no rows."""
        database = self._use()
        if database is None:
            return []
        query = sql if isinstance(sql, str) else sql(self.schema)
        if not query:
            return []
        with self._watching():
            return database.rows(query, values)

    def current_schema(self) -> state_schema.Schema:
        """What the file is like now. Raises StoreUnavailable if it cannot be read."""
        self._use()
        return self.schema

    @contextlib.contextmanager
    def writing(
        self, *, durable: bool = False, patience: float | None = None
    ) -> Iterator[Database]:
        """One IMMEDIATE transaction on a database that may be written, made if it is missing.

        *patience*: seconds to wait for other programs, if it should not be the busy timeout.
        """
        with self._turn:
            if self._database is None or not self._database.in_transaction:
                self.ensure()
            database = self._database
            assert database is not None
            if patience is not None:
                database.wait_at_most(min(patience, self.busy_timeout))
            try:
                with self._watching(), database.transaction(durable=durable):
                    self._notice_migration(database)
                    self._check_writable()
                    yield database
            finally:
                if patience is not None:
                    database.wait_at_most(self.busy_timeout)


def _can_write(path: str) -> bool:
    """Whether the file, if there is one, and its folder (or what it would be made in) allow it."""
    folder = os.path.dirname(path)
    while not os.path.exists(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    return os.access(folder, os.W_OK) and (not os.path.exists(path) or os.access(path, os.W_OK))
