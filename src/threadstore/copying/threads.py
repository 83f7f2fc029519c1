"""Copying threads, each with what it stands on.

A log is copied byte for byte, what a fork stands on before the fork. Lines that the destination has
already are compared and never written again; a destination that has other lines is left alone.
Metadata follows as far as the destination says something else; archiving comes last.

Two histories have no log of their own that says everything, and are copied as one log:

- a legacy fork by reference, where the destination cannot refer: its header, then what it inherits,
  then its other lines, as Codex writes such forks;
- a paginated thread that was reverted: what is left of its earlier log, then the current one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from threadstore.copying.log import LogCopy
from threadstore.copying.metadata import observe, settle
from threadstore.errors import Conflict, ThreadNotFound, ThreadStoreError
from threadstore.ids import parse_thread_id
from threadstore.metadata import StoredThread
from threadstore.queries import SortKey, ThreadQuery
from threadstore.store import ThreadStore

__all__ = ["CopiedThread", "Copier", "all_thread_ids"]

_PAUSE: Final = 0.5
"""Seconds between two tries of threads that somebody else writes."""

Result: TypeAlias = Literal["copied", "extended", "unchanged", "failed"]


class CopiedThread(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one thread."""

    thread_id: str
    result: Result
    """``extended``: the destination had the beginning of it. A dry run says what would be."""
    lines: int = 0
    """How many lines are new at the destination, or would be."""
    error: ThreadStoreError | None = None
    """Why it failed. What was appended before stays, and is not copied again."""


class Copier:
    """Copies threads from *source* to *destination*, both open.

    Made again, a copy continues where it ended. Threads may be in use at the source: what is there
    is copied. Somebody who writes one at the destination is a :class:`Conflict` of that thread.
    """

    def __init__(
        self,
        source: ThreadStore,
        destination: ThreadStore,
        *,
        dry_run: bool = False,
        patience: float = 0.0,
    ) -> None:
        """*dry_run*: look and compare only. *patience*: how many seconds to go on trying threads
        that somebody else writes at the destination, as a copy that was killed seems to for a
        while."""
        self._source = source
        self._destination = destination
        self._dry_run = dry_run
        self._patience = patience
        self._done: dict[str, CopiedThread] = {}
        self._in_work: set[str] = set()
        self._copies: dict[str, StoredThread] = {}

    async def run(self, thread_ids: Iterable[str]) -> AsyncIterator[CopiedThread]:
        """Copy these threads and those they stand on; each as it is done.

        A thread that fails does not stop the others. Threads are archived at the end. One that
        cannot be comes a second time, as failed; so does one that was waited for. Raises
        :class:`InvalidRequest` for what is no id.
        """
        told = 0
        for thread_id in [parse_thread_id(thread_id) for thread_id in thread_ids]:
            await self._copy(thread_id)
            news = list(self._done.values())[told:]
            told += len(news)
            for done in news:
                yield done
        async for done in self._try_again():
            yield done
        for thread in _parents_first(self._copies):
            try:
                await self._archive_alike(thread)
            except ThreadStoreError as error:
                yield CopiedThread(thread_id=thread.id, result="failed", error=error)

    async def _try_again(self) -> AsyncIterator[CopiedThread]:
        """The threads that somebody else wrote, while there is patience."""
        deadline = time.monotonic() + self._patience
        while (held := [*filter(_is_held, self._done.values())]) and time.monotonic() < deadline:
            await asyncio.sleep(min(_PAUSE, self._patience))
            for one in held:
                del self._done[one.thread_id]
            for one in held:
                await self._copy(one.thread_id)
                done = self._done[one.thread_id]
                if not _is_held(done):
                    yield done

    async def _copy(self, thread_id: str) -> ThreadStoreError | None:
        """One thread, unless that was tried before; why it failed."""
        if thread_id in self._in_work:  # a damaged header: it stands on itself
            return None
        if thread_id not in self._done:
            self._in_work.add(thread_id)
            try:
                done = await self._copy_now(thread_id)
            except ThreadStoreError as error:
                done = CopiedThread(thread_id=thread_id, result="failed", error=error)
            self._in_work.discard(thread_id)
            self._done[thread_id] = done
        return self._done[thread_id].error

    async def _copy_now(self, thread_id: str) -> CopiedThread:
        thread = await self._source.read_thread(thread_id)
        base = await self._source.history_base(thread_id)
        if base is not None and base.thread_id != thread_id:
            error = await self._copy(base.thread_id)
            if error is not None:
                raise error
        async with LogCopy(self._source, self._destination, thread, base) as log:
            await log.run(dry_run=self._dry_run)
            if log.lines and not self._dry_run:
                thread = await self._source.read_thread(thread_id)
                await observe(self._destination, thread)
        if not self._dry_run and (log.existed or log.lines):
            await settle(self._destination, thread)
            self._copies[thread_id] = thread
        result: Result = "extended" if log.existed else "copied"
        return CopiedThread(
            thread_id=thread_id, result=result if log.lines else "unchanged", lines=log.lines
        )

    async def _archive_alike(self, thread: StoredThread) -> None:
        """Both verbs take the spawned threads along, which get their own turn after this."""
        try:
            there = await self._destination.read_thread(thread.id)
        except ThreadNotFound:  # deleted meanwhile
            return
        if thread.archived and not there.archived:
            await self._destination.archive_thread(thread.id)
        elif there.archived and not thread.archived:
            await self._destination.unarchive_thread(thread.id)


def _is_held(done: CopiedThread) -> bool:
    return isinstance(done.error, Conflict) and done.error.holder is not None


async def all_thread_ids(store: ThreadStore) -> list[str]:
    """Every thread of a store, archived ones included, oldest first."""
    query = ThreadQuery(archived=None, sort_key=SortKey.CREATED, descending=False, limit=1000)
    ids: list[str] = []
    while True:
        page = await store.list_threads(query)
        ids += [thread.id for thread in page.items]
        if page.next_cursor is None:
            return ids
        query = msgspec.structs.replace(query, cursor=page.next_cursor)


def _parents_first(threads: Mapping[str, StoredThread]) -> list[StoredThread]:
    """Each thread after the one that spawned it."""
    ordered: dict[str, StoredThread] = {}

    def add(thread: StoredThread) -> None:
        line = [thread]
        while (parent := threads.get(line[-1].parent_thread_id or "")) and parent not in line:
            line.append(parent)
        for member in reversed(line):
            ordered.setdefault(member.id, member)

    for thread in threads.values():
        add(thread)
    return list(ordered.values())
