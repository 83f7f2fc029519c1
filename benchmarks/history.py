"""Loading and streaming a long history, beside bare reads of the same file."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

from benchmarks.homes import make_history
from benchmarks.measure import Result, in_turn
from threadstore import open_store

SIZE: Final = 50_000_000
CHUNK: Final = 256 * 1024


def load(home: str) -> Iterator[Result]:
    """``load_history`` of 50 MB."""
    thread_id, path = make_history(home, SIZE)
    size = os.path.getsize(path)

    def ours() -> float:
        async def run() -> float:
            async with open_store(f"local:{home}") as store:
                await store.read_thread(thread_id)
                start = time.perf_counter()
                history = await store.load_history(thread_id)
                elapsed = time.perf_counter() - start
                assert not history.damage
                return size / elapsed / 1e6

        return asyncio.run(run())

    def bare() -> float:
        buffer = bytearray(CHUNK)
        start = time.perf_counter()
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
        return size / (time.perf_counter() - start) / 1e6

    mine, limit = in_turn(ours, bare, best=max)
    yield Result(
        name="load a 50 MB history / bare reads",
        ours=mine,
        limit=limit,
        unit="MB/s",
        goal=0.08,
        higher_is_better=True,
    )


# The peak of this process alone: what getrusage says is inherited from whoever started it.
_STREAM: Final = """
import asyncio, re, sys
from threadstore import open_store

def peak():
    with open("/proc/self/status") as file:
        return int(re.search(r"VmHWM:\\s+(\\d+)", file.read())[1])

async def main():
    start = peak()
    async with open_store("local:" + sys.argv[1]) as store:
        async for entry in store.iter_history(sys.argv[2]):
            pass
        print(peak() - start)

asyncio.run(main())
"""


def stream(home: str) -> Iterator[Result]:
    """Peak memory of ``iter_history`` over 50 MB, above the start."""
    thread_id, _ = make_history(home, SIZE)
    output = subprocess.run(
        [sys.executable, "-c", _STREAM, home, thread_id], check=True, capture_output=True, text=True
    ).stdout
    yield Result(
        name="stream a 50 MB history, memory / 64 MB",
        ours=float(output) / 1024,
        limit=64.0,
        unit="MB",
        goal=1.0,
        higher_is_better=False,
    )


BENCHES: Final[list[Callable[[str], Iterator[Result]]]] = [load, stream]
