"""The list index follows files, rows and names, whoever changes them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.stores.local.homes import header
from tests.stores.local.watched import Watched

from threadstore.clock import UTC
from threadstore.errors import Conflict
from threadstore.ids import new_thread_id
from threadstore.stores.local.codec import zstd
from threadstore.stores.local.sync import MISSING
from threadstore.testing import items


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    yield watched
    watched.close()


def hashes(folder: Path) -> dict[str, str]:
    """Every file of Codex with its content and time."""
    return {
        str(path): f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mtime_ns}"
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("threadstore_1")
    }


# Files


def test_every_thread_is_listed(home: Watched) -> None:
    ids = {home.thread(f"number {i}") for i in range(150)}
    assert home.listed().keys() == ids


def test_an_empty_home_has_no_threads(home: Watched) -> None:
    assert home.listed() == {}
    assert home.sync.refresh_thread(new_thread_id()) is None


def test_a_first_index_tells_how_far_it_is(home: Watched) -> None:
    for _ in range(130):
        home.thread()
    steps: list[tuple[int, int]] = []
    home.sync.refresh(on_progress=lambda done, total: steps.append((done, total)))
    assert steps == [(128, 130), (130, 130)]


def test_nothing_is_due_while_nothing_changes(home: Watched) -> None:
    home.thread()
    home.age()
    home.listed()
    assert not home.sync.due()
    home.clock.advance(2)
    assert home.sync.due()


def test_a_new_file_is_noticed_at_once(home: Watched) -> None:
    home.thread()
    home.listed()
    new = home.thread("new")
    assert home.listed()[new].preview == "new"


def test_a_file_that_grew_is_noticed_after_a_while(home: Watched) -> None:
    thread_id = home.thread()
    home.age()
    home.listed()
    home.append(home.path(thread_id), items.turn_context(model="later"))
    assert home.listed()[thread_id].model == "gpt-5.1"
    home.clock.advance(2)
    assert home.listed()[thread_id].model == "later"


def test_a_point_read_is_right_at_once(home: Watched) -> None:
    thread_id = home.thread()
    home.listed()
    home.append(home.path(thread_id), items.turn_context(model="later"))
    home.name(thread_id, "named")
    thread = home.sync.refresh_thread(thread_id)
    assert thread is not None
    assert (thread.model, thread.name) == ("later", "named")


def test_a_point_read_needs_no_list_before(home: Watched) -> None:
    thread_id = home.thread("found")
    thread = home.sync.refresh_thread(thread_id)
    assert thread is not None
    assert thread.preview == "found"


def test_a_moved_file_keeps_its_thread(home: Watched) -> None:
    thread_id = home.thread()
    home.listed()
    archived = home.path(thread_id, archived=True)
    os.makedirs(home.home.archived)
    os.rename(home.path(thread_id), archived)
    thread = home.sync.refresh_thread(thread_id)
    assert thread is not None
    assert (thread.archived, thread.rollout_path) == (True, archived)
    assert home.listed()[thread_id].archived


def test_a_compressed_file_is_the_same_thread(home: Watched) -> None:
    thread_id = home.thread("kept")
    home.listed()
    path = home.path(thread_id)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    home.write(b"not zstandard", path=path + ".zst")
    assert home.listed()[thread_id].rollout_path == path


def test_a_file_that_went_is_remembered_and_comes_back(home: Watched) -> None:
    thread_id = home.thread("gone for a while")
    home.name(thread_id, "named")
    path = home.path(thread_id)
    home.listed()
    aside = f"{home.folder}/aside"
    os.rename(path, aside)
    assert home.listed() == {}
    assert home.sync.refresh_thread(thread_id) is None
    assert home.index.files()[path].problem == MISSING
    os.rename(aside, path)
    assert home.listed()[thread_id].preview == "gone for a while"
    assert home.index.files()[path].problem is None


def test_a_deleted_thread_is_forgotten(home: Watched) -> None:
    thread_id = home.thread()
    home.add_row(thread_id)
    home.listed()
    home.sql("DELETE FROM threads WHERE id = ?", thread_id)
    os.unlink(home.path(thread_id))
    assert home.listed() == {}
    assert home.index.files() == {}


def test_the_active_one_of_two_copies_counts(home: Watched) -> None:
    thread_id = home.thread("active")
    home.write([header(thread_id), *items.turn("t", "archived")], thread_id, archived=True)
    assert home.listed()[thread_id].preview == "active"
    os.unlink(home.path(thread_id))
    assert home.listed()[thread_id].preview == "archived"
    assert home.listed()[thread_id].archived


def test_a_renamed_copy_does_not_stand_in_for_its_thread(home: Watched) -> None:
    thread_id = home.thread("original")
    copy = home.path(new_thread_id(), stamp="2026-06-01T00-00-00")
    home.write([header(thread_id), *items.turn("t", "copy")], path=copy)
    assert home.listed()[thread_id].preview == "original"
    os.unlink(home.path(thread_id))
    assert home.listed()[thread_id].preview == "copy"


def test_a_thread_is_found_by_the_id_in_its_header(home: Watched) -> None:
    thread_id = new_thread_id()
    home.write([header(thread_id), *items.turn("t", "x")], path=home.path(new_thread_id()))
    thread = home.sync.refresh_thread(thread_id)
    assert thread is not None
    assert home.listed().keys() == {thread_id}


def test_a_file_that_becomes_another_thread_leaves_the_first(home: Watched) -> None:
    one, two = home.thread("one"), new_thread_id()
    home.listed()
    home.write([header(two), *items.turn("t", "two, longer")], path=home.path(one))
    home.sync.refresh(force=True)
    assert home.listed().keys() == {two}


@pytest.mark.parametrize("name", ["rollout-foo.jsonl", "odd/rollout-2026.jsonl", "rollout-.jsonl"])
def test_every_file_is_listed_or_has_a_problem(home: Watched, name: str) -> None:
    home.write(items.turn("t", "x"), path=f"{home.home.sessions}/{name}")
    home.write(b"", new_thread_id())
    home.write(b"\x00garbage\n", new_thread_id())
    home.thread()
    home.write([header(new_thread_id())], path=f"{home.home.sessions}/odd/place/{name}")
    listed = home.listed()
    files = home.index.files()
    assert len(files) == 5
    for file in files.values():
        assert file.thread_id in listed or file.problem


@pytest.mark.parametrize("text", ["\x00", "\ud83d"])
def test_text_that_cannot_be_stored_takes_no_other_thread_along(home: Watched, text: str) -> None:
    sound, thread_id = home.thread(), new_thread_id()
    head = json.dumps(header(thread_id, cwd=text, source={"custom": text}).payload)
    said = json.dumps(items.user_message(f"odd {text}").payload)
    line = '{"timestamp":"2026-05-04T03:02:01.000Z","type":"%s","payload":%s}'
    lines = [(line % ("session_meta", head)).encode(), (line % ("event_msg", said)).encode()]
    home.write(lines, thread_id)
    listed = home.listed()
    assert listed.keys() == {sound, thread_id}
    assert listed[thread_id].preview.startswith("odd")


def test_an_empty_file_is_no_thread(home: Watched) -> None:
    home.write(b"\n", new_thread_id())
    assert home.listed() == {}


def test_a_folder_that_cannot_be_read_takes_no_thread_away(home: Watched) -> None:
    thread_id = home.thread()
    home.listed()
    os.rename(home.home.sessions, f"{home.folder}/aside")
    Path(home.home.sessions).write_text("no folder")
    assert home.listed().keys() == {thread_id}
    assert list(home.sync.problems) == [home.home.sessions]


# Names and rows


def test_a_name_is_noticed_at_once(home: Watched) -> None:
    thread_id = home.thread()
    home.listed()
    home.name(thread_id, "first")
    assert home.listed()[thread_id].name == "first"
    home.name(thread_id, "second")
    assert home.listed()[thread_id].name == "second"
    home.name(thread_id, "")
    assert home.listed()[thread_id].name is None


def test_a_row_is_noticed_at_once(home: Watched) -> None:
    thread_id = home.thread()
    home.add_row(thread_id)
    home.listed()
    home.sql("UPDATE threads SET title = 'named', updated_at_ms = updated_at_ms + 1")
    assert home.listed()[thread_id].name == "named"


def test_an_old_row_is_noticed_with_the_next_full_look(home: Watched) -> None:
    one, two = home.thread(), home.thread()
    home.add_row(one)
    home.add_row(two, updated_at=home.clock.now())
    home.listed()
    home.sql("UPDATE threads SET model = 'quiet' WHERE id = ?", one)
    home.clock.advance(2)
    assert home.listed()[one].model == "quiet"


def test_a_row_that_went_takes_its_facts_along(home: Watched) -> None:
    thread_id = home.thread()
    home.add_row(thread_id, name="row")
    home.listed()
    home.sql("DELETE FROM threads")
    home.clock.advance(2)
    assert home.listed()[thread_id].name is None


def test_a_row_without_a_file_is_no_thread(home: Watched) -> None:
    thread_id = home.thread()
    home.add_row(thread_id)
    os.unlink(home.path(thread_id))
    assert home.listed() == {}


def test_a_home_that_moved_loses_nothing(home: Watched) -> None:
    thread_id = home.thread()
    home.add_row(thread_id, name="named", model="row")
    home.sql("UPDATE threads SET rollout_path = '/elsewhere' || rollout_path")
    thread = home.listed()[thread_id]
    assert (thread.name, thread.model) == ("named", "row")
    assert thread.rollout_path == home.path(thread_id)


def test_a_spawn_edge_names_the_parent(home: Watched) -> None:
    parent, child = home.thread(), home.thread()
    home.add_row(child)
    home.sql("INSERT INTO thread_spawn_edges VALUES (?, ?, 'open')", parent, child)
    home.clock.advance(2)
    assert home.listed()[child].parent_thread_id == parent


@pytest.mark.parametrize("content", [b"", b"no database" * 100])
def test_without_a_usable_database_the_files_speak(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state_5.sqlite").write_bytes(content)
    home = Watched(tmp_path)
    thread_id = home.thread("still here")
    assert home.listed()[thread_id].preview == "still here"
    home.close()
    assert (tmp_path / "state_5.sqlite").read_bytes() == content


def test_without_any_database_the_files_speak(tmp_path: Path) -> None:
    home = Watched(tmp_path, use_state=False)
    thread_id = home.thread("still here")
    assert home.listed()[thread_id].preview == "still here"
    home.close()


# Other processes


def test_another_process_finds_the_index_done(home: Watched) -> None:
    thread_id = home.thread()
    home.add_row(thread_id)
    home.name(thread_id, "named")
    home.listed()
    derived = home.index.derived(thread_id)
    home.sync = home.new_sync()
    steps: list[int] = []
    home.sync.refresh(on_progress=lambda _done, total: steps.append(total))
    assert steps == []
    assert home.index.derived(thread_id) == derived
    assert home.listed()[thread_id].name == "named"


def test_a_compressed_file_that_did_not_change_is_not_read_again(home: Watched) -> None:
    home.exact = 0
    home.sync = home.new_sync()
    path = home.path(home.thread())
    with open(path, "rb") as file:
        home.write(zstd.compress(file.read()), path=path + ".zst")
    os.unlink(path)
    assert len(home.listed()) == 1
    home.age()
    home.sync.refresh()
    steps: list[int] = []
    home.clock.advance(60)
    home.sync.refresh(on_progress=lambda _done, total: steps.append(total))
    assert steps == []


def test_what_changed_between_two_processes_is_noticed(home: Watched) -> None:
    thread_id = home.thread()
    home.add_row(thread_id)
    home.listed()
    home.name(thread_id, "named")
    home.sql("UPDATE threads SET model = 'row'")
    home.sync = home.new_sync()
    thread = home.listed()[thread_id]
    assert (thread.name, thread.model) == ("named", "row")


def test_a_lost_index_is_filled_again(home: Watched) -> None:
    thread_id = home.thread()
    home.listed()
    for path in home.folder.glob("threadstore_1.sqlite*"):
        path.unlink()
    assert home.listed().keys() == {thread_id}


def test_nothing_of_codex_is_written(home: Watched) -> None:
    for i in range(3):
        home.name(home.thread(), f"name {i}")
    home.write(b"garbage", new_thread_id())
    shutil.copy(home.path(home.thread()), home.path(new_thread_id()))
    before = hashes(home.folder)
    for thread_id in home.listed():
        home.sync.refresh_thread(thread_id)
    home.sync.refresh(force=True)
    assert hashes(home.folder) == before


# What this program writes


def test_an_observed_fact_stands_until_the_log_says_more(home: Watched) -> None:
    thread_id = home.thread()
    thread = home.listed()[thread_id]
    home.index.upsert(msgspec.structs.replace(thread, preview="observed", model="observed"))
    assert home.listed()[thread_id].preview == "observed"
    home.append(home.path(thread_id), items.turn_context(model="later"))
    after = home.sync.refresh_thread(thread_id)
    assert after is not None
    assert (after.preview, after.model) == ("observed", "later")


def test_a_live_thread_is_left_to_its_writer(home: Watched) -> None:
    thread_id = home.thread()
    thread = home.listed()[thread_id]
    home.live.add(thread_id)
    home.index.upsert(msgspec.structs.replace(thread, model="live"))
    home.append(home.path(thread_id), items.turn_context(model="log"))
    home.sync.refresh(force=True)
    assert home.listed()[thread_id].model == "live"
    live = home.sync.refresh_thread(thread_id)
    assert live is not None
    assert live.model == "live"
    home.live.clear()
    home.sync.refresh(force=True)
    assert home.listed()[thread_id].model == "log"


def test_what_a_writer_leaves_is_no_news(home: Watched) -> None:
    thread_id = home.thread()
    thread = home.listed()[thread_id]
    home.append(home.path(thread_id), items.turn_context(model="log"))
    home.sync.settle(msgspec.structs.replace(thread, model="left", preview="left"))
    home.sync.refresh(force=True)
    after = home.listed()[thread_id]
    assert (after.model, after.preview) == ("left", "left")
    home.append(home.path(thread_id), items.turn_context(model="later"))
    later = home.sync.refresh_thread(thread_id)
    assert later is not None
    assert (later.model, later.preview) == ("later", "left")


def test_the_record_of_a_writer_that_was_killed_is_completed(home: Watched) -> None:
    thread_id = home.thread("hello")
    thread = home.derive(home.write([header(thread_id)], thread_id)).thread
    assert thread is not None
    home.index.upsert(msgspec.structs.replace(thread, model_provider="mine"))
    home.write([header(thread_id), *items.turn("t", "hello")], thread_id)
    after = home.listed()[thread_id]
    assert (after.preview, after.model) == ("hello", "gpt-5.1")


def test_a_thread_that_others_stand_on_is_referenced(home: Watched) -> None:
    def paginated(thread_id: str, **fields: Any) -> bytes:
        own = header(thread_id, history_mode="paginated", **fields)
        return own.encode("2026-05-04T03:02:01.000Z", 0)

    source, fork = new_thread_id(), new_thread_id()
    size = home.write([paginated(source)], source).size
    base = {"thread_id": source, "end_ordinal_exclusive": 1, "end_byte_offset": size}
    home.write([paginated(fork, history_base=base)], fork)
    home.listed()
    home.sync.check_unreferenced({fork})
    home.sync.check_unreferenced({source, fork})
    with pytest.raises(Conflict):
        home.sync.check_unreferenced({source})


def test_a_fork_is_completed_when_its_source_comes_back(home: Watched) -> None:
    source, fork = new_thread_id(), new_thread_id()
    said = items.user_item_completed(source, "t", "inherited").encode("2026-05-04T03:02:01.000Z", 1)
    head = header(source, history_mode="paginated").encode("2026-05-04T03:02:01.000Z", 0)
    aside = home.write([head, said], path=f"{home.folder}/aside.jsonl")
    base = {"thread_id": source, "end_ordinal_exclusive": 2, "end_byte_offset": aside.size}
    own = header(fork, history_mode="paginated", history_base=base)
    home.write([own.encode("2026-05-04T03:02:01.000Z", 2)], fork)
    assert home.listed()[fork].preview == ""
    os.rename(aside.path, home.path(source))
    assert home.listed()[fork].preview == "inherited"


def test_times_come_from_the_log_and_not_from_the_file(home: Watched) -> None:
    thread_id = home.thread()
    os.utime(home.path(thread_id), (0, 0))
    thread = home.listed()[thread_id]
    assert thread.updated_at.astimezone(UTC).year == 2026
