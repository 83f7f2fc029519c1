"""The memory store: the whole contract in plain Python, and nothing that outlives the object."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence

import msgspec

from threadstore.clock import Clock, SystemClock, floor_ms, rfc3339_ms
from threadstore.config import MemoryStoreConfig
from threadstore.errors import Conflict, InvalidRequest, StoreUnavailable, ThreadNotFound
from threadstore.following import Signals, follow
from threadstore.history.header import SegmentBase, is_header_of, session_meta_item
from threadstore.history.items import DamagedLine, RolloutItem, check_items, ordinal_after
from threadstore.history.lines import parse_line
from threadstore.ids import new_thread_id, parse_thread_id
from threadstore.metadata import (
    HistoryBase,
    MetadataOrigin,
    NewThread,
    StoredThread,
    ThreadMetadataPatch,
    thread_of,
)
from threadstore.queries import (
    ThreadPage,
    ThreadQuery,
    resolve_cwd,
    thread_cursor,
    thread_place,
)
from threadstore.search import OccurrencePage, SearchPage, SearchQuery, scan
from threadstore.store import (
    AppendReceipt,
    Capabilities,
    Durability,
    ThreadStore,
    check_append,
    check_class,
    check_lines,
    check_position,
)
from threadstore.version import VERSION

__all__ = ["MemoryThreadStore"]


class _Log:
    """One thread: its metadata and the lines of its own; inherited ones stay where they are."""

    __slots__ = ("base", "lines", "next_ordinal", "thread")

    def __init__(self, thread: StoredThread, base: HistoryBase | None) -> None:
        self.thread = thread
        self.base = base
        self.lines: list[bytes] = []
        self.next_ordinal = base.position if base else 0

    @property
    def position(self) -> int:
        return (self.base.position if self.base else 0) + len(self.lines)


class _Writer:
    """What being live adds to a thread: ``draft`` is how it was created, until it materialises."""

    __slots__ = ("draft", "log", "receipts", "segment")

    def __init__(
        self, log: _Log, draft: NewThread | None = None, segment: SegmentBase | None = None
    ) -> None:
        self.log = log
        self.draft = draft
        self.segment = segment
        self.receipts: dict[str, AppendReceipt] = {}


class MemoryThreadStore(ThreadStore):
    """Threads in a dictionary: the reference implementation of the contract.

    Every object holds its own data. No verb suspends, so each is atomic on the event loop.
    """

    def __init__(
        self, config: MemoryStoreConfig | None = None, *, clock: Clock | None = None
    ) -> None:
        self._config = config or MemoryStoreConfig()
        self._clock = clock or SystemClock()
        self._opened = False
        self._logs: dict[str, _Log] = {}
        self._writers: dict[str, _Writer] = {}
        self._signals = Signals()

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            durability=Durability.NONE,
            fork_by_reference=True,
            search_threads=True,
            watch_thread=True,
        )

    async def open(self) -> None:
        self._opened = True

    async def close(self) -> None:
        self._opened = False
        self._writers.clear()
        self._signals.ring_all()

    # Lifecycle of a writer

    async def create_thread(self, new: NewThread) -> StoredThread:
        self._check_open()
        check_class(new, NewThread)
        thread_id = parse_thread_id(new.id) if new.id is not None else new_thread_id()
        if thread_id in self._writers or thread_id in self._logs:
            raise Conflict.exists(thread_id)
        base = new.history_base
        if base is not None:
            base = self._check_base(base)
            new = msgspec.structs.replace(new, history_base=base)
        writer = _Writer(_Log(self._new_thread(thread_id, new), base), new)
        if base is not None and new.history_mode == "paginated":
            writer.segment = self._segment(base)
            if writer.segment is not None:
                writer.log.next_ordinal = writer.segment.end_ordinal_exclusive
        self._writers[thread_id] = writer
        return writer.log.thread

    async def resume_thread(self, thread_id: str) -> StoredThread:
        thread_id = self._parse(thread_id)
        if thread_id in self._writers:
            raise Conflict.live_here(thread_id)
        log = self._stored(thread_id)
        if log.thread.archived:
            raise InvalidRequest.archived(thread_id)
        self._writers[thread_id] = _Writer(log)
        return log.thread

    async def append_items(
        self,
        thread_id: str,
        items: Sequence[RolloutItem],
        *,
        idempotency_key: str | None = None,
        expected_position: int | None = None,
    ) -> AppendReceipt:
        thread_id = self._parse(thread_id)
        check_items(items)
        check_append(idempotency_key, expected_position)
        writer = self._writer(thread_id)
        if idempotency_key is not None and idempotency_key in writer.receipts:
            return writer.receipts[idempotency_key]
        log = writer.log
        _check_position(log, expected_position)
        self._append(writer, items)
        if items:
            self._mark_materialised(thread_id, writer)
        receipt = AppendReceipt(position=log.position)
        if idempotency_key is not None:
            writer.receipts[idempotency_key] = receipt
        return receipt

    async def append_lines(
        self, thread_id: str, lines: Sequence[bytes], *, expected_position: int | None = None
    ) -> AppendReceipt:
        thread_id = self._parse(thread_id)
        check_lines(lines, expected_position)
        writer = self._writer(thread_id)
        _check_position(writer.log, expected_position)
        writer.log.lines += lines
        writer.log.next_ordinal = ordinal_after(lines) or writer.log.next_ordinal
        if lines:
            self._mark_materialised(thread_id, writer)
        return AppendReceipt(position=writer.log.position)

    async def persist_thread(self, thread_id: str) -> None:
        thread_id = self._parse(thread_id)
        self._materialise(thread_id, self._writer(thread_id))

    async def flush_thread(self, thread_id: str) -> None:
        self._writer(self._parse(thread_id))

    async def shutdown_thread(self, thread_id: str) -> None:
        await self.discard_thread(thread_id)

    async def discard_thread(self, thread_id: str) -> None:
        thread_id = self._parse(thread_id)
        self._writers.pop(thread_id, None)
        self._signals.ring(thread_id)

    # History

    async def iter_history(
        self, thread_id: str, *, after: int = 0, reverse: bool = False
    ) -> AsyncIterator[RolloutItem | DamagedLine]:
        check_position(after, "after")
        log = self._existing(self._parse(thread_id))
        if not log.lines:
            return
        start, end = after, log.position
        for position in range(end, start, -1) if reverse else range(start + 1, end + 1):
            entry = parse_line(self._line(log, position), position)
            if entry is not None:
                yield entry

    async def search_threads(self, query: SearchQuery) -> SearchPage:
        check_class(query, SearchQuery)
        return await scan.search_threads(self, query)

    async def search_occurrences(
        self,
        thread_id: str,
        query: SearchQuery,
        *,
        cursor: str | None = None,
        limit: int = 25,
        descending: bool = False,
    ) -> OccurrencePage:
        check_class(query, SearchQuery)
        return await scan.search_occurrences(
            self, thread_id, query, cursor, limit, descending=descending
        )

    def watch_thread(
        self, thread_id: str, *, after: int = 0
    ) -> AsyncGenerator[RolloutItem | DamagedLine, None]:
        return follow(self._signals, thread_id, self.iter_history, after)

    async def raw_history(self, thread_id: str) -> AsyncIterator[bytes]:
        for line in tuple(self._existing(self._parse(thread_id)).lines):
            yield line + b"\n"

    async def history_base(self, thread_id: str) -> HistoryBase | None:
        return self._existing(self._parse(thread_id)).base

    # Metadata

    async def read_thread(self, thread_id: str) -> StoredThread:
        return self._existing(self._parse(thread_id)).thread

    async def list_threads(self, query: ThreadQuery | None = None) -> ThreadPage:
        self._check_open()
        query = ThreadQuery() if query is None else query
        check_class(query, ThreadQuery)
        place = thread_place(query)
        rows = sorted(
            ((query.sort_key.of(thread), thread.id, thread) for thread in self._select(query)),
            key=lambda row: row[:2],
            reverse=query.descending,
        )
        if place is not None:
            rows = [
                row for row in rows if (row[:2] < place if query.descending else row[:2] > place)
            ]
        page = tuple(row[2] for row in rows[: query.limit])
        more = len(rows) > query.limit
        return ThreadPage(page, thread_cursor(query, page[-1]) if more else None)

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
        log = self._existing(thread_id)
        if patch.is_empty():
            return log.thread
        if log.thread.archived and explicit and not include_archived:
            raise InvalidRequest.archived(thread_id, hint="unarchive it, or say include_archived")
        if explicit and thread_id in self._writers:
            self._materialise(thread_id, self._writers[thread_id])
        if not explicit:
            patch = msgspec.structs.replace(patch, name=msgspec.UNSET)
        log.thread = patch.apply(log.thread)
        return log.thread

    # Lifecycle of a thread

    async def archive_thread(self, thread_id: str) -> tuple[str, ...]:
        thread_id = self._parse(thread_id)
        if self._existing(thread_id).thread.archived:
            raise InvalidRequest(f"thread is archived already: {thread_id}")
        family = self._family(thread_id)
        self._check_not_live(family)
        return self._mark(family, lambda thread: not thread.archived, self._now())

    async def unarchive_thread(self, thread_id: str) -> tuple[str, ...]:
        thread_id = self._parse(thread_id)
        if not self._existing(thread_id).thread.archived:
            raise InvalidRequest(f"thread is not archived: {thread_id}")
        return self._mark(self._family(thread_id), lambda thread: thread.archived, None)

    async def delete_thread(self, thread_id: str) -> tuple[str, ...]:
        thread_id = self._parse(thread_id)
        self._existing(thread_id)
        family = self._family(thread_id)
        self._check_not_live(family)
        for log in self._known():
            if log.base and log.base.thread_id in family and log.thread.id not in family:
                raise Conflict.stood_on(log.base.thread_id, log.thread.id)
        for member in family:
            del self._logs[member]
            self._signals.ring(member)
        return tuple(family)

    # Finding, in private

    def _check_open(self) -> None:
        if not self._opened:
            raise StoreUnavailable.not_open()

    def _now(self) -> dt.datetime:
        return floor_ms(self._clock.now())

    def _parse(self, thread_id: str) -> str:
        self._check_open()
        return parse_thread_id(thread_id)

    def _writer(self, thread_id: str) -> _Writer:
        writer = self._writers.get(thread_id)
        if writer is None:
            raise ThreadNotFound.not_live(thread_id)
        return writer

    def _stored(self, thread_id: str) -> _Log:
        log = self._logs.get(thread_id)
        if log is None:
            raise ThreadNotFound(thread_id)
        return log

    def _existing(self, thread_id: str) -> _Log:
        """The thread, live ones without history included."""
        writer = self._writers.get(thread_id)
        return writer.log if writer else self._stored(thread_id)

    def _known(self) -> Iterator[_Log]:
        """Every thread, live ones without history included."""
        yield from self._logs.values()
        yield from (writer.log for writer in self._writers.values() if writer.draft)

    def _family(self, thread_id: str) -> list[str]:
        """The thread and all threads it spawned, directly or not; parents before children."""
        children: dict[str | None, list[str]] = {}
        for log in self._known():
            children.setdefault(log.thread.parent_thread_id, []).append(log.thread.id)
        family = [thread_id]
        for member in family:
            family += (child for child in children.get(member, ()) if child not in family)
        return family

    def _select(self, query: ThreadQuery) -> Iterator[StoredThread]:
        threads = [log.thread for log in self._logs.values()]
        if query.ancestor_id is not None:
            family = set(self._family(parse_thread_id(query.ancestor_id))[1:])
            threads = [thread for thread in threads if thread.id in family]
        if query.cwds is not None:
            cwds = {resolve_cwd(cwd) for cwd in query.cwds}
            threads = [thread for thread in threads if resolve_cwd(thread.cwd) in cwds]
            query = msgspec.structs.replace(query, cwds=None)
        return filter(query.matches, threads)

    # Changing, in private

    def _new_thread(self, thread_id: str, new: NewThread) -> StoredThread:
        return thread_of(
            new,
            thread_id=thread_id,
            created_at=self._now(),
            cli_version=VERSION,
            model_provider=self._config.default_model_provider,
        )

    def _check_base(self, base: HistoryBase) -> HistoryBase:
        source = parse_thread_id(base.thread_id)
        position = self._stored(source).position
        if not 0 <= base.position <= position:
            raise InvalidRequest(f"thread {source} has {position} lines, not {base.position}")
        return HistoryBase(thread_id=source, position=base.position)

    def _segment(self, base: HistoryBase) -> SegmentBase | None:
        """The same place as the header of a rollout says it; ``None`` if no ordinal tells."""
        log = self._log_of(self._logs[base.thread_id], base.position)
        lines = log.lines[: base.position - (log.base.position if log.base else 0)]
        ordinal = ordinal_after(lines)
        if ordinal is None:
            return None
        size = sum(map(len, lines)) + len(lines)
        return SegmentBase(
            thread_id=log.thread.id, end_ordinal_exclusive=ordinal, end_byte_offset=size
        )

    def _append(self, writer: _Writer, items: Sequence[RolloutItem]) -> None:
        """Add the lines of *items*, after the header where the thread still needs one."""
        if not items:
            return
        log, draft = writer.log, writer.draft
        if draft and not is_header_of(items[0], log.thread.id):
            items = [self._header(writer, log.thread, draft), *items]
        stamp = rfc3339_ms(self._clock.now())
        paginated = log.thread.history_mode == "paginated"
        first = log.next_ordinal
        log.lines += [
            _line(item, stamp, first + number if paginated else None)
            for number, item in enumerate(items)
        ]
        log.next_ordinal += len(items)

    def _header(self, writer: _Writer, thread: StoredThread, draft: NewThread) -> RolloutItem:
        return session_meta_item(
            draft,
            thread_id=thread.id,
            created_at=thread.created_at,
            cli_version=thread.cli_version,
            model_provider=thread.model_provider,
            history_base=writer.segment,
        )

    def _materialise(self, thread_id: str, writer: _Writer) -> None:
        if writer.draft:
            self._append(writer, [self._header(writer, writer.log.thread, writer.draft)])
            self._mark_materialised(thread_id, writer)

    def _mark_materialised(self, thread_id: str, writer: _Writer) -> None:
        self._logs[thread_id] = writer.log
        writer.draft = None
        self._signals.ring(thread_id)

    def _check_not_live(self, family: Sequence[str]) -> None:
        for member in family:
            if member in self._writers:
                raise Conflict.live(member)

    def _mark(
        self,
        family: Sequence[str],
        wanted: Callable[[StoredThread], bool],
        archived_at: dt.datetime | None,
    ) -> tuple[str, ...]:
        changed = tuple(member for member in family if wanted(self._stored(member).thread))
        for member in changed:
            log = self._logs[member]
            log.thread = msgspec.structs.replace(log.thread, archived_at=archived_at)
        return changed

    def _log_of(self, log: _Log, position: int) -> _Log:
        """The log among those of a history that has the line at *position*."""
        while log.base and position <= log.base.position:
            log = self._logs[log.base.thread_id]
        return log

    def _line(self, log: _Log, position: int) -> bytes:
        log = self._log_of(log, position)
        return log.lines[position - 1 - (log.base.position if log.base else 0)]


def _check_position(log: _Log, expected: int | None) -> None:
    if expected is not None and expected != log.position:
        raise Conflict.moved_on(log.thread.id, log.position, expected)


def _line(item: RolloutItem, stamp: str, ordinal: int | None) -> bytes:
    if item.raw is not None:
        RolloutItem.parse(item.raw)
        if b"\n" in item.raw:
            raise InvalidRequest("an item is one line; this is more than one")
        return item.raw
    return item.encode(item.timestamp or stamp, ordinal if item.ordinal is None else item.ordinal)
