"""The live writers of one store object: who may append here, and what waits for a first line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from threadstore.clock import Clock, rfc3339_ms
from threadstore.errors import InvalidRequest, StoreUnavailable, ThreadNotFound
from threadstore.history.header import is_header_of, read_header, session_meta_item
from threadstore.history.items import RolloutItem, encode_lines, ordinal_after
from threadstore.metadata import NewThread, StoredThread, ThreadMetadataPatch
from threadstore.store import AppendReceipt
from threadstore.stores.live_writers import LiveWriters
from threadstore.stores.local.derive import LogEnd
from threadstore.stores.local.lineage import Base
from threadstore.stores.local.locks import WriterLock, open_by_other_process, writer_holder
from threadstore.stores.local.paths import Home
from threadstore.stores.local.recorder import Recorder
from threadstore.stores.local.waiting import running_loop

if TYPE_CHECKING:
    import asyncio

    from threadstore.stores.local.workers import Workers

__all__ = ["LiveWriter", "Writers"]

_SYNCS: Final = 24


class LiveWriter:
    """A thread that this store writes: its log, its lock, its metadata as known here."""

    def __init__(
        self,
        thread: StoredThread,
        recorder: Recorder,
        lock: WriterLock,
        turn: asyncio.Lock,
        base: Base | None = None,
    ) -> None:
        self.thread = thread
        self.recorder = recorder
        self.turn = turn
        """Held by whoever works on the thread, so that calls happen in their order."""
        self.waiting = ThreadMetadataPatch()
        """Observed metadata that came before the first line."""
        self.receipts: dict[str, AppendReceipt] = {}
        self.copied = False
        """Whether the last lines were written elsewhere, at an earlier time."""
        self.base = base
        """What a new thread stands on; its header says so once it has history."""
        self._lock = lock

    @property
    def materialised(self) -> bool:
        """Whether the thread has history."""
        return self.recorder.materialised

    def append(
        self, items: Sequence[RolloutItem], now: Clock, expected_position: int | None
    ) -> AppendReceipt:
        """All items in one write."""
        self.copied = False
        block = encode_lines(items, rfc3339_ms(now.now()), self.recorder.next_ordinal)
        has_header = (
            not self.materialised and bool(items) and is_header_of(items[0], self.thread.id)
        )
        position = self.recorder.append_block(
            block, len(items), has_header=has_header, expected_position=expected_position
        )
        return AppendReceipt(position=position)

    def append_lines(self, lines: Sequence[bytes], expected_position: int | None) -> AppendReceipt:
        """All lines, exactly as they are; the first one of a new thread is its header."""
        if self.base is not None and not self.materialised and lines:
            self._check_header(lines[0])
        position = self.recorder.append(
            lines,
            has_header=True,
            expected_position=expected_position,
            next_ordinal=ordinal_after(lines),
        )
        self.copied = self.copied or bool(lines)
        return AppendReceipt(position=position)

    def _check_header(self, line: bytes) -> None:
        """A reader finds what the thread inherits by its header and nothing else."""
        assert self.base is not None
        with suppress(InvalidRequest):
            view = read_header(RolloutItem.parse(line))
            said = view and view.history_base
            wanted = self.base.segment
            if said and (said.thread_id, said.end_byte_offset) == (
                wanted.thread_id,
                wanted.end_byte_offset,
            ):
                return
        raise InvalidRequest(
            f"the first line of thread {self.thread.id} does not say what the thread stands on"
        )

    def release(self) -> None:
        """Let go of the file and of the writer lock."""
        self.recorder.close()
        self._lock.release()

    def date_back(self) -> None:
        """Give a copied log the time at which its thread was used: Codex fills a new database with
        the times of the files (0.131 and 0.169)."""
        if self.copied:
            self.recorder.set_time(self.thread.updated_at.timestamp())


class Writers(LiveWriters[LiveWriter]):
    """The live threads of a store object."""

    def __init__(self, home: Home, clock: Clock) -> None:
        super().__init__()
        self._home = home
        self._clock = clock
        self._syncing: Workers | None = None

    async def sync(self, writer: LiveWriter) -> None:
        """Return once everything appended survives power loss.

        Others wait in threads of their own: one commit of the disk's journal serves everybody who
        waits by then, so that many at once take hardly longer than one.
        """
        loop = running_loop()
        if loop is None:
            writer.recorder.sync()
            return
        if self._syncing is None:
            from threadstore.stores.local.workers import Workers  # here: every start would pay

            self._syncing = Workers(_SYNCS, "threadstore-sync")
        await self._syncing.run(writer.recorder.sync, loop)

    def close(self) -> None:
        """Let go of everything."""
        for thread_id in self.ids():
            self.release(thread_id)
        workers, self._syncing = self._syncing, None
        if workers is not None:
            workers.close()

    def ids(self) -> list[str]:
        """Every live thread."""
        return list(self._live)

    def children(self, thread_id: str) -> list[str]:
        """The live threads that a thread spawned."""
        return [
            writer.thread.id
            for writer in self._live.values()
            if writer.thread.parent_thread_id == thread_id
        ]

    def unwritten_bases(self) -> list[tuple[str, str]]:
        """Threads that no file tells of yet, each with the id of the rollout that it stands on."""
        return [
            (writer.thread.id, writer.base.segment.thread_id)
            for writer in self._live.values()
            if writer.base is not None and not writer.materialised
        ]

    def is_held_elsewhere(self, thread_id: str, path: str) -> bool:
        """Whether somebody else may be writing the thread's log, as far as it can be seen."""
        if thread_id in self._live:
            return False
        with suppress(StoreUnavailable):
            if writer_holder(self._home, thread_id) is not None:
                return True
        return open_by_other_process(path) is not None

    def create(self, new: NewThread, thread: StoredThread, base: Base | None = None) -> LiveWriter:
        """A writer for a new thread; nothing but the lock is on disk."""
        assert thread.rollout_path is not None
        first = base.segment.end_ordinal_exclusive if base else 0
        ordinal = first if thread.history_mode == "paginated" else None
        header = session_meta_item(
            new,
            thread_id=thread.id,
            created_at=thread.created_at,
            cli_version=thread.cli_version,
            model_provider=thread.model_provider,
            history_base=base.segment if base else None,
        ).encode(rfc3339_ms(self._clock.now()), ordinal)
        lock = WriterLock.acquire(self._home, thread.id)
        recorder = Recorder.create(
            thread.rollout_path,
            header,
            lock=lock,
            inherited=base.position if base else 0,
            header_ordinal=ordinal,
        )
        return self._add(thread, recorder, lock, base)

    def resume(
        self, thread_id: str, read: Callable[[str], tuple[StoredThread, int, LogEnd | None]]
    ) -> LiveWriter:
        """A writer for a thread with history. *read* gives the thread, the number of lines it
        inherits, and where its log ends; it is called under the lock, so that what was written
        before is seen."""
        lock = WriterLock.acquire(self._home, thread_id)
        try:
            thread, inherited, end = read(thread_id)
            recorder = self.open_log(thread, inherited, lock, end)
        except BaseException:
            lock.release()
            raise
        return self._add(thread, recorder, lock)

    def open_log(
        self, thread: StoredThread, inherited: int, lock: WriterLock, end: LogEnd | None
    ) -> Recorder:
        """The log of a cold thread, under its writer lock."""
        assert thread.rollout_path is not None
        try:
            return Recorder.open_existing(
                thread.rollout_path,
                lock=lock,
                inherited=inherited,
                paginated=thread.history_mode == "paginated",
                end=end,
            )
        except FileNotFoundError as error:
            raise ThreadNotFound(thread.id) from error

    def _add(
        self, thread: StoredThread, recorder: Recorder, lock: WriterLock, base: Base | None = None
    ) -> LiveWriter:
        writer = LiveWriter(thread, recorder, lock, self.locks.of(thread.id), base)
        self._live[thread.id] = writer
        return writer

    def release(self, thread_id: str) -> LiveWriter | None:
        """Forget the writer, if there is one, without flushing."""
        writer = self._live.pop(thread_id, None)
        if writer is not None:
            writer.release()
        return writer
