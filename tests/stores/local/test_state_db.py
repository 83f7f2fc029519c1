"""Codex's state database: created, read at any level, written by Codex's rules, never altered."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import apsw
import pytest

from threadstore.clock import UTC, from_ms
from threadstore.errors import StoreUnavailable
from threadstore.ids import new_thread_id
from threadstore.metadata import (
    GitInfo,
    GitInfoPatch,
    MetadataOrigin,
    StoredThread,
    ThreadMetadataPatch,
    TokenUsage,
)
from threadstore.stores.local import state_schema
from threadstore.stores.local.state_db import ArchiveChange, StateDb
from threadstore.stores.local.state_rows import StateRow

Locked = Callable[..., AbstractContextManager[None]]
RunWithoutRights = Callable[[str, str], str]

EXPLICIT, OBSERVED = MetadataOrigin.EXPLICIT, MetadataOrigin.OBSERVED
NOW = dt.datetime(2026, 11, 22, 8, 30, 0, 123000, tzinfo=UTC)
NOW_MS = 1_795_336_200_123
SECOND = dt.timedelta(seconds=1)
PROFILE = {"type": "managed", "network": "restricted"}

NEWER_COLUMNS = (
    "recency_at INTEGER NOT NULL DEFAULT 0",
    "recency_at_ms INTEGER NOT NULL DEFAULT 0",
    "history_mode TEXT NOT NULL DEFAULT 'legacy'",
    "name TEXT",
    "thread_section_id TEXT",
    "section_position INTEGER",
    "section_entered_at_ms INTEGER",
    "project_id TEXT",
    "originator TEXT",
    "daybreak_enabled BOOLEAN",
    "creator_user_id TEXT",
    "creator_account_id TEXT",
    "from_the_future TEXT NOT NULL DEFAULT 'x'",
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "state_5.sqlite")


@pytest.fixture
def db(path: str) -> Iterator[StateDb]:
    database = StateDb(path, busy_timeout=0)
    database.open()
    yield database
    database.close()


@pytest.fixture
def newer(db: StateDb, path: str) -> StateDb:
    """The same at the level of Codex 0.169 and one migration that nobody knows."""
    db.ensure()
    execute(
        path,
        *(f"ALTER TABLE threads ADD COLUMN {column}" for column in NEWER_COLUMNS),
        "CREATE TABLE thread_sections (id TEXT PRIMARY KEY, name TEXT NOT NULL, appearance TEXT)",
        "INSERT INTO thread_sections VALUES ('s1', 'Pinned', NULL)",
        "CREATE TABLE thread_read_receipts (thread_id TEXT PRIMARY KEY NOT NULL)",
        *(migration_row(version) for version in range(33, 63)),
        "INSERT INTO _sqlx_migrations VALUES (9999, 'new', 'now', 1, x'00', 0)",
    )
    return db


def migration_row(version: int) -> str:
    known = state_schema.known_migrations()[version]
    return f"INSERT INTO _sqlx_migrations VALUES ({version}, 'x', 'now', 1, x'{known.checksum}', 0)"


def execute(path: str, *statements: str) -> list[Any]:
    connection = apsw.Connection(path)
    rows = [row for statement in statements for row in connection.execute(statement).fetchall()]
    connection.close()
    return rows


def thread(**changes: Any) -> StoredThread:
    values: dict[str, Any] = {
        "id": new_thread_id(),
        "title": "Fix it",
        "preview": "Fix it",
        "first_user_message": "Fix it",
        "created_at": NOW,
        "updated_at": NOW,
        "recency_at": NOW,
        "model_provider": "openai",
        "source": "cli",
    }
    return StoredThread(**{**values, **changes})


def write(
    db: StateDb,
    before: StoredThread,
    origin: MetadataOrigin = EXPLICIT,
    *,
    path: str = "/home/me/rollout.jsonl",
    **fields: Any,
) -> StateRow:
    patch = ThreadMetadataPatch(**fields)
    return db.write(patch.apply(before), patch, origin=origin, path=path)


def column(path: str, name: str) -> Any:
    return execute(path, f"SELECT {name} FROM threads")[0][0]


def test_looking_at_a_missing_database_creates_nothing(db: StateDb, path: str) -> None:
    assert (db.exists, db.readable, db.writable, db.reason) == (False, True, True, None)
    assert db.read_row(new_thread_id()) is None
    assert list(db.read_rows()) == []
    assert (db.count(), db.max_updated_ms(), db.data_version()) == (0, 0, 0)
    assert (db.spawn_parents(), db.children(["x"])) == ({}, [])
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


def test_seconds_alone_get_their_milliseconds_as_codex_expects(db: StateDb, path: str) -> None:
    db.ensure()
    thread_id = new_thread_id()
    execute(
        path,
        "INSERT INTO threads (id, rollout_path, created_at, updated_at, source, model_provider,"
        f" cwd, title, sandbox_policy, approval_mode) VALUES ('{thread_id}', '/r', 1795336200,"
        " 1795336201, 'cli', 'openai', '/w', 't', 'read-only', 'never')",
    )
    row = db.read_row(thread_id)
    assert row is not None
    assert (row.created_at_ms, row.updated_at_ms) == (1_795_336_200_000, 1_795_336_201_000)
    assert row.sandbox_policy == {"type": "read-only"}
    assert row.memory_mode == "enabled"
    assert row.damage == ()
    execute(path, "UPDATE threads SET updated_at = 1795336300")
    assert db.max_updated_ms() == 1_795_336_300_000


def test_a_row_says_what_the_thread_says(db: StateDb) -> None:
    first = thread(
        cwd="/no/such/folder/",
        git=GitInfo(sha="abc", branch="main", origin_url="https://example.org/r"),
        model="gpt-5",
        reasoning_effort="high",
        cli_version="0.131.0",
        thread_source="user",
        approval_mode={"granular": {"rules": True}},
        sandbox_policy={"type": "danger-full-access"},
        permission_profile=PROFILE,
        token_usage=TokenUsage(total_tokens=42),
        memory_mode="disabled",
    )
    row = write(db, first)
    assert row.id == first.id
    assert row.rollout_path == "/home/me/rollout.jsonl"
    assert (row.created_at_ms, row.updated_at_ms) == (NOW_MS, NOW_MS)
    assert (row.title, row.preview, row.first_user_message) == ("Fix it",) * 3
    assert (row.git_sha, row.git_branch, row.git_origin_url) == (
        "abc",
        "main",
        "https://example.org/r",
    )
    assert (row.source, row.thread_source, row.cwd) == ("cli", "user", "/no/such/folder/")
    assert (row.model, row.reasoning_effort, row.tokens_used) == ("gpt-5", "high", 42)
    assert row.approval_mode == {"granular": {"rules": True}}
    assert row.sandbox_policy == {"type": "danger-full-access"}
    assert (row.memory_mode, row.archived, row.archived_at_ms) == ("disabled", False, None)
    assert row.damage == ()


def test_the_working_directory_is_stored_without_links(db: StateDb, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    row = write(db, thread(cwd=str(tmp_path / "link")))
    assert row.cwd == os.path.realpath(tmp_path / "real")


def test_a_write_changes_what_the_patch_says_and_nothing_else(db: StateDb, path: str) -> None:
    before = thread(model="gpt-5", memory_mode="disabled", git=GitInfo(branch="main"))
    first = write(db, before)
    execute(path, "UPDATE threads SET cwd = '/codex/knows/better', tokens_used = 7")
    row = write(db, before, model="gpt-6")
    assert row.model == "gpt-6"
    assert (row.cwd, row.tokens_used) == ("/codex/knows/better", 7)
    assert (row.memory_mode, row.git_branch, row.title) == ("disabled", "main", "Fix it")
    assert row.updated_at_ms == first.updated_at_ms


def test_a_write_without_a_difference_writes_nothing(db: StateDb, path: str) -> None:
    before = thread()
    write(db, before)
    other = apsw.Connection(path)
    version = other.pragma("data_version")
    write(db, before, updated_at=NOW, title="Fix it", preview="Fix it", source="cli")
    assert other.pragma("data_version") == version
    other.close()


def test_what_the_row_lacks_is_filled_in(db: StateDb) -> None:
    empty = thread(title=None, preview="", first_user_message=None)
    write(db, empty)
    known = thread(id=empty.id)
    row = write(db, known, model="gpt-5", path="/moved/rollout.jsonl")
    assert (row.preview, row.title, row.first_user_message) == ("Fix it",) * 3
    assert row.rollout_path == "/moved/rollout.jsonl"


@pytest.mark.parametrize("origin", [EXPLICIT, OBSERVED])
def test_a_preview_is_never_taken_away(db: StateDb, origin: MetadataOrigin) -> None:
    before = thread()
    write(db, before)
    row = write(db, before, origin, preview="", first_user_message="", title="")
    assert (row.preview, row.first_user_message, row.title) == ("Fix it",) * 3


def test_observed_git_facts_are_never_taken_away_and_explicit_ones_are(db: StateDb) -> None:
    before = thread(git=GitInfo(sha="a", branch="main"))
    write(db, before)
    row = write(db, before, OBSERVED, git=GitInfoPatch(sha=None, branch="other"))
    assert (row.git_sha, row.git_branch) == ("a", "other")
    row = write(db, before, EXPLICIT, git=GitInfoPatch(sha=None, origin_url="https://x"))
    assert (row.git_sha, row.git_branch, row.git_origin_url) == (None, "other", "https://x")


def test_a_legacy_name_lives_in_the_title_and_gives_way_to_the_derived_one(db: StateDb) -> None:
    before = thread()
    write(db, before)
    named = thread(id=before.id, name="My name")
    assert write(db, before, name="My name").title == "My name"
    assert write(db, named, OBSERVED, title="Derived").title == "My name"
    assert write(db, named, model="m").title == "My name"
    assert write(db, named, name=None).title == "Fix it"
    assert write(db, before, OBSERVED, title="Other").title == "Other"


def test_observation_never_sets_a_name(newer: StateDb) -> None:
    before = thread(history_mode="paginated")
    write(newer, before)
    assert write(newer, before, OBSERVED, name="no").name is None
    assert write(newer, before, EXPLICIT, name="yes").name == "yes"


def test_a_paginated_name_has_a_column_of_its_own(newer: StateDb) -> None:
    before = thread(history_mode="paginated", name="My name")
    row = write(newer, before)
    assert (row.name, row.title, row.history_mode) == ("My name", "Fix it", "paginated")
    row = write(newer, before, name=None)
    assert (row.name, row.title) == (None, "Fix it")


def test_a_history_mode_only_becomes_paginated(newer: StateDb) -> None:
    legacy = thread()
    paginated = thread(id=legacy.id, history_mode="paginated")
    assert write(newer, legacy).history_mode == "legacy"
    assert write(newer, paginated).history_mode == "paginated"
    assert write(newer, legacy).history_mode == "paginated"


def test_recency_only_moves_forward(newer: StateDb, path: str) -> None:
    before = thread()
    assert write(newer, before).recency_at_ms == NOW_MS
    row = write(newer, before, advance_recency_at=NOW + SECOND)
    assert row.recency_at_ms == NOW_MS + 1000
    assert write(newer, before, advance_recency_at=NOW).recency_at_ms == NOW_MS + 1000
    assert column(path, "recency_at") == NOW_MS // 1000 + 1


def test_originator_and_creators_are_filled_once(newer: StateDb) -> None:
    before = thread()
    write(newer, before)
    row = write(newer, before, originator="me", creator_user_id="u")
    assert (row.originator, row.creator_user_id, row.creator_account_id) == ("me", "u", None)
    row = write(newer, thread(id=before.id, originator="other"), originator="other")
    assert row.originator == "me"


def test_the_policy_has_the_form_of_the_database_s_level(db: StateDb) -> None:
    both = thread(sandbox_policy={"type": "read-only"}, permission_profile=PROFILE)
    row = write(db, both)
    assert (row.sandbox_policy, row.permission_profile) == ({"type": "read-only"}, None)


def test_newer_levels_get_permission_profiles(newer: StateDb) -> None:
    both = thread(sandbox_policy={"type": "read-only"}, permission_profile=PROFILE)
    row = write(newer, both)
    assert (row.sandbox_policy, row.permission_profile) == (None, PROFILE)
    legacy_only = thread(sandbox_policy={"type": "danger-full-access"})
    assert write(newer, legacy_only).sandbox_policy == {"type": "danger-full-access"}


def test_a_row_that_has_a_profile_keeps_that_form(db: StateDb, path: str) -> None:
    both = thread(sandbox_policy={"type": "read-only"}, permission_profile=PROFILE)
    write(db, both)
    execute(path, f"UPDATE threads SET sandbox_policy = '{json.dumps(PROFILE)}'")
    row = write(db, both, sandbox_policy={"type": "danger-full-access"})
    assert (row.sandbox_policy, row.permission_profile) == (None, PROFILE)


def test_times_are_unique_because_codex_0131_pages_by_them_alone(db: StateDb, path: str) -> None:
    rows = [write(db, thread()) for _ in range(250)]
    assert [row.updated_at_ms for row in rows] == [NOW_MS + n for n in range(250)]
    before = thread(updated_at=NOW + SECOND)
    assert write(db, before).updated_at_ms == NOW_MS + 1000
    assert write(db, before, updated_at=NOW).updated_at_ms == NOW_MS + 250
    assert write(db, before, updated_at=NOW).updated_at_ms == NOW_MS + 250
    differences = "SELECT count(*) FROM threads WHERE updated_at <> updated_at_ms / 1000"
    assert execute(path, differences) == [(0,)]


def test_seconds_and_milliseconds_are_always_written_together(db: StateDb, path: str) -> None:
    before = thread()
    write(db, before)
    write(db, before, updated_at=NOW + SECOND / 2, created_at=NOW - SECOND)
    times = "SELECT created_at, created_at_ms, updated_at, updated_at_ms FROM threads"
    seconds = NOW_MS // 1000
    assert execute(path, times) == [(seconds - 1, NOW_MS - 1000, seconds, NOW_MS + 500)]
    execute(path, "UPDATE threads SET updated_at = 1")  # the trigger rewrites the milliseconds
    write(db, before, updated_at=NOW)
    assert execute(path, times) == [(seconds - 1, NOW_MS - 1000, seconds, NOW_MS)]


def test_times_before_2020_survive(db: StateDb) -> None:
    early = dt.datetime(2001, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)
    row = write(db, thread(created_at=early, updated_at=early))
    assert from_ms(row.created_at_ms) == early
    assert from_ms(row.updated_at_ms) == early


def test_a_spawned_thread_gets_its_edge_and_codex_s_exact_source(db: StateDb, path: str) -> None:
    parent, child = thread(), new_thread_id()
    source = {"subagent": {"thread_spawn": {"depth": 1, "parent_thread_id": parent.id}}}
    write(db, parent)
    row = write(db, thread(id=child, source=source))
    assert db.spawn_parents() == {child: parent.id}
    assert db.children([parent.id]) == [child]
    assert row.source["subagent"]["thread_spawn"]["parent_thread_id"] == parent.id  # type: ignore[index]
    assert execute(path, f"SELECT source FROM threads WHERE id = '{child}'")[0][0] == (
        f'{{"subagent":{{"thread_spawn":{{"parent_thread_id":"{parent.id}","depth":1,'
        '"agent_path":null,"agent_nickname":null,"agent_role":null}}}'
    )
    execute(path, "UPDATE thread_spawn_edges SET status = 'closed'")
    write(db, thread(id=child, source=source), model="m")
    assert execute(path, "SELECT status FROM thread_spawn_edges") == [("closed",)]
    execute(path, "DELETE FROM thread_spawn_edges")
    assert db.children([parent.id]) == [child]


def test_a_row_is_only_inserted_where_there_is_none(db: StateDb) -> None:
    first = thread()
    assert db.insert_if_absent(first, path="/a")
    assert not db.insert_if_absent(thread(id=first.id, preview="other"), path="/b")
    row = db.read_row(first.id)
    assert row is not None
    assert (row.rollout_path, row.preview) == ("/a", "Fix it")


def test_archiving_moves_flag_time_and_path_together(db: StateDb, path: str) -> None:
    first = thread()
    write(db, first)
    changes = [ArchiveChange(first.id, "/archived/r.jsonl", NOW), ArchiveChange("?", "/x", NOW)]
    assert db.set_archived(changes) == [first.id]
    row = db.read_row(first.id)
    assert row is not None
    assert (row.archived, row.archived_at_ms) == (True, NOW_MS // 1000 * 1000)
    assert (row.rollout_path, row.updated_at_ms) == ("/archived/r.jsonl", NOW_MS)
    assert db.set_archived([ArchiveChange(first.id, "/r.jsonl", None)]) == [first.id]
    assert execute(path, "SELECT archived, archived_at FROM threads") == [(0, None)]


def test_a_path_is_changed_only_if_it_is_still_the_old_one(db: StateDb) -> None:
    first = thread()
    write(db, first, path="/old")
    assert not db.set_rollout_path(first.id, old="/other", new="/new")
    assert db.set_rollout_path(first.id, old="/old", new="/new")
    row = db.read_row(first.id)
    assert row is not None
    assert row.rollout_path == "/new"


def test_deleting_empties_every_table_that_is_keyed_on_the_thread(
    newer: StateDb, path: str
) -> None:
    parent, other = thread(), thread()
    source = {"subagent": {"thread_spawn": {"parent_thread_id": parent.id, "depth": 1}}}
    child = thread(source=source)
    for each in (parent, child, other):
        write(newer, each)
    execute(
        path,
        f"INSERT INTO thread_dynamic_tools VALUES ('{parent.id}', 0, 'n', 'd', '{{}}', 0, NULL)",
        f"INSERT INTO thread_goals VALUES ('{parent.id}', 'g', 'o', 'active', 0, 0, 0, 0, 0)",
        f"INSERT INTO thread_read_receipts VALUES ('{parent.id}')",
    )
    newer.delete([parent.id])
    assert [row.id for row in newer.read_rows()] == [child.id, other.id]
    assert newer.spawn_parents() == {}
    for table in ("thread_dynamic_tools", "thread_goals", "thread_read_receipts"):
        assert execute(path, f"SELECT count(*) FROM {table}") == [(0,)]


def test_a_transaction_is_all_or_nothing(db: StateDb) -> None:
    def fail() -> None:
        with db.transaction(durable=True):
            write(db, thread())
            assert db.count() == 1
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert db.count() == 0


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


@pytest.mark.parametrize(
    ("values", "damage"),
    [
        ({"id": "'not-a-uuid'"}, "id is not a UUID"),
        ({"tokens_used": "'many'"}, "tokens_used is not a number"),
        ({"archived": "2"}, "archived is 2"),
        ({"source": "'{broken'"}, "source cannot be read"),
        ({"source": "'[1]'"}, "source cannot be read"),
        ({"sandbox_policy": "'nonsense'"}, "sandbox_policy cannot be read"),
        ({"created_at_ms": "9000000000000000000"}, "created_at is out of range"),
        ({"archived_at": "'soon'"}, "archived_at is not a number"),
        ({"title": "CAST(x'ff41' AS TEXT)"}, "title is not UTF-8"),
        ({"git_branch": "x'ff'"}, "git_branch is not UTF-8"),
        ({"cwd": "x'2f61'"}, None),
        ({"approval_mode": "'whatever'"}, None),
        ({"created_at_ms": "NULL", "updated_at_ms": "1795336200"}, None),
    ],
)
def test_a_bad_value_costs_that_value(
    db: StateDb, path: str, values: dict[str, str], damage: str | None
) -> None:
    write(db, thread())
    for name, value in values.items():
        execute(path, f"UPDATE threads SET {name} = {value}")
    (row,) = db.read_rows()
    assert row.preview == "Fix it"
    assert row.updated_at_ms // 1000 == NOW_MS // 1000
    if damage is None:
        assert row.damage == ()
    else:
        assert damage in row.damage[0]


def test_an_unknown_history_mode_is_reported(newer: StateDb, path: str) -> None:
    write(newer, thread())
    execute(path, "UPDATE threads SET history_mode = 'odd', recency_at_ms = 0, recency_at = 0")
    (row,) = newer.read_rows()
    assert row.history_mode is None
    assert row.recency_at_ms is None
    assert "history_mode is 'odd'" in row.damage[0]


def test_reading_every_row_takes_many_portions(db: StateDb) -> None:
    threads = [thread(updated_at=NOW + n * SECOND) for n in range(2500)]
    with db.transaction():
        for each in threads:
            db.insert_if_absent(each, path="/r")
    assert [row.id for row in db.read_rows()] == [each.id for each in threads]
    since = db.read_rows(since_updated_ms=NOW_MS + 2_400_000)
    assert [row.id for row in since] == [each.id for each in threads[2400:]]
    assert db.count() == 2500
    assert db.max_updated_ms() == NOW_MS + 2_499_000


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


def test_text_that_sqlite_cannot_hold_does_not_stop_a_write(db: StateDb) -> None:
    row = write(db, thread(), name="half \ud800 done", model="ü")
    assert row.title == "half ? done"
    assert row.model == "ü"
