"""Codex's state database as a file: created, opened at any level, never altered."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tests.stores.local.state_helpers import (
    NOW_MS,
    execute,
    thread,
    write,
)

from threadstore.errors import StoreUnavailable
from threadstore.ids import new_thread_id
from threadstore.stores.local import state_schema
from threadstore.stores.local.state_db import StateDb

Locked = Callable[..., AbstractContextManager[None]]
RunWithoutRights = Callable[[str, str], str]


def test_looking_at_a_missing_database_creates_nothing(db: StateDb, path: str) -> None:
    assert (db.exists, db.readable, db.writable, db.reason) == (False, True, True, None)
    assert db.read_row(new_thread_id()) is None
    assert list(db.read_rows()) == []
    assert (db.count(), db.max_updated_ms(), db.data_version()) == (0, 0, 0)
    assert (db.spawn_parent("x"), db.children(["x"])) == (None, [])
    db.delete(["x"])
    assert os.listdir(os.path.dirname(path)) == []


def test_a_new_database_is_what_codex_0131_would_have_made(db: StateDb, path: str) -> None:
    db.ensure()
    assert db.level == 32
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert execute(path, "PRAGMA journal_mode", "PRAGMA auto_vacuum", "PRAGMA page_size") == [
        ("wal",),
        (2,),
        (4096,),
    ]
    migrations = "SELECT count(*), min(success), min(length(checksum)) FROM _sqlx_migrations"
    assert execute(path, migrations) == [(32, 1, 48)]
    backfill = "SELECT id, status, last_watermark, last_success_at FROM backfill_state"
    assert execute(path, backfill) == [(1, "pending", None, None)]
    assert len(execute(path, "PRAGMA table_info(threads)")) == 29
    assert execute(path, "PRAGMA integrity_check", "PRAGMA foreign_key_check") == [("ok",)]


def test_an_empty_file_is_filled_in_place(path: str, db: StateDb) -> None:
    Path(path).touch()
    before = os.stat(path).st_ino
    assert db.count() == 0
    assert db.writable
    write(db, thread())
    assert db.count() == 1
    assert os.stat(path).st_ino == before


def test_newer_levels_are_read_and_written_by_the_columns_they_have(
    newer: StateDb, path: str
) -> None:
    first = thread(originator="me")
    row = write(newer, first)
    assert newer.level == 9999
    assert (row.originator, row.history_mode) == ("me", "legacy")
    execute(
        path,
        "UPDATE threads SET thread_section_id = 's1', section_position = 1000000,"
        " section_entered_at_ms = 1795336200123, project_id = 'p', daybreak_enabled = 1",
    )
    read = newer.read_row(first.id)
    assert read is not None
    assert read.section is not None
    assert (read.section.id, read.section.name) == ("s1", "Pinned")
    assert (read.section_position, read.section_entered_at_ms) == (1_000_000, NOW_MS)
    assert (read.project_id, read.daybreak_enabled) == ("p", True)


def test_a_migration_while_we_are_connected_is_noticed(db: StateDb, path: str) -> None:
    first = thread()
    write(db, first)
    execute(path, "ALTER TABLE threads ADD COLUMN originator TEXT")
    assert write(db, first, originator="me").originator == "me"


def test_columns_that_older_levels_lack_are_left_out(db: StateDb, path: str) -> None:
    db.ensure()
    execute(
        path,
        *("DROP TRIGGER " + name for name in triggers(path)),
        *("DROP INDEX " + name for name in millisecond_indexes(path)),
        *(f"ALTER TABLE threads DROP COLUMN {name}" for name in OLDER_LACK),
        "DELETE FROM _sqlx_migrations WHERE version > 18",
        "DROP TABLE thread_spawn_edges",
    )
    first = thread()
    row = write(db, first)
    assert db.level == 18
    assert (row.preview, row.model, row.first_user_message) == ("", None, "Fix it")
    assert row.updated_at_ms == NOW_MS // 1000 * 1000
    assert [r.id for r in db.read_rows(since_updated_ms=row.updated_at_ms)] == [first.id]
    assert list(db.read_rows(since_updated_ms=NOW_MS)) == []


OLDER_LACK = ("preview", "thread_source", "updated_at_ms", "created_at_ms", "model")


def triggers(path: str) -> list[str]:
    return [row[0] for row in execute(path, "SELECT name FROM sqlite_master WHERE type='trigger'")]


def millisecond_indexes(path: str) -> list[str]:
    return [
        row[0] for row in execute(path, "SELECT name FROM sqlite_master WHERE name GLOB '*_ms'")
    ]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 7", "migration 7 is not"),
        ("UPDATE _sqlx_migrations SET success = 0 WHERE version = 32", "partially applied"),
        ("DELETE FROM _sqlx_migrations WHERE version = 5", "migration 5 is missing"),
        ("DROP TABLE _sqlx_migrations", "not Codex's"),
    ],
)
def test_a_database_that_codex_refuses_is_read_and_never_written(
    db: StateDb, path: str, damage: str, reason: str
) -> None:
    first = thread()
    write(db, first)
    db.close()
    execute(path, damage)
    db.open()
    assert (db.readable, db.writable) == (True, False)
    assert reason in (db.reason or "")
    assert [row.id for row in db.read_rows()] == [first.id]
    with pytest.raises(StoreUnavailable, match=reason):
        write(db, first, model="m")


def test_a_migration_that_codex_renumbers_is_accepted(newer: StateDb, path: str) -> None:
    checksum = state_schema.known_migrations()[39].checksum
    execute(path, f"UPDATE _sqlx_migrations SET checksum = x'{checksum}' WHERE version = 38")
    newer.open()
    assert newer.writable


def test_details_that_codex_ignores_are_ignored(db: StateDb, path: str) -> None:
    db.ensure()
    execute(path, "UPDATE _sqlx_migrations SET description = '?', execution_time = 7")
    db.open()
    assert db.writable


@pytest.mark.parametrize("content", [b"this is no database at all" * 200, b"SQLite format 3\0junk"])
def test_a_damaged_file_is_unusable_and_left_alone(db: StateDb, path: str, content: bytes) -> None:
    Path(path).write_bytes(content)
    assert (db.exists, db.readable, db.writable) == (True, False, False)
    assert path in (db.reason or "")
    with pytest.raises(StoreUnavailable):
        list(db.read_rows())
    with pytest.raises(StoreUnavailable):
        write(db, thread())
    assert Path(path).read_bytes() == content
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]


def test_damage_that_shows_up_late_makes_it_unusable(db: StateDb, path: str) -> None:
    with db.transaction():
        for _ in range(200):
            write(db, thread(preview="x" * 500))
    execute(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    with open(path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(4096 * 12)
        file.write(b"\xff" * (size - 4096 * 12))
    db.open()
    with pytest.raises(StoreUnavailable):
        list(db.read_rows())
    assert (db.readable, db.writable) == (False, False)
    assert db.reason


def test_a_foreign_database_is_unusable(db: StateDb, path: str) -> None:
    execute(path, "CREATE TABLE something (x)")
    assert (db.readable, db.writable) == (False, False)
    assert "no table of threads" in (db.reason or "")


def test_a_folder_in_the_place_of_the_file_is_unusable(db: StateDb, path: str) -> None:
    os.mkdir(path)
    assert (db.readable, db.writable) == (False, False)
    assert db.reason


def test_the_data_version_tells_other_programs_writes_from_ours(db: StateDb, path: str) -> None:
    first = thread()
    write(db, first)
    version = db.data_version()
    write(db, first, model="m")
    assert db.data_version() == version
    execute(path, "UPDATE threads SET model = 'other'")
    assert db.data_version() != version


def test_a_lost_database_is_noticed_and_made_again(db: StateDb, path: str) -> None:
    write(db, thread())
    for name in (path, f"{path}-wal", f"{path}-shm"):
        os.unlink(name)
    assert not db.exists
    assert db.count() == 0
    assert not os.path.exists(path)
    write(db, thread())
    assert db.count() == 1
    os.unlink(path)  # the log stays behind
    write(db, thread())
    assert db.count() == 1
    assert execute(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_replaced_database_is_noticed(db: StateDb, path: str, tmp_path: Path) -> None:
    write(db, thread())
    other_path = str(tmp_path / "other" / "state_5.sqlite")
    other = StateDb(other_path)
    for _ in range(3):
        write(other, thread())
    execute(other_path, "PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    shutil.rmtree(tmp_path / "aside", ignore_errors=True)
    for suffix in ("-wal", "-shm", ""):
        os.rename(path + suffix, tmp_path / f"aside{suffix}")
    os.rename(other_path, path)
    assert db.count() == 3


def test_a_database_locked_for_writing_is_read_and_says_so_on_writes(
    db: StateDb, path: str, locked: Locked
) -> None:
    first = thread()
    write(db, first)
    with locked(path):
        assert db.read_row(first.id)
        with pytest.raises(StoreUnavailable, match="locked by another program"):
            write(db, first, model="m")
    assert write(db, first, model="m").model == "m"


def test_a_database_locked_for_everything_is_usable_again_afterwards(
    db: StateDb, path: str, locked: Locked
) -> None:
    write(db, thread())
    db.close()
    with locked(path, "PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE"):
        db.open()
        assert (db.readable, db.writable) == (False, False)
        assert "locked" in (db.reason or "")
        with pytest.raises(StoreUnavailable, match="locked"):
            db.count()
    assert db.readable
    assert db.count() == 1


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_the_journal_mode_of_an_existing_database_is_kept(
    db: StateDb, path: str, mode: str
) -> None:
    write(db, thread())
    db.close()
    execute(path, f"PRAGMA journal_mode = {mode}")
    write(db, thread())
    db.close()
    assert execute(path, "PRAGMA journal_mode") == [(mode,)]


def test_our_writes_leave_the_log_to_codex(db: StateDb, path: str) -> None:
    db.ensure()
    size = os.stat(path).st_size
    content = Path(path).read_bytes()
    for _ in range(20):
        write(db, thread())
    db.close()
    assert os.stat(path).st_size == size
    assert Path(path).read_bytes() == content
    assert os.stat(f"{path}-wal").st_size > 0


def test_two_programs_creating_at_once_make_one_database(path: str) -> None:
    first, second = StateDb(path), StateDb(path)
    first.open()
    second.open()
    write(first, thread())
    write(second, thread())
    assert first.count() == second.count() == 2
    first.close()
    second.close()


READ_ONLY = """
db = StateDb(PATH, busy_timeout=0)
db.open()
print([row.preview for row in db.read_rows()], db.readable, db.writable, db.reason)
try:
    db.ensure()
except StoreUnavailable as error:
    print(error)
db.close()
"""
READ_ONLY_IMPORTS = """
from threadstore.errors import StoreUnavailable
from threadstore.stores.local import state_schema
from threadstore.stores.local.state_db import StateDb
state_schema.known_migrations()
"""


def test_a_read_only_folder_is_read_without_leaving_a_trace(
    public_folder: str, run_without_rights: RunWithoutRights
) -> None:
    path = os.path.join(public_folder, "state_5.sqlite")
    db = StateDb(path)
    write(db, thread())
    db.close()
    execute(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    os.chmod(path, 0o444)
    os.chmod(public_folder, 0o555)
    before = os.listdir(public_folder)
    said = run_without_rights(f"{READ_ONLY_IMPORTS}PATH = {path!r}", READ_ONLY).splitlines()
    assert said[0] == f"['Fix it'] True False no permission to write {path}"
    assert "no permission to write" in said[1]
    assert os.listdir(public_folder) == before


def test_a_read_only_folder_is_read_with_what_is_still_in_the_log(
    public_folder: str, run_without_rights: RunWithoutRights
) -> None:
    path = os.path.join(public_folder, "state_5.sqlite")
    db = StateDb(path)
    write(db, thread())
    db.close()
    for name in os.listdir(public_folder):
        os.chmod(os.path.join(public_folder, name), 0o444)
    os.chmod(public_folder, 0o555)
    said = run_without_rights(f"{READ_ONLY_IMPORTS}PATH = {path!r}", READ_ONLY).splitlines()
    assert said[0] == f"['Fix it'] True False no permission to write {path}"


def test_a_file_that_may_not_be_read_is_unusable(
    public_folder: str, run_without_rights: RunWithoutRights
) -> None:
    path = os.path.join(public_folder, "state_5.sqlite")
    db = StateDb(path)
    write(db, thread())
    db.close()
    os.chmod(path, 0)
    code = (
        "db = StateDb(PATH)\ndb.open()\nprint(db.exists, db.readable, db.writable, bool(db.reason))"
    )
    said = run_without_rights(f"{READ_ONLY_IMPORTS}PATH = {path!r}", code)
    assert said == "True False False True"
