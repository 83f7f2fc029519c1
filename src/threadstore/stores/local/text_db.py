"""The file of the text index, ``threadstore_text_1.sqlite``: disposable, apart from all others.

A file of its own, so that what it takes to write many words is never in the way of a list or a
writer. Two connections: those who search do not wait for those who feed.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final

import apsw

from threadstore.errors import StoreUnavailable
from threadstore.stores.local.database import (
    LOCKED,
    Database,
    DatabaseDamaged,
    create_database,
    file_identity,
    remove_database,
    resource,
)

__all__ = ["LAST", "TextDb", "doc_id", "is_locked", "position_of", "thread_of"]

SCHEMA_VERSION: Final = 1
_SHIFT: Final = 28
LAST: Final = (1 << _SHIFT) - 1
"""The last position that a text can have."""
_CACHE: Final = -16_000  # KiB
_CHECKPOINT: Final = 4_000  # pages; words come in large portions


def doc_id(no: int, position: int) -> int:
    """The id of a text: of which thread, and where."""
    return no << _SHIFT | position


def thread_of(doc: int) -> int:
    """The number of a text's thread."""
    return doc >> _SHIFT


def position_of(doc: int) -> int:
    """The position of a text's line."""
    return doc & LAST


def is_locked(error: StoreUnavailable) -> bool:
    """Whether it goes away by itself."""
    return isinstance(error.__cause__, LOCKED)


class TextDb:
    """The index, opened when it is first used. Safe to use from several threads and processes.

    A file that is damaged, unreadable or of another version is made anew, also while it is open,
    and so is one that somebody removes. Damage is :class:`StoreUnavailable` once, and the index is
    empty from then on. Where no file can be kept every use is :class:`StoreUnavailable`.
    """

    def __init__(self, path: str, *, busy_timeout: float) -> None:
        self.path = path
        self._busy_timeout = busy_timeout
        self._opening = threading.RLock()
        self._files: tuple[Database, Database] | None = None
        self._identity: tuple[int, int] | None = None
        self._closed = False

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Every row of a query."""
        with self._watching() as (reader, _):
            return reader.rows(sql, values)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Database]:
        """One IMMEDIATE transaction; nothing of it is left if the block raises."""
        with self._watching() as (_, writer), writer.transaction():
            yield writer

    def close(self) -> None:
        """Let go of the file, for good. Twice is once."""
        with self._opening:
            self._closed = True
            self._let_go()

    @contextlib.contextmanager
    def _watching(self) -> Iterator[tuple[Database, Database]]:
        files = self._use()
        try:
            yield files
        except DatabaseDamaged:
            with self._opening:
                if self._files is files:
                    self._let_go()
                    remove_database(self.path)
            raise

    def _use(self) -> tuple[Database, Database]:
        with self._opening:
            if self._closed:
                raise StoreUnavailable("the text index is closed")
            if self._files is not None and file_identity(self.path) != self._identity:
                self._let_go()
            if self._files is None:
                self._files = self._open()
            return self._files

    def _open(self) -> tuple[Database, Database]:
        while True:
            create_database(self.path, _build, disposable=True)
            before = file_identity(self.path)
            reader = self._connect()
            if reader is None:
                remove_database(self.path)
                continue
            writer = Database(self.path, busy_timeout=self._busy_timeout)
            writer.run(f"PRAGMA cache_size = {_CACHE}; PRAGMA wal_autocheckpoint = {_CHECKPOINT}")
            self._identity = file_identity(self.path)
            if self._identity is not None and self._identity == before:
                return reader, writer
            reader.close(tidy=False)  # somebody made it anew meanwhile
            writer.close(tidy=False)

    def _connect(self) -> Database | None:
        """The index in the file; ``None`` if the file cannot serve."""
        if not os.access(self.path, os.R_OK | os.W_OK):
            return None
        database = Database(self.path, busy_timeout=self._busy_timeout)
        try:
            if database.value("PRAGMA user_version") == SCHEMA_VERSION:
                database.run(f"PRAGMA cache_size = {_CACHE}; PRAGMA temp_store = MEMORY")
                database.rows("SELECT rowid FROM texts LIMIT 1")
                database.rows("SELECT 1 FROM threads, docs, sources LIMIT 1")
                return database
        except DatabaseDamaged:
            pass
        except StoreUnavailable as error:
            database.close()
            if isinstance(error.__cause__, apsw.SQLError):  # no such table
                return None
            raise
        database.close()
        return None

    def _let_go(self) -> None:
        files, self._files = self._files, None
        for database in files or ():
            with contextlib.suppress(StoreUnavailable):
                database.close(tidy=file_identity(self.path) == self._identity)


def _build(database: Database) -> None:
    database.run(resource("threadstore_text_1.sql"))
    database.run(f"PRAGMA user_version = {SCHEMA_VERSION}")
