"""Rows of Codex's state database: a bad value costs that value."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stores.local.state_helpers import (
    NOW,
    NOW_MS,
    PROFILE,
    SECOND,
    execute,
    thread,
    write,
)

from threadstore.clock import UTC, from_ms
from threadstore.ids import new_thread_id
from threadstore.metadata import (
    GitInfo,
    TokenUsage,
)
from threadstore.stores.local.state_db import StateDb
from threadstore.stores.local.state_rows import COLUMNS, decode_row


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


def test_times_before_2020_survive(db: StateDb) -> None:
    early = dt.datetime(2001, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)
    row = write(db, thread(created_at=early, updated_at=early))
    assert from_ms(row.created_at_ms) == early
    assert from_ms(row.updated_at_ms) == early


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


ANY_VALUE = (
    st.none() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats() | st.text() | st.binary()
)


@given(st.lists(ANY_VALUE, min_size=len(COLUMNS), max_size=len(COLUMNS)))
def test_no_value_whatever_stops_the_reading_of_a_row(values: list[object]) -> None:
    row = decode_row(values, {})
    for ms in (row.created_at_ms, row.updated_at_ms, row.recency_at_ms, row.archived_at_ms):
        assert ms is None or from_ms(ms).tzinfo is not None
