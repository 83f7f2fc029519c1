"""Stores with one mistake each, and the cases of the suite of which one must catch it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from threadstore.errors import ThreadNotFound
from threadstore.history.items import DamagedLine, RolloutItem
from threadstore.metadata import NewThread, StoredThread, ThreadMetadataPatch
from threadstore.queries import ThreadPage, ThreadQuery
from threadstore.store import AppendReceipt
from threadstore.stores.memory import MemoryThreadStore
from threadstore.testing import MemoryHarness, StoreHarness, ThreadStoreTests
from threadstore.testing.cases.append import AppendTests
from threadstore.testing.cases.archive import ArchiveTests
from threadstore.testing.cases.concurrency import ConcurrencyTests
from threadstore.testing.cases.filters import FilterTests
from threadstore.testing.cases.following import FollowingTests
from threadstore.testing.cases.history import HistoryTests
from threadstore.testing.cases.lifecycle import LifecycleTests
from threadstore.testing.cases.lines import LineTests
from threadstore.testing.cases.listing import ListingTests
from threadstore.testing.cases.metadata import FieldRuleTests, MetadataTests


class OnABrokenStore:
    store_class: type[MemoryThreadStore]

    @pytest.fixture
    def harness(self) -> StoreHarness:
        store_class = self.store_class

        class Harness(MemoryHarness):
            def make_store(self) -> MemoryThreadStore:
                return store_class(clock=self.clock)

        return Harness()


class DropsAnItem(MemoryThreadStore):
    async def append_items(
        self, thread_id: str, items: Sequence[RolloutItem], **options: Any
    ) -> AppendReceipt:
        return await super().append_items(thread_id, items[:2], **options)


class RewritesLines(MemoryThreadStore):
    async def append_items(
        self, thread_id: str, items: Sequence[RolloutItem], **options: Any
    ) -> AppendReceipt:
        fresh = [RolloutItem(item.type, item.payload, item.timestamp) for item in items]
        return await super().append_items(thread_id, fresh, **options)


class CleansLines(MemoryThreadStore):
    async def append_lines(
        self, thread_id: str, lines: Sequence[bytes], **options: Any
    ) -> AppendReceipt:
        if all(isinstance(line, bytes) for line in lines or ()):
            lines = [line for line in lines if line.strip()]
        return await super().append_lines(thread_id, lines, **options)


class ForgetsKeys(MemoryThreadStore):
    async def append_items(
        self,
        thread_id: str,
        items: Sequence[RolloutItem],
        *,
        idempotency_key: str | None = None,
        expected_position: int | None = None,
    ) -> AppendReceipt:
        return await super().append_items(thread_id, items, expected_position=expected_position)


class ReordersAppends(MemoryThreadStore):
    async def append_items(
        self, thread_id: str, items: Sequence[RolloutItem], **options: Any
    ) -> AppendReceipt:
        for _ in range(3 - len(items[0].line()) % 3 if items else 0):
            await asyncio.sleep(0)
        return await super().append_items(thread_id, items, **options)


class TouchesMetadataOnAppend(MemoryThreadStore):
    async def append_items(
        self, thread_id: str, items: Sequence[RolloutItem], **options: Any
    ) -> AppendReceipt:
        receipt = await super().append_items(thread_id, items, **options)
        log = self._writer(thread_id).log
        log.thread = msgspec.structs.replace(log.thread, updated_at=self._clock.now())
        return receipt


class MaterialisesAtOnce(MemoryThreadStore):
    async def create_thread(self, new: NewThread) -> StoredThread:
        thread = await super().create_thread(new)
        await self.persist_thread(thread.id)
        return thread


class SkipsThreadsOfTheSameMoment(MemoryThreadStore):
    async def list_threads(self, query: ThreadQuery | None = None) -> ThreadPage:
        page = await super().list_threads(query)
        if query is None or query.cursor is None:
            return page
        place = await super().list_threads(msgspec.structs.replace(query, cursor=None, limit=1))
        seen = {query.sort_key.of(thread) for thread in place.items}
        return ThreadPage(
            tuple(thread for thread in page.items if query.sort_key.of(thread) not in seen),
            page.next_cursor,
        )


class TakesAnyCursor(MemoryThreadStore):
    async def list_threads(self, query: ThreadQuery | None = None) -> ThreadPage:
        try:
            return await super().list_threads(query)
        except ValueError:
            assert query is not None
            return await super().list_threads(msgspec.structs.replace(query, cursor=None))


class SearchesWithLetterCase(MemoryThreadStore):
    async def list_threads(self, query: ThreadQuery | None = None) -> ThreadPage:
        page = await super().list_threads(query)
        term = query.search_term if query else None
        if not term:
            return page
        threads = (t for t in page.items if term in f"{t.name}{t.title}{t.preview}")
        return ThreadPage(tuple(threads), page.next_cursor)


class ComparesCwdsAsText(MemoryThreadStore):
    async def list_threads(self, query: ThreadQuery | None = None) -> ThreadPage:
        page = await super().list_threads(query)
        if query is None or query.cwds is None:
            return page
        cwds = query.cwds
        return ThreadPage(tuple(t for t in page.items if t.cwd in cwds), page.next_cursor)


class _Patches(MemoryThreadStore):
    async def update_thread_metadata(
        self, thread_id: str, patch: ThreadMetadataPatch, **options: Any
    ) -> StoredThread:
        return await super().update_thread_metadata(thread_id, self.change(patch), **options)

    def change(self, patch: ThreadMetadataPatch) -> ThreadMetadataPatch:
        raise NotImplementedError


class ForgetsClears(_Patches):
    def change(self, patch: ThreadMetadataPatch) -> ThreadMetadataPatch:
        kept = {field: value for field, value in patch.present().items() if value is not None}
        return ThreadMetadataPatch(**kept)


class TitleIsTheName(_Patches):
    def change(self, patch: ThreadMetadataPatch) -> ThreadMetadataPatch:
        if not isinstance(patch.name, str):
            return patch
        return msgspec.structs.replace(patch, title=patch.name)


class TouchesOnEveryPatch(_Patches):
    def change(self, patch: ThreadMetadataPatch) -> ThreadMetadataPatch:
        return ThreadMetadataPatch(updated_at=self._clock.now()).merge(patch)


class AppliesBeforeNotFound(MemoryThreadStore):
    """Keeps the patch of an unknown id until the id exists."""

    async def update_thread_metadata(
        self, thread_id: str, patch: ThreadMetadataPatch, **options: Any
    ) -> StoredThread:
        try:
            return await super().update_thread_metadata(thread_id, patch, **options)
        except ThreadNotFound:
            vars(self).setdefault("early", {})[thread_id] = patch
            raise

    async def create_thread(self, new: NewThread) -> StoredThread:
        thread = await super().create_thread(new)
        early = vars(self).get("early", {}).get(thread.id)
        if early is not None:
            log = self._writer(thread.id).log
            thread = log.thread = early.apply(log.thread)
        return thread


class AppliesBeforeTheArchiveCheck(MemoryThreadStore):
    async def update_thread_metadata(
        self, thread_id: str, patch: ThreadMetadataPatch, **options: Any
    ) -> StoredThread:
        log = self._logs.get(thread_id)
        if log is not None:
            log.thread = patch.apply(log.thread)
        return await super().update_thread_metadata(thread_id, patch, **options)


class DeletesHalfAFamily(MemoryThreadStore):
    async def delete_thread(self, thread_id: str) -> tuple[str, ...]:
        if thread_id in self._logs:
            for member in self._family(thread_id)[1:]:
                if member not in self._writers:
                    self._logs.pop(member, None)
        return await super().delete_thread(thread_id)


class ArchivesLiveThreads(MemoryThreadStore):
    def _check_not_live(self, family: Sequence[str]) -> None:
        pass


class LeaksForeignErrors(MemoryThreadStore):
    async def read_thread(self, thread_id: str) -> StoredThread:
        if thread_id in self._writers:
            return self._writers[thread_id].log.thread
        return self._logs[thread_id].thread


class LosesAThreadToOneBadLine(MemoryThreadStore):
    async def iter_history(
        self, thread_id: str, *, after: int = 0, reverse: bool = False
    ) -> AsyncIterator[RolloutItem | DamagedLine]:
        async for entry in super().iter_history(thread_id, after=after, reverse=reverse):
            if isinstance(entry, DamagedLine):
                return
            yield entry


class RunsBackwardsFromTheWrongEnd(MemoryThreadStore):
    async def iter_history(
        self, thread_id: str, *, after: int = 0, reverse: bool = False
    ) -> AsyncIterator[RolloutItem | DamagedLine]:
        entries = [entry async for entry in super().iter_history(thread_id, reverse=reverse)]
        for entry in entries[after:]:
            yield entry


class EndsWithTheHistory(MemoryThreadStore):
    async def watch_thread(
        self, thread_id: str, *, after: int = 0
    ) -> AsyncGenerator[RolloutItem | DamagedLine, None]:
        async for entry in self.iter_history(thread_id, after=after):
            yield entry


class TellsTheLastOneAgain(MemoryThreadStore):
    async def watch_thread(
        self, thread_id: str, *, after: int = 0
    ) -> AsyncGenerator[RolloutItem | DamagedLine, None]:
        async for entry in super().watch_thread(thread_id, after=after):
            yield entry
            if entry.position == 300:
                yield entry


class MissesWhatIsAppendedMeanwhile(MemoryThreadStore):
    async def watch_thread(
        self, thread_id: str, *, after: int = 0
    ) -> AsyncGenerator[RolloutItem | DamagedLine, None]:
        while True:
            async for entry in self.iter_history(thread_id, after=after):
                yield entry
            after = self._existing(thread_id).position
            await asyncio.sleep(0)


class KeepsThreadsThatNeverWrote(MemoryThreadStore):
    async def shutdown_thread(self, thread_id: str) -> None:
        with suppress(ThreadNotFound):
            await self.persist_thread(thread_id)
        await super().shutdown_thread(thread_id)


class WorksAfterClose(MemoryThreadStore):
    async def close(self) -> None:
        self._writers.clear()


CAUGHT_BY: dict[type[MemoryThreadStore], type] = {
    DropsAnItem: AppendTests,
    RewritesLines: AppendTests,
    CleansLines: LineTests,
    ForgetsKeys: AppendTests,
    ReordersAppends: ConcurrencyTests,
    TouchesMetadataOnAppend: AppendTests,
    MaterialisesAtOnce: ListingTests,
    SkipsThreadsOfTheSameMoment: ListingTests,
    TakesAnyCursor: ListingTests,
    SearchesWithLetterCase: FilterTests,
    ComparesCwdsAsText: FilterTests,
    ForgetsClears: MetadataTests,
    TitleIsTheName: MetadataTests,
    TouchesOnEveryPatch: FieldRuleTests,
    AppliesBeforeNotFound: MetadataTests,
    AppliesBeforeTheArchiveCheck: ArchiveTests,
    DeletesHalfAFamily: ArchiveTests,
    ArchivesLiveThreads: ArchiveTests,
    LeaksForeignErrors: LifecycleTests,
    LosesAThreadToOneBadLine: HistoryTests,
    RunsBackwardsFromTheWrongEnd: HistoryTests,
    EndsWithTheHistory: FollowingTests,
    TellsTheLastOneAgain: FollowingTests,
    MissesWhatIsAppendedMeanwhile: FollowingTests,
    KeepsThreadsThatNeverWrote: LifecycleTests,
    WorksAfterClose: LifecycleTests,
}
for _broken, _cases in CAUGHT_BY.items():
    assert issubclass(ThreadStoreTests, _cases)
    _name = f"Test{_broken.__name__}"
    globals()[_name] = type(_name, (OnABrokenStore, _cases), {"store_class": _broken})
