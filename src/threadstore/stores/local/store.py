"""The local store: a Codex home behind the contract. One line per verb; the rooms do the work."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from threadstore.clock import floor_ms
from threadstore.errors import Conflict, InvalidRequest, StoreUnavailable
from threadstore.following import follow
from threadstore.ids import new_thread_id, parse_thread_id
from threadstore.metadata import (
    HistoryBase,
    MetadataOrigin,
    NewThread,
    StoredThread,
    ThreadMetadataPatch,
    thread_of,
)
from threadstore.queries import ThreadPage, ThreadQuery, resolve_cwd
from threadstore.store import (
    AppendReceipt,
    Capabilities,
    Durability,
    Finding,
    Repair,
    RepairedLine,
    check_append,
    check_class,
    check_lines,
    check_position,
)
from threadstore.stores.local.home_config import check_home
from threadstore.stores.local.locks import check_unused
from threadstore.stores.local.paths import new_rollout_path
from threadstore.stores.local.rooms import Rooms
from threadstore.stores.local.waiting import in_worker, others_first
from threadstore.version import VERSION

if TYPE_CHECKING:
    from threadstore.history.items import DamagedLine, History, RolloutItem
    from threadstore.stores.local.derive import LogEnd
    from threadstore.stores.local.reader import Batch
    from threadstore.stores.local.writers import LiveWriter

__all__ = ["LocalThreadStore"]

T = TypeVar("T")

_CAPABILITIES: Final = Capabilities(
    durability=Durability.PROCESS,
    rollout_paths=True,
    exclusive_writers=True,
    fork_by_reference=True,
    search_threads=True,
    watch_thread=True,
)


class LocalThreadStore(Rooms):
    """Threads in a Codex home, side by side with Codex itself.

    Opening and reading create nothing in the home but our own list index.
    """

    @property
    def capabilities(self) -> Capabilities:
        return _CAPABILITIES

    async def open(self) -> None:
        if self._opened:
            return
        check_home(self._home)
        if self._state is not None:
            self._state.open()
        self._index.open()
        self._opened = True

    async def close(self) -> None:
        try:
            async with AsyncExitStack() as shutdowns:  # all of them, even if one fails
                for thread_id in self._writers.ids() if self._is_used("_writers") else ():
                    shutdowns.push_async_callback(self.shutdown_thread, thread_id)
        finally:
            if self._is_used("_writers"):
                self._writers.close()
            self._opened = False
            self._signals.ring_all()
            await in_worker(self._healer.stop)
            if self._is_used("_places"):
                self._places.spools.close()
            await self.close_search()
            self._titles.stop()
            self._index.close()
            if self._state is not None:
                self._state.close()

    # Lifecycle of a writer

    async def create_thread(self, new: NewThread) -> StoredThread:
        self._check_open()
        check_class(new, NewThread)
        thread_id = new_thread_id() if new.id is None else parse_thread_id(new.id)
        source_id = new.history_base and parse_thread_id(new.history_base.thread_id)
        # The source stays where it is until it is known that a thread stands on it.
        async with self._writers.locks.all_of({thread_id, source_id or thread_id}):
            if thread_id in self._writers or (new.id is not None and await self._find(thread_id)):
                raise Conflict.exists(thread_id)
            source = await self._find(source_id) if source_id else None
            from threadstore.stores.local.forks import base_of_new

            base = await in_worker(lambda: base_of_new(new, source, self._find_rollout))
            return self._writers.create(new, self._new_thread(thread_id, new), base).thread

    def _new_thread(self, thread_id: str, new: NewThread) -> StoredThread:
        created_at = floor_ms(self._clock.now())
        thread = thread_of(
            new,
            thread_id=thread_id,
            created_at=created_at,
            cli_version=VERSION,
            model_provider=self._settings.model_provider,
        )
        path = new_rollout_path(self._home, thread.created_at, thread_id)
        return msgspec.structs.replace(thread, rollout_path=path)

    async def resume_thread(self, thread_id: str) -> StoredThread:
        thread_id = self._parse(thread_id)
        async with self._writers.locks.of(thread_id):
            if thread_id in self._writers:
                raise Conflict.live_here(thread_id)
            if await self._find(thread_id) is None:
                raise self._sync.not_found(thread_id)
            resume = self._writers.resume
            import asyncio

            try:
                writer = await in_worker(lambda: resume(thread_id, self._read_for_resume))
            except asyncio.CancelledError:
                self._writers.release(thread_id)  # nobody would know that it is open
                raise
            return writer.thread

    def _read_for_resume(self, thread_id: str) -> tuple[StoredThread, int, LogEnd | None]:
        thread = self._sync.refresh_thread(thread_id)
        if thread is None or thread.rollout_path is None:
            raise self._sync.not_found(thread_id)
        if thread.archived:
            raise InvalidRequest.archived(thread_id)
        check_unused(thread_id, thread.rollout_path)
        from threadstore.stores.local.forks import lineage_of

        lineage = lineage_of(thread_id, thread.rollout_path, self._find_rollout)
        return thread, lineage.inherited, self._sync.log_end(thread_id)

    async def append_items(
        self,
        thread_id: str,
        items: Sequence[RolloutItem],
        *,
        idempotency_key: str | None = None,
        expected_position: int | None = None,
    ) -> AppendReceipt:
        writer = self._writer(thread_id)
        if idempotency_key is not None or expected_position is not None:
            check_append(idempotency_key, expected_position)
        async with writer.turn:
            self._writers.check_still_live(writer)
            if idempotency_key is not None and idempotency_key in writer.receipts:
                return writer.receipts[idempotency_key]
            first = not writer.materialised
            receipt = writer.append(items, self._clock, expected_position)
            self._signals.ring(writer.thread.id)
            if idempotency_key is not None:
                writer.receipts[idempotency_key] = receipt
            if first and writer.materialised:
                await self._metadata.attach_waiting(writer)
            return receipt

    async def append_lines(
        self, thread_id: str, lines: Sequence[bytes], *, expected_position: int | None = None
    ) -> AppendReceipt:
        writer = self._writer(thread_id)
        check_lines(lines, expected_position)
        async with writer.turn:
            self._writers.check_still_live(writer)
            first = not writer.materialised
            receipt = await in_worker(lambda: writer.append_lines(lines, expected_position))
            if first and writer.materialised:
                await self._metadata.attach_waiting(writer)
            return receipt

    async def persist_thread(self, thread_id: str) -> None:
        writer = self._writer(thread_id)
        async with writer.turn:
            self._writers.check_still_live(writer)
            if not writer.materialised:
                writer.recorder.materialise()
                await self._metadata.attach_waiting(writer)
            await self._writers.sync(writer)

    async def flush_thread(self, thread_id: str) -> None:
        writer = self._writer(thread_id)
        async with writer.turn:
            self._writers.check_still_live(writer)
            await self._writers.sync(writer)

    async def shutdown_thread(self, thread_id: str) -> None:
        writer = self._writers.find(self._parse(thread_id))
        if writer is None:
            return
        async with writer.turn:
            await self._writers.sync(writer)
            await self._release(writer)

    async def discard_thread(self, thread_id: str) -> None:
        writer = self._writers.find(self._parse(thread_id))
        if writer is None:
            return
        async with writer.turn:
            await self._release(writer)

    async def _release(self, writer: LiveWriter) -> None:
        if self._writers.find(writer.thread.id) is writer:
            try:
                await self._metadata.finish(writer)
                writer.date_back()
                if writer.materialised:  # before others may write the thread
                    with self._sync.following():
                        await in_worker(lambda: self._sync.settle(writer.thread))
            finally:
                self._writers.release(writer.thread.id)

    # History

    async def iter_history(
        self, thread_id: str, *, after: int = 0, reverse: bool = False
    ) -> AsyncIterator[RolloutItem | DamagedLine]:
        thread_id = self._parse(thread_id)
        check_position(after, "after")
        if reverse:  # what is kept of a long file saves counting its lines
            await self.turn_marks.get(thread_id)
        for batch in await self._reading.batches(thread_id, after=after, reverse=reverse):
            for entry in batch:
                yield entry
            await others_first()

    async def history_batches(
        self, thread_id: str, *, after: int = 0, reverse: bool = False, brief: bool = False
    ) -> AsyncIterator[Batch]:
        thread_id = self._parse(thread_id)
        batches = self._reading.batches(thread_id, after=after, reverse=reverse, brief=brief)
        for number, batch in enumerate(await batches):
            yield batch
            if not brief or number % 4 == 3:  # most lines cost next to nothing there
                await others_first()

    async def load_history(self, thread_id: str) -> History:
        thread_id = self._parse(thread_id)
        entries: Batch = []
        for number, batch in enumerate(await self._reading.batches(thread_id)):
            entries += batch
            if number % 8 == 7:  # some 2,000 lines, a few milliseconds
                await others_first()
        from threadstore.history.items import History

        return History.of(thread_id, entries)

    async def raw_history(self, thread_id: str) -> AsyncIterator[bytes]:
        for chunk in await self._reading.raw(self._parse(thread_id)):
            yield chunk
            await others_first()

    async def history_base(self, thread_id: str) -> HistoryBase | None:
        thread_id = self._parse(thread_id)
        path = await self._log_path(thread_id)
        if path is None:
            return None
        from threadstore.stores.local.forks import history_base

        find = self._sync.refresh_thread
        return await in_worker(lambda: history_base(thread_id, path, self._find_rollout, find))

    def watch_thread(
        self, thread_id: str, *, after: int = 0
    ) -> AsyncGenerator[RolloutItem | DamagedLine, None]:
        from threadstore.stores.local.tail import LOOK, Tail

        tail = Tail(self._reading, self._find_rollout, self._named_file, self._check_open)
        return follow(self._signals, thread_id, tail.read, after, interval=LOOK)

    async def _named_file(self, thread_id: str) -> str | None:
        """The file name that the thread's row says; live threads are written by us alone."""
        state = self._state
        if state is None or thread_id in self._writers:
            return None
        return await in_worker(lambda: state.named_file(thread_id))

    # Metadata

    async def read_thread(self, thread_id: str) -> StoredThread:
        thread_id = self._parse(thread_id)
        thread = await self._thread(thread_id)
        if thread is None:
            raise self._sync.not_found(thread_id)
        return thread

    async def list_threads(self, query: ThreadQuery | None = None) -> ThreadPage:
        self._check_open()
        query = ThreadQuery() if query is None else query
        check_class(query, ThreadQuery)
        await self._settle_observations()
        cwds = None if query.cwds is None else {resolve_cwd(cwd) for cwd in query.cwds}
        while True:
            if self._sync.due():
                await in_worker(self._sync.follow)
                self._check_open()  # nothing begins behind a store that was closed meanwhile
                if query.search_term is None:
                    self._titles.start()
                else:
                    self._titles.start(after=0)
                self._healer.start()
            page = self._sync.page(query, cwds)
            if page is not None:
                return page

    async def update_thread_metadata(
        self,
        thread_id: str,
        patch: ThreadMetadataPatch,
        *,
        origin: MetadataOrigin,
        include_archived: bool = False,
    ) -> StoredThread:
        thread_id, origin = self._parse(thread_id), MetadataOrigin.of(origin)
        check_class(patch, ThreadMetadataPatch)
        return await self._metadata.update(
            thread_id, patch, origin, include_archived=include_archived
        )

    # Lifecycle of a thread

    async def archive_thread(self, thread_id: str) -> tuple[str, ...]:
        return await self._families.change(
            self._parse(thread_id),
            lambda thread: not thread.archived,
            "thread is archived already",
            lambda threads: self._archiver.archive(threads, floor_ms(self._clock.now())),
        )

    async def unarchive_thread(self, thread_id: str) -> tuple[str, ...]:
        return await self._families.change(
            self._parse(thread_id),
            lambda thread: thread.archived,
            "thread is not archived",
            self._archiver.unarchive,
        )

    async def delete_thread(self, thread_id: str) -> tuple[str, ...]:
        return await self._families.change(
            self._parse(thread_id), lambda _thread: True, "", self._delete
        )

    def _delete(self, threads: list[StoredThread]) -> None:
        ids = {thread.id for thread in threads}
        self._sync.check_unreferenced(ids, self._writers.unwritten_bases())
        self._archiver.delete(threads)
        self.forget_texts(sorted(ids), self._home.text_db)

    async def inspect(self, *, fix: bool = False) -> tuple[Finding, ...]:
        from threadstore.stores.local.inspection import inspect  # only doctor needs it

        self._check_open()
        await self._settle_observations()
        return tuple(
            await in_worker(
                lambda: inspect(self._home, self._state, self._index, self._sync, fix=fix)
            )
        )

    async def repaired_history(self, thread_id: str) -> AsyncIterator[RepairedLine]:
        from threadstore.stores.local.repair import repaired_lines

        thread_id = self._parse(thread_id)
        thread = await self._thread(thread_id)
        path = await self._log_path(thread_id)
        if thread is None or path is None:
            return
        try:
            for number, line in enumerate(repaired_lines(path, thread), 1):
                yield line
                if number % 256 == 0:
                    await others_first()
        except FileNotFoundError as error:
            raise self._sync.not_found(thread_id) from error

    async def repair_thread(self, thread_id: str) -> Repair:
        from threadstore.stores.local.repair_file import repair_in_place

        thread_id = self._parse(thread_id)
        async with self._writers.locks.of(thread_id):
            self._writers.check_none_live([thread_id])
            thread = await self._find(thread_id)
            if thread is None:
                raise self._sync.not_found(thread_id)
            if thread.history_mode == "paginated":
                forks = self._writers.unwritten_bases()
                self._sync.check_unreferenced({thread_id}, forks, hint="fork it, and go on there")
            repair = await in_worker(lambda: repair_in_place(self._home, thread))
            with self._sync.following():
                await in_worker(lambda: self._sync.refresh_thread(thread_id))
        return repair

    # Private

    async def _settle_observations(self) -> None:
        """Write what writers of this store have observed: others look into database and index."""
        if self._is_used("_metadata"):
            await self._metadata.settle()

    def _check_open(self) -> None:
        if not self._opened:
            raise StoreUnavailable.not_open()

    def _parse(self, thread_id: str) -> str:
        self._check_open()
        return parse_thread_id(thread_id)

    def _writer(self, thread_id: str) -> LiveWriter:
        # The id is looked up as it stands first: parsing it would cost as much as writing.
        return self._writers.find(thread_id) or self._writers.get(self._parse(thread_id))

    async def _thread(self, thread_id: str) -> StoredThread | None:
        """A thread, live ones without history included."""
        writer = self._writers.find(thread_id)
        return writer.thread if writer else await self._find(thread_id)
