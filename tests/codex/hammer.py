"""One of several processes that work on one home as fast as they can (see ``test_hammering.py``).

``python -m tests.codex.hammer HOME CWD SECONDS SEED``; prints its ledger as JSON.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from typing import Literal

import msgspec
from tests.codex.ledger import Ledger
from tests.codex.turns import our_turn

from threadstore.errors import Conflict, InvalidRequest, ThreadStoreError
from threadstore.factory import open_store
from threadstore.live import LiveThread
from threadstore.manager import ThreadManager
from threadstore.metadata import (
    GitInfoPatch,
    NewThread,
    StoredThread,
    ThreadMetadataPatch,
)
from threadstore.queries import SortKey, ThreadQuery
from threadstore.store import ThreadStore

LINES_WITH_TEXT = 2
"""What a user said stands in a line for the model and in one for people."""
_WEIGHTS = {
    "create": 2,
    "append": 12,
    "let_go": 6,
    "resume": 8,
    "rename": 6,
    "edit_git": 4,
    "edit_memory_mode": 3,
    "archive": 2,
    "unarchive": 2,
    "list": 3,
    "read": 4,
    "search": 2,
}


class Hammer:
    """Random work on whatever threads there are."""

    def __init__(self, store: ThreadStore, manager: ThreadManager, cwd: str, seed: int) -> None:
        self._store, self._manager, self._cwd = store, manager, cwd
        self._seed = seed
        self._random = random.Random(seed)
        self._number = 0
        self._mine: set[str] = set()
        self._texts: dict[str, list[str]] = {}
        self.ledger = Ledger()

    async def step(self) -> None:
        """One thing. That somebody else holds or has archived a thread is no problem."""
        (word,) = self._random.choices([*_WEIGHTS], weights=[*_WEIGHTS.values()])
        try:
            await getattr(self, word)()
        except Conflict:
            self.ledger.count(self.ledger.refused, f"{word}: held")
        except InvalidRequest as error:
            if "archived" not in str(error):
                self.ledger.problems.append(f"{word}: {error}")
            self.ledger.count(self.ledger.refused, f"{word}: archived")
        except ThreadStoreError as error:
            self.ledger.problems.append(f"{word}: {type(error).__name__}: {error}")
        else:
            self.ledger.count(self.ledger.done, word)

    def _new_text(self) -> str:
        self._number += 1
        return f"text {self._seed}.{self._number} of ours"

    async def _any_thread(self, *, archived: bool | None = False) -> StoredThread | None:
        page = await self._store.list_threads(ThreadQuery(archived=archived, limit=1000))
        return self._random.choice(page.items) if page.items else None

    def _any_loaded(self) -> LiveThread | None:
        loaded = self._manager.loaded()
        live = self._manager.get(self._random.choice(loaded)) if loaded else None
        return live if isinstance(live, LiveThread) else None

    async def create(self) -> None:
        live = await self._manager.create(NewThread(cwd=self._cwd, source="vscode"))
        await self._append(live)
        self._mine.add(live.id)

    async def append(self) -> None:
        live = self._any_loaded()
        if live is not None:
            await self._append(live)

    async def _append(self, live: LiveThread) -> None:
        text = self._new_text()
        mode = (await live.read()).history_mode
        with self.ledger.change(live.id, "text", text):
            receipt = await live.append_items(our_turn(live.id, mode, self._cwd, text))
        self.ledger.count(self.ledger.done, f"metadata {receipt.metadata}")
        self._texts.setdefault(live.id, []).append(text)

    async def let_go(self) -> None:
        live = self._any_loaded()
        if live is not None:
            await self._manager.unload(live.id)

    async def resume(self) -> None:
        thread = await self._any_thread()
        if thread is not None and len(self._manager.loaded()) < 4:
            live = await self._manager.resume(thread.id)
            assert isinstance(live, LiveThread)
            await self._append(live)

    async def rename(self) -> None:
        thread = await self._any_thread()
        if thread is not None:
            name = f"name {self._new_text()}"
            await self._edit(thread, "name", name, ThreadMetadataPatch(name=name))

    async def edit_git(self) -> None:
        thread = await self._any_thread()
        if thread is not None:
            branch = f"branch-{self._seed}-{self._random.randrange(10_000)}"
            patch = ThreadMetadataPatch(git=GitInfoPatch(branch=branch))
            await self._edit(thread, "branch", branch, patch)

    async def edit_memory_mode(self) -> None:
        thread = await self._any_thread()
        if thread is not None:
            mode: Literal["enabled", "disabled"]
            mode = "enabled" if self._random.random() < 0.5 else "disabled"
            await self._edit(thread, "memory_mode", mode, ThreadMetadataPatch(memory_mode=mode))

    async def _edit(
        self, thread: StoredThread, what: str, value: str, patch: ThreadMetadataPatch
    ) -> None:
        with self.ledger.change(thread.id, what, value):
            await self._manager.update_thread_metadata(thread.id, patch, include_archived=True)

    async def archive(self) -> None:
        thread = await self._any_thread()
        if thread is not None:
            with self.ledger.change(thread.id, "archived", "yes"):
                await self._manager.archive(thread.id)

    async def unarchive(self) -> None:
        thread = await self._any_thread(archived=True)
        if thread is not None:
            with self.ledger.change(thread.id, "archived", "no"):
                await self._manager.unarchive(thread.id)

    async def list(self) -> None:
        """Every thread of mine, once each, over small pages of an order that stands still."""
        query = ThreadQuery(archived=None, limit=7, sort_key=SortKey.CREATED)
        seen: list[str] = []
        while True:
            page = await self._store.list_threads(query)
            seen += [thread.id for thread in page.items]
            if page.next_cursor is None:
                break
            query = msgspec.structs.replace(query, cursor=page.next_cursor)
        if len(seen) != len(set(seen)):
            self.ledger.problems.append("list: a thread twice")
        if missing := self._mine - set(seen):
            self.ledger.problems.append(f"list: {missing} missing")

    async def read(self) -> None:
        thread = await self._any_thread(archived=None)
        if thread is None:
            return
        texts = list(self._texts.get(thread.id, ()))
        await self._store.read_thread(thread.id)
        history = await self._store.load_history(thread.id)
        if history.damage:
            self.ledger.problems.append(f"read: {thread.id} damaged: {history.damage[:2]}")
        told = b"\n".join(item.line() for item in history.items)
        wrong = [text for text in texts if told.count(text.encode()) != LINES_WITH_TEXT]
        if wrong:
            self.ledger.problems.append(f"read: {thread.id} has not once: {wrong[:3]}")

    async def search(self) -> None:
        page = await self._store.list_threads(
            ThreadQuery(archived=None, search_term=f"TEXT {self._seed}.1 OF", limit=1000)
        )
        if self._number and not page.items:
            self.ledger.problems.append("search: the first thread is not found")


async def main(home: str, cwd: str, seconds: float, seed: int) -> None:
    """Work until the time is over."""
    end = time.monotonic() + seconds
    async with open_store(f"local:{home}") as store, ThreadManager(store) as manager:
        hammer = Hammer(store, manager, cwd, seed)
        await hammer.create()
        while time.monotonic() < end:
            await hammer.step()
        await manager.close()
    sys.stdout.buffer.write(msgspec.json.encode(hammer.ledger))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))
