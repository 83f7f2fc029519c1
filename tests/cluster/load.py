"""Writers that note in a ledger what was acknowledged; also a program of its own.

``python load.py URL LEDGER THREADS`` writes until its standard input ends.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import Final

from threadstore.factory import open_store
from threadstore.metadata import MetadataOrigin, NewThread, ThreadMetadataPatch
from threadstore.store import ThreadStore
from threadstore.testing import items

BATCH: Final = 3
RENAME_EVERY: Final = 10


class Ledger:
    """What was acknowledged, a line each, in a file that survives the writer."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, kind: str, thread_id: str, value: str) -> None:
        """Write down an acknowledgement at once."""
        os.write(self._file, f"{kind} {thread_id} {value}\n".encode())

    def close(self) -> None:
        """Give the file back."""
        os.close(self._file)

    @staticmethod
    def size(path: Path) -> int:
        """How much was acknowledged up to now."""
        return path.read_bytes().count(b"\n") if path.exists() else 0

    @staticmethod
    def read(path: Path) -> tuple[dict[str, list[str]], dict[str, str]]:
        """The acknowledged items of each thread in order, and the last name of each."""
        said: dict[str, list[str]] = defaultdict(list)
        names: dict[str, str] = {}
        for line in path.read_text().splitlines():
            kind, thread_id, value = line.split(" ")
            if kind == "item":
                said[thread_id].append(value)
            else:
                names[thread_id] = value
        return said, names


async def write(store: ThreadStore, ledger: Ledger, stop: asyncio.Event) -> None:
    """Append to a thread of one's own, and rename it now and then, until *stop*; every second
    append has an idempotency key. The thread stays live."""
    thread = await store.create_thread(NewThread(cwd=""))
    position = 1
    for turn in range(1_000_000):
        if stop.is_set():
            return
        texts = [f"{turn}.{part}" for part in range(BATCH)]
        receipt = await store.append_items(
            thread.id,
            [items.agent_message(text) for text in texts],
            idempotency_key=f"{turn}" if turn % 2 else None,
            expected_position=position if turn else None,
        )
        position += BATCH
        assert receipt.position == position
        for text in texts:
            ledger.note("item", thread.id, text)
        if turn % RENAME_EVERY == 0:
            await store.update_thread_metadata(
                thread.id, ThreadMetadataPatch(name=f"n{turn}"), origin=MetadataOrigin.EXPLICIT
            )
            ledger.note("name", thread.id, f"n{turn}")


async def main(url: str, path: str, threads: int) -> None:
    """*threads* writers on one store, until the standard input ends."""
    ledger = Ledger(Path(path))
    stop = asyncio.Event()
    async with open_store(url) as store, asyncio.TaskGroup() as group:
        for _ in range(threads):
            group.create_task(write(store, ledger, stop))
        await asyncio.to_thread(sys.stdin.read)
        stop.set()
    ledger.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
