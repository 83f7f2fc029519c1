"""How cost grows with the number of threads.

Each line is ours at that many threads, beside ours at a thousand: an index of made-up threads that
answers first pages and searches in titles.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Final

from benchmarks.indexes import RARE, made_index
from benchmarks.measure import Figure, Result, median, seconds
from benchmarks.sizes import CACHE, is_quick
from threadstore import SortKey, ThreadQuery
from threadstore.stores.local.index_db import IndexDb

FULL: Final = (1_000, 10_000, 100_000, 1_000_000)
QUICK: Final = (1_000, 5_000)
CALLS: Final = 20
QUERIES: Final = (
    ("first 50", ThreadQuery(limit=50), 1.3),
    ("first 50 by creation", ThreadQuery(limit=50, sort_key=SortKey.CREATED), 1.3),
    ("search in titles, rare", ThreadQuery(limit=50, search_term=RARE), None),
)


def pages(_folder: str) -> Iterator[Result]:
    """First pages and searches in titles, at every size."""
    (CACHE / "indexes").mkdir(parents=True, exist_ok=True)
    first: dict[str, Figure] = {}
    before: dict[str, Figure] = {}
    for number in QUICK if is_quick() else FULL:
        path = str(CACHE / "indexes" / f"{number}.sqlite")
        index = made_index(path, number)
        try:
            for name, query, goal in QUERIES:
                figure = _page(index, query)
                beside = first.setdefault(name, figure)
                yield _line(f"{name} of {number:,} / of 1,000", figure, beside, None)
                if number == 1_000_000 and goal is not None:
                    yield _line(f"{name} of 1,000,000 / of 100,000", figure, before[name], goal)
                before[name] = figure
        finally:
            index.close()
        size = os.path.getsize(path)
        yield Result(
            name=f"index of {number:,}: bytes a thread",
            ours=size / number,
            limit=1000.0,
            unit="bytes",
            goal=None,
            higher_is_better=False,
        )


def _page(index: IndexDb, query: ThreadQuery) -> Figure:
    index.page(query)
    return Figure.of([seconds(lambda: index.page(query)) for _ in range(CALLS)], median)


def _line(name: str, ours: float, beside: float, goal: float | None) -> Result:
    return Result(name=name, ours=ours, limit=beside, unit="s", goal=goal, higher_is_better=False)


BENCHES: Final[list[Callable[[str], Iterator[Result]]]] = [pages]
