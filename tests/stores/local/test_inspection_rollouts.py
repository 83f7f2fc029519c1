"""What the doctor finds in files, and the ends of last lines that it mends."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.stores.local.doctor import Doctor
from tests.stores.local.homes import encode, header

from threadstore.history.items import RolloutItem
from threadstore.ids import new_thread_id
from threadstore.stores.local.compression import zstd
from threadstore.stores.local.locks import WriterLock
from threadstore.testing import items


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Doctor]:
    doctor = Doctor(tmp_path)
    yield doctor
    doctor.close()


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


def test_a_header_that_does_not_come_first_is_found(home: Doctor) -> None:
    thread_id = new_thread_id()
    home.write([items.user_response("early"), header(thread_id)], thread_id)
    finding = home.only()
    assert (finding.code, finding.repairable) == ("late_header", True)


def test_a_log_of_another_name_is_found(home: Doctor) -> None:
    path = home.path(home.thread())
    os.rename(path, f"{os.path.dirname(path)}/my copy.jsonl")
    assert home.codes() == ["renamed_log"]
