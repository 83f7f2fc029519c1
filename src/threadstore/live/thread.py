"""The handle of one active thread: history first, then what it implies, strictly in order."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from threadstore.clock import Clock, SystemClock
from threadstore.errors import (
    Conflict,
    InvalidRequest,
    StoreUnavailable,
    ThreadNotFound,
    ThreadStoreError,
)
from threadstore.history.completed import OpenTurn, bounds_turn, completed_form
from threadstore.history.facts import FactObserver
from threadstore.history.items import History, RolloutItem
from threadstore.history.policy import canonical
from threadstore.live._git import collect_git_info
from threadstore.live._handle import Handle
from threadstore.live._metadata_sync import ThreadMetadataSync
from threadstore.metadata import (
    MetadataOrigin,
    NewThread,
    StoredThread,
    ThreadMetadataPatch,
)
from threadstore.store import AppendReceipt, ThreadStore, check_class

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from types import TracebackType

__all__ = ["LiveThread"]

RECOVERY_BATCH: Final = 256
"""Items looked at together while a history is searched for facts."""


class LiveThread(Handle):
    """One active thread, made by :meth:`create` or :meth:`resume`.

    Every call takes its turn, in the order of the calls: an append is through policy, history,
    observation and metadata before the next call starts. As a context manager it shuts down on a
    normal exit; after a failure it shuts down if something was appended, else it discards, and the
    failure is what the caller sees.
    """

    def __init__(
        self,
        store: ThreadStore,
        stored: StoredThread,
        sync: ThreadMetadataSync,
        position: int,
        clock: Clock,
        turn: OpenTurn,
    ) -> None:
        """For :meth:`create` and :meth:`resume`; the store's writer is open already."""
        self._store = store
        self._clock = clock
        self._turn = self._unsettled_turn = turn
        super().__init__(stored)
        self._sync = sync
        self._position = position
        self._observed_position = position
        # Items of an append whose outcome is unknown; empty if only the position is.
        self._unsettled: Sequence[RolloutItem] | None = None
        self._appended = False
        self._lock = asyncio.Lock()

    # Opening

    @classmethod
    async def create(
        cls,
        store: ThreadStore,
        new: NewThread,
        *,
        clock: Clock | None = None,
        inherited: Sequence[RolloutItem] = (),
        observed: ThreadMetadataPatch | None = None,
        probe_git: bool = True,
    ) -> Self:
        """Open a new thread. Nothing is durable before the first item.

        *inherited* is what a child takes over from its parent: it is appended at once and implies
        nothing for the child's metadata but what usage was inherited. *observed* is what the
        history that a fork continues implies. A fork that does not refer to that history appends
        it next, as one batch; of one that does it is read if it is not given. *probe_git* fills
        ``new.git`` from the working directory if it is not given. If anything fails, or the caller
        is cancelled, no writer stays open.
        """
        check_class(new, NewThread)
        clock = clock or SystemClock()
        if probe_git and new.git is None and new.cwd:
            git = await collect_git_info(new.cwd)
            new = new if git is None else msgspec.structs.replace(new, git=git)
        async with AsyncExitStack() as undo:
            stored = await _open_writer(store, store.create_thread(new), undo)
            sync = ThreadMetadataSync.for_create(stored, clock)
            base = new.history_base
            if base is not None and observed is None and sync.lacks_facts:
                observed = await _facts(store, base.thread_id, base.position)
            if observed is not None:
                sync.recover(observed, own=False, copied=base is None)
            turn = OpenTurn(thread_id=stored.id)
            live = cls(store, stored, sync, await _position(store, stored.id), clock, turn)
            if inherited:
                await live._inherit(inherited)
            undo.pop_all()
        return live

    @classmethod
    async def resume(
        cls, store: ThreadStore, thread_id: str, *, clock: Clock | None = None
    ) -> Self:
        """Reopen a thread for appends.

        Starts from the stored metadata, so that only what changes is written; history is read only
        where that metadata has gaps. If anything fails, or the caller is cancelled, no writer
        stays open.
        """
        clock = clock or SystemClock()
        async with AsyncExitStack() as undo:
            stored = await _open_writer(store, store.resume_thread(thread_id), undo)
            sync = ThreadMetadataSync.for_resume(stored, clock)
            if sync.lacks_facts:
                sync.recover(await _facts(store, stored.id))
            turn = await _open_turn(store, stored)
            live = cls(store, stored, sync, await _position(store, stored.id), clock, turn)
            undo.pop_all()
        return live

    # What it is

    @property
    def rollout_path(self) -> str | None:
        """Where its history is or will be, on stores with files; else ``None``."""
        return self._stored.rollout_path

    @property
    def position(self) -> int:
        """Position after the last line that this handle knows of; 0 before the first."""
        return self._position

    async def is_live(self) -> bool:
        """Whether it is open once all calls made before have ended."""
        async with self._lock:
            return not self._closed

    async def read(self) -> StoredThread:
        """The thread's metadata."""
        return await self._store.read_thread(self.id)

    async def load_history(self) -> History:
        """The whole history."""
        return await self._store.load_history(self.id)

    # Writing

    async def append_items(
        self,
        items: Sequence[RolloutItem],
        *,
        idempotency_key: str | None = None,
        expected_position: int | None = None,
        verbatim: bool = False,
    ) -> AppendReceipt:
        """Append those of *items* that persist, all or none, then write what they imply.

        What the events of legacy threads say goes into a paginated thread as completed items.
        *verbatim* keeps every item as it is (for imports and copies). Raises what the store's
        ``append_items`` raises. Metadata that cannot be written now does not fail the append: the
        receipt says ``deferred``, and it goes out with the next append or any other write. After
        :class:`StoreUnavailable` or a cancellation the items may be there, all or none; the next
        call finds out, and a retry with the same *idempotency_key* is safe.
        """
        async with self._lock:
            if self._closed or self._unsettled is not None:
                await self._settle()
            kept = self._kept(items, verbatim=verbatim)
            if not kept:
                return AppendReceipt(position=self._position)
            self._unsettled = kept
            try:
                receipt = await self._store.append_items(
                    self.id,
                    kept,
                    idempotency_key=idempotency_key,
                    expected_position=expected_position,
                )
            except (Conflict, InvalidRequest, ThreadNotFound):
                self._unsettled = None  # refused, so nothing was appended
                raise
            self._unsettled = None
            if idempotency_key is not None and receipt.position <= self._observed_position:
                patch = self._sync.take()  # the same batch again: stored and observed before
            else:
                patch = self._observe(kept, receipt.position)
            if patch is None:
                return receipt
            written = await self._try_write(patch)
            return AppendReceipt(
                position=receipt.position, metadata="written" if written else "deferred"
            )

    async def persist(self) -> None:
        """Materialise the thread, also without any item, flush, and write all that is pending."""
        async with self._lock:
            await self._settle()
            self._unsettled = ()
            await self._store.persist_thread(self.id)
            self._sync.history_exists()
            await self._refresh_position()
            await self._write(self._sync.take())

    async def flush(self) -> None:
        """Return once everything appended survives power loss and the store has what was pending.

        History is flushed first; metadata that cannot be written is raised and stays pending. A
        store may write a mere "updated at", which the log tells too, a moment after it took it.
        """
        async with self._lock:
            await self._settle()
            await self._store.flush_thread(self.id)
            await self._write(self._sync.take())

    async def update_metadata(
        self, patch: ThreadMetadataPatch, origin: MetadataOrigin = MetadataOrigin.EXPLICIT
    ) -> StoredThread:
        """Apply *patch* after everything pending, so that what was said last wins."""
        check_class(patch, ThreadMetadataPatch)
        origin = MetadataOrigin.of(origin)
        async with self._lock:
            await self._settle()
            if patch.is_empty():
                return await self._store.read_thread(self.id)
            await self._write(self._sync.take(idle=True))
            self._unsettled = ()  # some stores keep an explicit edit as a line of the log
            stored = await self._store.update_thread_metadata(
                self.id, patch, origin=origin, include_archived=True
            )
            self._sync.note_explicit(patch)
            if origin is MetadataOrigin.EXPLICIT:
                self._sync.history_exists()
            await self._refresh_position()
            return stored

    # Closing

    async def shutdown(self) -> None:
        """Write what is pending, flush and release the writer. Twice is once.

        A thread without history leaves no trace. If metadata cannot be written the writer is
        released all the same, and the error is raised (not for a mere "updated at", see
        :meth:`flush`): history is safe, and the next resume recovers what it implies. If history
        cannot be flushed the thread stays open.
        """
        async with self._lock:
            if self._closed:
                return
            failure: ThreadStoreError | None = None
            try:
                await self._settle()
                await self._write(self._sync.take())
            except ThreadStoreError as error:
                failure = error
            await self._store.shutdown_thread(self.id)
            self._closed = True
            if failure is not None:
                raise failure

    async def discard(self) -> None:
        """Release the writer without forcing anything to disk; what is durable stays."""
        async with self._lock:
            if not self._closed:
                await self._store.discard_thread(self.id)
                self._closed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            await self.shutdown()
        elif self._appended or self._unsettled:
            try:
                await self.shutdown()
            except ThreadStoreError:  # what failed first is what the caller shall see
                await self.discard()
        else:
            await self.discard()

    # In private, all under the lock

    def _kept(
        self, items: Sequence[RolloutItem], *, verbatim: bool = False
    ) -> Sequence[RolloutItem]:
        """What of *items* goes into the history; ``_unsettled_turn`` is the turn after them."""
        if self._mode != "paginated":
            return items if verbatim else canonical(items, self._mode)
        if verbatim:
            self._unsettled_turn = self._turn.after(items)
            return items
        kept, self._unsettled_turn = completed_form(items, self._turn, now=self._clock.now())
        return canonical(kept, self._mode)

    def _observe(self, items: Sequence[RolloutItem], position: int) -> ThreadMetadataPatch | None:
        self._appended = True
        self._turn = self._unsettled_turn
        self._position = self._observed_position = position
        return self._sync.observe(items)

    async def _settle(self) -> None:
        """Find out what became of a call that failed or was cancelled half-way.

        The store keeps all items of an append or none, and its position tells which: items that
        are durable get observed even if nobody could say so in time.
        """
        if self._closed:
            raise ThreadNotFound.not_live(self.id)
        if self._unsettled is None:
            return
        position = await _position(self._store, self.id)
        items, self._unsettled = self._unsettled, None
        if items and position >= self._position + len(items):
            self._observe(items, position)
        self._position = position

    async def _refresh_position(self) -> None:
        """Learn the new position now if possible, else at the next call: the work is done."""
        with suppress(StoreUnavailable):
            await self._settle()

    async def _write(self, patch: ThreadMetadataPatch | None) -> None:
        """Write an observed patch; it stays pending if that fails."""
        if patch is not None:
            await self._store.update_thread_metadata(
                self.id, patch, origin=MetadataOrigin.OBSERVED, include_archived=True
            )
            self._sync.mark_applied()

    async def _try_write(self, patch: ThreadMetadataPatch) -> bool:
        try:
            await self._write(patch)
        except ThreadStoreError:
            return False
        return True

    async def _inherit(self, items: Sequence[RolloutItem]) -> None:
        kept = self._kept(items)
        if not kept:
            return
        receipt = await self._store.append_items(self.id, kept)
        self._appended = True
        self._turn = self._unsettled_turn
        self._position = self._observed_position = receipt.position
        self._sync.history_exists()
        self._sync.inherit(kept)
        patch = self._sync.take()
        if patch is not None:
            await self._try_write(patch)


async def _open_writer(
    store: ThreadStore, opening: Coroutine[Any, Any, StoredThread], undo: AsyncExitStack
) -> StoredThread:
    """Await *opening*; *undo* will discard the writer.

    A caller that is cancelled meanwhile waits for the outcome, so that no writer stays open.
    """
    task = asyncio.ensure_future(opening)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None and (task.cancelled() or task.exception() is not None):
        raise cancelled
    stored = task.result()
    undo.push_async_callback(store.discard_thread, stored.id)
    if cancelled is not None:
        raise cancelled
    return stored


async def _position(store: ThreadStore, thread_id: str) -> int:
    """The position of a live thread: appending nothing changes nothing."""
    return (await store.append_items(thread_id, ())).position


async def _open_turn(store: ThreadStore, stored: StoredThread) -> OpenTurn:
    """The turn that the history of a paginated thread left open, if any."""
    turn, items = OpenTurn(thread_id=stored.id), list[RolloutItem]()
    if stored.history_mode != "paginated":
        return turn
    async for entry in store.iter_history(stored.id, reverse=True):
        if isinstance(entry, RolloutItem):
            items.append(entry)
            if bounds_turn(entry):
                break
    return turn.after(reversed(items))


async def _facts(
    store: ThreadStore, thread_id: str, until: int | None = None
) -> ThreadMetadataPatch:
    """What the history of a thread implies, up to position *until*."""
    observer = FactObserver(thread_id)
    facts = ThreadMetadataPatch()
    batch: list[RolloutItem] = []
    async for entry in store.iter_history(thread_id):
        if until is not None and (entry.position or 0) > until:
            break
        if isinstance(entry, RolloutItem):
            batch.append(entry)
        if len(batch) == RECOVERY_BATCH:
            facts = facts.merge(observer.observe_all(batch) or ThreadMetadataPatch())
            batch.clear()
    return facts.merge(observer.observe_all(batch) or ThreadMetadataPatch())
