"""Writers that take threads, whoever had them before, and note what was acknowledged.

``python hammer.py URL LEDGER IDS`` writes the threads whose ids are in the file *IDS* until its
standard input ends.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

from tests.cluster.load import Ledger

from threadstore.errors import Conflict, StoreUnavailable, ThreadNotFound
from threadstore.factory import open_store
from threadstore.metadata import MetadataOrigin, NewThread, ThreadMetadataPatch
from threadstore.store import ThreadStore
from threadstore.testing import items

PAUSE: Final = 0.1
RENAME_EVERY: Final = 10


class Writer:
    """Writes one thread, again and again taking it."""

    def __init__(self, store: ThreadStore, ledger: Ledger, thread_id: str) -> None:
        self._store = store
        self._ledger = ledger
        self._id = thread_id
        self._turn = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Until *stop*."""
        while not stop.is_set():
            try:
                await self._take()
                while not stop.is_set():
                    await self._append()
                    await asyncio.sleep(random.random() / 2)
            except (Conflict, StoreUnavailable):
                await self._store.discard_thread(self._id)
                await asyncio.sleep(PAUSE)

    async def _take(self) -> None:
        try:
            await self._store.resume_thread(self._id)
        except ThreadNotFound:
            await self._store.create_thread(NewThread(cwd="", id=self._id))

    async def _append(self) -> None:
        self._turn += 1
        texts = [f"{os.getpid()}.{self._turn}.{part}" for part in range(1 + self._turn % 3)]
        key = texts[0] if self._turn % 5 == 0 else None
        await self._store.append_items(
            self._id, [items.agent_message(text) for text in texts], idempotency_key=key
        )
        for text in texts:
            self._ledger.note("item", self._id, text)
        if self._turn % RENAME_EVERY == 0:
            patch = ThreadMetadataPatch(name=texts[0])
            await self._store.update_thread_metadata(
                self._id, patch, origin=MetadataOrigin.EXPLICIT
            )


async def _opened(url: str) -> ThreadStore:
    """A store on a server that may just be away."""
    store = open_store(url)
    while True:
        try:
            await store.open()
        except StoreUnavailable:
            await asyncio.sleep(PAUSE)
        else:
            return store


async def main(url: str, ledger_path: str, ids: str) -> None:
    """Write until the standard input ends."""
    ledger = Ledger(Path(ledger_path))
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(await _opened(url))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        for thread_id in Path(ids).read_text().split():
            group.create_task(Writer(store, ledger, thread_id).run(stop))
        with suppress(KeyboardInterrupt):
            await asyncio.to_thread(sys.stdin.read)
        stop.set()
    ledger.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
