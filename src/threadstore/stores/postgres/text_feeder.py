"""Keeping the index of texts up to date: a little after appends, and before each search."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Final

import psycopg

from threadstore.errors import StoreUnavailable, ThreadStoreError
from threadstore.stores.postgres.notify import end_task
from threadstore.stores.postgres.text_index import Behind, TextIndex

__all__ = ["Feeder"]

_PAUSE: Final = 0.5
"""Seconds between an append and the indexing of what was appended until then."""
_STEP: Final = 0.25
"""Seconds after which a search gets its turn, although there is more to index."""
_LIMIT: Final = 500
_SHOWN: Final = 5
_UNFIT: Final = (psycopg.DataError, psycopg.errors.ProgramLimitExceeded)
"""What the server answers to texts that it cannot take."""
_FIRST: Final = "00000000-0000-0000-0000-000000000000"


class Feeder:
    """Indexes what this store object appends, and whatever else is behind when it is searched."""

    def __init__(self, index: TextIndex, *, patience: float = 2.0) -> None:
        """*patience*: seconds for which a search waits until all is indexed."""
        self._index = index
        self._patience = patience
        self._appended: set[str] = set()
        self._all = False
        """Whether there is more to index than what was appended here."""
        self._unfit: set[str] = set()
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._open = True

    def note(self, thread_id: str) -> None:
        """Something was appended."""
        self._appended.add(thread_id)
        self._go_on()

    async def close(self) -> None:
        """Index nothing more: what is left is found to be behind by whoever searches next."""
        self._open = False
        task, self._task = self._task, None
        await end_task(task)

    async def catch_up(self, thread_id: str | None = None) -> str | None:
        """Index what is behind, of one thread or of all; why something may still be missing."""
        until = time.monotonic() + self._patience
        if thread_id is not None:
            left = await self._round([thread_id], until)
            return "the thread is still being indexed" if left else None
        left = await self._round(self._take(), until) + await self._rest(until)
        if left:
            self._all = True
            self._go_on()
            return "not all threads are indexed yet: search again in a moment"
        if self._unfit:
            return f"threads that cannot be indexed: {', '.join(sorted(self._unfit)[:_SHOWN])}"
        return None

    def _take(self) -> set[str]:
        appended, self._appended = self._appended, set()
        return appended

    async def _rest(self, until: float) -> int:
        """Whatever is behind, in the order of ids; how many are left at least."""
        after, left = _FIRST, 0
        while True:
            behind = await self._index.behind(after, _LIMIT)
            left += await self._advance(behind, until)
            if len(behind) < _LIMIT or time.monotonic() > until:
                return left
            after = behind[-1].thread

    async def _round(self, threads: Iterable[str], until: float) -> int:
        ids = [*threads]
        if not ids:
            return 0
        return await self._advance(await self._index.behind_of(ids), until)

    async def _advance(self, behind: list[Behind], until: float) -> int:
        """Index these; how many are left."""
        done: list[str] = []
        left = 0
        for number, each in enumerate(behind):
            if time.monotonic() > until:
                left += len(behind) - number
                break
            try:
                whole = await self._index_one(each, until)
            except StoreUnavailable as error:
                if not isinstance(error.__cause__, _UNFIT):
                    raise
                self._unfit.add(each.thread)
                continue
            left += not whole
            if whole and each.free:
                done.append(each.thread)
        await self._index.settle(done)
        return left

    async def _index_one(self, behind: Behind, until: float) -> bool:
        """Whether a log is indexed to its end."""
        while True:
            async with self._turn:
                step = min(until, time.monotonic() + _STEP)
                if await self._index.advance(behind, step):
                    self._unfit.discard(behind.thread)
                    return True
            if time.monotonic() > until:
                return False
            fresh = await self._index.behind_of([behind.thread])
            if not fresh or fresh[0].indexed >= fresh[0].position:
                return True
            behind = fresh[0]

    def _go_on(self) -> None:
        if self._task is None and self._open:
            self._task = asyncio.get_running_loop().create_task(self._feed())

    async def _feed(self) -> None:
        """Work until there is nothing left, or the server is away: then the next append or search
        begins again."""
        try:
            while self._appended or self._all:
                await asyncio.sleep(_PAUSE)
                appended = self._take()
                while await self._round(appended, time.monotonic() + _STEP):
                    pass  # a search may have had its turn
                if self._all:
                    self._all = bool(await self._rest(time.monotonic() + _STEP))
        except ThreadStoreError:
            pass
        finally:
            self._task = None
