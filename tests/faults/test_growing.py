"""A rollout that another process writes, piece by piece, while we read it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from threadstore import DamagedLine, LiveThread, NewThread, RolloutItem, ThreadStore, open_store
from threadstore.testing import items

WRITE = """
import sys
file = open(sys.argv[1], "ab", buffering=0)
for line in sys.stdin.buffer:
    file.write(bytes.fromhex(line.decode()))
    print("written", flush=True)
"""


class Writer:
    """Another process that has a log open and writes what it is given, as it is given."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def write(self, data: bytes) -> None:
        """Write; returns when it is done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(data.hex().encode() + b"\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == b"written\n"


@contextmanager
def writer(path: str) -> Iterator[Writer]:
    """Ends with the block."""
    command = [sys.executable, "-c", WRITE, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield Writer(process)
        assert process.stdin is not None
        process.stdin.close()


async def cold_thread(store: ThreadStore) -> tuple[str, str]:
    """The id and path of a thread of two lines."""
    live = await LiveThread.create(store, NewThread(cwd=""))
    await live.append_items([items.user_message("first")])
    await live.shutdown()
    path = (await store.read_thread(live.id)).rollout_path
    assert path is not None
    return live.id, path


def line(text: str) -> bytes:
    """A record as Codex writes it."""
    return items.user_message(text).encode("2026-05-04T03:02:01.000Z") + b"\n"


async def entries(
    store: ThreadStore, thread_id: str, *, after: int = 0, reverse: bool = False
) -> list[RolloutItem | DamagedLine]:
    return [e async for e in store.iter_history(thread_id, after=after, reverse=reverse)]


@pytest.mark.parametrize("reverse", [False, True])
async def test_a_line_that_is_being_written_is_no_damage_and_comes_whole_later(
    tmp_path: Path, reverse: bool
) -> None:
    async with open_store(f"local:{tmp_path}/home") as store:
        thread_id, path = await cold_thread(store)
        whole = line("Grüße")
        with writer(path) as other:
            for size in (1, 60, len(whole) - 4):
                other.write(whole[:size])
                assert len(await entries(store, thread_id, reverse=reverse)) == 2
                history = await store.load_history(thread_id)
                assert (history.position, history.damage) == (2, ())
                other.write(whole[size:])
                (new,) = await entries(store, thread_id, after=2, reverse=reverse)
                assert isinstance(new, RolloutItem)
                assert new.payload["message"] == "Grüße"
                os.truncate(path, os.path.getsize(path) - len(whole))
            other.write(whole[:-1])  # complete but for its newline
            assert len(await entries(store, thread_id, after=2)) == 1
            other.write(b"\n")
            assert await entries(store, thread_id, after=3) == []


async def test_a_line_that_nobody_goes_on_with_is_damage(tmp_path: Path) -> None:
    async with open_store(f"local:{tmp_path}/home") as store:
        thread_id, path = await cold_thread(store)
        with writer(path) as other:
            other.write(line("torn")[:40])
        (torn,) = (await store.load_history(thread_id)).damage
        assert "torn" in torn.reason
        assert (await entries(store, thread_id, reverse=True))[0] == torn


async def test_a_tail_of_a_growing_log_has_every_line_once(tmp_path: Path) -> None:
    async with open_store(f"local:{tmp_path}/home") as store:
        thread_id, path = await cold_thread(store)
        lines = [line(f"{number} " + "x" * (number * 997 % 9000)) for number in range(60)]
        data = b"".join(lines)
        seen: list[bytes] = []
        with writer(path) as other:
            for start in range(0, len(data), 3001):
                other.write(data[start : start + 3001])
                for entry in await entries(store, thread_id, after=2 + len(seen)):
                    assert isinstance(entry, RolloutItem)
                    seen.append(entry.line() + b"\n")
                assert (await store.read_thread(thread_id)).preview == "first"
        assert seen == lines
