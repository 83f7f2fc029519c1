"""Our list index: disposable, shared by processes, paged through without skips or repeats."""

from __future__ import annotations

import datetime as dt
import itertools
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.stores.local.index_helpers import every_page, fill, thread
from tests.stores.local.state_helpers import NOW

from threadstore.clock import UTC
from threadstore.errors import InvalidRequest
from threadstore.ids import new_thread_id
from threadstore.metadata import GitInfo, Section, StoredThread, TokenUsage
from threadstore.queries import SortKey, ThreadQuery, encode_cursor
from threadstore.stores.local import index_query
from threadstore.stores.local.index_db import IndexDb, IndexedFile

MS = dt.timedelta(milliseconds=1)
PARENT, CHILD, GRANDCHILD = (f"01a201e5-a996-7a61-8db2-00000000000{n}" for n in range(3))


def spawned(parent: str) -> dict[str, Any]:
    source = {"subagent": {"thread_spawn": {"parent_thread_id": parent, "depth": 1}}}
    return {"source": source, "parent_thread_id": parent}


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
            model=("gpt-5", "gpt-6", None)[number % 3],
            git=GitInfo(origin_url="https://me@example.org/a.git") if number % 5 == 0 else None,
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
        {"models": ("gpt-5",)},
        {"models": ("gpt-5", "gpt-6", "x")},
        {"git_origins": ("https://example.org/a.git",)},
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


def test_a_page_shows_what_another_program_changes(index: IndexDb, index_path: str) -> None:
    threads = [thread(recency_at=NOW + n * MS) for n in range(3)]
    fill(index, threads)
    query = ThreadQuery(descending=False)
    assert index.page(query).items == tuple(threads)
    other = IndexDb(index_path)
    other.open()
    threads[1] = msgspec.structs.replace(threads[1], name="New", model="gpt-5")
    other.upsert(threads[1])
    other.remove([threads[0].id])
    assert index.page(query).items == tuple(threads[1:])
    other.remove([threads[1].id])
    other.upsert(threads[0])
    assert index.page(query).items == (threads[0], threads[2])
    other.close()


def test_a_page_of_more_threads_than_are_kept_decoded(index: IndexDb) -> None:
    threads = [thread() for _ in range(2100)]
    fill(index, threads)
    for _ in range(2):
        assert len(index.page(ThreadQuery(limit=10)).items) == 10
        found = index.page(ThreadQuery(limit=5000, sort_key=SortKey.CREATED)).items
        assert {each.id for each in found} == {each.id for each in threads}


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
    assert len(index.page(ThreadQuery(name="half \ud800")).items) == 1
    assert len(index.page(ThreadQuery(search_term="\ud800")).items) == 1


def test_a_transaction_is_all_or_nothing(index: IndexDb) -> None:
    def fail() -> None:
        with index.transaction():
            index.upsert(thread(), derived=b"x")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert index.count() == 0


def test_a_thread_that_gets_a_new_shelf_while_it_is_looked_for_is_found(tmp_path: Path) -> None:
    path = str(tmp_path / "index.sqlite")
    moving = thread(source="cli")
    other = IndexDb(path)

    class Slow(IndexDb):
        """Another program is faster, once, between the look at the shelves and the walk."""

        def read(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
            found = super().read(sql, values)
            if "FROM shelves" in sql and "provider" in sql:
                other.upsert(msgspec.structs.replace(moving, model_provider="new"))
            return found

    index = Slow(path)
    for each in (index, other):
        each.open()
    fill(index, [moving, thread(source="exec")])
    page = index.page(ThreadQuery(only_displayable=True, sources=("cli",)))
    assert [each.model_provider for each in page.items] == ["new"]
    index.close()
    other.close()


def test_a_page_does_not_wait_for_what_another_thread_enters(tmp_path: Path) -> None:
    index = IndexDb(str(tmp_path / "index.sqlite"))
    index.open()
    known = thread()
    fill(index, [known])
    entered, read = threading.Event(), threading.Event()

    def enter() -> None:
        with index.transaction():
            index.upsert(thread())
            entered.set()
            assert read.wait(30)

    with ThreadPoolExecutor(1) as pool:
        entering = pool.submit(enter)
        assert entered.wait(30)
        assert [each.id for each in index.page(ThreadQuery()).items] == [known.id]
        read.set()
        entering.result()
    assert len(index.page(ThreadQuery()).items) == 2
    index.close()
