"""The doctor: everything that is wrong is found, and what adding can mend is mended."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.stores.local.conftest import Locked
from tests.stores.local.homes import START, encode, header
from tests.stores.local.watched import Watched

from threadstore.history.items import RolloutItem
from threadstore.ids import new_thread_id
from threadstore.store import Finding
from threadstore.stores.local.compression import zstd
from threadstore.stores.local.inspection import inspect
from threadstore.stores.local.locks import WriterLock
from threadstore.testing import items


class Doctor(Watched):
    """A home that can be looked at."""

    def inspect(self, *, fix: bool = False) -> list[Finding]:
        """What is found."""
        return inspect(self.home, self.state, self.index, self.sync, fix=fix)

    def codes(self, *, fix: bool = False) -> list[str]:
        """What is found, in a word each, without threads that only lack a row."""
        return [found.code for found in self.inspect(fix=fix) if found.code != "unindexed"]

    def only(self, *, fix: bool = False) -> Finding:
        """The one thing that is found."""
        (finding,) = (found for found in self.inspect(fix=fix) if found.code != "unindexed")
        return finding


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Doctor]:
    doctor = Doctor(tmp_path)
    yield doctor
    doctor.close()


def hashes(folder: Path) -> dict[str, str]:
    """Every file with its content, our own index included."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_nothing_is_wrong_with_a_sound_thread(home: Doctor) -> None:
    home.add_row(home.thread())
    assert home.inspect() == []


def test_nothing_is_wrong_with_an_empty_home(home: Doctor) -> None:
    assert home.inspect() == []


def test_looking_writes_nothing(home: Doctor) -> None:
    thread_id = home.thread()
    home.add_row(thread_id)
    home.write(b"garbage\n{", new_thread_id())
    home.name(thread_id, "named")
    home.listed()
    before = hashes(home.folder)
    assert home.inspect()
    assert hashes(home.folder) == before


# Files


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([b"{garbage"], "damaged_line"),
        ([b'{"timestamp":"x","type":"session_meta","payload":{"id":"\xff"}}'], "invalid_utf8"),
        ([b'{"type":"event_msg","payload":{"type":"error"}}'], "no_timestamp"),
        ([items.unknown_item()], "unknown_type"),
    ],
)
def test_a_bad_line_is_found(home: Doctor, lines: list[RolloutItem | bytes], code: str) -> None:
    thread_id = new_thread_id()
    home.write([header(thread_id), *items.turn("t", "x"), *lines], thread_id)
    finding = home.only()
    assert (finding.code, finding.thread_id) == (code, thread_id)
    if code == "damaged_line":
        assert "line 9" in finding.reason


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"history_mode": "novel"}, "history_mode"),
        ({"history_mode": None}, "history_mode"),
        ({"source": 5}, "source"),
        ({"cwd": None}, "cwd"),
        ({"cli_version": 5}, "cli_version"),
        ({"thread_source": 5}, "thread_source"),
        ({"forked_from_id": "x"}, "forked_from_id"),
        ({"base_instructions": "text"}, "base_instructions"),
    ],
)
def test_a_header_that_codex_drops_is_found(
    home: Doctor, fields: dict[str, Any], reason: str
) -> None:
    home.thread(**fields)
    finding = home.only()
    assert finding.code == "rejected_header"
    assert reason in finding.reason


def test_many_damaged_lines_are_summed_up(home: Doctor) -> None:
    thread_id = new_thread_id()
    home.write([header(thread_id), *[b"{"] * 50], thread_id)
    assert home.codes() == ["damaged_line"] * 21


def test_a_missing_header_is_found(home: Doctor) -> None:
    home.write(items.turn("t", "x"), new_thread_id())
    assert home.codes() == ["no_header"]


def test_a_header_of_another_thread_is_found(home: Doctor) -> None:
    home.write([header(new_thread_id()), *items.turn("t", "x")], new_thread_id())
    assert home.codes() == ["id_mismatch"]


def test_a_copied_header_behind_a_damaged_one_is_found(home: Doctor) -> None:
    home.write([b"{", header(new_thread_id()), *items.turn("t", "x")], new_thread_id())
    assert home.codes() == ["damaged_line", "foreign_header"]


def test_a_byte_order_mark_is_found(home: Doctor) -> None:
    path = home.path(home.thread())
    Path(path).write_bytes(b"\xef\xbb\xbf" + Path(path).read_bytes())
    assert home.codes() == ["byte_order_mark"]


def test_old_lines_are_found(home: Doctor) -> None:
    thread_id = new_thread_id()
    head = {"id": thread_id, "timestamp": "2025-09-01T10:00:00.000Z", "instructions": None}
    home.write([json.dumps(head).encode(), b'{"record_type":"state"}'], thread_id)
    assert home.codes() == ["old_form"]


def test_an_empty_file_is_found(home: Doctor) -> None:
    home.write(b"", new_thread_id())
    assert home.codes() == ["empty_file"]
    assert home.listed() == {}


def test_a_file_without_any_id_is_found(home: Doctor) -> None:
    home.write(items.turn("t", "x"), path=f"{home.home.sessions}/2026/05/04/rollout-foo.jsonl")
    assert set(home.codes()) == {"odd_name", "no_header", "no_thread"}


def test_an_odd_place_is_found(home: Doctor) -> None:
    thread_id = new_thread_id()
    name = os.path.basename(home.path(thread_id))
    home.write([header(thread_id)], path=f"{home.home.sessions}/{name}")
    assert home.codes() == ["odd_place"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "0 bytes"),
        (b"not zstandard", "damaged"),
        (zstd.compress(b"x" * 500)[:-4], "too early"),
    ],
)
def test_corrupt_compression_is_found(home: Doctor, content: bytes, reason: str) -> None:
    thread_id = new_thread_id()
    home.write(content, path=home.path(thread_id) + ".zst")
    finding = home.only()
    assert (finding.code, finding.severity) == ("corrupt_compression", "error")
    assert reason in finding.reason
    assert "nothing of it can be read" in finding.reason
    assert home.listed().keys() == {thread_id}


def test_a_compressed_file_says_how_far_it_can_be_read(home: Doctor) -> None:
    thread_id = new_thread_id()
    log = encode([header(thread_id), *items.turn("t", "x")])
    frames = zstd.compress(log) + zstd.compress(b"lost")[:-2]
    home.write(frames, path=home.path(thread_id) + ".zst")
    finding = home.only()
    assert finding.code == "corrupt_compression"
    assert f"line {log.count(bytes([10]))} only" in finding.reason


def test_a_compressed_twin_is_found(home: Doctor) -> None:
    path = home.path(home.thread())
    Path(f"{path}.zst").write_bytes(b"whatever")
    assert home.codes() == ["two_forms"]


def test_an_archived_copy_of_an_active_thread_is_found(home: Doctor) -> None:
    thread_id = home.thread()
    home.write([header(thread_id)], thread_id, archived=True)
    finding = home.only()
    assert (finding.code, finding.thread_id) == ("duplicate_thread", thread_id)
    assert "archived_sessions" in finding.subject


def test_broken_lineage_is_found(home: Doctor) -> None:
    thread_id = new_thread_id()
    lost = {"thread_id": new_thread_id(), "end_ordinal_exclusive": 3, "end_byte_offset": 9}
    own = header(thread_id, history_mode="paginated", history_base=lost)
    home.write([own.encode("2026-05-04T03:02:01.000Z", 3)], thread_id)
    assert home.codes() == ["broken_lineage"]


def test_a_reverted_thread_has_no_duplicates(home: Doctor) -> None:
    thread_id = new_thread_id()
    own = header(thread_id, history_mode="paginated")
    size = home.write([own.encode("2026-05-04T03:02:01.000Z", 0)], thread_id).size
    base = {"thread_id": thread_id, "end_ordinal_exclusive": 1, "end_byte_offset": size}
    later = header(thread_id, history_mode="paginated", history_base=base)
    path = home.path(f"{thread_id}_{new_thread_id()}", stamp="2026-05-05T00-00-00")
    home.write([later.encode("2026-05-05T00:00:00.000Z", 1)], path=path)
    assert home.codes() == []


def test_credentials_in_a_log_are_found(home: Doctor) -> None:
    home.thread(git={"repository_url": "https://user:secret@example.org/r.git"})
    finding = home.only()
    assert finding.code == "credentials_in_log"
    assert "secret" not in finding.reason


def test_a_folder_that_cannot_be_read_is_found(home: Doctor) -> None:
    Path(home.home.archived).write_text("no folder")
    assert home.codes() == ["unreadable_folder"]


@pytest.mark.parametrize(
    ("tail", "code", "after"),
    [(b'{"timestamp":', "torn_tail", ["damaged_line"]), (None, "no_final_newline", [])],
)
def test_a_last_line_without_newline_is_ended(
    home: Doctor, tail: bytes | None, code: str, after: list[str]
) -> None:
    path = Path(home.path(home.thread()))
    content = path.read_bytes()
    content = content[:-1] if tail is None else content + tail
    path.write_bytes(content)
    os.utime(path, ns=(1, 1_700_000_000_000_000_000))
    assert home.codes() == [code]
    assert home.only(fix=True).fixed
    assert path.read_bytes() == content + b"\n"
    assert path.stat().st_mtime_ns == 1_700_000_000_000_000_000  # which Codex shows
    assert home.codes() == after


def test_a_repair_that_is_in_somebodys_way_says_so(home: Doctor) -> None:
    thread_id = home.thread()
    path = Path(home.path(thread_id))
    path.write_bytes(path.read_bytes()[:-1])
    with WriterLock.acquire(home.home, thread_id):
        finding = home.only(fix=True)
    assert not finding.fixed
    assert "not repaired" in finding.reason


# Rows


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


def test_a_header_that_does_not_come_first_is_found(home: Doctor) -> None:
    thread_id = new_thread_id()
    home.write([items.user_response("early"), header(thread_id)], thread_id)
    finding = home.only()
    assert (finding.code, finding.repairable) == ("late_header", True)


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


# Names


def test_a_name_index_without_final_newline_is_ended(home: Doctor) -> None:
    home.name(home.thread(), "one")
    path = Path(home.home.name_index)
    path.write_bytes(path.read_bytes()[:-1])
    assert home.only(fix=True).fixed
    assert home.inspect() == []


def test_glued_entries_are_found_and_added_again(home: Doctor) -> None:
    one, two = home.thread(), home.thread()
    home.name(one, "one")
    home.name(two, "two")
    path = Path(home.home.name_index)
    glued = path.read_bytes().replace(b"}\n{", b"}{")
    path.write_bytes(glued)
    assert home.codes(fix=True) == ["damaged_name", "lost_name", "lost_name"]
    assert path.read_bytes().startswith(glued)
    assert [thread.name for thread in home.listed().values()].count(None) == 0
    assert home.codes() == ["damaged_name"]


def test_a_name_of_no_thread_is_found(home: Doctor) -> None:
    home.name(new_thread_id(), "nobody")
    assert home.codes() == ["orphaned_name"]


def test_a_name_that_only_the_row_has_is_added(home: Doctor) -> None:
    thread_id = home.thread()
    home.add_row(thread_id, name="row only")
    finding = home.only(fix=True)
    assert (finding.code, finding.fixed) == ("unindexed_name", True)
    assert home.inspect() == []


# The rest


def test_leftovers_are_found(home: Doctor) -> None:
    path = home.path(home.thread())
    Path(f"{path}.decompress.1.2.tmp").write_bytes(b"")
    os.makedirs(home.home.lock_folder)
    Path(f"{home.home.lock_folder}/{new_thread_id()}.lock").write_bytes(b"")
    assert home.codes() == ["leftover_file", "leftover_lock"]


def test_a_held_lock_is_no_leftover(home: Doctor) -> None:
    with WriterLock.acquire(home.home, home.thread()):
        assert home.codes() == []


def test_a_stale_index_is_brought_up_to_date(home: Doctor) -> None:
    thread_id = home.thread()
    home.age()
    home.listed()
    home.index.remove([thread_id])
    finding = home.only(fix=True)
    assert (finding.code, finding.fixed) == ("stale_index", True)
    assert home.index.get(thread_id) is not None
    assert home.inspect() == []


def test_every_file_is_listed_or_reported(home: Doctor) -> None:
    for content in (b"", b"\n", b"\x00\n", b"{", b"[]\n", b'{"type":1}\n', b"\xff\xfe"):
        home.write(content, new_thread_id())
        home.write(content, path=f"{home.home.archived}/deep/er/rollout-{START.year}.jsonl")
    home.write([header(new_thread_id())], new_thread_id(), archived=True)
    reported = {finding.subject for finding in home.inspect()}
    current = {thread.rollout_path for thread in home.listed().values()}
    assert set(home.index.files()) <= reported | current


def test_a_log_of_another_name_is_found(home: Doctor) -> None:
    path = home.path(home.thread())
    os.rename(path, f"{os.path.dirname(path)}/my copy.jsonl")
    assert home.codes() == ["renamed_log"]
