"""One SQLite connection: errors of one kind, transactions that nest, nothing left half executed."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import apsw

from threadstore.errors import StoreUnavailable
from threadstore.stores.local.locks import database_holder
from threadstore.stores.local.paths import create_private, make_folders, sync_folder

__all__ = [
    "LOCKED",
    "Database",
    "DatabaseDamaged",
    "TextDamaged",
    "create_database",
    "file_identity",
    "fill_database",
    "remove_database",
    "resource",
]

Row = tuple[Any, ...]

_IN_URI: Final = str.maketrans({"%": "%25", "?": "%3f", "#": "%23"})
"""What the documentation of SQLite asks for in a path."""

LOCKED: Final = (apsw.BusyError, apsw.LockedError)
"""Causes of a StoreUnavailable that goes away by itself."""

_DAMAGED: Final = (apsw.NotADBError, apsw.CorruptError)
_HINTS: Final[dict[type[apsw.Error], str]] = {
    apsw.FullError: "free some disk space",
    apsw.ReadOnlyError: "check the permissions of the file and its folder",
    apsw.CantOpenError: "check the permissions of the file and its folder",
    apsw.PermissionsError: "check the permissions of the file and its folder",
    apsw.IOError: "check the disk and the permissions of the file and its folder",
}


class DatabaseDamaged(StoreUnavailable):
    """The file is no SQLite database or is damaged inside."""


class TextDamaged(DatabaseDamaged):
    """A text in it is not UTF-8, as in rows that others wrote. The bytes can still be read."""


class Database:
    """A connection to one file. Safe to use from several threads: calls take turns, and a thread
    keeps its turn for a whole transaction.

    Every SQLite error is :class:`StoreUnavailable` (:class:`DatabaseDamaged` where it fits). The
    journal mode of an existing file is never changed.
    """

    def __init__(
        self,
        path: str,
        *,
        readonly: bool = False,
        create: bool = False,
        immutable: bool = False,
        busy_timeout: float = 5.0,
    ) -> None:
        """Connect; SQLite reads the file at the first statement.

        *create* makes a missing file; *immutable* reads a file that nobody can be writing, without
        its write-ahead log, where even reading would have to create files.
        """
        self.path = path
        self._turn = threading.RLock()
        self._depth = 0
        self._owner: int | None = None  # the thread that is inside a transaction
        self._beside: Database | None = None
        self._opening = threading.Lock()
        self._synchronous = ""
        name, flags = path, apsw.SQLITE_OPEN_READONLY
        if immutable:
            name = f"file:{path.translate(_IN_URI)}?immutable=1"
            flags |= apsw.SQLITE_OPEN_URI
        elif not readonly:
            flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if create else 0)
        with self._translated():
            self._connection = apsw.Connection(name, flags=flags, statementcachesize=256)
        self._identity = file_identity(path)
        self.wait_at_most(busy_timeout)

    def wait_at_most(self, busy_timeout: float) -> None:
        """How many seconds to wait from now on for a file that another program has locked."""
        self.busy_timeout = busy_timeout
        with self._translated():
            self._connection.set_busy_timeout(round(busy_timeout * 1000))

    def close(self, *, tidy: bool = True) -> None:
        """Disconnect. Twice is once.

        *tidy*: the last connection folds the write-ahead log into the file and removes it. Never do
        that for a file that was replaced: the log beside it, known by name only, is another's.
        """
        with self._opening:
            if self._beside is not None:
                self._beside.close(tidy=False)
        with self._turn, self._translated():
            if not tidy:
                with contextlib.suppress(apsw.ConnectionClosedError):
                    self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            self._connection.close()

    @property
    def readonly(self) -> bool:
        """Whether SQLite could open the file for reading only."""
        return self._connection.readonly("main")

    @property
    def in_transaction(self) -> bool:
        """Whether this thread is inside :meth:`transaction`."""
        return self._owner == threading.get_ident()

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Every row of a query. Half characters in *values* become question marks."""
        with self._turn:
            try:
                return self._connection.execute(sql, values).fetchall()
            except apsw.Error as error:
                raise self._unavailable(error) from error
            except UnicodeDecodeError as error:
                raise TextDamaged(
                    f"{self.path}: {error}", hint="run `threadstore doctor` for details"
                ) from error
            except UnicodeEncodeError:  # a lone surrogate, which SQLite cannot hold
                return self.rows(sql, [_without_surrogates(value) for value in values])

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Every row of a query, as they were committed last: does not wait for the transaction of
        another thread."""
        if self._turn.acquire(blocking=False):
            try:
                return self.rows(sql, values)
            finally:
                self._turn.release()
        return (self._reader() or self).rows(sql, values)

    def _reader(self) -> Database | None:
        """A second connection; ``None`` if the file is not there any more, or is none."""
        with self._opening:
            if self._beside is None and self._identity is not None:
                reader = Database(self.path, readonly=True, busy_timeout=self.busy_timeout)
                if file_identity(self.path) == self._identity:
                    self._beside = reader
                else:
                    reader.close(tidy=False)
            return self._beside

    def value(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """The first value of the first row; ``None`` without rows."""
        rows = self.rows(sql, values)
        return rows[0][0] if rows else None

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Execute statements to their end; the number of rows that the last one changed."""
        with self._turn:
            self.rows(sql, values)  # a cursor stops at each result row until somebody fetches it
            return self._connection.changes()

    def run_many(self, sql: str, values: Iterable[Sequence[Any]]) -> None:
        """Execute one statement for each of *values*. Half characters become question marks."""
        rest = _Remembered(iter(values))
        with self._turn, self._translated():
            while not rest.ended:
                try:
                    self._connection.executemany(sql, rest)
                except UnicodeEncodeError:
                    self.rows(sql, [_without_surrogates(value) for value in rest.last])

    @contextlib.contextmanager
    def transaction(
        self, *, durable: bool | None = False, patience: float | None = None
    ) -> Iterator[None]:
        """One IMMEDIATE transaction: all of it is committed, or nothing if the block raises.

        *durable*: the commit survives power loss (``None``: as was last said); *patience*: seconds
        to wait for its begin, if not the busy timeout. Nested use joins the outer transaction.
        """
        with self._turn:
            if self._depth == 0:
                if durable is not None:
                    self._set_synchronous(durable=durable)
                self._begin(patience)
            self._depth += 1
            self._owner = threading.get_ident()
            try:
                yield
                if self._depth == 1:
                    self.rows("COMMIT")
            except BaseException:
                self._roll_back()
                raise
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._owner = None

    def _begin(self, patience: float | None) -> None:
        usual = self.busy_timeout
        if patience is not None:
            self.wait_at_most(min(patience, usual))
        try:
            self.rows("BEGIN IMMEDIATE")
        finally:
            if patience is not None:
                self.wait_at_most(usual)

    def _roll_back(self) -> None:
        # SQLite has rolled back by itself after some errors, and a failed rollback leaves nothing
        # to undo: the error on its way tells more than another one would.
        if self._depth == 1 and self._connection.in_transaction:
            with contextlib.suppress(apsw.Error):
                self._connection.execute("ROLLBACK")

    def _set_synchronous(self, *, durable: bool) -> None:
        # NORMAL is safe with a write-ahead log only; EXTRA is FULL plus, with a rollback journal,
        # the folder.
        wal = self.value("PRAGMA journal_mode") == "wal"
        mode = "EXTRA" if durable else "NORMAL" if wal else "FULL"
        if mode != self._synchronous:
            self.rows(f"PRAGMA synchronous = {mode}")
            self._synchronous = mode

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except apsw.Error as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: apsw.Error) -> StoreUnavailable:
        if isinstance(error, LOCKED):
            return StoreUnavailable(
                f"{self.path} is locked by another program (waited {self.busy_timeout:g} s)",
                hint=_try_again(self.path),
            )
        text = f"{self.path}: {error}"
        if isinstance(error, _DAMAGED):
            return DatabaseDamaged(text, hint="run `threadstore doctor` for details")
        return StoreUnavailable(text, hint=_HINTS.get(type(error)))


def _try_again(path: str) -> str:
    holder = database_holder(path)
    return f"try again when {holder or 'the other program'} has finished"


def _without_surrogates(value: Any) -> Any:
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


class _Remembered(Iterator[Sequence[Any]]):
    """Values of statements; the last ones are known when they turn out to be of no use."""

    def __init__(self, values: Iterator[Sequence[Any]]) -> None:
        self._values = values
        self.last: Sequence[Any] = ()
        self.ended = False

    def __next__(self) -> Sequence[Any]:
        try:
            self.last = next(self._values)
        except StopIteration:
            self.ended = True
            raise
        return self.last


def file_identity(path: str) -> tuple[int, int] | None:
    """Which file the path names now (device, inode); ``None`` if there is none.

    Raises StoreUnavailable where the folder cannot be searched.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreUnavailable(
            f"{path}: {error.strerror}", hint="check the permissions of the folder"
        ) from error
    return status.st_dev, status.st_ino


def create_database(
    path: str, build: Callable[[Database], None], *, disposable: bool = False
) -> bool:
    """Make a database file, complete or not at all; whether it was made (``False``: there is one).

    *build* fills it, in one transaction. It appears under its name with a write-ahead log, durable
    and readable by its owner only, so that a program that starts meanwhile sees all of it or none.
    Nobody waits for the disk where it is *disposable*: what a power cut leaves is made anew.
    """
    if os.path.lexists(path):  # most starts: making one takes longer than all the rest of them
        return False
    try:
        make_folders(os.path.dirname(path))
        if os.path.exists(f"{path}-wal"):  # left by a lost database; SQLite drops it itself if the
            _make_file(path)  # new one begins empty, and would apply it to a finished one
            return fill_database(path, build, disposable=disposable)
        return _create_complete(path, build, disposable=disposable)
    except FileExistsError:
        return False
    except StoreUnavailable:
        raise
    except OSError as error:
        raise StoreUnavailable(
            f"cannot create {path}: {error.strerror}",
            hint="check the disk and the permissions of the folder",
        ) from error


def _create_complete(path: str, build: Callable[[Database], None], *, disposable: bool) -> bool:
    temporary = f"{path}.{os.getpid()}-{os.urandom(4).hex()}.new"
    try:
        _make_file(temporary)
        fill_database(temporary, build, disposable=disposable)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            _make_file(path)
            return fill_database(path, build, disposable=disposable)
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary + suffix)
    if not disposable:
        sync_folder(os.path.dirname(path))
    return True


def fill_database(
    path: str, build: Callable[[Database], None], *, disposable: bool = False
) -> bool:
    """Give an existing, empty database its content; whether it was done (``False``: not empty)."""
    database = Database(path)
    try:
        if database.value("SELECT count(*) FROM sqlite_master"):
            return False
        if disposable:
            database.run("PRAGMA synchronous = OFF")
        database.run("PRAGMA auto_vacuum = INCREMENTAL")  # has to precede the first table
        database.run("PRAGMA journal_mode = WAL")
        with database.transaction(durable=None if disposable else True):
            if database.value("SELECT count(*) FROM sqlite_master"):
                return False
            build(database)
        return True
    finally:
        database.close()


def remove_database(path: str) -> None:
    """Remove a disposable database. Raises StoreUnavailable where that is not possible."""
    # The database itself goes last: a new one must never meet the old write-ahead log.
    for suffix in ("-wal", "-shm", ""):
        try:
            os.unlink(path + suffix)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StoreUnavailable(f"cannot remove {path + suffix}: {error.strerror}") from error


def _make_file(path: str) -> None:
    os.close(create_private(path, os.O_WRONLY))


def resource(name: str) -> str:
    """A text in ``sql/``. A plain file: importlib.resources takes as long as a list."""
    with open(os.path.join(os.path.dirname(__file__), "sql", name), encoding="utf-8") as file:
        return file.read()
