"""Appending through LiveThread, beside bare ``os.write`` calls of the same lines."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from typing import Final

from benchmarks.measure import Result, in_turn
from threadstore import LiveThread, NewThread, RolloutItem, open_store

BATCH: Final = 10
BATCHES: Final = 2_000
THREADS: Final = 50


def _items(count: int) -> list[RolloutItem]:
    text = "All work and no play makes Jack a dull boy. " * 21
    return [
        RolloutItem(
            "response_item",
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": f"{number:06} {text}"}],
            },
        )
        for number in range(count)
    ]


def _bare_writes(folder: str) -> float:
    """Lines per second of single writes to one file, from one coroutine."""
    lines = [item.encode("2026-11-22T05:42:54.452Z") + b"\n" for item in _items(BATCH)]
    path = os.path.join(folder, "bare.jsonl")

    async def run() -> float:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            start = time.perf_counter()
            for _ in range(BATCHES):
                for line in lines:
                    os.write(descriptor, line)
            return BATCHES * BATCH / (time.perf_counter() - start)
        finally:
            os.close(descriptor)

    return asyncio.run(run())


def _live_appends(folder: str, threads: int) -> float:
    """Lines per second through LiveThread, in batches, *threads* of them at once."""

    async def work(live: LiveThread, batches: int) -> None:
        items = _items(BATCH)
        for _ in range(batches):
            await live.append_items(items)

    async def run() -> float:
        home = os.path.join(folder, f"home-{threads}")
        async with open_store(f"local:{home}") as store:
            lives = [await LiveThread.create(store, NewThread(cwd="")) for _ in range(threads)]
            for live in lives:
                await live.append_items(_items(1))
            start = time.perf_counter()
            await asyncio.gather(*(work(live, BATCHES // threads) for live in lives))
            rate = BATCHES // threads * threads * BATCH / (time.perf_counter() - start)
            for live in lives:
                await live.shutdown()
            return rate

    return asyncio.run(run())


def one_thread(folder: str) -> Iterator[Result]:
    """Batches of 10 items of 1 KB on one thread."""
    os.makedirs(folder)
    ours, limit = in_turn(lambda: _live_appends(folder, 1), lambda: _bare_writes(folder), best=max)
    yield Result(
        name="append, batches of 10 x 1 KB / single writes",
        ours=ours,
        limit=limit,
        unit="lines/s",
        goal=0.4,
        higher_is_better=True,
    )


def many_threads(folder: str) -> Iterator[Result]:
    """The same on 50 threads at once, beside one."""
    os.makedirs(folder)
    ours, limit = in_turn(
        lambda: _live_appends(folder, THREADS), lambda: _live_appends(folder, 1), best=max
    )
    yield Result(
        name=f"append, {THREADS} threads at once / one",
        ours=ours,
        limit=limit,
        unit="lines/s",
        goal=0.9,
        higher_is_better=True,
    )


BENCHES: Final[list[Callable[[str], Iterator[Result]]]] = [one_thread, many_threads]
