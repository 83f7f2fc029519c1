"""Lists, beside the bare SQLite query of the same rows."""

from __future__ import annotations

import asyncio
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import apsw
import msgspec

from benchmarks.homes import make_home
from benchmarks.indexes import BUSY, ORIGIN, QUIET, RARE, made_index
from benchmarks.measure import Result, in_turn, seconds
from benchmarks.sizes import pick
from threadstore import SortKey, ThreadQuery, open_store
from threadstore.stores.local.index_db import IndexDb

THREADS: Final = 10_000
CALLS: Final = 200
BARE: Final = (
    "SELECT record FROM threads WHERE archived = 0 ORDER BY recency_ms DESC, id DESC LIMIT 51"
)

SCAN: Final = "SELECT count(*) FROM threads WHERE archived = 0 AND instr(search, ?) > 0"
MANY: Final = pick(100_000, 2_000)
PAGES: Final = 20
_INTERACTIVE: Final = ("cli", "vscode", "custom:atlas", "custom:chatgpt")
_ON_SHELVES: Final = "archived = 0 AND shelf IN (SELECT key FROM shelves WHERE displayable AND {})"
_KINDS: Final = _ON_SHELVES.format("(kind IN ('cli', 'vscode') OR custom IN ('atlas', 'chatgpt'))")
FILTERED: Final[list[tuple[str, dict[str, Any], str]]] = [
    ("archived", {"archived": True}, "archived = 1"),
    ("app server's sources", {"sources": _INTERACTIVE, "only_displayable": True}, _KINDS),
    (
        "no sub-agents",
        {"exclude_sources": ("subagent",), "only_displayable": True},
        _ON_SHELVES.format("NOT kind GLOB 'subagent_*'"),
    ),
    (
        "rare provider",
        {"model_providers": ("ollama",)},
        _ON_SHELVES.format("provider = 'ollama'"),
    ),
    ("busy folder", {"cwds": (BUSY,)}, f"archived = 0 AND cwd = '{BUSY}'"),
    (
        "busy folder, its sources",
        {"cwds": (BUSY,), "sources": _INTERACTIVE, "only_displayable": True},
        f"{_KINDS} AND cwd = '{BUSY}'",
    ),
    ("quiet folder", {"cwds": (QUIET,)}, f"archived = 0 AND cwd = '{QUIET}'"),
    ("remote", {"git_origins": (ORIGIN,)}, f"archived = 0 AND git_origin = '{ORIGIN}'"),
    ("model", {"models": ("gpt-3",)}, "archived = 0 AND model = 'gpt-3'"),
]
"""Filters, and the same in SQL."""
SEARCHED: Final[list[tuple[str, dict[str, Any], str]]] = [
    ("rare term", {"search_term": RARE}, ""),
    ("rare term of two characters", {"search_term": "@@"}, ""),
    ("term of many", {"search_term": "abc"}, ""),
    ("term of nobody", {"search_term": "nobody said this"}, ""),
]


def first_page(home: str) -> Iterator[Result]:
    """50 of 10,000 threads, as StoredThread objects."""
    make_home(home, THREADS)

    def ours() -> float:
        async def run() -> float:
            async with open_store(f"local:{home}", refresh_interval=3600.0) as store:
                query = ThreadQuery(limit=50)
                assert len((await store.list_threads(query)).items) == 50
                start = time.perf_counter()
                for _ in range(CALLS):
                    await store.list_threads(query)
                return (time.perf_counter() - start) / CALLS

        return asyncio.run(run())

    def bare() -> float:
        connection = apsw.Connection(f"{home}/threadstore_1.sqlite")
        start = time.perf_counter()
        for _ in range(CALLS):
            rows = list(connection.execute(BARE))
        elapsed = (time.perf_counter() - start) / CALLS
        assert len(rows) == 51
        connection.close()
        return elapsed

    mine, limit = in_turn(ours, bare, best=min)
    yield Result(
        name=f"first page of 50 of {THREADS:,} / bare query",
        ours=mine,
        limit=limit,
        unit="s",
        goal=3.0,
        higher_is_better=False,
    )


def every_order_and_filter(folder: str) -> Iterator[Result]:
    """Each order and filter at 100,000 threads, beside the same query in bare SQL."""
    index = _index(folder, MANY)
    for key in SortKey:
        query = ThreadQuery(limit=50, sort_key=key)
        yield _beside_bare(index, f"50 of {MANY:,}, by {key}", query, "archived = 0")
    for name, filters, condition in FILTERED:
        query = ThreadQuery(limit=50, **filters)
        yield _beside_bare(index, f"50 of {MANY:,}, {name}", query, condition)
    index.close()


def _beside_bare(index: IndexDb, name: str, query: ThreadQuery, condition: str) -> Result:
    column = f"{query.sort_key}_ms"
    bare = (
        f"SELECT record FROM threads WHERE {condition}"
        f" ORDER BY {column} DESC, id DESC LIMIT {query.limit + 1}"
    )
    ours, limit = in_turn(
        lambda: _each(lambda: index.page(query)), lambda: _each(lambda: index.rows(bare)), best=min
    )
    return Result(
        name=f"{name} / bare query",
        ours=ours,
        limit=limit,
        unit="s",
        goal=3.0,
        higher_is_better=False,
    )


def ten_times_the_pile(folder: str) -> Iterator[Result]:
    """The same pages at 1,000,000 threads, beside 100,000."""
    few, many = _index(folder, MANY), _index(folder, 10 * MANY)
    for name, filters, _ in (("no filter", {}, ""), *FILTERED, *SEARCHED):
        query = ThreadQuery(limit=50, **filters)
        ours, limit = in_turn(
            lambda query=query: _each(lambda: many.page(query)),  # type: ignore[misc]
            lambda query=query: _each(lambda: few.page(query)),  # type: ignore[misc]
            best=min,
        )
        yield Result(
            name=f"50 of {10 * MANY:,} / of {MANY:,}, {name}",
            ours=ours,
            limit=limit,
            unit="s",
            goal=1.3,
            higher_is_better=False,
        )
    few.close()
    many.close()


def titles(folder: str) -> Iterator[Result]:
    """Search terms at 100,000 threads, beside a scan of all their texts."""
    index = _index(folder, MANY)
    for name, filters, _ in SEARCHED:
        query = ThreadQuery(limit=50, **filters)
        ours, limit = in_turn(
            lambda query=query: _each(lambda: index.page(query)),  # type: ignore[misc]
            lambda query=query: seconds(lambda: index.rows(SCAN, [query.search_term])),  # type: ignore[misc]
            best=min,
            rounds=5,
        )
        yield Result(
            name=f"{name} in {MANY:,} / scan",
            ours=ours,
            limit=limit,
            unit="s",
            goal=0.1,
            higher_is_better=False,
        )
    index.close()


def all_pages(folder: str) -> Iterator[Result]:
    """Every page of 100,000 threads, none missing, none twice, beside one bare query of all."""
    index = _index(folder, MANY)

    def walk() -> float:
        found: list[str] = []
        query: ThreadQuery | None = ThreadQuery(limit=1000)
        start = time.perf_counter()
        while query is not None:
            page = index.page(query)
            found += [thread.id for thread in page.items]
            cursor = page.next_cursor
            query = None if cursor is None else msgspec.structs.replace(query, cursor=cursor)
        elapsed = time.perf_counter() - start
        assert len(set(found)) == len(found) == active
        return elapsed

    active = index.rows("SELECT count(*) FROM threads WHERE archived = 0")[0][0]
    every = BARE.removesuffix(" LIMIT 51")
    ours, limit = in_turn(walk, lambda: seconds(lambda: index.rows(every)), best=min, rounds=3)
    yield Result(
        name=f"all pages of {MANY:,} / bare query",
        ours=ours,
        limit=limit,
        unit="s",
        goal=None,
        higher_is_better=False,
    )
    index.close()


def _index(folder: str, number: int) -> IndexDb:
    kept = pathlib.Path(folder).parent / f"threads-{number}"  # both benchmarks that need it
    kept.mkdir(parents=True, exist_ok=True)
    return made_index(str(kept / "threadstore_1.sqlite"), number)


def _each(operation: Callable[[], object]) -> float:
    """Seconds of one of many calls."""
    start = time.perf_counter()
    for _ in range(PAGES):
        operation()
    return (time.perf_counter() - start) / PAGES


BENCHES: Final[list[Callable[[str], Iterator[Result]]]] = [
    first_page,
    every_order_and_filter,
    ten_times_the_pile,
    titles,
    all_pages,
]
