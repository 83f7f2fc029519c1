"""The PostgreSQL store: the contract's verbs over tables, without special cases."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import msgspec

from threadstore.clock import Clock, SystemClock, floor_ms
from threadstore.config import PostgresStoreConfig
from threadstore.errors import Conflict, InvalidRequest, StoreUnavailable, ThreadNotFound
from threadstore.following import follow
from threadstore.history.items import DamagedLine, History, RolloutItem
from threadstore.ids import new_thread_id, parse_thread_id
from threadstore.metadata import (
    HistoryBase,
    MetadataOrigin,
    NewThread,
    StoredThread,
    ThreadMetadataPatch,
    thread_of,
)
from threadstore.paging import RecentMarks
from threadstore.queries import ThreadPage, ThreadQuery
from threadstore.search import OccurrencePage, SearchPage, SearchQuery
from threadstore.store import (
    AppendReceipt,
    Capabilities,
    Durability,
    Finding,
    ThreadStore,
    check_append,
    check_class,
    check_lines,
    check_position,
)
from threadstore.stores.postgres.database import Connection, Database
from threadstore.stores.postgres.logs import Head, Logs, parse_batch
from threadstore.stores.postgres.notify import LOOK, News
from threadstore.stores.postgres.recorder import Recorder
from threadstore.stores.postgres.text_feeder import Feeder
from threadstore.stores.postgres.text_index import TextIndex
from threadstore.stores.postgres.text_search import TextSearch
from threadstore.stores.postgres.threads import Threads
from threadstore.stores.postgres.writers import LiveWriter, Writers
from threadstore.version import VERSION

__all__ = ["PostgresThreadStore"]


class PostgresThreadStore(ThreadStore):
    """Threads of one tenant in a PostgreSQL database, shared by any number of processes."""

    def __init__(self, config: PostgresStoreConfig, *, clock: Clock | None = None) -> None:
        self._config = config
        self._clock = clock or SystemClock()
        self.turn_marks = RecentMarks()
        self._opened = False
        self._database = Database(config)
        self._threads = Threads(self._database)
        self._logs = Logs(self._database)
        self._news = News(self._database, listen=not config.transaction_pooling)
        self._writers = Writers(self._database, config)
        self._recorder = Recorder(
            self._database, config, self._clock, self._writers.holder, self._appended
        )
        self._feeder = Feeder(TextIndex(self._database, self._threads, self._logs))
        self._search = TextSearch(self._database, self._threads, self._feeder)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            durability=Durability.POWER,
            permanent_idempotency_keys=True,
            fork_by_reference=True,
            exclusive_writers=True,
            search_threads=True,
            watch_thread=True,
        )

    async def open(self) -> None:
        if self._opened:
            return
        await self._database.open()
        try:
            await self._threads.check_tables()
        except BaseException:
            await self._database.close()
            raise
        self._opened = True

    async def close(self) -> None:
        if not self._opened:
            return
        try:
            await self._writers.close()
        finally:
            self._opened = False
            await self._feeder.close()
            await self._news.close()
            await self._database.close()

    # Lifecycle of a writer

    async def create_thread(self, new: NewThread) -> StoredThread:
        self._check_open()
        check_class(new, NewThread)
        thread_id = parse_thread_id(new.id) if new.id is not None else new_thread_id()
        turn = self._writers.locks.of(thread_id)
        async with turn:
            if self._writers.find(thread_id) is not None:
                raise Conflict.live_here(
                    thread_id, hint="append to it, or leave the id out to get a new one"
                )
            base = new.history_base
            if base is not None:
                base = await self._check_base(base)
                new = msgspec.structs.replace(new, history_base=base)
            thread = thread_of(
                new,
                thread_id=thread_id,
                created_at=self._now(),
                cli_version=VERSION,
                model_provider=self._config.default_model_provider,
            )
            position = base.position if base else 0
            ordinal, segment = None, None
            if new.history_mode == "paginated":
                segment = await self._logs.segment_base(base) if base else None
                ordinal = segment.end_ordinal_exclusive if segment else position
            epoch = await self._recorder.reserve(thread_id, base, ordinal)
            writer = LiveWriter(
                thread,
                turn,
                epoch=epoch,
                position=position,
                next_ordinal=ordinal,
                draft=new,
                segment=segment,
            )
            self._writers.add(writer)
            return thread

    async def resume_thread(self, thread_id: str) -> StoredThread:
        thread_id = self._parse(thread_id)
        turn = self._writers.locks.of(thread_id)
        async with turn:
            if self._writers.find(thread_id) is not None:
                raise Conflict.live_here(thread_id)
            thread = _check_active(await self._stored(thread_id))
            epoch, position, next_ordinal = await self._recorder.acquire(thread_id)
            writer = LiveWriter(
                thread, turn, epoch=epoch, position=position, next_ordinal=next_ordinal
            )
            self._writers.add(writer)
            try:
                # It may have been changed before the lease was ours; from now on it cannot be
                # archived or deleted.
                return _check_active(await self._stored(thread_id))
            except BaseException:
                await self._writers.release(writer)
                raise

    async def append_items(
        self,
        thread_id: str,
        items: Sequence[RolloutItem],
        *,
        idempotency_key: str | None = None,
        expected_position: int | None = None,
    ) -> AppendReceipt:
        writer = self._writer(thread_id)
        check_append(idempotency_key, expected_position)
        async with writer.turn:
            self._writers.check_still_live(writer)
            return await self._recorder.append(writer, items, idempotency_key, expected_position)

    async def append_lines(
        self, thread_id: str, lines: Sequence[bytes], *, expected_position: int | None = None
    ) -> AppendReceipt:
        writer = self._writer(thread_id)
        check_lines(lines, expected_position)
        async with writer.turn:
            self._writers.check_still_live(writer)
            return await self._recorder.append_lines(writer, lines, expected_position)

    async def persist_thread(self, thread_id: str) -> None:
        writer = self._writer(thread_id)
        async with writer.turn:
            self._writers.check_still_live(writer)
            await self._recorder.materialise(writer)

    async def flush_thread(self, thread_id: str) -> None:
        writer = self._writer(thread_id)  # what was committed is as durable as the server makes it
        async with writer.turn:
            self._writers.check_still_live(writer)

    async def shutdown_thread(self, thread_id: str) -> None:
        await self.discard_thread(thread_id)

    async def discard_thread(self, thread_id: str) -> None:
        writer = self._writers.find(self._parse(thread_id))
        if writer is not None:
            async with writer.turn:
                await self._writers.release(writer)
            self._news.ring(writer.thread.id)

    # History

    async def iter_history(
        self, thread_id: str, *, after: int = 0, reverse: bool = False
    ) -> AsyncIterator[RolloutItem | DamagedLine]:
        check_position(after, "after")
        async for entries in self._entries(thread_id, after=after, reverse=reverse):
            for entry in entries:
                yield entry

    async def history_batches(
        self,
        thread_id: str,
        *,
        after: int = 0,
        reverse: bool = False,
        brief: bool = False,  # noqa: ARG002 - every line is read
    ) -> AsyncIterator[list[RolloutItem | DamagedLine]]:
        check_position(after, "after")
        async for entries in self._entries(thread_id, after=after, reverse=reverse):
            yield entries

    async def load_history(self, thread_id: str) -> History:
        entries: list[RolloutItem | DamagedLine] = []
        async for batch in self._entries(thread_id):  # not entry by entry: that takes as long again
            entries += batch
        return History.of(parse_thread_id(thread_id), entries)

    async def _entries(
        self, thread_id: str, *, after: int = 0, reverse: bool = False
    ) -> AsyncIterator[list[RolloutItem | DamagedLine]]:
        thread_id = self._parse(thread_id)
        head = await self._head(thread_id)
        if head is None:
            return
        segments = await self._logs.segments(thread_id, head, after=after)
        for segment in reversed(segments) if reverse else segments:
            async for batch in self._logs.batches(segment, reverse=reverse):
                yield parse_batch(batch)

    async def raw_history(self, thread_id: str) -> AsyncIterator[bytes]:
        thread_id = self._parse(thread_id)
        head = await self._head(thread_id)
        if head is not None:
            async for batch in self._logs.batches(head.own(thread_id)):
                yield b"".join([line + b"\n" for _, line in batch])

    async def history_base(self, thread_id: str) -> HistoryBase | None:
        thread_id = self._parse(thread_id)
        head = await self._head(thread_id)
        if head is None or head.base is None:
            return None
        return HistoryBase(thread_id=head.base, position=head.base_position)

    async def _head(self, thread_id: str) -> Head | None:
        """The head of a log; ``None`` for a live thread without lines."""
        head = await self._logs.head(thread_id)
        if head is not None and head.has_lines:
            return head
        if self._writers.find(thread_id) is None:
            raise ThreadNotFound(thread_id)
        return None

    def watch_thread(
        self, thread_id: str, *, after: int = 0
    ) -> AsyncGenerator[RolloutItem | DamagedLine, None]:
        return follow(self._news, thread_id, self.iter_history, after, interval=LOOK)

    # Metadata

    async def read_thread(self, thread_id: str) -> StoredThread:
        thread_id = self._parse(thread_id)
        writer = self._writers.find(thread_id)
        if writer is not None and writer.draft is not None:
            return writer.thread
        return await self._stored(thread_id)

    async def list_threads(self, query: ThreadQuery | None = None) -> ThreadPage:
        self._check_open()
        query = ThreadQuery() if query is None else query
        check_class(query, ThreadQuery)
        return await self._threads.page(query)

    async def update_thread_metadata(
        self,
        thread_id: str,
        patch: ThreadMetadataPatch,
        *,
        origin: MetadataOrigin,
        include_archived: bool = False,
    ) -> StoredThread:
        thread_id = self._parse(thread_id)
        check_class(patch, ThreadMetadataPatch)
        explicit = MetadataOrigin.of(origin) is MetadataOrigin.EXPLICIT
        if not explicit:
            patch = msgspec.structs.replace(patch, name=msgspec.UNSET)

        def apply(thread: StoredThread) -> StoredThread:
            if thread.archived and explicit and not include_archived and not patch.is_empty():
                raise InvalidRequest.archived(
                    thread_id, hint="unarchive it, or say include_archived"
                )
            return patch.apply(thread)

        async with self._writers.locks.of(thread_id):
            writer = self._writers.find(thread_id)
            if writer is not None and await self._recorder.is_draft(writer):
                return await self._update_draft(writer, patch, explicit=explicit)
            return await self._threads.change(thread_id, apply)

    async def _update_draft(
        self, writer: LiveWriter, patch: ThreadMetadataPatch, *, explicit: bool
    ) -> StoredThread:
        """Metadata of a thread without history: what users say makes one, the rest waits."""
        thread = patch.apply(writer.thread)
        if explicit and not patch.is_empty():
            await self._recorder.materialise(writer, thread)
        else:
            writer.thread = thread
        return thread

    # Lifecycle of a thread

    async def archive_thread(self, thread_id: str) -> tuple[str, ...]:
        return await self._mark(thread_id, self._now(), "thread is archived already")

    async def unarchive_thread(self, thread_id: str) -> tuple[str, ...]:
        return await self._mark(thread_id, None, "thread is not archived")

    async def delete_thread(self, thread_id: str) -> tuple[str, ...]:
        thread_id = self._parse(thread_id)
        family = await self._family(thread_id)
        async with self._writers.locks.all_of(family):
            self._writers.check_none_live(family)
            deleted: list[str] = []

            async def delete(
                connection: Connection, found: dict[str, tuple[StoredThread, int]]
            ) -> None:
                if thread_id not in found and not deleted:
                    raise ThreadNotFound(thread_id)
                deleted[:] = deleted or [member for member in family if member in found]
                await self._threads.delete(connection, family)

            await self._threads.with_family(family, delete, unused=True)
        for member in deleted:
            self._news.tell(member)
        return tuple(deleted)

    async def inspect(self, *, fix: bool = False) -> tuple[Finding, ...]:
        from threadstore.stores.postgres.inspection import Inspection  # only doctor needs it

        self._check_open()
        inspection = Inspection(self._database, self._logs, fix=fix)
        return tuple([finding async for finding in inspection.findings()])

    async def _mark(
        self, thread_id: str, archived_at: dt.datetime | None, refusal: str
    ) -> tuple[str, ...]:
        """Archive a thread and those it spawned, or bring them back."""
        thread_id = self._parse(thread_id)
        archived = archived_at is not None
        family = await self._family(thread_id)
        async with self._writers.locks.all_of(family):
            if archived:
                self._writers.check_none_live(family)
            elif self._writers.find(thread_id) is not None:
                raise InvalidRequest(f"{refusal}: {thread_id}")
            done: list[str] = []

            async def mark(
                connection: Connection, found: dict[str, tuple[StoredThread, int]]
            ) -> None:
                if thread_id not in found:
                    raise ThreadNotFound(thread_id)
                if not done and found[thread_id][0].archived is archived:
                    raise InvalidRequest(f"{refusal}: {thread_id}")
                chosen = [m for m in family if m in found and found[m][0].archived is not archived]
                for member in chosen:
                    thread, version = found[member]
                    changed = msgspec.structs.replace(thread, archived_at=archived_at)
                    await self._threads.replace(connection, changed, version)
                # After a commit without an answer everything is done already.
                done[:] = chosen or done

            await self._threads.with_family(family, mark, unused=archived)
        return tuple(done)

    async def _family(self, thread_id: str) -> list[str]:
        """The thread and all it spawned, live ones without history included; parents first."""
        family = await self._threads.family(thread_id)
        drafts = self._writers.drafts()
        for member in family:
            family += (
                draft.id
                for draft in drafts
                if draft.parent_thread_id == member and draft.id not in family
            )
        return family

    # Search

    async def search_threads(self, query: SearchQuery) -> SearchPage:
        self._check_open()
        check_class(query, SearchQuery)
        return await self._search.threads(query)

    async def search_occurrences(
        self,
        thread_id: str,
        query: SearchQuery,
        *,
        cursor: str | None = None,
        limit: int = 25,
        descending: bool = False,
    ) -> OccurrencePage:
        thread = await self.read_thread(thread_id)
        check_class(query, SearchQuery)
        return await self._search.occurrences(thread, query, cursor, limit, descending=descending)

    # Private

    def _appended(self, thread_id: str) -> None:
        self._news.tell(thread_id)
        self._feeder.note(thread_id)

    def _check_open(self) -> None:
        if not self._opened:
            raise StoreUnavailable.not_open()

    def _now(self) -> dt.datetime:
        return floor_ms(self._clock.now())

    def _parse(self, thread_id: str) -> str:
        self._check_open()
        return parse_thread_id(thread_id)

    def _writer(self, thread_id: str) -> LiveWriter:
        return self._writers.find(thread_id) or self._writers.get(self._parse(thread_id))

    async def _stored(self, thread_id: str) -> StoredThread:
        thread = await self._threads.find(thread_id)
        if thread is None:
            raise ThreadNotFound(thread_id)
        return thread

    async def _check_base(self, base: HistoryBase) -> HistoryBase:
        source = parse_thread_id(base.thread_id)
        head = await self._logs.head(source)
        if head is None or not head.has_lines:
            raise ThreadNotFound(source)
        if not 0 <= base.position <= head.position:
            raise InvalidRequest(f"thread {source} has {head.position} lines, not {base.position}")
        return HistoryBase(thread_id=source, position=base.position)


def _check_active(thread: StoredThread) -> StoredThread:
    if thread.archived:
        raise InvalidRequest.archived(thread.id)
    return thread
