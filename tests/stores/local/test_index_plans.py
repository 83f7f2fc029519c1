"""How pages are found: along ordered indexes, so that their cost does not grow with the index."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
from tests.stores.local.index_helpers import fill, thread
from tests.stores.local.state_helpers import NOW

from threadstore.metadata import GitInfo
from threadstore.queries import SortKey, ThreadQuery
from threadstore.stores.local import index_query, index_titles
from threadstore.stores.local.index_db import IndexDb

PARENT = "01a201e5-a996-7a61-8db2-000000000000"
SUBAGENT = {"subagent": {"thread_spawn": {"parent_thread_id": PARENT, "depth": 1}}}
INTERACTIVE = ("cli", "vscode", "custom:atlas", "custom:chatgpt")
ORIGIN = "https://example.org/a.git"
FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "displayable": {"only_displayable": True},
    "interactive": {"sources": INTERACTIVE, "only_displayable": True},
    "no sub-agents": {"exclude_sources": ("subagent",), "only_displayable": True},
    "sub-agents": {"sources": ("subagent",)},
    "a provider": {"model_providers": ("openai",)},
    "two providers": {"model_providers": ("openai", "ollama")},
    "a folder": {"cwds": ("/w",)},
    "many folders": {"cwds": tuple(f"/{number}" for number in range(100))},
    "a folder, interactive": {"cwds": ("/w",), "sources": INTERACTIVE, "only_displayable": True},
    "a remote": {"git_origins": (ORIGIN,)},
    "a model": {"models": ("gpt-5",)},
    "two models of a folder": {"models": ("gpt-5", "gpt-6"), "cwds": ("/w",)},
    "everything": {
        "sources": ("cli", "exec"),
        "model_providers": ("openai",),
        "cwds": ("/w",),
        "git_origins": (ORIGIN,),
        "models": ("gpt-5",),
        "only_displayable": True,
    },
    "a name": {"name": "same", "cwds": ("/w",), "only_displayable": True},
    "the beginning of an id": {"id_prefix": PARENT[:6]},
    "a beginning in a folder": {"id_prefix": "0", "cwds": ("/w",), "sources": INTERACTIVE},
    "a short term": {"search_term": "it"},
    "a term": {"search_term": "fix it"},
    "a term in a folder": {"search_term": "fix it", "cwds": ("/w",), "sources": INTERACTIVE},
    "children": {"parent_id": PARENT},
    "descendants": {"ancestor_id": PARENT},
}
"""Filters, and all of them together."""
SORTED = {"children", "descendants", "a name"}
"""Taken as a whole and sorted: there are few."""


@pytest.fixture
def filled(index: IndexDb) -> IndexDb:
    """An index with threads on several shelves."""
    combinations = itertools.product(
        ["cli", "exec", "vscode", {"custom": "atlas"}, SUBAGENT],
        [None, NOW],
        ["Fix it", ""],
        ["openai", "ollama", "x"],
    )
    threads = [
        thread(
            source=source,
            archived_at=archived_at,
            preview=preview,
            model_provider=provider,
            model="gpt-5",
            cwd="/w",
            git=GitInfo(origin_url=ORIGIN),
        )
        for source, archived_at, preview, provider in combinations
    ]
    fill(index, threads)
    return index


def plans(index: IndexDb, query: ThreadQuery) -> Iterator[tuple[str, list[str]]]:
    """Every statement that the page takes, and how SQLite runs it."""
    statements: list[tuple[str, Sequence[Any]]] = []

    def rows(sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        statements.append((sql, values))
        return index.rows(sql, values)

    index_query.find(query, query.cwds, index.shelves, rows)
    for sql, values in statements:
        plan = index.rows(f"EXPLAIN QUERY PLAN {sql}", values)
        yield sql, [row[3] for row in plan]


@pytest.mark.parametrize("name", FILTERS)
def test_a_page_is_pieces_of_ordered_indexes(
    filled: IndexDb, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_titles, "FEW", 0)  # as if there were many
    monkeypatch.setattr(index_query, "COUNTED", 0)
    for query in queries(FILTERS[name]):
        for sql, plan in plans(filled, query):
            check(sql, plan, may_sort=name in SORTED)


@pytest.mark.parametrize("name", [name for name in FILTERS if name not in SORTED])
def test_what_few_threads_pass_is_found_by_its_index(filled: IndexDb, name: str) -> None:
    for query in queries(FILTERS[name]):
        for sql, plan in plans(filled, query):
            check(sql, plan, may_sort=True)


def queries(filters: dict[str, Any]) -> Iterator[ThreadQuery]:
    """In every order, from the start and from a cursor on."""
    for key, descending, archived in itertools.product(SortKey, (True, False), (None, False, True)):
        query = ThreadQuery(
            limit=2, sort_key=key, descending=descending, archived=archived, **filters
        )
        yield query
        cursor = index_query.cursor_after(query, NOW.year * 10**9, PARENT)
        yield msgspec.structs.replace(query, cursor=cursor)


def check(sql: str, plan: list[str], *, may_sort: bool) -> None:
    """No walk through everything, no sort of what may be much."""
    for step in plan:
        if step.startswith("SCAN"):
            # Hits of the index of titles, what is made of the lines before, and constants.
            allowed = (
                "SCAN titles",
                "SCAN (",
                "SCAN tree",
                "SCAN used",
                "SCAN CONSTANT",
                "SCAN h",
                "SCAN json_each",
            )
            assert step.startswith((*allowed, "SCAN unread_titles")), (step, sql)
        if not may_sort:
            assert "TEMP B-TREE" not in step, (step, sql)
