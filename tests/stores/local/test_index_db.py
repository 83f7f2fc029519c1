"""Our list index: disposable, shared by processes, paged through without skips or repeats."""

from __future__ import annotations

import datetime as dt
import itertools
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.stores.local.state_helpers import NOW, execute

from threadstore.clock import UTC
from threadstore.errors import InvalidRequest, StoreUnavailable
from threadstore.ids import new_thread_id
from threadstore.metadata import GitInfo, Section, StoredThread, TokenUsage
from threadstore.queries import SortKey, ThreadQuery, encode_cursor
from threadstore.stores.local import index_query
from threadstore.stores.local.index_db import IndexDb, IndexedFile

Locked = Callable[..., AbstractContextManager[None]]
RunWithoutRights = Callable[[str, str], str]

MS = dt.timedelta(milliseconds=1)
PARENT, CHILD, GRANDCHILD = (f"01a201e5-a996-7a61-8db2-00000000000{n}" for n in range(3))


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "threadstore_1.sqlite")


@pytest.fixture
def index(path: str) -> Iterator[IndexDb]:
    database = IndexDb(path, busy_timeout=0)
    database.open()
    yield database
    database.close()


def thread(**changes: Any) -> StoredThread:
    values: dict[str, Any] = {
        "id": new_thread_id(),
        "created_at": NOW,
        "updated_at": NOW,
        "recency_at": NOW,
        "model_provider": "openai",
        "preview": "Fix it",
    }
    return StoredThread(**{**values, **changes})


def spawned(parent: str) -> dict[str, Any]:
    source = {"subagent": {"thread_spawn": {"parent_thread_id": parent, "depth": 1}}}
    return {"source": source, "parent_thread_id": parent}


def fill(index: IndexDb, threads: list[StoredThread]) -> None:
    with index.transaction():
        for each in threads:
            index.upsert(each)


def every_page(index: IndexDb, query: ThreadQuery) -> list[StoredThread]:
    found: list[StoredThread] = []
    while True:
        page = index.page(query)
        assert len(page.items) <= query.limit
        found += page.items
        if page.next_cursor is None:
            return found
        query = msgspec.structs.replace(query, cursor=page.next_cursor)


def assorted_threads(folder: str) -> list[StoredThread]:
    """Threads that differ in everything that queries look at, with many equal times."""
    sources: list[Any] = [
        "cli",
        "exec",
        "unknown",
        {"custom": "atlas"},
        {"custom": ""},
        {"subagent": "review"},
        {"subagent": {"other": "guardian"}},
    ]
    texts = [("", None, None), ("Straße\n100%", None, "Straße"), ("a_b", "Némo", None)]
    cwds = [folder, f"{folder}/link", "", "/elsewhere"]
    combinations = itertools.product(sources, texts, cwds, [None, NOW])
    threads = [
        thread(
            source=source,
            preview=preview,
            name=name,
            title=title,
            cwd=cwd,
            archived_at=archived_at,
            model_provider=("openai", "ollama")[number % 2],
            created_at=NOW + number % 7 * MS,
            updated_at=NOW + number % 5 * MS,
            recency_at=NOW - number // 10 * MS,
        )
        for number, (source, (preview, name, title), cwd, archived_at) in enumerate(combinations)
    ]
    return [
        *threads,
        thread(id=PARENT),
        thread(id=CHILD, **spawned(PARENT)),
        thread(id=GRANDCHILD, archived_at=NOW, **spawned(CHILD)),
    ]


def test_a_stored_thread_comes_back_as_it_was(index: IndexDb) -> None:
    full = thread(
        session_id=new_thread_id(),
        rollout_path="/home/me/rollout.jsonl",
        name="Näme",
        title="T",
        archived_at=NOW,
        git=GitInfo(branch="main"),
        source={"custom": "atlas"},
        approval_mode={"granular": {"rules": True}},
        sandbox_policy={"type": "read-only"},
        token_usage=TokenUsage(total_tokens=42),
        section=Section(id="s", name="Pinned"),
        created_at=dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    )
    index.upsert(full, derived=b"\x00facts")
    assert index.get(full.id) == full
    assert index.derived(full.id) == b"\x00facts"
    changed = msgspec.structs.replace(full, name=None, archived_at=None)
    index.upsert(changed)
    assert index.get(full.id) == changed
    assert index.derived(full.id) == b"\x00facts"
    assert (index.count(), index.ids()) == (1, {full.id})
    index.remove([full.id])
    assert (index.get(full.id), index.derived(full.id), index.count()) == (None, None, 0)


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("sort_key", list(SortKey))
@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"archived": True},
        {"archived": None},
        {"only_displayable": True},
        {"model_providers": ("ollama",)},
        {"model_providers": ()},
        {"model_providers": ("ollama", "openai", "none")},
        {"sources": ("cli", "custom:atlas")},
        {"sources": ("custom",)},
        {"sources": ("custom:",)},
        {"sources": ("subagent",)},
        {"sources": ("subagent_review", "unknown")},
        {"sources": ()},
        {"exclude_sources": ("subagent",)},
        {"exclude_sources": ("custom:atlas", "exec")},
        {"exclude_sources": ("subagent",), "only_displayable": True},
        {"parent_id": PARENT},
        {"parent_id": PARENT.upper()},
        {"search_term": "STRASSE"},
        {"search_term": "100%"},
        {"search_term": "_"},
        {"search_term": "némo"},
        {"search_term": "nÉMO"},
        {"search_term": "itfix"},
        {"search_term": ""},
    ],
)
def test_pages_hold_what_the_query_matches_in_its_order(
    index: IndexDb, filters: dict[str, Any], sort_key: SortKey, descending: bool, tmp_path: Path
) -> None:
    threads = assorted_threads(str(tmp_path))
    fill(index, threads)
    query = ThreadQuery(limit=9, sort_key=sort_key, descending=descending, **filters)
    wanted = sorted(
        filter(query.matches, threads),
        key=lambda each: (sort_key.of(each), each.id),
        reverse=descending,
    )
    assert [each.id for each in every_page(index, query)] == [each.id for each in wanted]


def test_working_directories_are_compared_without_links(index: IndexDb, tmp_path: Path) -> None:
    folder = str(tmp_path)
    (tmp_path / "link").symlink_to(".")
    threads = assorted_threads(folder)
    fill(index, threads)
    for cwd in (folder, f"{folder}/link", f"{folder}/x/../link/"):
        found = every_page(index, ThreadQuery(cwds=(cwd,), archived=None))
        assert {each.cwd for each in found} == {folder, f"{folder}/link"}
    assert every_page(index, ThreadQuery(cwds=())) == []
    both = index.page(ThreadQuery(cwds=("/a",), limit=1000), ["/elsewhere", ""])
    assert {each.cwd for each in both.items} == {"/elsewhere", ""}


def test_ancestors_find_all_generations_and_circles_end(index: IndexDb, tmp_path: Path) -> None:
    fill(index, assorted_threads(str(tmp_path)))
    query = ThreadQuery(ancestor_id=PARENT, archived=None)
    assert {each.id for each in index.page(query).items} == {CHILD, GRANDCHILD}
    assert index.descendants(PARENT) == [CHILD, GRANDCHILD]
    assert index.children(PARENT) == [CHILD]
    index.upsert(thread(id=PARENT, **spawned(GRANDCHILD)))
    assert index.descendants(PARENT) == [CHILD, GRANDCHILD]
    assert {each.id for each in index.page(query).items} == {CHILD, GRANDCHILD}


def test_a_page_that_is_exactly_full_is_the_last(index: IndexDb) -> None:
    fill(index, [thread() for _ in range(4)])
    page = index.page(ThreadQuery(limit=2))
    assert page.next_cursor is not None
    page = index.page(ThreadQuery(limit=2, cursor=page.next_cursor))
    assert (len(page.items), page.next_cursor) == (2, None)


@pytest.mark.parametrize("place", [[], [1], ["x", "y"], [1, 2], [1 << 70, "x"], [None, "x"]])
def test_a_cursor_of_another_make_is_an_invalid_request(index: IndexDb, place: list[Any]) -> None:
    query = ThreadQuery()
    cursor = encode_cursor("threads", query.fingerprint(), *place)
    for bad in (cursor, "?", index_query.cursor_after(ThreadQuery(archived=True), 1, "x")):
        with pytest.raises(InvalidRequest):
            index.page(ThreadQuery(cursor=bad))


@pytest.mark.parametrize("sort_key", list(SortKey))
@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"archived": True},
        {"archived": None},
        {"only_displayable": True, "exclude_sources": ("subagent",)},
        {"model_providers": ("openai", "ollama")},
        {"search_term": "x"},
    ],
)
def test_a_page_is_a_range_of_an_index(
    index: IndexDb, path: str, filters: dict[str, Any], sort_key: SortKey
) -> None:
    fill(index, [thread() for _ in range(3)])
    query = ThreadQuery(limit=1, sort_key=sort_key, **filters)
    cursor = index_query.cursor_after(query, 1, "x")
    for each in (query, msgspec.structs.replace(query, cursor=cursor)):
        sql, values = index_query.select(each, None)
        for value in values:
            sql = sql.replace("?", repr(value) if isinstance(value, str) else f"{value:d}", 1)
        plan = [row[3] for row in execute(path, f"EXPLAIN QUERY PLAN {sql}")]
        assert len(plan) == 1, plan
        assert "USING INDEX" in plan[0]
        if each.cursor is not None:
            assert f"({sort_key.value}_ms,id)<(?,?)" in plan[0]


def test_pages_of_one_working_directory_or_parent_use_their_index(
    index: IndexDb, path: str
) -> None:
    for query, name in (
        (ThreadQuery(cwds=("/w",)), "threads_cwd_recency"),
        (ThreadQuery(parent_id=PARENT), "threads_parent"),
        (ThreadQuery(ancestor_id=PARENT), "sqlite_autoindex_threads_1"),
    ):
        sql, values = index_query.select(query, query.cwds)
        for value in values:
            sql = sql.replace("?", repr(value) if isinstance(value, str) else f"{value:d}", 1)
        plan = [row[3] for row in execute(path, f"EXPLAIN QUERY PLAN {sql}")]
        assert f"INDEX {name}" in plan[0]


def test_ids_are_found_by_prefix_and_by_exact_name(index: IndexDb) -> None:
    fill(index, [thread(id=PARENT, name="One"), thread(id=CHILD, name="one"), thread(name="100%")])
    assert index.ids_with_prefix(PARENT[:-1], 10) == [PARENT, CHILD]
    assert index.ids_with_prefix(PARENT[:-1], 1) == [PARENT]
    assert index.ids_with_prefix("ff", 10) == []
    assert index.ids_with_prefix("%", 10) == []
    assert index.ids_with_name("One") == [PARENT]
    assert index.ids_with_name("%") == []


def test_files_are_remembered_whatever_their_names(index: IndexDb) -> None:
    plain = IndexedFile(
        path="/s/a.jsonl", thread_id=PARENT, size=5, mtime_ns=10**18, inode=7, archived=False
    )
    odd = IndexedFile(
        path=os.fsdecode(b"/s/\xff.jsonl"),
        thread_id=None,
        size=0,
        mtime_ns=-1,
        inode=(1 << 64) - 1,
        archived=True,
        problem="no header",
    )
    index.set_file(plain)
    index.set_file(odd)
    assert index.files() == {plain.path: plain, odd.path: odd}
    grown = msgspec.structs.replace(plain, size=6)
    index.set_file(grown)
    index.forget_file(odd.path)
    assert index.files() == {plain.path: grown}


def test_marks_are_remembered_until_they_are_forgotten(index: IndexDb) -> None:
    assert index.meta("names") is None
    index.set_meta("names", "1")
    index.set_meta("names", "2")
    assert index.meta("names") == "2"
    index.set_meta("names", None)
    assert index.meta("names") is None


def test_text_that_sqlite_cannot_hold_does_not_stop_the_index(index: IndexDb) -> None:
    odd = thread(name="half \ud800", cwd="/\udcff", rollout_path="/\udcff/r.jsonl")
    index.upsert(odd)
    stored = index.get(odd.id)
    assert stored is not None
    assert stored.name == "half ?"
    assert index.ids_with_name("half \ud800") == [odd.id]
    assert index.ids_with_prefix("\udcff", 1) == []
    assert len(index.page(ThreadQuery(search_term="\ud800")).items) == 1


def test_a_transaction_is_all_or_nothing(index: IndexDb) -> None:
    def fail() -> None:
        with index.transaction():
            index.upsert(thread(), derived=b"x")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert index.count() == 0


def test_the_file_is_private_and_survives(index: IndexDb, path: str) -> None:
    one = thread()
    index.upsert(one)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    index.close()
    index.open()
    assert index.get(one.id) == one
    assert (index.degraded, index.rebuilt) == (None, None)


@pytest.mark.parametrize(
    "content", [b"", b"no database at all, only text" * 300, b"SQLite format 3\0" + b"\xff" * 8192]
)
def test_a_damaged_file_is_made_anew(index: IndexDb, path: str, content: bytes) -> None:
    index.close()
    Path(path).write_bytes(content)
    index.open()
    index.upsert(thread())
    assert index.count() == 1
    assert index.degraded is None
    assert path in (index.rebuilt or "")


def test_a_file_of_another_version_is_made_anew(index: IndexDb, path: str) -> None:
    index.upsert(thread())
    index.close()
    execute(path, "PRAGMA user_version = 99")
    index.open()
    assert index.count() == 0
    assert "schema version 99" in (index.rebuilt or "")


def test_damage_that_shows_up_late_is_an_error_once(index: IndexDb, path: str) -> None:
    fill(index, [thread(preview="x" * 3000) for _ in range(50)])
    index.close()
    with open(path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(4096 * 20)
        file.write(b"\xff" * (size - 4096 * 20))
    index.open()
    generation = index.generation
    with pytest.raises(StoreUnavailable):
        index.page(ThreadQuery(limit=100, archived=None))
    assert index.generation > generation
    assert index.page(ThreadQuery()).items == ()
    index.upsert(thread())
    assert index.count() == 1


def test_a_removed_file_is_noticed(index: IndexDb, path: str) -> None:
    index.upsert(thread())
    generation = index.generation
    os.unlink(path)
    assert index.count() == 0
    assert index.generation > generation
    index.upsert(thread())
    assert execute(path, "SELECT count(*) FROM threads", "PRAGMA integrity_check") == [
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


def test_a_locked_file_is_replaced_by_memory(index: IndexDb, path: str, locked: Locked) -> None:
    index.upsert(thread())
    index.close()
    with locked(path, "PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE"):
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
from threadstore.stores.local.index_db import IndexDb
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
    path = os.path.join(public_folder, "threadstore_1.sqlite")
    if exists:
        index = IndexDb(path)
        index.open()
        index.close()
    os.chmod(public_folder, 0o555)
    before = os.listdir(public_folder)
    said = run_without_rights(f"{READ_ONLY_IMPORTS}PATH = {path!r}", READ_ONLY)
    assert said.startswith("b | the list index is kept in memory")
    assert os.listdir(public_folder) == before


def test_an_unreadable_file_is_made_anew(
    public_folder: str, run_without_rights: RunWithoutRights
) -> None:
    os.chmod(public_folder, 0o777)
    path = os.path.join(public_folder, "threadstore_1.sqlite")
    Path(path).touch(mode=0)
    assert run_without_rights(f"{READ_ONLY_IMPORTS}PATH = {path!r}", READ_ONLY) == "b | None"


WRITER = """
import datetime as dt, sys
from threadstore.ids import new_thread_id
from threadstore.metadata import StoredThread
from threadstore.stores.local.index_db import IndexDb
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


def test_processes_share_the_file(path: str) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path]) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    index = IndexDb(path)
    index.open()
    assert (index.count(), index.rebuilt) == (300, None)
    assert len(every_page(index, ThreadQuery(limit=7))) == 300
    index.close()
    assert execute(path, "PRAGMA integrity_check") == [("ok",)]
