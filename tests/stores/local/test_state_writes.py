"""Writing to Codex's state database: what a patch says changes and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import apsw
import msgspec
import pytest
from tests.stores.local.state_helpers import (
    EXPLICIT,
    NOW,
    NOW_MS,
    OBSERVED,
    PROFILE,
    SECOND,
    column,
    execute,
    thread,
    write,
)

from threadstore.ids import new_thread_id
from threadstore.metadata import (
    GitInfo,
    GitInfoPatch,
    MetadataOrigin,
)
from threadstore.stores.local.state_db import ArchiveChange, StateDb


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


def test_a_name_that_only_the_name_index_knows_comes_into_its_column(newer: StateDb) -> None:
    """Codex's column may be younger than the name: there was none before its migration 41."""
    before = thread(history_mode="paginated")
    write(newer, before)
    row = write(newer, msgspec.structs.replace(before, name="My name"), updated_at=NOW)
    assert row.name == "My name"
    row = write(newer, msgspec.structs.replace(before, name="Stale"), updated_at=NOW)
    assert row.name == "My name"


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


def test_a_spawned_thread_gets_its_edge_and_codex_s_exact_source(db: StateDb, path: str) -> None:
    parent, child = thread(), new_thread_id()
    source = {"subagent": {"thread_spawn": {"depth": 1, "parent_thread_id": parent.id}}}
    write(db, parent)
    row = write(db, thread(id=child, source=source))
    assert db.spawn_parent(child) == parent.id
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
    assert newer.spawn_parent(child.id) is None
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


def test_text_that_sqlite_cannot_hold_does_not_stop_a_write(db: StateDb) -> None:
    row = write(db, thread(), title="half \ud800 done", model="ü")
    assert row.title == "half ? done"
    assert row.model == "ü"
