"""Deriving texts from logs, each from its mark on, by statements for which no append waits."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec

from threadstore.history.items import RolloutItem
from threadstore.history.rollback import is_rollback, surviving
from threadstore.metadata import StoredThread
from threadstore.search.texts import FoldState, TextDocument, TextFold, title_text
from threadstore.stores.postgres.database import Connection, Database, Row
from threadstore.stores.postgres.logs import Batch, Logs, parse_batch
from threadstore.stores.postgres.records import plain_text, vector
from threadstore.stores.postgres.statements import statement
from threadstore.stores.postgres.threads import Threads

__all__ = ["Behind", "TextIndex"]

_BEHIND: Final = statement("texts", "behind")
_BEHIND_OF: Final = statement("texts", "behind_of")
_ADVANCE: Final = statement("texts", "advance")
_CLEAR: Final = statement("texts", "clear")
_SETTLE: Final = statement("texts", "settle")
_ROWS: Final = 512
"""Lines that are read at first; the next batch follows their size."""
_SMALL: Final = 64 << 10
"""Bytes of lines that are quicker done than given to another thread of this process."""

Located = tuple[TextDocument, str]
"""A text, and in whose log its line is."""


class Behind(msgspec.Struct, frozen=True):
    """A log that is pending."""

    thread: str
    position: int
    indexed: int
    state: bytes | None
    free: bool
    """Whether nobody writes it."""


class TextIndex:
    """The texts of one tenant's threads."""

    def __init__(self, database: Database, threads: Threads, logs: Logs) -> None:
        self._database = database
        self._threads = threads
        self._logs = logs

    async def behind(self, after: str, limit: int) -> list[Behind]:
        """Pending logs in the order of ids, those behind *after*."""
        return _behind(await self._rows(_BEHIND, after=after, limit=limit))

    async def behind_of(self, threads: Collection[str]) -> list[Behind]:
        """Those of certain threads."""
        return _behind(await self._rows(_BEHIND_OF, threads=list(threads)))

    async def settle(self, threads: Collection[str]) -> None:
        """Note of threads that nobody writes that they are indexed, if they are."""
        ids = list(threads)
        for some in [ids] if self._database.batch_threads else [[each] for each in ids]:
            if some:
                values = {"tenant": self._database.tenant, "threads": some}
                await self._database.change(_SETTLE, values)

    async def advance(self, behind: Behind, until: float) -> bool:
        """Index what a log has behind its mark, or as much as is done by *until* (of the monotonic
        clock); whether that was all."""
        position, fold = behind.indexed, _fold(behind)
        first: list[Located] = []
        if fold is None:
            thread = await self._threads.find(behind.thread)
            if thread is None:  # deleted, or its metadata is lost
                return True
            fold, first = TextFold(FoldState(said_at=thread.created_at)), _title(thread)
        head = await self._logs.head(behind.thread)
        if head is None:
            return True
        for segment in await self._logs.segments(behind.thread, head, after=position):
            async for batch in self._logs.batches(segment, rows=_ROWS):
                found = await _apart(batch, fold, segment.thread)
                if found is None:
                    return await self._anew(behind.thread, position)
                last = batch[-1][0]
                if not await self._write(behind.thread, position, last, fold, first + found):
                    return False  # somebody else goes on with it
                position, first = last, []
                if time.monotonic() > until:
                    return position >= head.position
        if position < head.position:  # lines are missing: nothing will come of them
            return await self._write(behind.thread, position, head.position, fold, first)
        return True

    async def _anew(self, thread_id: str, position: int) -> bool:
        """Index a whole history, of which a marker took something back."""
        thread, head = await self._threads.find(thread_id), await self._logs.head(thread_id)
        if thread is None or head is None:
            return True
        logs: dict[int, str] = {}
        items: list[RolloutItem] = []
        for segment in await self._logs.segments(thread_id, head):
            async for batch in self._logs.batches(segment, rows=_ROWS):
                for entry in parse_batch(batch):
                    if isinstance(entry, RolloutItem):
                        items.append(entry)
                        logs[entry.position or 0] = segment.thread
        fold = TextFold(FoldState(said_at=thread.created_at))
        documents = await asyncio.to_thread(_surviving, items, fold)
        found = [(each, logs[each.position]) for each in documents]
        nothing = await self._values(thread_id, position, head.position, fold, [])
        every = await self._values(
            thread_id, head.position, head.position, fold, _title(thread) + found
        )

        async def write(connection: Connection) -> bool:
            cursor = await connection.execute(_ADVANCE, nothing)
            if await cursor.fetchone() is None:
                return False
            await connection.execute(_CLEAR, every)
            await connection.execute(_ADVANCE, every)
            return True

        return await self._database.transaction(write)

    async def _write(
        self, thread_id: str, after: int, until: int, fold: TextFold, found: list[Located]
    ) -> bool:
        values = await self._values(thread_id, after, until, fold, found)
        return bool(await self._database.rows(_ADVANCE, values))

    async def _values(
        self, thread_id: str, after: int, until: int, fold: TextFold, found: list[Located]
    ) -> dict[str, Any]:
        documents = [document for document, _ in found]
        return {
            "tenant": self._database.tenant,
            "thread": thread_id,
            "after": after,
            "until": until,
            # Half characters, which a history may have, are whole again in this form.
            "state": json.dumps(msgspec.to_builtins(fold.state)),
            "positions": [document.position for document in documents],
            "logs": [log for _, log in found],
            "roles": [document.role.value for document in documents],
            "tools": [document.tool and plain_text(document.tool) for document in documents],
            "moments": [document.said_at for document in documents],
            "words": await _vectors(documents),
        }

    async def _rows(self, query: bytes, **values: Any) -> list[Row]:
        return await self._database.rows(query, {"tenant": self._database.tenant, **values})


def _fold(behind: Behind) -> TextFold | None:
    if behind.state is None:
        return None
    return TextFold(msgspec.convert(json.loads(behind.state), FoldState))


async def _vectors(documents: list[TextDocument]) -> list[str]:
    texts = [document.text for document in documents]
    if sum(map(len, texts)) > _SMALL:
        return await asyncio.to_thread(lambda: [*map(vector, texts)])
    return [*map(vector, texts)]


async def _apart(batch: Batch, fold: TextFold, log: str) -> list[Located] | None:
    """The texts of a batch; ``None`` if it takes some back."""
    if sum(len(line) for _, line in batch) > _SMALL:
        return await asyncio.to_thread(_texts, batch, fold, log)
    return _texts(batch, fold, log)


def _texts(batch: Batch, fold: TextFold, log: str) -> list[Located] | None:
    items = [entry for entry in parse_batch(batch) if isinstance(entry, RolloutItem)]
    if any(map(is_rollback, items)):
        return None
    documents = map(fold.feed, items)
    return [(document, log) for document in documents if document is not None]


def _surviving(items: list[RolloutItem], fold: TextFold) -> list[TextDocument]:
    documents = map(fold.feed, surviving(items))
    return [document for document in documents if document is not None]


def _title(thread: StoredThread) -> list[Located]:
    title = title_text(thread)
    return [] if title is None else [(title, thread.id)]


def _behind(rows: Iterable[Row]) -> list[Behind]:
    return [Behind(*row) for row in rows]
