"""The first page of a list, beside the bare SQLite query of the same rows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Final

import apsw

from benchmarks.homes import make_home
from benchmarks.measure import Result, in_turn
from threadstore import ThreadQuery, open_store

THREADS: Final = 10_000
CALLS: Final = 200
BARE: Final = (
    "SELECT record FROM threads WHERE archived = 0 ORDER BY recency_ms DESC, id DESC LIMIT 51"
)


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


BENCHES: Final[list[Callable[[str], Iterator[Result]]]] = [first_page]
