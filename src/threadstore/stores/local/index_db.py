"""Our own list index, ``threadstore_1.sqlite``: complete, and disposable."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final

import apsw
import msgspec

from threadstore.errors import StoreUnavailable
from threadstore.metadata import StoredThread
from threadstore.queries import ThreadPage, ThreadQuery, resolve_cwd
from threadstore.stores.local import index_query, index_titles
from threadstore.stores.local.database import (
    Database,
    DatabaseDamaged,
    create_database,
    file_identity,
    remove_database,
    resource,
)
from threadstore.stores.local.index_rows import (
    COLUMNS,
    Shelf,
    Shelves,
    decode,
    row_of,
    shelf_of,
    touched,
)

__all__ = ["LATER", "IndexDb", "IndexedFile", "decode_file"]

SCHEMA_VERSION: Final = 6
LATER: Final = "threadstore_1_later.sql"
"""What can be made when the rows are there."""
_CACHED: Final = 1000  # decoded threads kept: those of first pages, which are asked for again
_WRAP: Final = 1 << 64  # inodes are unsigned, SQLite integers are not


class IndexedFile(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A rollout file as it was when it was indexed."""

    path: str
    """The plain ``.jsonl`` path, also of a compressed file."""
    thread_id: str | None
    """``None`` for a file that is no thread."""
    size: int
    mtime_ns: int
    inode: int
    archived: bool
    problem: str | None = None
    """Why it is not (completely) a thread, for people."""


_INSERT: Final = (
    f"INSERT INTO threads ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
)
_INSERT_SHELF: Final = "INSERT OR IGNORE INTO shelves VALUES (?, ?, ?, ?, ?, ?)"
_SET_DERIVED: Final = "INSERT OR REPLACE INTO derived VALUES (?, ?)"
_SET_FILE: Final = "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)"
_STORED: Final = f"SELECT {', '.join(COLUMNS[:-1])} FROM threads WHERE id = ?"
_TOUCH: Final = "UPDATE threads SET updated_ms = ?, digest = ?, record = ? WHERE id = ?"
CACHE: Final = "PRAGMA cache_size = -8192"
"""What lists of any size need; the background, which reads all there is, fills whatever it may."""
_SETTINGS: Final = (CACHE, "PRAGMA wal_autocheckpoint = 4000")
_UNWRITABLE: Final = (apsw.FullError, apsw.IOError, apsw.ReadOnlyError)
_NEVER: Final[tuple[None, Any]] = (None, None)


class IndexDb:
    """The index. Safe to use from several threads (calls take turns) and several processes.

    A file that is damaged, unreadable or of another schema version is made anew; where no file can
    be kept it lives in memory and ``degraded`` says why. It is also made anew when somebody removes
    the file while it is open. Damage that shows up later, or a disk that is full, is
    :class:`StoreUnavailable` once, and the index is empty from then on.
    """

    def __init__(self, path: str | None, *, busy_timeout: float = 5.0) -> None:
        self.path = path
        """``None``: in memory by choice."""
        self.busy_timeout = busy_timeout
        self.degraded: str | None = None
        self.rebuilt: str | None = None
        """Why an existing file was thrown away, for people."""
        self.generation = 0
        """Grows with each ``open`` and whenever it is made anew: what was stored may be gone."""
        self._database: Database | None = None
        self._identity: tuple[int, int] | None = None
        self._renewing = threading.Lock()
        self._decoded: dict[str, tuple[bytes, StoredThread]] = {}
        self._shelves: tuple[int, Shelves] = (-1, ())

    def open(self) -> None:
        """Open or create the index. Twice is once."""
        if self._database is not None:
            return
        self.degraded = None
        if self.path is not None:
            try:
                self._database = self._open_file(self.path)
            except StoreUnavailable as error:
                self._keep_in_memory(error)
                return
        if self._database is None:
            self._database, self._identity = _connect_memory(), None
        self.generation += 1

    def _keep_in_memory(self, reason: StoreUnavailable) -> None:
        self.degraded = f"the list index is kept in memory: {reason}"
        self._database, self._identity = _connect_memory(), None
        self.generation += 1

    def close(self) -> None:
        """Let go of the file. Twice is once."""
        database, self._database = self._database, None
        if database is not None:
            same = self._identity is None or file_identity(database.path) == self._identity
            database.close(tidy=same)

    def _open_file(self, path: str) -> Database:
        while True:
            create_database(path, _build, disposable=True)
            before = file_identity(path)
            database = _connect(path, self.busy_timeout)
            if isinstance(database, str):
                self.rebuilt = database
                remove_database(path)
                continue
            self._identity = file_identity(path)
            if self._identity is not None and self._identity == before:
                return database
            database.close()  # somebody made it anew meanwhile

    def _use(self) -> Database:
        database = self._database
        if database is None:
            raise StoreUnavailable("the list index is closed")
        if self._identity is None or database.in_transaction:
            return database
        assert self.path is not None
        if file_identity(self.path) != self._identity:
            self._make_anew(database)
            return self._use()
        return database

    def _make_anew(self, lost: Database) -> None:
        """Go on with another file; meanwhile other threads use the one that is lost."""
        assert self.path is not None
        with self._renewing:
            if self._database is not lost:
                return
            self.degraded = None
            try:
                self._database = self._open_file(self.path)
                self.generation += 1
            except StoreUnavailable as error:
                self._keep_in_memory(error)
        with contextlib.suppress(StoreUnavailable):
            lost.close(tidy=False)

    def current_generation(self) -> int:
        """``generation`` after a look whether the file is still there; asks nothing of SQLite."""
        self._use()
        with self._renewing:  # never the number of one file while another is in use already
            return self.generation

    @contextlib.contextmanager
    def _watching(self) -> Iterator[Database]:
        database = self._use()
        try:
            yield database
        except DatabaseDamaged as error:
            if self._identity is not None and not database.in_transaction:
                self.rebuilt = str(error)
                remove_database(database.path)
                self._make_anew(database)
            raise
        except StoreUnavailable as error:
            unwritable = isinstance(error.__cause__, _UNWRITABLE)
            if unwritable and self._identity is not None and not database.in_transaction:
                with contextlib.suppress(StoreUnavailable):
                    database.close(tidy=False)
                with self._renewing:
                    self._keep_in_memory(error)
            raise

    @contextlib.contextmanager
    def transaction(self, *, patience: float | None = None) -> Iterator[None]:
        """One IMMEDIATE transaction around several writes. Nested use joins the outer one.

        *patience*: seconds to wait for other programs, if it should not be the busy timeout.
        """
        with self._watching() as database, database.transaction(patience=patience):
            yield

    @property
    def in_transaction(self) -> bool:
        """Whether this thread is inside :meth:`transaction`."""
        with self._watching() as database:
            return database.in_transaction

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Every row of a query, for the rooms that keep tables of their own in the index."""
        with self._watching() as database:
            return database.rows(sql, values)

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The same for lists, which do not wait for what another thread is entering."""
        with self._watching() as database:
            return database.read(sql, values)

    # Threads

    def upsert(self, record: StoredThread, *, derived: bytes | None = None) -> None:
        """Add or replace a thread; *derived* ``None`` keeps what is stored with it."""
        shelf = shelf_of(record)
        row = row_of(record, shelf)
        with self._watching() as database, database.transaction():
            _store(database, row, shelf)
            if derived is not None:
                database.run(_SET_DERIVED, (record.id, derived))

    def add(self, threads: Sequence[tuple[StoredThread, bytes]]) -> None:
        """Add threads that nobody knows, each with what is stored with it: many times faster than
        one by one."""
        shelves = [shelf_of(record) for record, _ in threads]
        rows = [row_of(record, shelf) for (record, _), shelf in zip(threads, shelves, strict=True)]
        with self._watching() as database, database.transaction():
            database.run_many(_INSERT, rows)
            database.run_many(_SET_DERIVED, [(record.id, derived) for record, derived in threads])
            database.run_many(_INSERT_SHELF, map(_shelf_row, set(shelves)))

    def touch(self, record: StoredThread) -> None:
        """Replace a thread by *record*, which differs in ``updated_at`` alone."""
        self.rows(_TOUCH, (*touched(record), record.id))

    def get(self, thread_id: str) -> StoredThread | None:
        """The thread."""
        with self._watching() as database:
            rows = database.rows("SELECT record FROM threads WHERE id = ?", (thread_id,))
            return decode(rows[0][0]) if rows else None

    def decoded(self, record: bytes) -> StoredThread:
        """The thread in a record of one of the other rooms."""
        with self._watching():
            return decode(record)

    def derived(self, thread_id: str) -> bytes | None:
        """The bytes that were stored with the thread."""
        rows = self.rows("SELECT data FROM derived WHERE id = ?", (thread_id,))
        return rows[0][0] if rows else None

    def remove(self, thread_ids: Collection[str]) -> None:
        """Forget threads (not their files)."""
        keys = [(thread_id,) for thread_id in thread_ids]
        with self._watching() as database, database.transaction():
            for forget in index_titles.FORGET:
                database.run_many(forget, keys)
            database.run_many("DELETE FROM threads WHERE id = ?", keys)
            database.run_many("DELETE FROM derived WHERE id = ?", keys)
            database.run_many("DELETE FROM seen_rows WHERE id = ?", keys)

    def count(self) -> int:
        """Number of threads."""
        return int(self.rows("SELECT count(*) FROM threads")[0][0])

    def ids(self) -> set[str]:
        """Every thread id."""
        return {row[0] for row in self.rows("SELECT id FROM threads")}

    def page(self, query: ThreadQuery, resolved_cwds: Collection[str] | None = None) -> ThreadPage:
        """A page. *resolved_cwds* stands for ``query.cwds`` with links resolved, as those of the
        threads are; by default they are resolved here.

        Raises :class:`InvalidRequest` for a cursor that is not one of this query.
        """
        cwds = resolved_cwds
        if cwds is None and query.cwds is not None:
            cwds = {resolve_cwd(cwd) for cwd in query.cwds}
        rows = self.find(query, cwds)
        more = len(rows) > query.limit
        rows = rows[: query.limit]
        cursor = index_query.cursor_after(query, *rows[-1][:2]) if more else None
        first = query.cursor is None and query.limit <= _CACHED
        return ThreadPage(self._threads(rows, keep=first), cursor)

    def threads(self) -> Iterator[StoredThread]:
        """Every thread."""
        cursor: str | None = None
        while True:
            page = self.page(ThreadQuery(archived=None, limit=1000, cursor=cursor))
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def find(self, query: ThreadQuery, cwds: Collection[str] | None) -> list[tuple[Any, ...]]:
        """Sort value, id and record of the first ``limit + 1`` threads. *cwds*: those of the query,
        with links resolved."""
        while True:
            seen: list[Shelves] = []

            def shelves(seen: list[Shelves] = seen) -> Shelves:
                seen.append(self.shelves())
                return seen[0]

            rows = index_query.find(query, cwds, shelves, self.read)
            # Meanwhile another program may have put a thread on a shelf that is new.
            if not seen or len(seen[0]) == self._rows_of_shelves():
                return rows

    def shelves(self) -> Shelves:
        """Every shelf on which threads stand, or stood."""
        generation, shelves = self._shelves
        if generation == self.generation and len(shelves) == self._rows_of_shelves():
            return shelves
        sql = "SELECT key, archived, displayable, kind, custom, provider FROM shelves"
        rows = self.read(sql)
        shelves = [(row[0], Shelf(bool(row[1]), bool(row[2]), *row[3:])) for row in rows]
        if not self.in_transaction:  # what is taken back must not be remembered: rows only come
            self._shelves = self.generation, shelves
        return shelves

    def _rows_of_shelves(self) -> int:
        return int(self.read("SELECT count(*) FROM shelves")[0][0])

    def has_unread_titles(self) -> bool:
        """Whether the texts of some threads are not read yet for search terms: such threads are
        found all the same, slower."""
        return bool(self.rows("SELECT 1 FROM unread_titles LIMIT 1"))

    def read_titles(self, limit: int, *, patience: float | None = None) -> bool:
        """Read the texts of up to so many, in a transaction of its own; whether there are more."""
        with self._watching() as database, database.transaction(patience=patience):
            return index_titles.read(database.run, limit)

    def _threads(self, rows: list[tuple[Any, ...]], *, keep: bool) -> tuple[StoredThread, ...]:
        """The threads of a page's rows. Decoding would take most of the time: what has been decoded
        once is used again while its record is the same."""
        known, fresh = self._decoded, {}
        threads = []
        with self._watching():
            for _, thread_id, record in rows:
                kept = known.get(thread_id, _NEVER)
                if kept[0] != record:
                    kept = fresh[thread_id] = record, decode(record)
                threads.append(kept[1])
        if fresh and keep:
            self._decoded = {**known, **fresh} if len(known) < _CACHED else fresh
        return tuple(threads)

    def children(self, thread_id: str) -> list[str]:
        """Ids that the thread spawned."""
        return [r[0] for r in self.rows("SELECT id FROM threads WHERE parent_id = ?", (thread_id,))]

    def descendants(self, thread_id: str) -> list[str]:
        """Children, their children, and so on; parents before children, the thread left out."""
        return [row[0] for row in self.rows(index_query.DESCENDANTS, (thread_id, thread_id))]

    # Files

    def files(self) -> dict[str, IndexedFile]:
        """Every known file by its plain path."""
        files = (decode_file(*row) for row in self.rows("SELECT * FROM files"))
        return {file.path: file for file in files}

    def set_file(self, file: IndexedFile) -> None:
        """Add or replace a file."""
        self.rows(_SET_FILE, _file_row(file))

    def set_files(self, files: Iterable[IndexedFile]) -> None:
        """Add or replace files."""
        with self._watching() as database, database.transaction():
            database.run_many(_SET_FILE, map(_file_row, files))

    def forget_file(self, path: str) -> None:
        """Forget a file (not its thread)."""
        self.rows("DELETE FROM files WHERE path = ?", (os.fsencode(path),))

    # Marks

    def meta(self, key: str) -> str | None:
        """A remembered value."""
        rows = self.rows("SELECT value FROM meta WHERE key = ?", (key,))
        return rows[0][0] if rows else None

    def set_meta(self, key: str, value: str | None) -> None:
        """Remember a value; ``None`` forgets it."""
        if value is None:
            self.rows("DELETE FROM meta WHERE key = ?", (key,))
        else:
            self.rows("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def _store(database: Database, row: tuple[Any, ...], shelf: Shelf) -> None:
    """Add or replace a row; of an old one only what changes, since each column is in indexes."""
    stored = database.rows(_STORED, row[:1])
    if not stored:
        database.run(_INSERT, row)
    else:
        changes = {
            column: new
            for column, old, new in zip(COLUMNS, stored[0], row, strict=False)
            if old != new
        }
        if not changes:
            return
        changes["record"] = row[-1]
        places = ", ".join(f"{column} = ?" for column in changes)
        database.run(f"UPDATE threads SET {places} WHERE id = ?", [*changes.values(), row[0]])
        if "search" in changes:
            database.run(index_titles.UNREAD, row[:1])
        if "shelf" not in changes:
            return
    database.run(_INSERT_SHELF, _shelf_row(shelf))


def _shelf_row(shelf: Shelf) -> tuple[Any, ...]:
    return (shelf.key, *msgspec.structs.astuple(shelf))


def _file_row(file: IndexedFile) -> tuple[Any, ...]:
    return (
        os.fsencode(file.path),
        file.thread_id,
        file.size,
        file.mtime_ns,
        file.inode - _WRAP if file.inode >= _WRAP // 2 else file.inode,
        file.archived,
        file.problem,
    )


def _connect(path: str, busy_timeout: float) -> Database | str:
    """The index in this file, or why the file cannot serve."""
    if not os.access(path, os.R_OK | os.W_OK):
        return f"no permission to read and write {path}"
    database = Database(path, busy_timeout=busy_timeout)
    try:
        version = database.value("PRAGMA user_version")
        if version == SCHEMA_VERSION:
            database.value("SELECT count(*) FROM meta")
            for setting in _SETTINGS:
                database.run(setting)
            return database
    except DatabaseDamaged as error:
        database.close()
        return str(error)
    except StoreUnavailable:
        database.close()
        raise
    database.close()
    return f"{path} has schema version {version}, not {SCHEMA_VERSION}"


def _connect_memory() -> Database:
    database = Database(":memory:", create=True)
    _build(database)
    return database


def _build(database: Database) -> None:
    database.run(_schema())
    database.run(resource(LATER))
    database.run(f"PRAGMA user_version = {SCHEMA_VERSION}")


@functools.cache
def _schema() -> str:
    return resource("threadstore_1.sql")


def decode_file(
    path: bytes,
    thread_id: str | None,
    size: int,
    mtime_ns: int,
    inode: int,
    archived: int,
    problem: str | None,
) -> IndexedFile:
    """A row of ``files``."""
    return IndexedFile(
        path=os.fsdecode(path),
        thread_id=thread_id,
        size=size,
        mtime_ns=mtime_ns,
        inode=inode % _WRAP,
        archived=bool(archived),
        problem=problem,
    )
