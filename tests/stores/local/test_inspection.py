"""The doctor: everything that is wrong is found, and what adding can mend is mended."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.stores.local.doctor import Doctor
from tests.stores.local.homes import START, header

from threadstore.ids import new_thread_id
from threadstore.stores.local.locks import WriterLock


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
