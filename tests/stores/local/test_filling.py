"""The first filling of an index leaves the same as keeping one right file by file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.stores.local.index_helpers import every_page, fill, thread
from tests.stores.local.watched import Watched

from threadstore.queries import ThreadQuery
from threadstore.stores.local import filling
from threadstore.stores.local.index_db import IndexDb
from threadstore.stores.local.index_files import IndexFiles

THINGS = "SELECT type, name, sql FROM sqlite_master ORDER BY name"
NOT_NOTED = "SELECT count(*) FROM threads WHERE key NOT IN (SELECT key FROM {})"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    yield watched
    watched.close()


@pytest.fixture
def index() -> Iterator[IndexDb]:
    index = IndexDb(None)
    index.open()
    yield index
    index.close()


def assert_whole(index: IndexDb) -> None:
    """As a new index with the same threads would be."""
    new = IndexDb(None)
    new.open()
    assert index.rows(THINGS) == new.rows(THINGS)
    new.close()
    for notes in ("changes", "unread_titles"):
        assert index.rows(NOT_NOTED.format(notes)) == [(0,)]
    assert IndexFiles(index).complete() is not None


def finish(index: IndexDb, size: int) -> None:
    files = IndexFiles(index)
    filling.finish(index, files, size, files.identity())


def add(index: IndexDb, number: int) -> list[str]:
    threads = [thread() for _ in range(number)]
    index.add([(each, b"derived") for each in threads])
    return [each.id for each in threads]


def test_a_large_home_is_filled_as_a_small_one_that_grows(home: Watched) -> None:
    ids = {home.thread(f"number {i}") for i in range(filling.MANY)}
    assert home.listed().keys() == ids
    assert_whole(home.index)
    for name in (home.thread(), home.thread()):
        assert name in home.listed()
    assert_whole(home.index)
    grown = IndexDb(None)
    grown.open()
    fill(grown, list(home.listed().values()))
    query = ThreadQuery(search_term="number 1", limit=7)
    assert every_page(home.index, query) == every_page(grown, query) != []
    grown.close()


def test_who_was_interrupted_while_filling_goes_on_from_there(home: Watched) -> None:
    ids = {home.thread() for _ in range(filling.MANY)}

    def stop(done: int, _total: int) -> None:
        assert done == 0, "stopped"

    with pytest.raises(AssertionError, match="stopped"):
        home.sync.refresh(on_progress=stop)
    assert 0 < home.index.count() < filling.MANY
    home.sync = home.new_sync()
    assert not home.sync.serves()
    steps: list[int] = []
    home.sync.refresh(on_progress=lambda _done, total: steps.append(total))
    assert steps[-1] < filling.MANY
    assert home.listed().keys() == ids
    assert_whole(home.index)


def test_an_index_that_one_process_completes_while_another_fills_it_is_whole(
    index: IndexDb,
) -> None:
    filling.start(index, IndexFiles(index))
    ids = add(index, 3)
    finish(index, 3)
    assert_whole(index)
    ids += add(index, 3)
    assert_whole(index)
    finish(index, 6)
    assert_whole(index)
    assert index.ids() == set(ids)


def test_an_index_in_use_is_never_stripped(index: IndexDb) -> None:
    filling.start(index, IndexFiles(index))
    finish(index, 0)  # of an empty home
    filling.start(index, IndexFiles(index))
    assert_whole(index)


def test_all_that_came_while_filling_counts_as_changed_since(index: IndexDb) -> None:
    fill(index, [thread()])
    before = index.rows("SELECT max(number) FROM changes")[0][0]
    for kind in ("TRIGGER thread_came", "TRIGGER file_changed"):
        index.rows(f"DROP {kind}")
    add(index, 5)
    finish(index, 6)
    numbers = sorted(row[0] for row in index.rows("SELECT number FROM changes"))
    assert numbers == list(itertools.islice(itertools.count(before + 1), 6))


def test_half_characters_among_many_threads_cost_no_thread(index: IndexDb) -> None:
    odd = thread(preview="half \ud83d of it", cwd="/\udcff")
    index.add([(thread(), b""), (odd, b""), (odd_too := thread(model="\udfff"), b"")])
    assert index.count() == 3
    found = index.get(odd.id)
    assert found is not None
    assert found.preview == "half ? of it"
    assert {odd.id, odd_too.id} <= index.ids()
