"""One SQLite connection: one kind of error, nested transactions, files made whole or not at all."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import apsw
import pytest

from threadstore.errors import StoreUnavailable
from threadstore.stores.local.database import Database, DatabaseDamaged, create_database

Locked = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "some.sqlite")


@pytest.fixture
def database(path: str) -> Iterator[Database]:
    connection = Database(path, create=True, busy_timeout=0)
    connection.run("CREATE TABLE t (x)")
    yield connection
    connection.close()


def build(database: Database) -> None:
    database.run("CREATE TABLE t (x); INSERT INTO t VALUES (1)")


def test_every_statement_of_a_script_runs_although_some_return_rows(database: Database) -> None:
    database.run("INSERT INTO t VALUES (1); SELECT * FROM t; INSERT INTO t VALUES (2)")
    assert database.rows("SELECT x FROM t") == [(1,), (2,)]


def test_changed_rows_are_counted(database: Database) -> None:
    database.run_many("INSERT INTO t VALUES (?)", [(1,), (2,)])
    assert database.run("UPDATE t SET x = 3") == 2
    assert database.run("UPDATE t SET x = 3 WHERE x = 4") == 0


def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    def fail() -> None:
        with database.transaction():
            database.run("INSERT INTO t VALUES (1)")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert database.rows("SELECT x FROM t") == []
    assert not database.in_transaction


def test_an_inner_transaction_is_part_of_the_outer_one(database: Database) -> None:
    def fail() -> None:
        with database.transaction():
            with database.transaction():
                database.run("INSERT INTO t VALUES (1)")
            assert database.in_transaction
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert database.rows("SELECT x FROM t") == []


def test_another_thread_waits_until_a_transaction_is_over(database: Database) -> None:
    seen: list[object] = []
    reader = threading.Thread(target=lambda: seen.append(database.rows("SELECT x FROM t")))
    with database.transaction():
        database.run("INSERT INTO t VALUES (1)")
        reader.start()
        database.run("INSERT INTO t VALUES (2)")
    reader.join()
    assert seen == [[(1,), (2,)]]


def test_durable_transactions_wait_for_the_disk_and_others_only_without_a_log(
    database: Database,
) -> None:
    def level() -> object:
        return database.value("PRAGMA synchronous")

    with database.transaction():
        assert level() == 2  # FULL: a rollback journal can be lost otherwise
    with database.transaction(durable=True):
        assert level() == 3  # EXTRA
    database.run("PRAGMA journal_mode = WAL")
    with database.transaction():
        assert level() == 1  # NORMAL


def test_a_locked_database_says_which_file_and_how_long_it_waited(
    database: Database, path: str, locked: Locked
) -> None:
    with locked(path), pytest.raises(StoreUnavailable) as caught, database.transaction():
        pass
    assert path in str(caught.value)
    assert "locked" in str(caught.value)
    assert "0 s" in str(caught.value)
    assert caught.value.hint
    with database.transaction():
        database.run("INSERT INTO t VALUES (1)")


def test_errors_of_sqlite_are_store_errors(database: Database, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="no such table"):
        database.rows("SELECT * FROM elsewhere")
    with pytest.raises(StoreUnavailable):
        database.run_many("INSERT INTO elsewhere VALUES (?)", [(1,)])
    with pytest.raises(StoreUnavailable):
        Database(str(tmp_path / "missing.sqlite"), readonly=True)
    database.close()
    with pytest.raises(StoreUnavailable):
        database.rows("SELECT 1")


def test_a_file_that_is_no_database_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database, but long enough to look at" * 100)
    connection = Database(str(tmp_path / "text"), readonly=True)
    with pytest.raises(DatabaseDamaged):
        connection.rows("SELECT * FROM sqlite_master")
    connection.close()


def test_a_created_database_is_private_has_a_log_and_leaves_nothing_else(path: str) -> None:
    assert create_database(path, build)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
    connection = Database(path)
    assert connection.value("PRAGMA journal_mode") == "wal"
    assert connection.value("PRAGMA auto_vacuum") == 2
    assert connection.rows("SELECT x FROM t") == [(1,)]
    connection.close()


def test_creating_makes_missing_folders_private(tmp_path: Path) -> None:
    path = str(tmp_path / "a" / "b" / "some.sqlite")
    assert create_database(path, build)
    assert stat.S_IMODE(os.stat(tmp_path / "a").st_mode) == 0o700


def test_an_existing_file_is_never_replaced(path: str) -> None:
    Path(path).write_bytes(b"mine")
    assert not create_database(path, build)
    assert Path(path).read_bytes() == b"mine"
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]


def test_a_failure_while_building_leaves_no_file(path: str) -> None:
    def fail(database: Database) -> None:
        database.run("CREATE TABLE t (x)")
        raise KeyError

    with pytest.raises(KeyError):
        create_database(path, fail)
    assert os.listdir(os.path.dirname(path)) == []


def test_the_log_of_a_lost_database_is_not_applied_to_a_new_one(path: str) -> None:
    old = apsw.Connection(path)
    list(old.execute("PRAGMA journal_mode = WAL; CREATE TABLE old (x); CREATE TABLE t (x, y)"))
    log = Path(f"{path}-wal").read_bytes()
    old.close()
    os.unlink(path)
    Path(f"{path}-wal").write_bytes(log)

    assert create_database(path, build)

    connection = Database(path)
    assert connection.value("PRAGMA integrity_check") == "ok"
    assert connection.rows("SELECT name FROM sqlite_master") == [("t",)]
    assert connection.rows("SELECT x FROM t") == [(1,)]
    connection.close()


def test_a_folder_that_cannot_be_made_is_an_unavailable_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot create"):
        create_database(str(tmp_path / "file" / "some.sqlite"), build)
