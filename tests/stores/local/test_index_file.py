"""The file of our list index: disposable, made anew when it is unfit, shared by processes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tests.stores.local.index_helpers import every_page, fill, thread
from tests.stores.local.state_helpers import execute

from threadstore.errors import StoreUnavailable
from threadstore.queries import ThreadQuery
from threadstore.stores.local.index_db import SCHEMA_VERSION, IndexDb
from threadstore.stores.local.index_rows import Shelf

Locked = Callable[..., AbstractContextManager[None]]
RunWithoutRights = Callable[[str, str], str]


def test_the_file_is_private_and_survives(index: IndexDb, index_path: str) -> None:
    one = thread()
    index.upsert(one)
    assert stat.S_IMODE(os.stat(index_path).st_mode) == 0o600
    index.close()
    index.open()
    assert index.get(one.id) == one
    assert (index.degraded, index.rebuilt) == (None, None)


@pytest.mark.parametrize(
    "content", [b"", b"no database at all, only text" * 300, b"SQLite format 3\0" + b"\xff" * 8192]
)
def test_a_damaged_file_is_made_anew(index: IndexDb, index_path: str, content: bytes) -> None:
    index.close()
    Path(index_path).write_bytes(content)
    index.open()
    index.upsert(thread())
    assert index.count() == 1
    assert index.degraded is None
    assert index_path in (index.rebuilt or "")


def test_a_file_of_another_version_is_made_anew(index: IndexDb, index_path: str) -> None:
    index.upsert(thread())
    index.close()
    execute(index_path, "PRAGMA user_version = 99")
    index.open()
    assert index.count() == 0
    assert "schema version 99" in (index.rebuilt or "")


def test_damage_that_shows_up_late_is_an_error_once(index: IndexDb, index_path: str) -> None:
    fill(index, [thread(preview="x" * 3000) for _ in range(50)])
    index.close()
    with open(index_path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(4096 * 48)
        file.write(b"\xff" * (size - 4096 * 48))
    index.open()
    generation = index.generation
    with pytest.raises(StoreUnavailable):
        index.page(ThreadQuery(limit=100, archived=None))
    assert index.generation > generation
    assert index.page(ThreadQuery()).items == ()
    index.upsert(thread())
    assert index.count() == 1


@pytest.mark.parametrize("ask", ["get", "page"])
@pytest.mark.parametrize("record", [b"", b"{", b"[]", b'{"id": 5}', b"\xff\xfe", 5, "text"])
def test_a_record_that_is_no_thread_is_damage(
    index: IndexDb, record: bytes | int | str, ask: str
) -> None:
    one = thread()
    index.upsert(one)
    index.rows("UPDATE threads SET record = ?", (record,))
    generation = index.generation
    with pytest.raises(StoreUnavailable):
        index.get(one.id) if ask == "get" else index.page(ThreadQuery())
    assert index.generation > generation
    assert index.page(ThreadQuery()).items == ()


def test_the_keys_of_shelves_belong_to_the_schema_version() -> None:
    """Who changes what a key is made of has to change the version, or filtered lists of an index
    that is there are empty; then the numbers here, too."""
    shelf = Shelf(archived=False, displayable=True, kind="cli", custom=None, provider="openai")
    assert (SCHEMA_VERSION, shelf.key) == (6, -7917224207471494488)


def test_a_removed_file_is_noticed(index: IndexDb, index_path: str) -> None:
    index.upsert(thread())
    generation = index.generation
    os.unlink(index_path)
    assert index.count() == 0
    assert index.generation > generation
    index.upsert(thread())
    assert execute(index_path, "SELECT count(*) FROM threads", "PRAGMA integrity_check") == [
        (1,),
        ("ok",),
    ]


def test_one_that_was_closed_is_unavailable(index: IndexDb) -> None:
    index.close()
    index.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        index.count()


def test_in_memory_by_choice_is_not_degraded() -> None:
    index = IndexDb(None)
    index.open()
    index.upsert(thread())
    assert (index.count(), index.degraded) == (1, None)
    index.close()


def test_a_locked_file_is_replaced_by_memory(
    index: IndexDb, index_path: str, locked: Locked
) -> None:
    index.upsert(thread())
    index.close()
    with locked(index_path, "PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE"):
        index.open()
        assert "kept in memory" in (index.degraded or "")
        assert "locked" in (index.degraded or "")
        index.upsert(thread())
        index.upsert(thread())
        assert index.count() == 2
    index.close()
    index.open()
    assert (index.count(), index.degraded) == (1, None)


READ_ONLY_IMPORTS = """
from threadstore.queries import ThreadQuery
from threadstore.stores.local.index_db import SCHEMA_VERSION, IndexDb
from threadstore.stores.local.index_rows import Shelf
memory = IndexDb(None)
memory.open()
memory.page(ThreadQuery())
"""
READ_ONLY = """
index = IndexDb(PATH)
index.open()
index.set_meta("a", "b")
print(index.meta("a"), "|", index.degraded)
index.close()
"""


@pytest.mark.parametrize("exists", [True, False])
def test_a_read_only_folder_is_replaced_by_memory(
    public_folder: str, run_without_rights: RunWithoutRights, exists: bool
) -> None:
    index_path = os.path.join(public_folder, "threadstore_1.sqlite")
    if exists:
        index = IndexDb(index_path)
        index.open()
        index.close()
    os.chmod(public_folder, 0o555)
    before = os.listdir(public_folder)
    said = run_without_rights(f"{READ_ONLY_IMPORTS}PATH = {index_path!r}", READ_ONLY)
    assert said.startswith("b | the list index is kept in memory")
    assert os.listdir(public_folder) == before


def test_an_unreadable_file_is_made_anew(
    public_folder: str, run_without_rights: RunWithoutRights
) -> None:
    os.chmod(public_folder, 0o777)
    index_path = os.path.join(public_folder, "threadstore_1.sqlite")
    Path(index_path).touch(mode=0)
    said = run_without_rights(f"{READ_ONLY_IMPORTS}PATH = {index_path!r}", READ_ONLY)
    assert said == "b | None"


WRITER = """
import datetime as dt, sys
from threadstore.ids import new_thread_id
from threadstore.metadata import StoredThread
from threadstore.stores.local.index_db import SCHEMA_VERSION, IndexDb
from threadstore.stores.local.index_rows import Shelf
now = dt.datetime.now(dt.timezone.utc)
index = IndexDb(sys.argv[1])
index.open()
for _ in range(100):
    index.upsert(
        StoredThread(
            id=new_thread_id(), created_at=now, updated_at=now, recency_at=now, model_provider="x"
        ),
        derived=b"d",
    )
assert index.degraded is None, index.degraded
index.close()
"""


def test_processes_share_the_file(index_path: str) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, index_path]) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    index = IndexDb(index_path)
    index.open()
    assert (index.count(), index.rebuilt) == (300, None)
    assert len(every_page(index, ThreadQuery(limit=7))) == 300
    index.close()
    assert execute(index_path, "PRAGMA integrity_check") == [("ok",)]
