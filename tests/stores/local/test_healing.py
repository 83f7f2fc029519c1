"""A large home: lists look at what is likely to change, the background at everything."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.stores.local.homes import header
from tests.stores.local.watched import Watched

from threadstore import open_store
from threadstore.config import LocalStoreConfig
from threadstore.ids import new_thread_id
from threadstore.queries import ThreadQuery
from threadstore.stores.local.entering import Entering
from threadstore.stores.local.index_files import IndexFiles
from threadstore.stores.local.locks import WriterLock
from threadstore.stores.local.looking import Findings, look_into
from threadstore.stores.local.pace import Pace
from threadstore.stores.local.row_watch import RowWatch
from threadstore.stores.local.store import LocalThreadStore
from threadstore.stores.local.sync import EXACT
from threadstore.stores.local.watches import FolderWatch, NameWatch
from threadstore.testing import items
from threadstore.testing.clock import ManualClock

READ: list[str] = []
"""Folders that were read, by whoever."""


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "os.scandir":
        READ.append(str(arguments[0]))


sys.addaudithook(_note)


class Large(Watched):
    """A home that is taken for a large one from its first file on."""

    exact = 0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.olds = [self.old(number) for number in range(1, 6)]
        for _ in range(120):  # more than a quick look looks at
            self.thread()
        self.age()
        for _ in range(2):  # the first look cannot be sure of what changed just now
            self.next_list()

    def old_path(self, thread_id: str, number: int) -> str:
        """Where a thread of long ago is."""
        name = f"rollout-2025-01-01T00-00-00-{thread_id}.jsonl"
        return f"{self.home.sessions}/2025/01/{number:02}/{name}"

    def old(self, number: int) -> str:
        """A thread in a folder of its own."""
        thread_id = new_thread_id()
        lines = [header(thread_id), *items.turn("t1", f"old {number}")]
        self.write(lines, path=self.old_path(thread_id, number))
        return thread_id

    def next_list(self) -> dict[str, Any]:
        """A list after a while."""
        self.clock.advance(2)
        return self.listed()

    def list_of_new_process(self, *, after: float) -> dict[str, Any]:
        """The list of a process that starts that many seconds after the last one."""
        self.clock.advance(after)
        self.sync = self.new_sync()
        return self.listed()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Large]:
    large = Large(tmp_path)
    yield large
    large.close()


def folders_read(home: Large) -> list[str]:
    return [path.removeprefix(home.home.sessions) for path in READ if str(home.folder) in path]


def test_a_list_reads_no_folder_while_nothing_changes(home: Large) -> None:
    READ.clear()
    assert len(home.next_list()) == 125
    home.sync = home.new_sync()
    assert len(home.next_list()) == 125
    assert folders_read(home) == []


def test_a_list_reads_the_folders_that_changed(home: Large) -> None:
    new = home.old(3)
    READ.clear()
    assert new in home.next_list()
    assert folders_read(home) == ["/2025/01/03"]


def test_a_file_in_a_new_folder_is_noticed(home: Large) -> None:
    new = home.old(9)
    assert new in home.next_list()
    more = home.old(9)
    assert more in home.next_list()


def test_a_file_that_is_removed_or_moved_is_noticed(home: Large) -> None:
    gone, moved, kept = home.olds[0], home.olds[1], home.olds[2]
    os.unlink(home.old_path(gone, 1))
    os.makedirs(f"{home.home.sessions}/elsewhere")
    os.rename(home.old_path(moved, 2), f"{home.home.sessions}/elsewhere/rollout-{moved}.jsonl")
    os.rename(f"{home.home.sessions}/2025/01/03", f"{home.home.sessions}/2025/01/30")
    listed = home.next_list()
    assert gone not in listed
    assert listed[moved].rollout_path == f"{home.home.sessions}/elsewhere/rollout-{moved}.jsonl"
    assert listed[kept].rollout_path == home.old_path(kept, 30)
    os.makedirs(home.home.archived)
    os.rename(home.old_path(kept, 30), home.path(kept, archived=True))
    assert home.next_list()[kept].archived


def test_growth_of_a_thread_in_use_is_noticed(home: Large) -> None:
    thread_id = next(iter(home.listed()))
    path = home.listed()[thread_id].rollout_path
    assert path is not None
    home.append(path, items.turn_context(model="later"))
    assert home.next_list()[thread_id].model == "later"


def test_growth_of_an_old_thread_is_noticed_while_somebody_has_it_locked(home: Large) -> None:
    thread_id = home.olds[0]
    with WriterLock.acquire(home.home, thread_id):
        home.append(home.old_path(thread_id, 1), items.turn_context(model="later"))
        assert home.next_list()[thread_id].model == "later"


def test_who_cannot_wait_for_the_next_look_has_it_done_at_once(home: Large) -> None:
    old, new = home.olds[0], next(iter(home.listed()))
    path = home.listed()[new].rollout_path
    assert path is not None
    home.append(path, items.turn_context(model="later"))
    assert home.listed()[new].model != "later"
    home.sync.look_again()
    assert home.listed()[new].model == "later"
    with WriterLock.acquire(home.home, old):
        home.append(home.old_path(old, 1), items.turn_context(model="later"))
        home.sync.look_again()
        assert home.listed()[old].model == "later"


def test_an_old_file_that_grew_is_noticed_by_the_background(home: Large) -> None:
    thread_id = home.olds[0]
    before = home.listed()[thread_id]
    home.append(home.old_path(thread_id, 1), items.turn_context(model="later"))
    assert home.next_list()[thread_id] == before
    home.sync.heal()
    assert before.model != home.listed()[thread_id].model == "later"


def test_the_background_notices_all_that_a_full_look_does(home: Large) -> None:
    changed, row = home.olds[0], home.olds[1]
    home.add_row(row)
    home.next_list()
    Path(home.old_path(changed, 1)).write_bytes(Path(home.old_path(home.olds[2], 3)).read_bytes())
    home.sql("UPDATE threads SET model = 'quiet'")
    home.name(home.olds[3], "named")
    assert home.sync.heal()
    listed = home.listed()
    assert changed not in listed
    assert listed[row].model == "quiet"
    assert listed[home.olds[3]].name == "named"


def test_a_home_that_was_copied_with_its_index_stands_for_itself(
    home: Large, tmp_path: Path
) -> None:
    home.close()
    shutil.copytree(home.folder, tmp_path / "copy")
    copy = Watched(tmp_path / "copy")
    gone = home.olds[0]
    os.unlink(home.old_path(gone, 1).replace(str(home.folder), str(copy.folder)))
    new = home.old(2)  # in the one that was copied
    listed = copy.listed()
    copy.close()
    assert listed.keys().isdisjoint({gone, new})
    assert len(listed) == 124
    assert all(f"{thread.rollout_path}".startswith(copy.home.home) for thread in listed.values())


def test_processes_that_end_at_once_notice_an_old_file_that_grew(home: Large) -> None:
    for number in range(6, 700):  # more than one process looks at
        home.old(number)
    home.next_list()
    changed = {home.olds[0], next(iter(home.listed()))}
    for thread_id in changed:
        path = home.listed()[thread_id].rollout_path
        assert path is not None
        home.append(path, items.turn_context(model="later"))
    for _ in range(2):
        listed = home.list_of_new_process(after=10)
    assert {thread.id for thread in listed.values() if thread.model == "later"} == changed


def test_processes_in_quick_succession_write_nothing_and_look_at_no_old_file(home: Large) -> None:
    home.list_of_new_process(after=10)
    home.append(home.old_path(home.olds[0], 1), items.turn_context(model="later"))
    changes = home.index.rows("SELECT total_changes()")
    for _ in range(4):
        assert home.list_of_new_process(after=2)[home.olds[0]].model != "later"
    assert home.index.rows("SELECT total_changes()") == changes
    assert home.list_of_new_process(after=2)[home.olds[0]].model == "later"


def test_a_clock_that_was_set_back_does_not_keep_processes_from_looking(home: Large) -> None:
    home.list_of_new_process(after=10)
    home.append(home.old_path(home.olds[0], 1), items.turn_context(model="later"))
    home.clock = ManualClock(home.clock.now() - dt.timedelta(days=1))
    assert home.list_of_new_process(after=0)[home.olds[0]].model == "later"


def test_what_the_background_left_undone_is_done_by_lists(home: Large) -> None:
    gone, moved = home.olds[0], home.olds[1]
    os.unlink(home.old_path(gone, 1))
    shutil.rmtree(os.path.dirname(home.old_path(moved, 2)))
    assert not home.sync.heal(lambda _seconds: True)
    assert home.listed().keys().isdisjoint({gone, moved})


def test_files_that_go_while_they_are_looked_at_hold_up_nobody(home: Large) -> None:
    folder = f"{home.home.sessions}/2025/03/01"
    for _ in range(30):
        thread_id = new_thread_id()
        name = f"rollout-2025-03-01T00-00-00-{thread_id}.jsonl"
        home.write([header(thread_id), *items.turn("t1", "new")], path=f"{folder}/{name}")
    found = Findings()
    files = IndexFiles(home.index)
    look_into(home.home, files, [folder], FolderWatch(files), found, thorough=True)
    assert len(found.news) == 30
    shutil.rmtree(folder)
    names, rows = NameWatch(home.home, home.index), RowWatch(None, home.index, files)
    entering = Entering(
        home.home,
        home.index,
        files,
        names,
        rows,
        default_provider="default",
        clock=home.clock,
        is_live=home.live.__contains__,
    )
    began = time.monotonic()
    assert entering.read(found.news.values()) == []
    assert time.monotonic() - began < 1.5  # waiting for each takes 3 s


def test_waiting_is_no_reason_for_a_long_rest() -> None:
    pace = Pace()
    threading.Event().wait(0.05)
    assert 0.05 <= pace.rest() < 0.5


def test_the_background_stops_where_it_is_told_to(home: Large) -> None:
    assert not home.sync.heal(lambda _seconds: True)
    assert len(home.listed()) == 125


def test_what_the_background_found_is_remembered_for_the_next_process(home: Large) -> None:
    home.add_row(home.olds[0])
    home.sql("UPDATE threads SET model = 'quiet'")
    home.sync.heal()
    home.sync = home.new_sync()
    assert home.next_list()[home.olds[0]].model == "quiet"
    READ.clear()
    home.next_list()
    assert folders_read(home) == []


def test_many_rows_that_come_at_once_are_left_to_the_background(home: Large) -> None:
    home.add_row(home.olds[0])
    home.next_list()
    columns = "rollout_path, created_at, updated_at, source, model_provider, cwd, title,"
    columns += "sandbox_policy, approval_mode"
    numbers = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1500)"
    home.sql(
        f"INSERT INTO threads (id, {columns}) {numbers}"
        f" SELECT printf('00000000-0000-7000-8000-%012d', x), {columns} FROM n, threads"
    )
    assert len(home.next_list()) == 125
    home.sql("UPDATE threads SET model = 'quiet'")
    home.sync.heal()
    assert home.listed()[home.olds[0]].model == "quiet"


async def test_a_store_looks_at_a_large_home_in_the_background(tmp_path: Path) -> None:
    home = Watched(tmp_path)
    ids = [home.thread() for _ in range(EXACT + 1)]
    home.close()
    async with LocalThreadStore(
        LocalStoreConfig(home=str(tmp_path), refresh_interval=0.01)
    ) as store:
        oldest = (await store.list_threads(ThreadQuery(limit=1, descending=False))).items[0]
        assert oldest.id in ids
        home.append(home.path(oldest.id), items.turn_context(model="later"))
        while True:
            page = await store.list_threads(ThreadQuery(limit=1, descending=False))
            if page.items[0].model == "later":
                break
    async with open_store(f"local:{tmp_path}") as again:
        assert (await again.read_thread(oldest.id)).model == "later"
