"""The contract: what every thread store promises, documented once and fully.

The rule everything follows: **history creates a thread; metadata describes it.** ``append_items``
writes history and nothing else; ``update_thread_metadata`` is the only metadata write, with one
patch type for what users say and for what history implies.

Vocabulary. A thread is *live* while this store object holds a writer for it, else *cold*. It is
*materialised* once its first byte is durable; until then it exists in the writer only: it can be
read by id, is in no list, and leaves no trace when the writer goes. *Position* is the number of
lines of a thread's log: the header that materialisation writes, every item, every damaged line and
every line a store adds for its own metadata count.

Ids are UUIDs in any spelling; an argument of another type or form is :class:`InvalidRequest`.
Every verb may raise :class:`StoreUnavailable`; no driver or operating-system error escapes. A verb
that raises has changed nothing, unless its text says otherwise.
"""

from __future__ import annotations

import abc
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

import msgspec

from threadstore.arguments import check_append, check_class, check_lines, check_position
from threadstore.errors import Unsupported
from threadstore.findings import Finding, Repair, RepairedLine
from threadstore.metadata import (
    HistoryBase,
    MetadataOrigin,
    NewThread,
    StoredThread,
    ThreadMetadataPatch,
)
from threadstore.queries import ThreadPage, ThreadQuery

if TYPE_CHECKING:
    from threadstore import paging
    from threadstore.history.items import DamagedLine, History, RolloutItem
    from threadstore.pages import ItemPage, TurnPage
    from threadstore.search import OccurrencePage, SearchPage, SearchQuery

__all__ = [
    "AppendReceipt",
    "Capabilities",
    "Durability",
    "Finding",
    "Repair",
    "RepairedLine",
    "ThreadStore",
    "check_append",
    "check_class",
    "check_lines",
    "check_position",
]


class Durability(StrEnum):
    """What an append has survived once it returned."""

    NONE = "none"
    """Nothing: it is gone with the store object."""
    PROCESS = "process"
    """The end of the process, however it ends."""
    POWER = "power"
    """Loss of power."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a store can do beyond the common contract. Declared means works; undeclared raises
    :class:`Unsupported`; the conformance class tests both."""

    durability: Durability
    """Of ``append_items``; ``flush_thread`` is one better where there is one."""
    permanent_idempotency_keys: bool = False
    """Whether keys outlive the writer. After a crash elsewhere, ``expected_position`` decides."""
    fork_by_reference: bool = False
    """Whether ``NewThread.history_base`` works, at least for paginated threads: files of Codex have
    no such thing for legacy ones. Others are :class:`Unsupported`, one by one."""
    rollout_paths: bool = False
    """Whether threads have a ``rollout_path``."""
    exclusive_writers: bool = False
    """Whether two store objects on the same data never write one thread at once."""
    search_threads: bool = False
    """Whether that verb and ``search_occurrences`` work."""
    watch_thread: bool = False
    """Whether that verb works."""


class AppendReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """What an append achieved. Tells history from metadata: history is durable when you hold it."""

    position: int
    """Position after the last item."""
    metadata: Literal["none", "written", "deferred"] = "none"
    """``none``: nothing to write (always so from a store); ``written``; ``deferred``: could not be
    written now and goes out with the next append or barrier."""


class ThreadStore(abc.ABC):
    """Durable threads: append-only history plus queryable metadata. One object is one tenant.

    An async context manager: entering opens the store, leaving shuts every live writer down and
    closes it. Safe for concurrent use from one event loop; appends to one thread happen in the
    order in which they were called.
    """

    @property
    @abc.abstractmethod
    def capabilities(self) -> Capabilities:
        """What this store can do."""

    @abc.abstractmethod
    async def open(self) -> None:
        """Make the store ready. Twice is once. Never creates or changes a thread."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Shut all writers down and release everything. Twice is once; afterwards every verb is
        :class:`StoreUnavailable`."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # Lifecycle of a writer

    @abc.abstractmethod
    async def create_thread(self, new: NewThread) -> StoredThread:
        """Open a writer for a new thread. Nothing is durable yet.

        Raises :class:`Conflict` if the id is live or already has history (archived included),
        :class:`Unsupported` for a ``history_base`` the store cannot reference, and
        :class:`ThreadNotFound` for one that does not exist.
        """

    @abc.abstractmethod
    async def resume_thread(self, thread_id: str) -> StoredThread:
        """Open a writer for a thread that has history, under the writer lock.

        Raises :class:`ThreadNotFound`, :class:`Conflict` if it is live here or its writer is held
        elsewhere (naming the holder where known), :class:`InvalidRequest` if it is archived.
        """

    @abc.abstractmethod
    async def append_items(
        self,
        thread_id: str,
        items: Sequence[RolloutItem],
        *,
        idempotency_key: str | None = None,
        expected_position: int | None = None,
    ) -> AppendReceipt:
        """Append all *items*, in order and contiguous, or none. Writes history and nothing else.

        The first append that holds an item materialises the thread: its ``session_meta`` header
        goes first, unless the first item is the thread's own header. Items are stored as they
        are; those without a timestamp are stamped. No items: no change. When it returns, the items
        are as durable as ``capabilities.durability`` says.

        The same *idempotency_key* again on this thread: the first receipt again, nothing written.
        Another position than *expected_position*: :class:`Conflict`. Not live:
        :class:`ThreadNotFound`. An item that is not JSON: :class:`InvalidRequest`; only NaN and
        infinity may become ``null``.
        """

    @abc.abstractmethod
    async def append_lines(
        self, thread_id: str, lines: Sequence[bytes], *, expected_position: int | None = None
    ) -> AppendReceipt:
        """Append *lines* exactly as they are, all or none: what a copy of a log is made with.

        Each is a line without its newline; damaged, blank and foreign ones are as good as others.
        Nothing is added, stamped or numbered: the first line of a new thread is its header,
        whatever it is, and says what the thread was created with (``history_base`` too). The next
        ordinal of a paginated thread follows the last one that can be read. As durable as
        ``append_items``, and refused as that is; a line with a newline: :class:`InvalidRequest`.
        """

    @abc.abstractmethod
    async def persist_thread(self, thread_id: str) -> None:
        """Materialise the thread, also without any item, and flush it. Twice is once.

        Not live: :class:`ThreadNotFound`.
        """

    @abc.abstractmethod
    async def flush_thread(self, thread_id: str) -> None:
        """Return once everything accepted survives power loss (as far as the store can).

        Does not materialise a thread that has no items. Not live: :class:`ThreadNotFound`.
        """

    @abc.abstractmethod
    async def shutdown_thread(self, thread_id: str) -> None:
        """Flush and release the writer. A thread that never materialised leaves no trace.

        If flushing fails the thread stays live and the call can be repeated. Not live: returns.
        """

    @abc.abstractmethod
    async def discard_thread(self, thread_id: str) -> None:
        """Release the writer without forcing anything to disk; durable data stays.

        Not live: returns. Never fails because of the disk.
        """

    # History

    @abc.abstractmethod
    def iter_history(
        self, thread_id: str, *, after: int = 0, reverse: bool = False
    ) -> AsyncIterator[RolloutItem | DamagedLine]:
        """Stream the history in replay order, or in the opposite order with *reverse*.

        Yields lines with a position greater than *after*; inherited lines of a fork come first and
        count. A live thread that is not materialised yields nothing. Memory stays bounded by the
        longest line. Raises :class:`ThreadNotFound` at the first step.
        """

    async def history_batches(
        self,
        thread_id: str,
        *,
        after: int = 0,
        reverse: bool = False,
        brief: bool = False,  # noqa: ARG002 - for stores that can
    ) -> AsyncIterator[Sequence[RolloutItem | DamagedLine]]:
        """The same as :meth:`iter_history` in portions, as the store comes by them: where every
        entry counts, that takes less time. *brief*: lines that are never shown may be left out
        (see :func:`threadstore.history.lines.parse_telling`)."""
        async for entry in self.iter_history(thread_id, after=after, reverse=reverse):
            yield (entry,)

    turn_marks: paging.Marks | None = None
    """Where this store keeps the places at which reading turns can begin; ``None``: it reads the
    whole history for every page."""

    async def load_history(self, thread_id: str) -> History:
        """The whole history. A damaged line costs that line and is reported.

        Raises :class:`ThreadNotFound`, and :class:`CorruptHistory` only when there are lines and
        no line can be served.
        """
        from threadstore.history.items import History

        return History.of(thread_id, [entry async for entry in self.iter_history(thread_id)])

    async def raw_history(self, thread_id: str) -> AsyncIterator[bytes]:
        """Stream the thread's own log as bytes, in chunks of any size: what an export writes.

        Byte for byte, damaged and blank lines included; without what a fork by reference inherits.
        A store that keeps rollout files yields the file, a compressed one decompressed: it need not
        end in a newline. A live thread that is not materialised yields nothing. Raises
        :class:`ThreadNotFound` at the first step.

        This default serves stores without blank lines, damaged lines above 64 KiB and forks by
        reference.
        """
        from threadstore.history.items import RolloutItem

        async for entry in self.iter_history(thread_id):
            line = entry.line() if isinstance(entry, RolloutItem) else entry.raw
            yield line + b"\n"

    async def history_base(self, thread_id: str) -> HistoryBase | None:
        """What the thread stands on: the other thread and how many lines it inherits.

        ``None``: all of its history is in its own log, or what it inherited is lost. Its own id:
        the lines stand in an earlier log of the same thread, which was reverted there. Raises
        :class:`ThreadNotFound`; :class:`Unsupported` if it stands on lines that are in the history
        of no thread any more, because their thread was reverted.

        This default serves stores without forks by reference.
        """
        await self.read_thread(thread_id)
        return None

    async def list_turns(
        self, thread_id: str, *, cursor: str | None = None, limit: int = 25, descending: bool = True
    ) -> TurnPage:
        """A page of the thread's turns after rollback (see ``threadstore.history.turns``).

        Raises :class:`ThreadNotFound`; :class:`InvalidRequest` for a bad limit or cursor.
        """
        from threadstore import paging  # here: a list of threads needs none of it

        return await paging.list_turns(self, thread_id, cursor, limit, descending=descending)

    async def list_items(
        self,
        thread_id: str,
        *,
        turn_id: str | None = None,
        cursor: str | None = None,
        limit: int = 25,
        descending: bool = False,
    ) -> ItemPage:
        """A page of the thread's items, of one turn if *turn_id* is given.

        Raises :class:`ThreadNotFound`; :class:`InvalidRequest` for a bad limit or cursor or an
        unknown turn.
        """
        from threadstore import paging

        return await paging.list_items(
            self, thread_id, turn_id, cursor, limit, descending=descending
        )

    # Metadata

    @abc.abstractmethod
    async def read_thread(self, thread_id: str) -> StoredThread:
        """The thread's metadata, archived threads and live ones without history included.

        Raises :class:`ThreadNotFound`.
        """

    @abc.abstractmethod
    async def list_threads(self, query: ThreadQuery | None = None) -> ThreadPage:
        """A page of materialised threads.

        No page skips or repeats a thread whose sort value did not change while paging, also not
        among equal times. Raises :class:`InvalidRequest` for a bad cursor.
        """

    @abc.abstractmethod
    async def update_thread_metadata(
        self,
        thread_id: str,
        patch: ThreadMetadataPatch,
        *,
        origin: MetadataOrigin,
        include_archived: bool = False,
    ) -> StoredThread:
        """Apply *patch* literally, as one change: readers see all of it or none.

        *origin* is said by the caller, never guessed. ``EXPLICIT`` is durable against power loss
        on return (as far as the store can), materialises a live thread that has no history, and
        makes a cold thread's missing row. ``OBSERVED`` is not durable by itself, waits in the
        writer while a live thread has no history, and never sets a name. An empty patch reads.

        Raises, always before any write and with no residue anywhere: :class:`ThreadNotFound` for an
        id without history and without a writer; :class:`InvalidRequest` for an archived thread
        without *include_archived*; :class:`Conflict` if the change needs a writer that is held
        elsewhere. ``OBSERVED`` patches may always go to archived threads.
        """

    # Lifecycle of a thread

    @abc.abstractmethod
    async def archive_thread(self, thread_id: str) -> tuple[str, ...]:
        """Archive a thread and the threads it spawned, all or nothing; the ids, root first.

        Descendants that are archived already are left alone. Raises :class:`ThreadNotFound`,
        :class:`InvalidRequest` if the thread is archived, :class:`Conflict` if one of them is live.
        """

    @abc.abstractmethod
    async def unarchive_thread(self, thread_id: str) -> tuple[str, ...]:
        """Bring a thread and its archived descendants back; the ids, root first.

        Raises :class:`ThreadNotFound`, :class:`InvalidRequest` if the thread is not archived.
        """

    @abc.abstractmethod
    async def delete_thread(self, thread_id: str) -> tuple[str, ...]:
        """Delete a thread and the threads it spawned, all or nothing; the ids, root first.

        Raises :class:`ThreadNotFound`, :class:`Conflict` if one of them is live or a fork outside
        them stands on the history of one. :class:`StoreUnavailable` may come after the end, too:
        the threads are gone, and it names what is left on the disk.
        """

    async def inspect(self, *, fix: bool = False) -> tuple[Finding, ...]:
        """Everything damaged, stale, orphaned or invisible, with the reason.

        Reads only, unless *fix*: then it adds what is missing (a row, a newline, an entry) and
        corrects what is derived from the history, and says so. Never removes anything or rewrites
        history. A store without anything to find returns nothing.
        """
        del fix
        return ()

    async def repaired_history(self, thread_id: str) -> AsyncIterator[RepairedLine]:
        """The thread's log line by line as it should be, so that every reader of its format takes
        it; a good line is as it was. Changes nothing.

        A store whose histories cannot be damaged yields every line as it is. Raises
        :class:`ThreadNotFound` at the first step, :class:`CorruptHistory` if no line can be read.
        """
        from threadstore.history.items import RolloutItem

        number = 0
        async for entry in self.iter_history(thread_id):
            number += 1
            line = entry.line() if isinstance(entry, RolloutItem) else entry.raw
            yield RepairedLine(number=number, line=line)

    async def repair_thread(self, thread_id: str) -> Repair:
        """Replace the thread's history by :meth:`repaired_history`, all or nothing and durably,
        and keep the history as it was.

        Nothing happens where no line has to change, so also in a store whose histories cannot be
        damaged. Raises :class:`ThreadNotFound`; :class:`Conflict` if the thread is live here or
        elsewhere, or a fork stands on its history; :class:`CorruptHistory` if no line can be read.
        """
        await self.read_thread(thread_id)
        return Repair(changes=())

    # Optional capabilities

    async def search_threads(self, query: SearchQuery) -> SearchPage:
        """Threads in which *query* is found (capability ``search_threads``), one hit a thread.

        Searched are materialised threads, archived ones where ``query.threads`` says so: messages
        of user and assistant, calls and outputs of tools, names and titles; not what a rollback
        took back. What was appended before the call is found. Every store finds the same threads,
        in the same order unless the query is ranked. No page skips or repeats a thread that did
        not change while paging; ranked pages may, when threads change.

        Where a store cannot look through everything, it finds what it can and says so in
        ``degraded``. Raises :class:`InvalidRequest` for a bad cursor.
        """
        del query
        raise Unsupported("search_threads")

    async def prepare_search(self, on_progress: Callable[[int, int], None] | None = None) -> None:
        """Build the index that searches need, if there is one and something is missing in it, and
        keep it in step while the store is open. Without this a search does what it has time for.

        *on_progress* is told how many threads are done of how many.
        """
        del on_progress

    async def search_occurrences(
        self,
        thread_id: str,
        query: SearchQuery,
        *,
        cursor: str | None = None,
        limit: int = 25,
        descending: bool = False,
    ) -> OccurrencePage:
        """The texts of one thread in which *query* is found, in the order of its history; name and
        title come first (capability ``search_threads``). ``query.threads`` does not matter.

        Raises :class:`ThreadNotFound`; :class:`InvalidRequest` for a bad limit or cursor.
        """
        del thread_id, query, cursor, limit, descending
        raise Unsupported("search_threads")

    def watch_thread(
        self, thread_id: str, *, after: int = 0
    ) -> AsyncGenerator[RolloutItem | DamagedLine, None]:
        """Follow a thread's history live (capability ``watch_thread``): yield what
        :meth:`iter_history` would behind *after*, then wait for more, without end.

        Sees what any writer appends, in this store object, in another one or in another process
        as far as they share data. No entry is missing, none comes twice, and they come in replay
        order with their positions, so whoever stops goes on with the last one as *after*. Archiving
        and unarchiving make no gap. Memory stays bounded however much there is to catch up with. A
        last line that is still being written is not yielded before it is whole.

        A live thread without history yields once it has some. Raises :class:`ThreadNotFound` at
        the first step for an unknown id, and later when the thread is gone (deleted, or released
        without history); :class:`StoreUnavailable` when the store is closed. After an error or
        ``aclose`` nothing is left open: close the stream when you stop early, best with
        ``contextlib.aclosing``.

        Where history that was there is taken back (Codex reverts a paginated thread by starting a
        new segment on an earlier line), the stream goes on behind the last line that the old
        history and the new one have in common: an entry whose position is not greater than the one
        before replaces what was yielded from that position on.
        """
        del thread_id, after
        raise Unsupported("watch_thread")
