"""Appending through LiveThread, beside bare ``os.write`` and ``fdatasync`` of the same lines."""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from benchmarks.measure import Result, in_turn
from benchmarks.sizes import pick
from threadstore import LiveThread, NewThread, RolloutItem, ThreadStore, open_store

BATCH: Final = 10
STAMP: Final = "2026-11-22T05:42:54.452Z"


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


@asynccontextmanager
async def _threads(home: str, count: int) -> AsyncIterator[tuple[ThreadStore, list[LiveThread]]]:
    """A store with live threads with a file each."""
    async with open_store(f"local:{home}") as store:
        lives = [await LiveThread.create(store, NewThread(cwd="")) for _ in range(count)]
        for live in lives:
            await live.append_items(_items(1))
        yield store, lives
        for live in lives:
            await live.shutdown()


@asynccontextmanager
async def _files(folder: str, count: int) -> AsyncIterator[list[int]]:
    """As many bare files."""
    os.makedirs(folder, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    files = [os.open(f"{folder}/{number}.jsonl", flags, 0o600) for number in range(count)]
    try:
        yield files
    finally:
        for file in files:
            os.close(file)


def one_line(folder: str) -> Iterator[Result]:
    """The median of one item of 1 KB, awaited, beside one bare write."""
    count = pick(20_000, 1_000)
    os.makedirs(folder)
    line = _items(1)[0].encode(STAMP) + b"\n"

    async def ours() -> float:
        async with _threads(f"{folder}/home", 1) as (_, (live,)):
            items, times = _items(1), []
            gc.collect()
            for _ in range(count):
                start = time.perf_counter()
                await live.append_items(items)
                times.append(time.perf_counter() - start)
            return statistics.median(times)

    async def bare() -> float:
        async with _files(f"{folder}/bare", 1) as (file,):
            times = []
            for _ in range(count):
                start = time.perf_counter()
                os.write(file, line)
                times.append(time.perf_counter() - start)
            return statistics.median(times)

    mine, limit = in_turn(lambda: asyncio.run(ours()), lambda: asyncio.run(bare()), best=min)
    yield Result(
        name="one line of 1 KB, p50 / bare write",
        ours=mine,
        limit=limit,
        unit="s",
        goal=None,
        higher_is_better=False,
    )
    yield Result(
        name="one line of 1 KB, p50 / 12 us",
        ours=mine,
        limit=12e-6,
        unit="s",
        goal=1.0,
        higher_is_better=False,
    )


def batches(folder: str) -> Iterator[Result]:
    """Lines per second in batches of 10, on 1, 10 and 100 threads at once, beside single writes."""
    total = pick(2_000, 200)

    async def work(live: LiveThread, rounds: int) -> None:
        items = _items(BATCH)
        for _ in range(rounds):
            await live.append_items(items)

    async def ours(count: int) -> float:
        async with _threads(f"{folder}/home-{count}", count) as (_, lives):
            gc.collect()
            start = time.perf_counter()
            await asyncio.gather(*(work(live, total // count) for live in lives))
            return total * BATCH / (time.perf_counter() - start)

    async def bare(count: int) -> float:
        lines = [item.encode(STAMP) + b"\n" for item in _items(BATCH)]
        async with _files(f"{folder}/bare-{count}", count) as files:
            start = time.perf_counter()
            for _ in range(total // count):
                for file in files:
                    for line in lines:
                        os.write(file, line)
            return total * BATCH / (time.perf_counter() - start)

    for count in (1, 10, 100):
        mine, limit = in_turn(
            lambda count=count: asyncio.run(ours(count)),  # type: ignore[misc]
            lambda count=count: asyncio.run(bare(count)),  # type: ignore[misc]
            best=max,
        )
        yield Result(
            name=f"batches of 10, {count} threads / ten bare writes each",
            ours=mine,
            limit=limit,
            unit="lines/s",
            goal=0.4,
            higher_is_better=True,
        )


def barriers(folder: str) -> Iterator[Result]:
    """A line and the store's ``flush_thread``, or the thread's ``flush``, which writes metadata
    too, beside a write and fdatasync: one after the other, and 100 at once.

    The bare ones at once come from a pool of as many threads as is fastest here.
    """
    for count, with_facts, rounds, goal in (
        (1, False, pick(200, 20), 0.6),
        (1, True, pick(200, 20), 0.6),
        (100, False, pick(10, 2), 0.4),
        (100, True, pick(10, 2), 0.4),
    ):

        async def ours(
            *, count: int = count, rounds: int = rounds, with_facts: bool = with_facts
        ) -> float:
            async def work(store: ThreadStore, live: LiveThread) -> None:
                items = _items(1)
                for _ in range(rounds):
                    await live.append_items(items)
                    if with_facts:
                        await live.flush()
                    else:
                        await store.flush_thread(live.id)

            async with _threads(f"{folder}/home-{count}", count) as (store, lives):
                await asyncio.gather(*(live.flush() for live in lives))
                start = time.perf_counter()
                await asyncio.gather(*(work(store, live) for live in lives))
                return count * rounds / (time.perf_counter() - start)

        async def bare(*, count: int = count, rounds: int = rounds) -> float:
            line = _items(1)[0].encode(STAMP) + b"\n"

            def work(file: int) -> None:
                for _ in range(rounds):
                    os.write(file, line)
                    os.fdatasync(file)

            async with _files(f"{folder}/bare-{count}", count) as files:
                start = time.perf_counter()
                if count == 1:
                    work(files[0])
                else:
                    with ThreadPoolExecutor(count) as pool:
                        list(pool.map(work, files))
                return count * rounds / (time.perf_counter() - start)

        mine, limit = in_turn(
            lambda ours=ours: asyncio.run(ours()),  # type: ignore[misc]
            lambda bare=bare: asyncio.run(bare()),  # type: ignore[misc]
            best=max,
            rounds=5,
        )
        at_once = f"{count} threads at once" if count > 1 else "one thread"
        what = "flush" if with_facts else "flush_thread"
        yield Result(
            name=f"line and {what}, {at_once} / write and fdatasync",
            ours=mine,
            limit=limit,
            unit="1/s",
            goal=goal,
            higher_is_better=True,
        )


def stored(folder: str) -> Iterator[Result]:
    """Bytes in the rollouts beside bytes of payload, at items of 1 KB."""

    async def run() -> float:
        async with _threads(f"{folder}/home", 1) as (_, (live,)):
            for _ in range(100):
                await live.append_items(_items(BATCH))
            assert live.rollout_path is not None
            return float(os.path.getsize(live.rollout_path))

    payload = sum(len(msgspec.json.encode(item.payload)) for item in _items(BATCH)) * 100
    yield Result(
        name="bytes stored / bytes of payload",
        ours=asyncio.run(run()),
        limit=float(payload),
        unit="bytes",
        goal=1.2,
        higher_is_better=False,
    )


BENCHES: Final[list[Callable[[str], Iterator[Result]]]] = [one_line, batches, barriers, stored]
