"""What the doctor finds in Codex's database, and the rows that it mends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.stores.local.conftest import Locked
from tests.stores.local.doctor import Doctor


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Doctor]:
    doctor = Doctor(tmp_path)
    yield doctor
    doctor.close()


def test_a_file_without_a_row_is_found_and_gets_one(home: Doctor) -> None:
    home.add_row(home.thread())
    thread_id = home.thread("rowless")
    (finding,) = home.inspect(fix=True)
    assert (finding.code, finding.thread_id, finding.fixed) == ("unindexed", thread_id, True)
    assert home.state is not None
    row = home.state.read_row(thread_id)
    assert row is not None
    assert (row.preview, row.model_provider) == ("rowless", "openai")
    assert home.inspect() == []


def test_without_a_database_no_row_is_missed_or_made(home: Doctor) -> None:
    home.thread()
    assert home.inspect(fix=True) == []
    assert not os.path.exists(home.home.state_db)


def test_a_row_without_a_file_is_found(home: Doctor) -> None:
    thread_id = home.thread()
    home.add_row(thread_id)
    os.unlink(home.path(thread_id))
    finding = home.only(fix=True)
    assert (finding.code, finding.thread_id, finding.fix) == ("orphaned_row", thread_id, None)


def test_a_stale_path_is_corrected(home: Doctor) -> None:
    thread_id = home.thread()
    home.add_row(thread_id)
    home.sql("UPDATE threads SET rollout_path = '/elsewhere' || rollout_path")
    finding = home.only(fix=True)
    assert (finding.code, finding.fixed) == ("stale_path", True)
    assert home.inspect() == []


def test_a_path_through_a_link_to_the_home_is_not_stale(home: Doctor, tmp_path: Path) -> None:
    thread_id = home.thread()
    home.add_row(thread_id)
    os.symlink(home.home.home, link := f"{tmp_path}/link")
    home.sql("UPDATE threads SET rollout_path = replace(rollout_path, ?, ?)", home.home.home, link)
    assert home.inspect() == []


def test_a_stale_archive_mark_is_corrected(home: Doctor) -> None:
    thread_id = home.thread()
    home.add_row(thread_id)
    home.sql("UPDATE threads SET archived = 1, archived_at = 5")
    assert home.only(fix=True).code == "stale_archive_mark"
    assert home.inspect() == []


def test_a_row_that_hides_its_thread_is_corrected(home: Doctor) -> None:
    home.add_row(home.thread("visible"))
    home.sql("UPDATE threads SET preview = ''")
    assert home.only(fix=True).code == "invisible_row"
    assert home.inspect() == []


def test_a_clobbered_name_is_written_back(home: Doctor) -> None:
    thread_id = home.thread("hello")
    home.add_row(thread_id)
    home.name(thread_id, "kept")
    finding = home.only(fix=True)
    assert (finding.code, finding.fixed) == ("clobbered_name", True)
    assert home.state is not None
    row = home.state.read_row(thread_id)
    assert row is not None
    assert row.title == "kept"
    assert home.inspect() == []


@pytest.mark.parametrize(
    ("column", "value"),
    [("id", "no-uuid"), ("archived", 2), ("tokens_used", "many"), ("source", "{")],
)
def test_a_row_that_codex_chokes_on_is_found(home: Doctor, column: str, value: Any) -> None:
    home.add_row(home.thread())
    home.sql(f"UPDATE threads SET {column} = ?", value)
    assert "damaged_row" in home.codes()


def test_an_interrupted_backfill_is_let_go(home: Doctor) -> None:
    home.add_row(home.thread())
    home.sql("UPDATE backfill_state SET status = 'running'")
    assert home.codes() == ["interrupted_backfill"]
    assert home.only(fix=True).fixed
    assert home.inspect() == []


def test_a_backfill_that_somebody_does_is_left_alone(home: Doctor, locked: Locked) -> None:
    home.add_row(home.thread())
    home.sql("UPDATE backfill_state SET status = 'running'")
    with locked(home.home.state_db, "SELECT count(*) FROM threads"):
        finding = home.only(fix=True)
    assert (finding.code, finding.fixed) == ("backfill", False)
    assert home.codes() == ["interrupted_backfill"]


@pytest.mark.parametrize(
    ("column", "value"),
    [("archived", 2), ("tokens_used", "many"), ("created_at_ms", "soon"), ("source", "{")],
)
def test_a_value_that_codex_chokes_on_is_corrected(home: Doctor, column: str, value: Any) -> None:
    home.add_row(home.thread())
    home.sql(f"UPDATE threads SET {column} = ?", value)
    assert all(finding.fixed for finding in home.inspect(fix=True))
    assert home.inspect() == []


@pytest.mark.parametrize("assignment", ["source = 'unknown'", "model_provider = ''", "cwd = ''"])
def test_a_row_that_says_nothing_where_lists_look_is_completed(
    home: Doctor, assignment: str
) -> None:
    thread_id = home.thread()
    home.add_row(thread_id)
    assert home.state is not None
    before = home.state.read_row(thread_id)
    home.sql(f"UPDATE threads SET {assignment}")
    finding = home.only(fix=True)
    assert (finding.code, finding.fixed) == ("incomplete_row", True)
    assert home.state.read_row(thread_id) == before
    assert home.inspect() == []


def test_a_migration_that_is_not_codexs_is_found(home: Doctor) -> None:
    home.add_row(home.thread())
    home.sql("UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 3")
    home.sql("UPDATE threads SET rollout_path = '/elsewhere'")
    findings = home.inspect(fix=True)
    assert [found.code for found in findings] == ["state_database_read_only", "stale_path"]
    assert not any(found.fixed for found in findings)


def test_a_damaged_database_is_found_and_left_alone(tmp_path: Path) -> None:
    database = tmp_path / "state_5.sqlite"
    database.write_bytes(b"no database" * 500)
    home = Doctor(tmp_path)
    home.thread()
    assert home.codes(fix=True) == ["state_database_unreadable"]
    assert database.read_bytes() == b"no database" * 500
    home.close()
