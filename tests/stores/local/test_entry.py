"""What the index keeps with a thread."""

from __future__ import annotations

from pathlib import Path

from tests.stores.local.homes import GIT, CodexHome, header

from threadstore.ids import new_thread_id
from threadstore.metadata import ThreadMetadataPatch
from threadstore.stores.local.entry import Entry
from threadstore.testing import items


def entry(folder: Path) -> Entry:
    home, thread_id = CodexHome(folder), new_thread_id()
    turn = items.turn("t1", "fix it")
    derived = home.derive(home.write([header(thread_id, git=GIT), b"{", *turn], thread_id))
    assert derived.thread is not None
    return Entry(derived, ThreadMetadataPatch(name="a name").apply(derived.thread))


def test_an_entry_survives(tmp_path: Path) -> None:
    before = entry(tmp_path)
    assert Entry.unpack(before.pack()) == before


def test_an_entry_is_small(tmp_path: Path) -> None:
    assert len(entry(tmp_path).pack()) < 700


def test_what_is_no_entry_is_none(tmp_path: Path) -> None:
    data = entry(tmp_path).pack()
    changed = data[:-6] + bytes([data[-6] ^ 1]) + data[-5:]
    assert [Entry.unpack(part) for part in (None, b"", b"{}", data[:-1], changed)] == [None] * 5
